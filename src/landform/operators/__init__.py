"""Operators of a landscape by their products: Hessian, Gauss-Newton, Fisher, Jacobian, and their algebra."""

from landform.operators._batched import Batched
from landform.operators._fisher import Estimate, FisherKind, SampledFisher, Sampler, fisher
from landform.operators._functional import functional_hessian
from landform.operators._gauss_newton import GaussNewton, OuterProducts, gauss_newton
from landform.operators._ground import Ground
from landform.operators._hessian import Hessian, hessian
from landform.operators._jacobian import Jacobian, jacobian
from landform.operators._operator import Operator, from_matrix
from landform.operators._probe import check_symmetry

__all__ = [
    "Batched", "Estimate", "FisherKind", "GaussNewton", "Ground", "Hessian", "Jacobian", "Operator", "OuterProducts",
    "SampledFisher", "Sampler", "check_symmetry", "fisher", "from_matrix", "functional_hessian", "gauss_newton",
    "hessian", "jacobian",
]  # fmt: skip
