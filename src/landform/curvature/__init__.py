"""What one learns from a curvature operator: eigenpairs, density, trace, confinement, sharpness, each with its error.

Everything is a view of one Krylov basis, or of random products; every result says what it cost, whether it converged,
and how far it can be off.
"""

from landform.curvature._classes import ClassParts, class_parts
from landform.curvature._confinement import Confinement, confinement, overlap
from landform.curvature._contract import Symmetric
from landform.curvature._density import Density, density
from landform.curvature._eigenpairs import Eigenpairs, aligned, eigenpairs
from landform.curvature._estimate import Estimate
from landform.curvature._exact import ExactTrace, exact_trace, piecewise_linear
from landform.curvature._geometry import GradientNoise, LogitCosines, gradient_noise, logit_cosines
from landform.curvature._goldilocks import Goldilocks, goldilocks, xavier
from landform.curvature._krylov import Krylov, Ritz, krylov
from landform.curvature._layers import Coupling, by_module, coupling, coupling_of, layer_shares, layers_of
from landform.curvature._shape import Shape, shape
from landform.curvature._sharpness import (
    AverageSharpness,
    RadiusCurvature,
    SamSharpness,
    average_sharpness,
    radius_curvature,
    sam_sharpness,
)
from landform.curvature._solve import Solution, solve
from landform.curvature._stability import Preconditioned, Stability, adam_denominator, stability, threshold
from landform.curvature._trace import Diagonal, Trace, diagonal, trace
from landform.curvature._tracked import tracked

__all__ = [
    "AverageSharpness",
    "ClassParts",
    "Confinement",
    "Coupling",
    "Density",
    "Diagonal",
    "Eigenpairs",
    "Estimate",
    "ExactTrace",
    "Goldilocks",
    "GradientNoise",
    "Krylov",
    "LogitCosines",
    "Preconditioned",
    "RadiusCurvature",
    "Ritz",
    "SamSharpness",
    "Shape",
    "Solution",
    "Stability",
    "Symmetric",
    "Trace",
    "adam_denominator",
    "aligned",
    "average_sharpness",
    "by_module",
    "class_parts",
    "confinement",
    "coupling",
    "coupling_of",
    "density",
    "diagonal",
    "eigenpairs",
    "exact_trace",
    "goldilocks",
    "gradient_noise",
    "krylov",
    "layer_shares",
    "layers_of",
    "logit_cosines",
    "overlap",
    "piecewise_linear",
    "radius_curvature",
    "sam_sharpness",
    "shape",
    "solve",
    "stability",
    "threshold",
    "trace",
    "tracked",
    "xavier",
]
