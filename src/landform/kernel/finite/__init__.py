"""The tangent kernel of a network as it is, layer by layer."""

from landform.kernel.finite._activations import activations
from landform.kernel.finite._estimate import Estimate, Sketch, estimate_outputs, precision_error, sketch
from landform.kernel.finite._ntk import MEMORY, Kind, Progress, by_layer, explain, ntk
from landform.kernel.finite._plan import Choice, Plan
from landform.kernel.finite._to_disk import ntk_to_file

__all__ = [
    "MEMORY",
    "Choice",
    "Estimate",
    "Kind",
    "Plan",
    "Progress",
    "Sketch",
    "activations",
    "by_layer",
    "estimate_outputs",
    "explain",
    "ntk",
    "ntk_to_file",
    "precision_error",
    "sketch",
]
