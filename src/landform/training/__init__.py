"""One loop for one model or a stack of models; recipes, schedules, spawning, federated averaging."""

import importlib
from typing import TYPE_CHECKING, Any

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


def __getattr__(name: str) -> Any:
    """Load federated averaging at its first use."""
    if name in _LATER:
        return getattr(importlib.import_module(f"landform.training.{_LATER[name]}"), name)
    raise AttributeError(f"module 'landform.training' has no attribute {name!r}")
