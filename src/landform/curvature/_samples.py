"""Gradients of single samples, layer by layer, without forming them where that is cheaper.

The gradient of a dense layer's weight for one sample is a sum of outer products of cotangents and inputs over the
positions t, so its square norm is the sum of (a_t . a_t')(d_t . d_t'). A convolution is the same over patches. Hooks
catch the inputs; one backward pass gives the cotangents of all layers at once. What has no rule is found sample by
sample with `torch.func`. The rules are held against plain gradients on the first batch of every run.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from landform.curvature._contract import wide
from landform.errors import BadInput
from landform.landscape import Landscape

Cotangents = Callable[[Tensor, Any], Tensor]
_CHUNK = 1 << 27  # numbers that per-sample gradients without a rule may take at a time


@dataclass(frozen=True)
class Outer:
    """Gradients ``sum over t of d_t a_t.T``, one a sample.

    Attributes:
        inputs: ``[B, T, d]``.
        cotangents: ``[B, T, o]``.
    """

    inputs: Tensor
    cotangents: Tensor

    def squares(self) -> Tensor:
        """Squared norms, ``[B]``."""
        a, d = self.inputs, self.cotangents
        steps, wide_, tall = a.shape[1], a.shape[2], d.shape[2]
        if steps == 1:
            return a[:, 0].square().sum(1) * d[:, 0].square().sum(1)
        if steps * (wide_ + tall) < wide_ * tall:
            return ((a @ a.transpose(1, 2)) * (d @ d.transpose(1, 2))).sum((1, 2))
        return (d.transpose(1, 2) @ a).square().sum((1, 2))

    def rows(self) -> Tensor:
        """The gradients themselves, ``[B, o d]``."""
        return (self.cotangents.transpose(1, 2) @ self.inputs).flatten(1)

    def total(self, weights: Tensor) -> Tensor:
        """Weighted sums over samples, ``[w, o d]`` for weights ``[w, B]``."""
        flat = self.inputs.flatten(0, 1)
        steps = self.inputs.shape[1]
        return torch.stack(
            [
                ((self.cotangents * row[:, None, None]).flatten(0, 1).T @ flat).flatten()
                if steps
                else flat.new_zeros(0)
                for row in weights
            ]
        )


@dataclass(frozen=True)
class Direct:
    """Gradients as they are.

    Attributes:
        gradients: ``[B, p]``.
    """

    gradients: Tensor

    def squares(self) -> Tensor:
        """Squared norms, ``[B]``."""
        return self.gradients.square().sum(1)

    def rows(self) -> Tensor:
        """The gradients themselves, ``[B, p]``."""
        return self.gradients

    def total(self, weights: Tensor) -> Tensor:
        """Weighted sums over samples, ``[w, p]`` for weights ``[w, B]``."""
        return weights @ self.gradients


Gradients = Mapping[str, Outer | Direct]


def gram(left: Outer | Direct, right: Outer | Direct) -> Tensor:
    """Inner products of the gradients of samples.

    Args:
        left: of B samples.
        right: of B' samples.

    Returns:
        ``[B, B']``.
    """
    if isinstance(left, Outer) and isinstance(right, Outer) and left.inputs.shape[1] == right.inputs.shape[1] == 1:
        return (left.inputs[:, 0] @ right.inputs[:, 0].T) * (left.cotangents[:, 0] @ right.cotangents[:, 0].T)
    return left.rows() @ right.rows().T


@dataclass
class _Calls:
    """A module with a rule, and what went through it."""

    module: nn.Module
    names: dict[str, str]
    inputs: list[Tensor]
    outputs: list[Tensor]


def sample_gradients(
    landscape: Landscape, point: Tensor, cotangents: Cotangents, *, buffers: Mapping[str, Tensor] | None = None
) -> Iterator[tuple[int, Gradients, Any]]:
    """Go through the data and give the gradients of every sample for some cotangents of its outputs.

    Args:
        landscape: the landscape.
        point: ``[P]``.
        cotangents: a function of (outputs ``[B, ...]``, targets) that gives ``[K, B, ...]``: K backward passes.
        buffers: buffers to use instead of the landscape's own.

    Yields:
        For each batch and each k: k, each parameter's gradients, and the targets of the batch.

    Raises:
        BadInput: when samples are not independent, or have to be gone through one by one and cannot be.
    """
    landscape.layout.check(point)
    if landscape.batchnorm == "batch":
        raise BadInput(
            "With batchnorm='batch' samples share statistics, so none has a gradient of its own: give 'keep'."
        )
    point = point.to(landscape.device, landscape.dtype)
    own = landscape._own_buffers(point, buffers)
    leaves = {name: view.detach().requires_grad_() for name, view in landscape.layout.views(point).items()}
    calls = _with_rules(landscape)
    covered = {name for call in calls for name in call.names.values()}
    if covered != set(landscape.layout.names) or landscape.layout.tied:
        yield from _one_by_one(landscape, leaves, own, cotangents)
        return
    handles = [call.module.register_forward_hook(_catcher(call)) for call in calls]
    first = True
    try:
        for outputs, targets in landscape._passes(point, own, leaves):
            _check_outputs(outputs)
            along = cotangents(outputs.detach(), targets)
            caught = [out for call in calls for out in call.outputs]
            for k in range(len(along)):
                last = k == len(along) - 1 and not first
                deltas = torch.autograd.grad(
                    outputs, caught, along[k], retain_graph=not last, allow_unused=True, materialize_grads=True
                )
                found = _by_rule(calls, list(deltas), len(outputs))
                if first:
                    if found is None or not _agree(found, outputs, leaves, along[k]):
                        found = None
                        break
                    first = k < len(along) - 1
                assert found is not None
                yield k, found, targets
            for call in calls:
                call.inputs.clear()
                call.outputs.clear()
            if found is None:
                break
        else:
            return
    finally:
        for handle in handles:
            handle.remove()
    yield from _one_by_one(landscape, leaves, own, cotangents)


def _with_rules(landscape: Landscape) -> list[_Calls]:
    held = set(landscape.layout.names)
    found = []
    for prefix, module in landscape._function.net.named_modules():
        dot = f"{prefix}." if prefix else ""
        names = {key: dot + key for key in module._parameters if dot + key in held}
        if names and type(module) in _RULES:
            found.append(_Calls(module, names, [], []))
    return found


def _catcher(call: _Calls) -> Callable[[nn.Module, tuple[Any, ...], Any], Tensor]:
    def catch(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> Tensor:
        call.inputs.append(inputs[0].detach())
        call.outputs.append(output)
        # An activation that works in place would otherwise overwrite what was caught.
        passed_on: Tensor = output.clone()
        return passed_on

    return catch


def _by_rule(calls: list[_Calls], deltas: list[Tensor], samples: int) -> dict[str, Outer | Direct] | None:
    found: dict[str, Outer | Direct] = {}
    for call in calls:
        own, deltas = deltas[: len(call.outputs)], deltas[len(call.outputs) :]
        if not own or any(
            d.shape[0] != samples or a.shape[0] != samples for a, d in zip(call.inputs, own, strict=True)
        ):
            return None
        parts = [_RULES[type(call.module)](call.module, a, d) for a, d in zip(call.inputs, own, strict=True)]
        for key, name in call.names.items():
            found[name] = parts[0][key] if len(parts) == 1 else _joined([part[key] for part in parts])
    return found


def _joined(parts: list[Outer | Direct]) -> Outer | Direct:
    """A module called several times is one with more positions."""
    if all(isinstance(part, Outer) for part in parts):
        outer = [part for part in parts if isinstance(part, Outer)]
        return Outer(torch.cat([p.inputs for p in outer], 1), torch.cat([p.cotangents for p in outer], 1))
    return Direct(torch.stack([part.rows() for part in parts]).sum(0))


def _agree(found: Gradients, outputs: Tensor, leaves: Mapping[str, Tensor], along: Tensor) -> bool:
    """Hold the rules against plain gradients: a parameter used elsewhere too is noticed here."""
    plain = torch.autograd.grad(
        outputs, list(leaves.values()), along, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    ones = torch.ones(1, len(outputs), dtype=outputs.dtype, device=outputs.device)
    loose = 1e-3 if outputs.dtype == torch.float32 else 1e-8
    for (name, leaf), expected in zip(leaves.items(), plain, strict=True):
        summed = found[name].total(ones).reshape(leaf.shape)
        # Against the sizes of the summands, which may cancel in the sum.
        size = float(wide(found[name].squares().sqrt()).sum())
        if float(wide(summed - expected).norm()) > loose * max(size, 1e-30):
            return False
    return True


def _one_by_one(
    landscape: Landscape, leaves: Mapping[str, Tensor], buffers: Mapping[str, Tensor], cotangents: Cotangents
) -> Iterator[tuple[int, Gradients, Any]]:
    function = landscape._function

    def pulled(views: dict[str, Tensor], inputs: Tensor, along: Tensor) -> Tensor:
        outputs: Tensor = function(views, buffers, lambda net: net(inputs.unsqueeze(0)))
        return (outputs[0] * along).sum()

    each = torch.func.vmap(torch.func.grad(pulled), in_dims=(None, 0, 0))
    plain = {name: leaf.detach() for name, leaf in leaves.items()}
    size = max(1, min(landscape._batch_size, _CHUNK // landscape.layout.size))
    for batch in landscape._data.batches(size):
        if not (isinstance(batch, tuple | list) and len(batch) == 2 and isinstance(batch[0], Tensor)):
            raise BadInput(
                "Gradients of single samples need batches (inputs, targets) here, because the model has layers without "
                "a rule: give the data as a pair of tensors."
            )
        inputs, targets = batch
        with torch.no_grad():
            outputs = function(plain, buffers, partial(_run, inputs))
        _check_outputs(outputs)
        for k, along in enumerate(cotangents(outputs, targets)):
            try:
                found = each(plain, inputs, along)
            except (RuntimeError, ValueError) as why:
                raise BadInput(
                    "This model cannot be differentiated sample by sample: "
                    f"{(str(why).strip().splitlines() or ['no reason given'])[0]}"
                ) from why
            yield k, {name: Direct(g.flatten(1)) for name, g in found.items()}, targets


def _run(inputs: Tensor, net: nn.Module) -> Any:
    return net(inputs)


def _check_outputs(outputs: Any) -> None:
    if not isinstance(outputs, Tensor) or outputs.dim() < 2:
        got = f"of shape {list(outputs.shape)}" if isinstance(outputs, Tensor) else f"a {type(outputs).__name__}"
        raise BadInput(f"Per-sample quantities need outputs [batch, outputs]; the model's are {got}.")


# ------------------------------------------------------------------------------------------------------------ rules

Parts = dict[str, Outer | Direct]


def _dense(module: Any, a: Tensor, d: Tensor) -> Parts:
    a, d = a.reshape(len(a), -1, a.shape[-1]), d.reshape(len(d), -1, d.shape[-1])
    return {"weight": Outer(a, d), "bias": Direct(d.sum(1))}


def _convolution(module: Any, a: Tensor, d: Tensor) -> Parts:
    if isinstance(module, nn.Conv1d):
        a, d = a.unsqueeze(-2), d.unsqueeze(-2)
        kernel, stride = (1, *module.kernel_size), (1, *module.stride)
        padding, dilation = _both(module), (1, *module.dilation)
    else:
        kernel, stride, padding, dilation = module.kernel_size, module.stride, _both(module), module.dilation
    mode = "constant" if module.padding_mode == "zeros" else module.padding_mode
    if module.padding_mode in ("reflect", "replicate") and isinstance(module, nn.Conv1d):
        a = F.pad(a[:, :, 0], padding[:2], mode=mode).unsqueeze(-2)
    elif any(padding):
        a = F.pad(a, padding, mode=mode)
    patches = F.unfold(a, kernel, dilation=dilation, stride=stride)  # [B, C k, L]
    flat = d.flatten(2)  # [B, o, L]
    bias = Direct(flat.sum(2))
    groups = module.groups
    if groups == 1:
        return {"weight": Outer(patches.transpose(1, 2), flat.transpose(1, 2)), "bias": bias}
    each = (len(a), groups, -1, flat.shape[2])
    weight = torch.einsum("bgdl,bgol->bgod", patches.reshape(each), flat.reshape(each))
    return {"weight": Direct(weight.flatten(1)), "bias": bias}


def _both(module: Any) -> tuple[int, ...]:
    """Padding on both sides of each axis, last axis first, as `F.pad` takes it."""
    if module.padding == "valid":
        return (0, 0) * 2
    if module.padding == "same":
        given = tuple(module._reversed_padding_repeated_twice)
    else:
        given = tuple(p for pad in reversed(module.padding) for p in (pad, pad))
    return given if len(given) == 4 else (*given, 0, 0)


def _embedding(module: Any, a: Tensor, d: Tensor) -> Parts:
    index, flat = a.reshape(len(a), -1), d.reshape(len(d), -1, d.shape[-1])
    rows = flat.new_zeros(len(a), module.num_embeddings, flat.shape[-1])
    rows.scatter_add_(1, index.unsqueeze(-1).expand_as(flat), flat)
    if module.padding_idx is not None:
        rows[:, module.padding_idx] = 0.0
    return {"weight": Direct(rows.flatten(1))}


def _layer_norm(module: Any, a: Tensor, d: Tensor) -> Parts:
    normed = F.layer_norm(a, module.normalized_shape, None, None, module.eps)
    size = module.weight.numel()
    # Positions between the batch and the normalised axes share the parameters.
    scale, shift = ((d * normed).reshape(len(d), -1, size), d.reshape(len(d), -1, size))
    return {"weight": Direct(scale.sum(1)), "bias": Direct(shift.sum(1))}


def _group_norm(module: Any, a: Tensor, d: Tensor) -> Parts:
    normed = F.group_norm(a, module.num_groups, None, None, module.eps)
    return {"weight": Direct((d * normed).flatten(2).sum(2)), "bias": Direct(d.flatten(2).sum(2))}


_RULES: dict[type[nn.Module], Callable[[Any, Tensor, Tensor], Parts]] = {
    nn.Linear: _dense,
    nn.Conv1d: _convolution,
    nn.Conv2d: _convolution,
    nn.Embedding: _embedding,
    nn.LayerNorm: _layer_norm,
    nn.GroupNorm: _group_norm,
}
