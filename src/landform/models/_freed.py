"""A convolutional network freed of its bias: the fully-connected network that computes the same.

d'Ascoli, Sagun, Biroli & Bruna (2019, arXiv 1906.06766): a convolution is a dense layer whose matrix is zero but where
a filter looks (locality) and repeats the filter at each place (weight sharing). Written out as that matrix, all its
entries can be trained.
"""

from __future__ import annotations

import copy
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from landform.errors import BadInput
from landform.models._freed_sizes import FreedLayer, FreedSize, check_size, freed_size
from landform.models._layers import Init, Layers
from landform.models._ntk import NTKConv2d, NTKLinear

MOST = 4e9


@dataclass(frozen=True)
class Locality:
    """How the weights of a freed layer, or of several, are spread about the filters.

    Attributes:
        distance: from the window of the filter, in pixels (the larger of both axes), ``[n]``; 0 is within, where
            dilation or groups leave entries at zero.
        energy: squares of the entries off the filters at that distance, over the squares of all, ``[n]``.
        mean_square: mean square of an entry off the filters there, ``[n]``.
        local: share of the squares that is on the filters.
        local_mean_square: mean square of an entry on the filters.
    """

    distance: Tensor
    energy: Tensor
    mean_square: Tensor
    local: float
    local_mean_square: float


