"""What one learns from a curvature operator: eigenpairs, density, trace, confinement, sharpness, each with its error.

Everything is a view of one Krylov basis, or of random products; every result says what it cost, whether it converged,
and how far it can be off.
"""

from landform.curvature._contract import Symmetric
from landform.curvature._density import Density, density
from landform.curvature._eigenpairs import Eigenpairs, aligned, eigenpairs
from landform.curvature._estimate import Estimate
from landform.curvature._krylov import Krylov, Ritz, krylov
from landform.curvature._trace import Diagonal, Trace, diagonal, trace

__all__ = [
    "Density",
    "Diagonal",
    "Eigenpairs",
    "Estimate",
    "Krylov",
    "Ritz",
    "Symmetric",
    "Trace",
    "aligned",
    "density",
    "diagonal",
    "eigenpairs",
    "krylov",
    "trace",
]
