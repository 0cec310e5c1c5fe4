"""What a network becomes without its convolutions: shapes and sizes, told before anything is built."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn.utils import parametrize

from landform.errors import BadInput
from landform.models._checks import one_of, shape
from landform.models._ntk import NTKConv2d

# Vectors of all parameters that training holds at once, beside those of the optimiser: the network, the one that is
# trained, its start, its gradients and what a step makes of them.
_HELD = 6
_OPTIMISERS = {"sgd": 0, "adam": 2, "adamw": 2}
_OTHERS = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d, NTKConv2d, nn.Unfold,
    nn.Fold, nn.modules.lazy.LazyModuleMixin,
)  # fmt: skip
Image = tuple[int, int, int]


@dataclass(frozen=True)
class FreedLayer:
    """A convolution, and the dense layer that computes the same.

    Attributes:
        name: of the convolution.
        inputs: channels, height and width of what it reads.
        outputs: channels, height and width of what it gives.
        kernel: height and width of its filters.
        stride: their steps.
        padding: zeros above and to the left of the image.
        dilation: distance between the entries of a filter.
        groups: of channels that do not see each other.
        local: entries of the dense matrix that hold a weight of a filter; the others begin at zero.
        bias: whether it has one.
    """

    name: str
    inputs: Image
    outputs: Image
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    local: int
    bias: bool

    @property
    def into(self) -> int:
        """How many numbers the dense layer reads."""
        return math.prod(self.inputs)

    @property
    def out(self) -> int:
        """How many it gives."""
        return math.prod(self.outputs)

    @property
    def entries(self) -> int:
        """Entries of the dense matrix."""
        return self.into * self.out

    def seen(self, axis: int) -> torch.Tensor:
        """Where the filters look along the height (0) or the width (1).

        Args:
            axis: 0 or 1.

        Returns:
            For each place of the output and entry of the filter the place in the input, ``[out, kernel]``; those
            below 0 and beyond the input are padding.
        """
        places = torch.arange(self.outputs[1 + axis]) * self.stride[axis] - self.padding[axis]
        return places[:, None] + torch.arange(self.kernel[axis]) * self.dilation[axis]


@dataclass(frozen=True)
class FreedSize:
    """How large a network becomes without its convolutions.

    Attributes:
        layers: its convolutions.
        parameters: of the freed network, all of them.
        convolutional: of the network it comes from.
        each: bytes of one.
    """

    layers: tuple[FreedLayer, ...]
    parameters: int
    convolutional: int
    each: int = 4

    @property
    def local(self) -> int:
        """Entries of dense matrices that hold a weight of a filter."""
        return sum(layer.local for layer in self.layers)

    @property
    def off(self) -> int:
        """Entries of dense matrices that convolution keeps at zero."""
        return sum(layer.entries for layer in self.layers) - self.local

    @property
    def weight_bytes(self) -> int:
        """Of the parameters alone."""
        return self.parameters * self.each

    def training_bytes(self, optimizer: str = "sgd", momentum: float = 0.0, *, runs: int = 1) -> int:
        """What training fills, without the activations of a batch and the data.

        Args:
            optimizer: ``"sgd"``, ``"adam"`` or ``"adamw"``.
            momentum: of SGD.
            runs: how many are trained as one stack.

        Returns:
            Bytes: of the network, of the points that `landform.train` works on, of gradients and of the optimiser's
            state. A loop of one's own that updates in place holds two vectors and the optimiser's.
        """
        own = _OPTIMISERS[one_of("optimizer", optimizer, tuple(_OPTIMISERS))]
        return self.weight_bytes * runs * (_HELD + (own or int(momentum > 0)))

    def __str__(self) -> str:
        """In a sentence."""
        return (
            f"{self.parameters:,} parameters for {self.convolutional:,}, {self.off:,} of them off the filters; "
            f"{_large(self.weight_bytes)}, {_large(self.training_bytes())} in training"
        )


def freed_size(net: nn.Module, inputs: Sequence[int]) -> FreedSize:
    """Say how large a network becomes without its convolutions, from the shapes alone.

    Args:
        net: as for `freed`.
        inputs: shape of one input, without the batch.

    Returns:
        The size.

    Raises:
        BadInput: when the network is not one that can be freed; the message says why.
    """
    sizes = shape(inputs, model="the network")
    found = _convolutions(net)
    seen: dict[str, tuple[Image, Image]] = {}

    def look(name: str, read: torch.Size, given: torch.Size) -> None:
        if len(read) != 4:
            raise BadInput(f"{name} reads {len(read) - 1} dimensions: freed() takes convolutions of batches of images.")
        pair = (_image(read), _image(given))
        if seen.setdefault(name, pair) != pair:
            raise BadInput(f"{name} reads images of several sizes: only a convolution of one size is a dense layer.")

    _run(net, sizes, look, found)
    layers = tuple(_layer(name, conv, *seen[name]) for name, conv in found.items() if name in seen)
    if len(layers) < len(found):
        unused = next(name for name in found if name not in seen)
        raise BadInput(f"{unused} is not used in a forward pass: leave it out of the network.")
    convolutional = sum(p.numel() for p in net.parameters())
    gone = sum(conv.weight.numel() + (0 if conv.bias is None else conv.bias.numel()) for conv in found.values())
    grown = sum(layer.entries + layer.out * layer.bias for layer in layers)
    each = next(iter(found.values())).weight.element_size()
    return FreedSize(layers, convolutional - gone + grown, convolutional, each)


def check_size(size: FreedSize, most_bytes: float) -> None:
    """Refuse a network that is too large to be trained.

    Args:
        size: of the network.
        most_bytes: what training may fill.

    Raises:
        BadInput: when it would fill more.
    """
    if size.training_bytes() > most_bytes:
        raise BadInput(
            f"The freed network would have {size.parameters:,} parameters, with which training fills "
            f"{_large(size.training_bytes())}, above the limit of {_large(most_bytes)}: give smaller images, fewer "
            "channels or a larger stride, or a larger most_bytes where there is the memory."
        )


def _convolutions(net: nn.Module) -> dict[str, nn.Conv2d | NTKConv2d]:
    """The convolutions by name, each once; refuses what is no dense layer of one kind."""
    found: dict[str, nn.Conv2d | NTKConv2d] = {}
    owners: dict[int, str] = {}
    for name, module in net.named_modules():
        if parametrize.is_parametrized(module):
            raise BadInput(f"{name} is parametrized: remove the parametrizations before the network is freed.")
        if type(module) is nn.Conv2d or type(module) is NTKConv2d:
            if isinstance(module, nn.Conv2d) and module.padding_mode != "zeros":
                raise BadInput(f"{name} pads with {module.padding_mode!r}: freed() takes convolutions that pad zeros.")
            if not name:
                raise BadInput("The network is a single convolution: put it into an nn.Sequential.")
            found[name] = module
        elif isinstance(module, _OTHERS):
            raise BadInput(
                f"{name or 'The network'} is a {type(module).__name__}: freed() takes networks whose convolutions are "
                "plain nn.Conv2d modules (or landform's NTKConv2d)."
            )
        for key, parameter in module.named_parameters(recurse=False):
            before = owners.setdefault(id(parameter), name)
            if before != name and (name in found or before in found):
                raise BadInput(f"{name}.{key} is tied to {before}: a freed layer has weights of its own.")
    if not found:
        raise BadInput(f"{type(net).__name__} has no nn.Conv2d: there is nothing to free.")
    return found


def _run(net: nn.Module, sizes: Sequence[int], look: object, found: Iterable[str]) -> None:
    """Send one input of zeros through a copy, and look at what the convolutions read and give."""
    twin = copy.deepcopy(net).eval()
    like = next(iter(twin.parameters()))

    def hook(name: str) -> object:
        return lambda module, given, result: look(name, given[0].shape, result.shape)  # type: ignore[operator]

    for name in found:
        twin.get_submodule(name).register_forward_hook(hook(name))  # type: ignore[arg-type]
    try:
        with torch.no_grad():
            twin(torch.zeros(1, *sizes, device=like.device, dtype=like.dtype))
    except BadInput:
        raise
    except Exception as why:
        told = " ".join(str(why).split())
        raise BadInput(f"The network does not take an input of shape {tuple(sizes)}: {told}") from why


def _layer(name: str, conv: nn.Conv2d | NTKConv2d, inputs: Image, outputs: Image) -> FreedLayer:
    kernel = (int(conv.weight.shape[2]), int(conv.weight.shape[3]))
    stride, dilation = _two(conv.stride), _two(getattr(conv, "dilation", 1))
    if isinstance(conv.padding, str):
        # As torch has it: where an odd number of zeros is to be put, the larger part lies behind the image.
        around = [d * (k - 1) // 2 if conv.padding == "same" else 0 for d, k in zip(dilation, kernel, strict=True)]
        padding = (around[0], around[1])
    else:
        padding = _two(conv.padding)
    bias = conv.bias is not None
    groups = int(getattr(conv, "groups", 1))
    layer = FreedLayer(name, inputs, outputs, kernel, stride, padding, dilation, groups, 0, bias)
    hits = [int(((layer.seen(axis) >= 0) & (layer.seen(axis) < inputs[1 + axis])).sum()) for axis in (0, 1)]
    local = outputs[0] * (inputs[0] // groups) * hits[0] * hits[1]
    return FreedLayer(name, inputs, outputs, kernel, stride, padding, dilation, groups, local, bias)


def _image(sizes: Sequence[int]) -> Image:
    return int(sizes[1]), int(sizes[2]), int(sizes[3])


def _two(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (int(value[0]), int(value[1]))


def _large(number: float) -> str:
    """Bytes, as people say them."""
    for unit in ("bytes", "kB", "MB"):
        if number < 1000:
            return f"{number:.3g} {unit}"
        number /= 1000
    return f"{number:.3g} GB"
