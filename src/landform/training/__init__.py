"""One loop for one model or a stack of models; recipes, schedules, spawning, federated averaging."""

from typing import TYPE_CHECKING

from landform._later import later
from landform.training._plane import Plane
from landform.training._planes import plane, plane_of, planes
from landform.training._recipe import Recipe
from landform.training._schedule import Constant, Cosine, Cyclic, Step
from landform.training._spawn import spawn
from landform.training._spawn_by import ContinueFrom, spawn_by
from landform.training._train import Recording, Trained, train, train_many

if TYPE_CHECKING:
    from landform.training._clients import LocalMoment
    from landform.training._federated import Federated, federated
    from landform.training._federation import Federation

__all__ = [
    "Constant",
    "ContinueFrom",
    "Cosine",
    "Cyclic",
    "Federated",
    "Federation",
    "LocalMoment",
    "Plane",
    "Recipe",
    "Recording",
    "Step",
    "Trained",
    "federated",
    "plane",
    "plane_of",
    "planes",
    "spawn",
    "spawn_by",
    "train",
    "train_many",
]

# What few need is loaded when it is first used: importing landform stays quick.
_LATER = {
    "Federated": "_federated",
    "Federation": "_federation",
    "LocalMoment": "_clients",
    "federated": "_federated",
}
__getattr__ = later(__name__, _LATER)
