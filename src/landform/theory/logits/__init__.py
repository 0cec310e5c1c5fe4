"""The model of random logit gradients (Fort & Ganguli 2019), and the spectrum, outliers and gradient it predicts.

Each logit's gradient is a mean of its own and a part that differs from input to input, all Gaussian; logits are
Gaussian too, and the network's own curvature is left out. What is then left of the Hessian is the Gauss-Newton matrix.
"""

from landform.theory.logits._draw import Cosines, LogitDraw
from landform.theory.logits._fit import fit
from landform.theory.logits._model import LogitModel
from landform.theory.logits._predict import LogitPrediction, predict
from landform.theory.logits._softmax import freezing, participation

__all__ = [
    "Cosines",
    "LogitDraw",
    "LogitModel",
    "LogitPrediction",
    "fit",
    "freezing",
    "participation",
    "predict",
]
