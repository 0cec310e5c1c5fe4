"""How two points differ as functions: outputs, errors, activation patterns, representations.

One entry, `compare`, for everything that a pass over the data tells; the measures themselves are plain functions of
logits and activations.
"""

from landform.functions._compare import Comparison, Comparisons, compare, compare_all
from landform.functions._contract import NoFunction
from landform.functions._errors import Average, Ensemble, ErrorOverlap, ensemble, error_overlap
from landform.functions._hsic import Kernel
from landform.functions._layerwise import (
    Features,
    LayerCka,
    LayerDistances,
    activations,
    layer_cka,
    layer_distances,
)
from landform.functions._moments import Canonical
from landform.functions._patterns import PatternDistance, Patterns, hamming, pattern_distances, patterns, units
from landform.functions._predictions import (
    disagreement,
    logit_cosine,
    output_distance,
    softmax_distance,
    symmetric_kl,
)
from landform.functions._representations import canonical, cka, procrustes
from landform.functions._watch import Layers

__all__ = [
    "Average",
    "Canonical",
    "Comparison",
    "Comparisons",
    "Ensemble",
    "ErrorOverlap",
    "Features",
    "Kernel",
    "LayerCka",
    "LayerDistances",
    "Layers",
    "NoFunction",
    "PatternDistance",
    "Patterns",
    "activations",
    "canonical",
    "cka",
    "compare",
    "compare_all",
    "disagreement",
    "ensemble",
    "error_overlap",
    "hamming",
    "layer_cka",
    "layer_distances",
    "logit_cosine",
    "output_distance",
    "pattern_distances",
    "patterns",
    "procrustes",
    "softmax_distance",
    "symmetric_kl",
    "units",
]
