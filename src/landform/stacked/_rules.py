"""How the operations networks are made of run for n models at once.

Shapes in comments leave out nothing: ``n`` models, ``b`` samples, ``i`` inputs, ``o`` outputs, ``c`` channels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from landform.stacked._tensor import Stacked, named, rule_for

# ---------------------------------------------------------------------------------------------- one number at a time


def _aligned(arguments: Sequence[Any]) -> list[Any]:
    """Give raw tensors whose own dimensions line up from the right, with n in front, for broadcasting."""
    dims = max(_dims(a) for a in arguments if isinstance(a, Tensor))
    out: list[Any] = []
    for a in arguments:
        if isinstance(a, Stacked):
            missing = dims - (a.raw.dim() - 1)
            out.append(a.raw[(slice(None),) + (None,) * missing] if missing else a.raw)
        else:
            out.append(a)
    return out


def _dims(x: Tensor) -> int:
    """A tensor's own dimensions, without asking a stacked one, which costs as much as a small operation."""
    return x.raw.dim() - 1 if isinstance(x, Stacked) else x.dim()


_ELEMENTWISE = named(
    "add", "sub", "subtract", "mul", "multiply", "div", "divide", "truediv", "true_divide", "floor_divide", "floordiv",
    "pow", "neg", "negative", "exp", "expm1", "log", "log1p", "log2", "sqrt", "rsqrt", "square", "reciprocal", "abs",
    "sin", "cos", "tan", "sinh", "cosh", "tanh", "atan", "erf", "erfc", "sigmoid", "logit", "logsigmoid", "relu",
    "relu6", "gelu", "silu", "mish", "elu", "selu", "celu", "leaky_relu", "softplus", "softsign", "hardtanh",
    "hardswish", "hardsigmoid", "tanhshrink", "dropout", "alpha_dropout", "clamp", "clamp_min", "clamp_max", "clip",
    "where", "maximum", "minimum", "lerp", "sign", "floor", "ceil", "round", "eq", "ne", "lt", "le", "gt", "ge",
    "isnan", "isinf", "isfinite", "logical_and", "logical_or", "logical_not", "to", "float", "double", "half",
    "clone", "contiguous", "masked_fill", "threshold", "zeros_like", "ones_like", "fmod", "remainder", "atan2", "xor",
    "addcmul", "addcdiv", "rand_like", "randn_like",
)  # fmt: skip


@rule_for(*_ELEMENTWISE)
def _elementwise(func: Any, *args: Any, **kwargs: Any) -> Any:
    if "out" in kwargs or any(isinstance(a, Stacked) for a in kwargs.values()):
        return NotImplemented
    if isinstance(args[0], Stacked) and not any(isinstance(a, Tensor) for a in args[1:]):
        return Stacked(func(args[0].raw, *args[1:], **kwargs))
    return Stacked(func(*_aligned(args), **kwargs))


# ---------------------------------------------------------------------------------------------- dense products


