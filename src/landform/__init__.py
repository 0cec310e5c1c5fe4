"""The geometry of neural-network training: the loss landscape a run moves through, and what moves along it.

Three nouns, and functions between them: a `Landscape` is a loss as a function of a point, a `Trajectory` is the points
a training run visited, an `Atlas` is what was measured along it.
"""

from landform import curvature, data, functions, kernel, models, probes
from landform.atlas import Atlas
from landform.errors import BadInput, Damaged
from landform.landscape import Landscape
from landform.layout import Layout
from landform.recording import Recorder, Trajectory, every, log_spaced
from landform.report import report
from landform.survey import survey
from landform.training import Constant, Cosine, Cyclic, Recipe, Recording, Step, Trained, spawn, train, train_many

__version__ = "0.1.0"

__all__ = [
    "Atlas",
    "BadInput",
    "Constant",
    "Cosine",
    "Cyclic",
    "Damaged",
    "Landscape",
    "Layout",
    "Recipe",
    "Recorder",
    "Recording",
    "Step",
    "Trained",
    "Trajectory",
    "curvature",
    "data",
    "every",
    "functions",
    "kernel",
    "log_spaced",
    "models",
    "probes",
    "report",
    "spawn",
    "survey",
    "train",
    "train_many",
]
