"""One loop for one model or a stack of models; recipes, schedules, spawning."""

from landform.training._plane import Plane
from landform.training._planes import plane, plane_of, planes
from landform.training._recipe import Recipe
from landform.training._schedule import Constant, Cosine, Cyclic, Step
from landform.training._spawn import spawn
from landform.training._spawn_by import ContinueFrom, spawn_by
from landform.training._train import Recording, Trained, train, train_many

__all__ = [
    "Constant",
    "ContinueFrom",
    "Cosine",
    "Cyclic",
    "Plane",
    "Recipe",
    "Recording",
    "Step",
    "Trained",
    "plane",
    "plane_of",
    "planes",
    "spawn",
    "spawn_by",
    "train",
    "train_many",
]