@rule_for(F.linear)
def _linear(func: Any, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
    """``y = W x + b`` with the features before the samples in memory: ``[n, o, b]``, seen as ``[n, b, o]``."""
    if not isinstance(weight, Stacked):
        raw = _raw(x)
        if isinstance(bias, Stacked):
            return NotImplemented
        if raw.dim() != 3 or raw.stride(2) == 1:
            return Stacked(F.linear(raw, weight, bias))
        # Features lie before the samples: were the gradient to come the other way round, what lies below the product,
        # such as a ReLU, would take ten times as long.
        y = torch.bmm(weight.expand(len(raw), *weight.shape), raw.transpose(1, 2))
        return Stacked((y if bias is None else y + bias.unsqueeze(1)).transpose(1, 2))
    w = weight.raw
    n, o, i = w.shape
    shape = x.raw.shape[1:] if isinstance(x, Stacked) else x.shape
    if not isinstance(x, Stacked):  # the same inputs for all: one product [n o, i] [i, b]
        columns = x.reshape(-1, i).t()
        y = w.reshape(n * o, i) @ columns if bias is None else _shared_affine(w, bias, columns)
        y = y.view(n, o, -1)
    else:
        columns = x.raw.flatten(1, -2).transpose(1, 2) if len(shape) != 2 else x.raw.transpose(1, 2)
        if len(shape) == 1:
            columns = x.raw.unsqueeze(2)
        if bias is None:
            y = torch.bmm(w, columns)
        else:
            y = torch.baddbmm(_per_model(bias, n).unsqueeze(2), w, columns)
    return Stacked(y.transpose(1, 2).reshape(n, *shape[:-1], o) if len(shape) != 2 else y.transpose(1, 2))


def _shared_affine(w: Tensor, bias: Tensor, columns: Tensor) -> Tensor:
    n, o, i = w.shape
    return torch.addmm(_per_model(bias, n).reshape(n * o, 1), w.reshape(n * o, i), columns)


def _raw(x: Tensor) -> Tensor:
    return x.raw if isinstance(x, Stacked) else x


def _per_model(x: Tensor, n: int) -> Tensor:
    return x.raw if isinstance(x, Stacked) else x.expand(n, *x.shape)


@rule_for(*named("matmul"))
def _matmul(func: Any, a: Any, b: Any) -> Any:
    if a.dim() < 2 or b.dim() < 2 or func not in (torch.matmul, Tensor.matmul, Tensor.__matmul__):
        return NotImplemented
    left, right = _aligned([a, b])
    return Stacked(torch.matmul(left, right))


@rule_for(F.scaled_dot_product_attention)
def _attention(func: Any, query: Any, key: Any, value: Any, *args: Any, **kwargs: Any) -> Any:
    parts = (query, key, value)
    if not all(isinstance(p, Stacked) for p in parts) or any(isinstance(a, Stacked) for a in (*args, *kwargs.values())):
        return NotImplemented
    n = query.count
    folded = [p.raw.flatten(0, 1) if p.dim() == 4 else p.raw for p in parts]
    y = F.scaled_dot_product_attention(*folded, *args, **kwargs)
    return Stacked(y.view(n, -1, *y.shape[1:]) if query.dim() == 4 else y)


# ---------------------------------------------------------------------------------------------- images


def _side_by_side(x: Tensor) -> Tensor:
    """The models' images as channels of one image: ``[n, b, c, ...] -> [b, n c, ...]``; free after a convolution."""
    raw = _raw(x)
    return raw.transpose(0, 1).reshape(raw.shape[1], -1, *raw.shape[3:])


def _apart(y: Tensor, n: int) -> Stacked:
    """``[b, n c, ...] -> [n, b, c, ...]``, without moving memory."""
    return Stacked(y.view(y.shape[0], n, -1, *y.shape[2:]).transpose(0, 1))


@rule_for(torch.conv1d, torch.conv2d, torch.conv3d)
def _convolution(
    func: Any,
    x: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: Any = 1,
    padding: Any = 0,
    dilation: Any = 1,
    groups: int = 1,
) -> Any:
    """Run n convolutions as one of n times the groups; with shared inputs and one group, one of n times the filters."""
    if not isinstance(weight, Stacked) or x.dim() != weight.dim():
        return NotImplemented
    n = weight.count
    filters = weight.raw.reshape(-1, *weight.shape[1:])
    shift = None if bias is None else _per_model(bias, n).reshape(-1)
    if isinstance(x, Stacked):
        y = func(_side_by_side(x), filters, shift, stride, padding, dilation, groups * n)
    elif groups == 1:
        y = func(x, filters, shift, stride, padding, dilation, 1)
    else:
        return NotImplemented
    return _apart(y, n)


# With how many dimensions a batch of images comes; with one less, torch takes the first for the channels.
_POOLS = {
    **dict.fromkeys((F.avg_pool1d, F.adaptive_avg_pool1d, F.max_pool1d, torch.avg_pool1d, torch.adaptive_avg_pool1d,
                     torch.max_pool1d), 3),
    **dict.fromkeys((F.avg_pool2d, F.adaptive_avg_pool2d, F.max_pool2d, F.adaptive_max_pool2d, torch.max_pool2d), 4),
    **dict.fromkeys((F.avg_pool3d, F.adaptive_avg_pool3d, F.max_pool3d, torch.max_pool3d), 5),
}  # fmt: skip


@rule_for(*_POOLS, F.pad, F.interpolate)
def _pool(func: Any, x: Stacked, *args: Any, **kwargs: Any) -> Any:
    """What treats every channel alike: all models' channels side by side in one image."""
    if (
        x.dim() < 3
        or x.dim() != _POOLS.get(func, x.dim())
        or kwargs.get("return_indices")
        or any(isinstance(a, Stacked) for a in args)
    ):
        return NotImplemented
    if func is F.pad and len(args[0]) > 2 * (x.dim() - 2):  # it pads channels or samples too
        return NotImplemented
    return _apart(func(_side_by_side(x), *args, **kwargs), x.count)


# ---------------------------------------------------------------------------------------------- normalisation


@rule_for(F.batch_norm)
def _batch_norm(
    func: Any,
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Any:
    """All models' channels side by side; running statistics are updated in place as ever."""
    if not isinstance(x, Stacked) or not isinstance(momentum, float | int):
        return NotImplemented
    n = x.count
    statistics = (running_mean, running_var)
    if training and any(s is not None and not isinstance(s, Stacked) for s in statistics):
        return NotImplemented  # one buffer cannot take n models' statistics

    def channels(v: Tensor | None) -> Tensor | None:
        return None if v is None else _per_model(v, n).reshape(-1)

    wide = _side_by_side(x)
    mean, var, scale, shift = (channels(v) for v in (*statistics, weight, bias))
    y = F.batch_norm(wide, mean, var, scale, shift, training, momentum, eps)
    return _apart(y, n)


@rule_for(F.layer_norm)
def _layer_norm(
    func: Any,
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Any:
    if not isinstance(x, Stacked):
        return NotImplemented
    y: Any = Stacked(F.layer_norm(x.raw, tuple(normalized_shape), None, None, eps))
    y = y if weight is None else y * weight
    return y if bias is None else y + bias


@rule_for(F.group_norm)
def _group_norm(
    func: Any, x: Tensor, num_groups: int, weight: Tensor | None = None, bias: Tensor | None = None, eps: float = 1e-5
) -> Any:
    if not isinstance(x, Stacked):
        return NotImplemented
    n = x.count
    y: Any = _apart(F.group_norm(_side_by_side(x), num_groups * n, None, None, eps), n)
    along = (-1,) + (1,) * (x.dim() - 2)
    y = y if weight is None else y * weight.view(along)
    return y if bias is None else y + bias.view(along)


# ---------------------------------------------------------------------------------------------- shapes


def _shift(dim: int) -> int:
    """Where a model's dimension lies once n stands in front."""
    return dim + 1 if dim >= 0 else dim


def _sizes(sizes: Sequence[Any]) -> Sequence[int]:
    return sizes[0] if len(sizes) == 1 and not isinstance(sizes[0], int) else sizes


@rule_for(Tensor.view, Tensor.reshape, torch.reshape)
def _reshape(func: Any, x: Stacked, *shape: Any) -> Any:
    if shape and isinstance(shape[0], torch.dtype):
        return NotImplemented
    return Stacked(x.raw.reshape(x.count, *_sizes(shape)))


@rule_for(Tensor.flatten, torch.flatten)
def _flatten(func: Any, x: Stacked, start_dim: int = 0, end_dim: int = -1) -> Stacked:
    if x.dim() == 0:
        return Stacked(x.raw.unsqueeze(1))
    return Stacked(x.raw.flatten(_shift(start_dim), _shift(end_dim)))


@rule_for(Tensor.permute, torch.permute)
def _permute(func: Any, x: Stacked, *dims: Any) -> Stacked:
    return Stacked(x.raw.permute(0, *(d % x.dim() + 1 for d in _sizes(dims))))


@rule_for(Tensor.transpose, torch.transpose, Tensor.swapaxes)
def _transpose(func: Any, x: Stacked, dim0: int, dim1: int) -> Stacked:
    return Stacked(x.raw.transpose(_shift(dim0), _shift(dim1)))


@rule_for(Tensor.t, torch.t, Tensor.T.__get__, Tensor.mT.__get__)  # type: ignore[attr-defined]
def _t(func: Any, x: Stacked) -> Any:
    return Stacked(x.raw.transpose(1, 2)) if x.dim() == 2 else NotImplemented


@rule_for(Tensor.unsqueeze, torch.unsqueeze, Tensor.squeeze, torch.squeeze)
def _squeeze(func: Any, x: Stacked, dim: int | None = None) -> Any:
    return NotImplemented if not isinstance(dim, int) else Stacked(func(x.raw, _shift(dim)))


@rule_for(Tensor.expand)
def _expand(func: Any, x: Stacked, *sizes: Any) -> Stacked:
    wanted = _sizes(sizes)
    missing = len(wanted) - x.dim()
    return Stacked(x.raw[(slice(None),) + (None,) * missing].expand(x.count, *wanted))


@rule_for(Tensor.chunk, torch.chunk, Tensor.split, torch.split, Tensor.unbind, torch.unbind)
def _split(func: Any, x: Stacked, *args: Any, dim: int = 0, **kwargs: Any) -> Any:
    unbinding = func in (Tensor.unbind, torch.unbind)
    if len(args) > (0 if unbinding else 1):
        *rest, dim = args
        args = tuple(rest)
    return tuple(Stacked(part) for part in func(x.raw, *args, dim=_shift(dim), **kwargs))


@rule_for(torch.cat, torch.concat, torch.stack)
def _join(func: Any, tensors: Sequence[Tensor], dim: int = 0) -> Stacked:
    n = next(t.count for t in tensors if isinstance(t, Stacked))
    return Stacked(func([_per_model(t, n) for t in tensors], dim=_shift(dim)))


@rule_for(Tensor.__getitem__)
def _item(func: Any, x: Any, index: Any) -> Any:
    whole = index if isinstance(index, tuple) else (index,)
    if not isinstance(x, Stacked) or not all(i is None or i is ... or isinstance(i, int | slice) for i in whole):
        return NotImplemented
    return Stacked(x.raw[(slice(None), *whole)])


# ---------------------------------------------------------------------------------------------- reductions


@rule_for(*named("var", "std"))
def _spread(func: Any, x: Stacked, dim: Any = None, *args: Any, **kwargs: Any) -> Any:
    # By position, what follows the dimension is not keepdim as elsewhere, but whether to divide by one less.
    return NotImplemented if args else _reduce(func, x, dim, **kwargs)


@rule_for(*named("sum", "mean", "amax", "amin", "logsumexp"))
def _reduce(func: Any, x: Stacked, dim: Any = None, keepdim: bool = False, **kwargs: Any) -> Any:
    name = getattr(func, "__name__", "")
    if isinstance(dim, bool) or not isinstance(dim, int | tuple | list | None) or name.endswith("_"):
        return NotImplemented
    if dim is None or dim == ():
        if keepdim or name == "logsumexp":
            return NotImplemented
        return Stacked(func(x.raw.flatten(1) if x.dim() else x.raw.unsqueeze(1), dim=1, **kwargs))
    dims = tuple(_shift(d) for d in dim) if isinstance(dim, tuple | list) else _shift(dim)
    return Stacked(func(x.raw, dim=dims, keepdim=keepdim, **kwargs))


@rule_for(*named("softmax", "log_softmax", "argmax"))
def _along(func: Any, x: Stacked, dim: int | None = None, *args: Any, **kwargs: Any) -> Any:
    return NotImplemented if not isinstance(dim, int) else Stacked(func(x.raw, _shift(dim), *args, **kwargs))


@rule_for(F.cross_entropy)
def _cross_entropy(
    func: Any,
    x: Any,
    target: Tensor,
    weight: Tensor | None = None,
    size_average: None = None,
    ignore_index: int = -100,
    reduce: None = None,
    reduction: str = "mean",
    label_smoothing: float = 0.0,
) -> Any:
    """``-mean_b sum_k y_bk log softmax(z_b)_k``, with the smoothed label ``y = (1 - s) onehot + s / K``.

    The sums over classes run along the samples, whatever the memory's order: few classes make torch's own row by row
    log-softmax several times slower than the products before it.
    """
    if (
        not isinstance(x, Stacked)
        or _dims(x) != 2
        or weight is not None
        or reduction not in ("mean", "sum", "none")
        or _raw(target).is_floating_point()
        or ignore_index != -100
        or size_average is not None
        or reduce is not None
    ):
        return NotImplemented
    z = x.raw.transpose(1, 2)  # [n, k, b]
    labels = _per_model(target, x.count).unsqueeze(1)
    masked = labels.device.type != "cpu" or bool((target_raw := _raw(target)).numel() and target_raw.min() < 0)
    logs = F.log_softmax(z, 1)
    losses = -logs.gather(1, labels.clamp_min(0) if masked else labels).squeeze(1)
    if label_smoothing:
        losses = (1 - label_smoothing) * losses - label_smoothing * logs.mean(1)
    if not masked:
        return Stacked(losses if reduction == "none" else losses.mean(1) if reduction == "mean" else losses.sum(1))
    counted = labels.squeeze(1) != ignore_index
    losses = losses * counted
    if reduction == "none":
        return Stacked(losses)
    total = losses.sum(1)
    return Stacked(total / counted.sum(1) if reduction == "mean" else total)


@rule_for(F.mse_loss)
def _mse(func: Any, x: Any, target: Any, *args: Any, reduction: str = "mean", **kwargs: Any) -> Any:
    if args or kwargs or x.shape != target.shape or reduction not in ("mean", "sum", "none"):
        return NotImplemented
    a, b = _aligned([x, target])
    squares = Stacked((a - b).square())
    return squares if reduction == "none" else getattr(squares, reduction)()
