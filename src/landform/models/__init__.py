"""A small zoo of models: by name with `build`, or each by its own function.

Every model has a width, a seed, two parametrisations and two initialisations, and runs as a function of its parameters:
under ``torch.func.functional_call`` and ``torch.vmap``, in float64, and differentiated twice.
"""

from typing import TYPE_CHECKING

from landform._later import later
from landform.models._build import build, names
from landform.models._lenet import lenet
from landform.models._mlp import mlp
from landform.models._ntk import NTKConv2d, NTKLinear, scales
from landform.models._quantum import QuantumPatches, quantum_patches
from landform.models._resnet import resnet18, resnet20
from landform.models._rnn import rnn
from landform.models._small_cnn import small_cnn
from landform.models._transformer import transformer
from landform.models._vgg import vgg11
from landform.models._wide_resnet import wide_resnet

if TYPE_CHECKING:
    from landform.models._freed import Freed, Locality, freed, freed_net
    from landform.models._freed_sizes import FreedLayer, FreedSize, freed_size

__all__ = [
    "Freed",
    "FreedLayer",
    "FreedSize",
    "Locality",
    "NTKConv2d",
    "NTKLinear",
    "QuantumPatches",
    "build",
    "freed",
    "freed_net",
    "freed_size",
    "lenet",
    "mlp",
    "names",
    "quantum_patches",
    "resnet18",
    "resnet20",
    "rnn",
    "scales",
    "small_cnn",
    "transformer",
    "vgg11",
    "wide_resnet",
]

# What few need is loaded when it is first used: importing landform stays quick.
_LATER = {
    **dict.fromkeys(("Freed", "Locality", "freed", "freed_net"), "_freed"),
    **dict.fromkeys(("FreedLayer", "FreedSize", "freed_size"), "_freed_sizes"),
}
__getattr__ = later(__name__, _LATER)
