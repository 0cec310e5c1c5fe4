"""Kernels of networks of infinite width, in closed form: dense, convolutional and recurrent."""

from landform.kernel.infinite._convolutional import Convolution, convolutional
from landform.kernel.infinite._dense import dense
from landform.kernel.infinite._duals import ACTIVATIONS, Dual, dual
from landform.kernel.infinite._pairs import Kernels
from landform.kernel.infinite._recurrent import RecurrentNTK

__all__ = ["ACTIVATIONS", "Convolution", "Dual", "Kernels", "RecurrentNTK", "convolutional", "dense", "dual"]