@dataclass(frozen=True)
class Freed:
    """A fully-connected network that began as a convolutional one, and where it began.

    A point of the one and a point of the other are vectors of all trainable parameters in the order of
    ``named_parameters()``, as everywhere in landform. The points of the convolutional network are a linear subspace of
    the points of this one: `embed` goes there, `fold` comes back.

    Attributes:
        net: the network; its outputs are those of the convolutional one.
        size: how large it is, and what became of each convolution.
        places: entries of a point that hold a parameter of the convolutional network, ``[m]``; first those of filters.
        origins: which parameter of the convolutional network each holds, ``[m]``.
        filters: how many of them are entries of filters.
        points: length of a point, and length of a point of the convolutional network.
    """

    net: nn.Module = field(repr=False)
    size: FreedSize
    places: Tensor = field(repr=False)
    origins: Tensor = field(repr=False)
    filters: int
    points: tuple[int, int]

    def embed(self, point: Tensor) -> Tensor:
        """The point at which this network computes what the convolutional one does.

        Args:
            point: of the convolutional network, ``[P]`` or ``[n, P]``.

        Returns:
            ``[Q]`` or ``[n, Q]``.
        """
        self._check(point, 1)
        found = point.new_zeros(*point.shape[:-1], self.points[0])
        found[..., self.places.to(point.device)] = point[..., self.origins.to(point.device)]
        return found

    def fold(self, point: Tensor) -> Tensor:
        """The convolutional network that is nearest: every weight is the mean of the entries that share it.

        Args:
            point: of this network, ``[Q]`` or ``[n, Q]``.

        Returns:
            ``[P]`` or ``[n, P]``. A weight that meets nothing but padding is nowhere to be seen, and becomes zero.
        """
        self._check(point, 0)
        where = self.origins.to(point.device)
        held = point[..., self.places.to(point.device)].double()
        total = held.new_zeros(*point.shape[:-1], self.points[1])
        total.index_add_(-1, where, held)
        count = torch.zeros(self.points[1], dtype=torch.float64, device=point.device)
        count.index_add_(0, where, torch.ones_like(where, dtype=torch.float64))
        return (total / count.clamp(min=1)).to(point.dtype)

    def mask(self) -> Tensor:
        """Which entries of a point convolution keeps at zero.

        Returns:
            True off the filters, ``[Q]``.
        """
        found = torch.ones(self.points[0], dtype=torch.bool)
        found[self.places] = False
        return found

    def without_off(self, point: Tensor) -> Tensor:
        """The same with all entries off the filters zero: a locally-connected network.

        Args:
            point: ``[Q]`` or ``[n, Q]``.

        Returns:
            Of the same shape.
        """
        self._check(point, 0)
        places = self.places.to(point.device)
        found = torch.zeros_like(point)
        found[..., places] = point[..., places]
        return found

    def without_local(self, point: Tensor) -> Tensor:
        """The same with all entries on the filters zero; biases and other layers stay.

        Args:
            point: ``[Q]`` or ``[n, Q]``.

        Returns:
            Of the same shape.
        """
        self._check(point, 0)
        found = point.clone()
        found[..., self.places[: self.filters].to(point.device)] = 0
        return found

    def deviation(self, point: Tensor) -> Tensor:
        """How far off the filters a point is: ``||theta_off|| / ||theta||``.

        Args:
            point: ``[Q]`` or ``[n, Q]``.

        Returns:
            In [0, 1], float64, a scalar or ``[n]``; the norms are of all parameters.
        """
        self._check(point, 0)
        left = point.clone()
        left[..., self.places.to(point.device)] = 0
        return _norm(left) / _norm(point)

    def distance(self, point: Tensor) -> Tensor:
        """How far from every convolutional network a point is: locality and the sharing of weights both count.

        Args:
            point: ``[Q]`` or ``[n, Q]``.

        Returns:
            ``||theta - embed(fold(theta))|| / ||theta||``, in [0, 1], float64, a scalar or ``[n]``.
        """
        return _norm(point - self.embed(self.fold(point))) / _norm(point)

    def locality(self, point: Tensor, layer: str | None = None) -> Locality:
        """How the weights are spread about the filters.

        Args:
            point: ``[Q]``.
            layer: name of the convolution; all of them by default.

        Returns:
            By distance from the filters.

        Raises:
            BadInput: when there is no such layer.
        """
        self._check(point, 0)
        if layer is not None:
            self._layer(layer)
        squares = point.detach().double().square()
        off = squares.clone()
        off[self.places.to(point.device)] = 0
        far = max(max(each.inputs[1:]) for each in self.size.layers)
        energy, count = torch.zeros(far, dtype=torch.float64), torch.zeros(far, dtype=torch.float64)
        whole_energy, entries, local = 0.0, 0, 0
        starts = _starts(self.net)
        for each in self.size.layers:
            if layer not in (None, each.name) or f"{each.name}.dense.weight" not in starts:
                continue
            start = starts[f"{each.name}.dense.weight"]
            block = off[start : start + each.entries].cpu()
            (out, high, wide), (into, height, width) = each.outputs, each.inputs
            by_place = block.view(out, high, wide, into, height, width).sum((0, 3)).flatten()
            apart = _apart(each).flatten()
            energy.index_add_(0, apart, by_place)
            count += torch.bincount(apart, minlength=far).double() * out * into
            count[0] -= each.local  # which all lie within their windows
            whole_energy += float(squares[start : start + each.entries].sum())
            entries, local = entries + each.entries, local + each.local
        on = whole_energy - float(energy.sum())
        kept = count > 0
        whole_energy = whole_energy or 1.0
        return Locality(
            torch.arange(far)[kept],
            energy[kept] / whole_energy,
            energy[kept] / count[kept],
            on / whole_energy,
            on / max(local, 1),
        )

    def picture(self, point: Tensor, layer: str) -> Tensor:
        """What the unit in the middle of a layer's output sees: its weights, as root mean squares over channels.

        Args:
            point: ``[Q]``.
            layer: name of the convolution.

        Returns:
            An image of the size that the layer reads, ``[height, width]``, float64.

        Raises:
            BadInput: when there is no such layer, or it is not trained.
        """
        self._check(point, 0)
        each = self._layer(layer)
        start = _starts(self.net)[f"{layer}.dense.weight"]
        (out, high, wide), (into, height, width) = each.outputs, each.inputs
        table = point[start : start + each.entries].detach().double().cpu().view(out, high, wide, into, height, width)
        return table[:, high // 2, wide // 2].square().mean((0, 1)).sqrt()

    def _layer(self, name: str) -> FreedLayer:
        known = {each.name: each for each in self.size.layers}
        if name not in known or f"{name}.dense.weight" not in _starts(self.net):
            raise BadInput(f"There is no trained freed layer {name!r}: there are {', '.join(known)}.")
        return known[name]

    def fresh(self, seed: int = 0, init: Init = "torch") -> nn.Module:
        """A network of the same architecture that never was a convolutional one.

        Args:
            seed: of the initialisation.
            init: ``"torch"`` (PyTorch's own) or ``"he"``.

        Returns:
            The network, its dense layers drawn anew and its normalisations as at a start.

        Raises:
            BadInput: when it has parameters in layers of another kind.
        """
        twin = copy.deepcopy(self.net)
        layers: dict[str, Layers] = {}
        first = True
        for name, module in list(twin.named_modules()):
            if isinstance(module, nn.Linear | NTKLinear):
                kind = "ntk" if isinstance(module, NTKLinear) else "standard"
                drawn = layers.setdefault(kind, Layers(seed=seed, parametrisation=kind, init=init))
                out, into = module.weight.shape
                gain = 1.0 if first else None
                made = drawn.linear(into, out, gain=gain, bias=module.bias is not None)
                _put(twin, name, made.to(module.weight.device, module.weight.dtype))
                first = False
            elif isinstance(module, nn.modules.batchnorm._NormBase | nn.GroupNorm | nn.LayerNorm):
                module.reset_parameters()
            elif next(module.parameters(recurse=False), None) is not None:
                raise BadInput(f"{name} is a {type(module).__name__}: fresh() draws dense layers and normalisations.")
        return twin

    def _check(self, point: Tensor, which: int) -> None:
        size, own = self.points[which], ("freed", "convolutional")[which]
        if point.shape[-1] != size or not 1 <= point.dim() <= 2:
            raise BadInput(
                f"This is no point of the {own} network, of shape {tuple(point.shape)}: give [{size}] or [n, {size}]."
            )


def freed(net: nn.Module, inputs: Sequence[int], *, most_bytes: float = MOST) -> Freed:
    """Write out every convolution of a network as the dense layer that computes the same.

    Each `nn.Conv2d`, whatever its stride, padding, dilation and groups, becomes a flattening, an `nn.Linear` and a
    folding into an image; everything else stays: activations, poolings, normalisations, dense layers, and whatever the
    network's own ``forward`` does with them. Not supported are convolutions that pad with anything but zeros, of other
    than two dimensions, transposed, lazy, tied, run on images of several sizes, or called as functions (those stay what
    they are).

    Args:
        net: the network; it is left alone.
        inputs: shape of one input, without the batch.
        most_bytes: refuse, before anything is built, a network whose training would fill more.

    Returns:
        The network, with masks, projections and distances.

    Raises:
        BadInput: when the network cannot be freed or would be too large; the message says why.
    """
    size = freed_size(net, inputs)
    check_size(size, most_bytes)
    twin = copy.deepcopy(net)
    for layer in size.layers:
        _put(twin, layer.name, _dense(twin.get_submodule(layer.name), layer))
    old, new = _starts(net), _starts(twin)
    whole_size, before = (sum(p.numel() for p in each.parameters() if p.requires_grad) for each in (twin, net))
    parts: list[tuple[Tensor, Tensor]] = []
    rest: list[tuple[Tensor, Tensor]] = []
    dense = {name for layer in size.layers for name in (f"{layer.name}.dense.weight", f"{layer.name}.dense.bias")}
    for layer in size.layers:
        area = layer.outputs[1] * layer.outputs[2]
        if f"{layer.name}.weight" in old:
            place, origin = entries_of(layer)
            parts.append((place + new[f"{layer.name}.dense.weight"], origin + old[f"{layer.name}.weight"]))
        if layer.bias and f"{layer.name}.bias" in old:
            shared = torch.arange(layer.outputs[0]).repeat_interleave(area)
            rest.append((torch.arange(layer.out) + new[f"{layer.name}.dense.bias"], shared + old[f"{layer.name}.bias"]))
    for name, parameter in twin.named_parameters():
        if name in new and name not in dense:
            span = torch.arange(parameter.numel())
            rest.append((span + new[name], span + old[name]))
    filters = sum(len(place) for place, _ in parts)
    empty = torch.zeros(0, dtype=torch.int64)
    places, origins = (torch.cat([empty, *(pair[i] for pair in (*parts, *rest))]) for i in (0, 1))
    return Freed(twin, size, places, origins, filters, (whole_size, before))


def freed_net(
    *,
    inputs: Sequence[int],
    classes: int,
    of: str = "small_cnn",
    options: Mapping[str, Any] | None = None,
    most_bytes: float = MOST,
) -> nn.Module:
    """A convolutional model of the zoo, freed: for settings in files, where a model is a function with options.

    Args:
        inputs: shape of one input, without the batch.
        classes: how many outputs.
        of: name of the model.
        options: its options.
        most_bytes: as for `freed`.

    Returns:
        The network.
    """
    from landform.models._build import build

    return freed(build(of, inputs=inputs, classes=classes, **(options or {})), inputs, most_bytes=most_bytes).net


def entries_of(layer: FreedLayer) -> tuple[Tensor, Tensor]:
    """Where the weights of a convolution stand in its dense matrix.

    ``W[(o, i, j), (c, i s + a d - p, j s + b d - p)] = w[o, c, a, b]``

    Args:
        layer: the convolution.

    Returns:
        Places in the flat matrix, and in the flat filters, ``[local]`` each.
    """
    (out, high, wide), (into, height, width) = layer.outputs, layer.inputs
    group_in, group_out = into // layer.groups, out // layer.groups
    rows, columns = layer.seen(0), layer.seen(1)
    ok = ((rows >= 0) & (rows < height))[:, None, :, None] & ((columns >= 0) & (columns < width))[None, :, None, :]
    # Of one pair of channels: output place, entry of the filter; only those on the image.
    i, j, a, b = ok.nonzero(as_tuple=True)
    seen = rows[i, a] * width + columns[j, b]
    o, c = torch.arange(out)[:, None, None], torch.arange(group_in)[None, :, None]
    channel = o // group_out * group_in + c
    row = (o * high + i) * wide + j
    place = row * (into * height * width) + channel * (height * width) + seen
    origin = (o * group_in + c) * (layer.kernel[0] * layer.kernel[1]) + a * layer.kernel[1] + b
    return place.flatten(), origin.flatten()


def _dense(conv: nn.Module, layer: FreedLayer) -> nn.Module:
    """The dense layer between a flattening and a folding into an image."""
    assert isinstance(conv, nn.Conv2d | NTKConv2d)
    old = conv.weight.detach()
    place, origin = (each.to(old.device) for each in entries_of(layer))
    weight = old.new_zeros(layer.entries)
    weight[place] = old.flatten()[origin]
    weight = weight.view(layer.out, layer.into)
    area = layer.outputs[1] * layer.outputs[2]
    shift = None if conv.bias is None else conv.bias.detach().repeat_interleave(area)
    made: nn.Module
    if isinstance(conv, NTKConv2d):
        made = NTKLinear(weight, shift, weight_scale=conv.weight_scale, bias_scale=conv.bias_scale)
        made.weight.requires_grad_(conv.weight.requires_grad)
    else:
        made = nn.Linear(layer.into, layer.out, bias=shift is not None, device="meta")
        made.weight = nn.Parameter(weight, requires_grad=conv.weight.requires_grad)
        if shift is not None:
            made.bias = nn.Parameter(shift)
    if conv.bias is not None:
        made.bias.requires_grad_(conv.bias.requires_grad)  # type: ignore[union-attr]
    image = nn.Unflatten(1, layer.outputs)
    return nn.Sequential(OrderedDict(flatten=nn.Flatten(), dense=made, image=image)).train(conv.training)


def _put(net: nn.Module, name: str, module: nn.Module) -> None:
    """Put a module in the place of another, under all names that this one has."""
    gone = net.get_submodule(name)
    for parent in list(net.modules()):
        for key, child in list(parent._modules.items()):
            if child is gone:
                parent._modules[key] = module


def _starts(net: nn.Module) -> dict[str, int]:
    """Where each trainable parameter begins in a point."""
    found, start = {}, 0
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            found[name] = start
            start += parameter.numel()
    return found


def _apart(layer: FreedLayer) -> Tensor:
    """Distance of each pixel from the window of each place, ``[high, wide, height, width]``."""
    sides = []
    for axis in (0, 1):
        seen = layer.seen(axis)
        pixel = torch.arange(layer.inputs[1 + axis])
        sides.append(torch.maximum(seen[:, :1] - pixel, pixel - seen[:, -1:]).clamp(min=0))
    return torch.maximum(sides[0][:, None, :, None], sides[1][None, :, None, :])


def _norm(points: Tensor) -> Tensor:
    """Norms in double precision, as shares are taken of them."""
    found: Tensor = torch.linalg.vector_norm(points, dim=-1, dtype=torch.float64)
    return found.cpu()
