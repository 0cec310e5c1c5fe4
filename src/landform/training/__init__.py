"""One loop for one model or a stack of models; recipes, schedules, spawning."""

from landform.training._recipe import Recipe
from landform.training._schedule import Constant, Cosine, Cyclic, Step
from landform.training._train import Trained, train, train_many

__all__ = ["Constant", "Cosine", "Cyclic", "Recipe", "Step", "Trained", "train", "train_many"]
