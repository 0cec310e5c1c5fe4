"""What products, normalisation and pooling do to the axes of tensors.

A unit is what a product sums over: there its activations are read, and there an axis of activations meets one of a
weight.
"""

from __future__ import annotations

from torch import Tensor

from landform.alignment._axes import blend, factor, fix, pieces, unify, unify_all
from landform.alignment._rules import Axes, Call, Rule, everywhere
from landform.alignment._terms import fixed, times

_SPACE = "it is an axis of space or time, along which the model looks at neighbours"
_KERNEL = "it is the inside of a filter"


def _matrices(call: Call) -> list[Axes]:
    """``mm``, ``addmm``, ``bmm``, ``baddbmm``, ``mv``, ``dot`` and the like: one sum."""
    one, other = _FACTORS[call.name]
    left, right = call.axes(one), call.axes(other)
    call.read(call.args[one], len(left) - 1)
    call.read(call.args[other], max(0, len(right) - 2))
    batch = list(zip(left[:-2], right[:-2], strict=True))
    unify_all([*batch, (left[-1], right[max(0, len(right) - 2)])])
    result = left[:-1] + right[-1:] if len(right) > 1 else left[:-1]
    return _added(call, result)


def _added(call: Call, result: Axes) -> list[Axes]:
    """With what is added on top, where there is something."""
    name = _ADDED.get(call.name)
    if name is not None and isinstance(call.args.get(name), Tensor):
        above = call.axes(name)
        pairs = zip(reversed(result), reversed(above), strict=False)
        unify_all([(axis, other) for axis, other in pairs if other.size == axis.size])
    return [result]


def _linear(call: Call) -> list[Axes]:
    given, weight = call.axes("input"), call.axes("weight")
    call.read(call.args["input"], len(given) - 1)
    call.read(call.args["weight"], len(weight) - 1)
    unify(given[-1], weight[-1])
    result = [*given[:-1], *weight[:-1]]
    return _added(call, result)


def _convolution(call: Call) -> list[Axes]:
    given, weight = call.axes("input"), call.axes("weight")
    groups, turned = call.args.get("groups", 1), call.args.get("transposed", False)
    for axis in given[2:]:
        fix(axis, _SPACE)
    for axis in weight[2:]:
        fix(axis, _KERNEL)
    call.read(call.args["input"], 1)
    call.read(call.args["weight"], 0 if turned else 1)
    into, out = (weight[0], weight[1]) if turned else (weight[1], weight[0])
    if groups == 1:
        unify(given[1], into)
    elif turned:
        unify(given[1], into)
        outer, _ = factor(given[1], given[1].size // groups)
        out = times([outer, out])
    else:
        outer, inner = factor(given[1], given[1].size // groups)
        outer_too, inside = factor(weight[0], weight[0].size // groups)
        unify(outer, outer_too)
        unify(inner, into)
        out = times([outer_too, inside])
    if isinstance(call.args.get("bias"), Tensor):
        unify(out, call.axes("bias")[0])
    return [[given[0], out, *(fixed(size, _SPACE) for size in call.outs[0].shape[2:])]]


def _batch_norm(call: Call) -> list[Axes]:
    tensors = call.tensors()
    given = list(call.of(tensors[0]))
    for vector in tensors[1:]:
        unify(given[1], call.of(vector)[0])
    blend([given[0], *given[2:]], [given[1]])
    return [given, *_statistics(call)]


def _layer_norm(call: Call) -> list[Axes]:
    tensors = call.tensors()
    given = list(call.of(tensors[0]))
    for vector in tensors[1:]:
        own = call.of(vector)
        unify_all(list(zip(given[-len(own) :], own, strict=True)))
    inner = len(call.args["normalized_shape"])
    blend(given[-inner:], given[:-inner])
    return [given, *_statistics(call)]


def _group_norm(call: Call) -> list[Axes]:
    tensors = call.tensors()
    given = list(call.of(tensors[0]))
    outer, inner = factor(given[1], given[1].size // call.args["group"])
    blend([inner, *given[2:]], [given[0], outer])
    blend(given[2:], [inner])
    for vector in tensors[1:]:
        unify(given[1], call.of(vector)[0])
    return [given, *_statistics(call)]


def _statistics(call: Call) -> list[Axes]:
    """What a normalisation gives beside its result is for the way back."""
    return [[fixed(size) for size in out.shape] for out in call.outs[1:]]


def _attention(call: Call) -> list[Axes]:
    """Fused attention: as two products with a softmax between them."""
    query, key, value = (call.axes(name) for name in ("query", "key", "value"))
    call.read(call.args["query"], len(query) - 1)
    call.read(call.args["key"], len(key) - 1)
    unify_all(
        [
            *zip(query[:-2], key[:-2], strict=True),
            *zip(query[:-2], value[:-2], strict=True),
            (key[-2], value[-2]),
            (query[-1], key[-1]),
        ]
    )
    for axis in (query[-2], key[-2]):
        fix(axis, _SPACE)
    return [[*query[:-1], value[-1]], *_statistics(call)]


def _cell(call: Call) -> list[Axes]:
    """One step of a fused recurrent layer, as CUDA has it: gates behind one another, each over all units."""
    state = call.axes("cx" if "lstm" in call.name else "hx")
    for name in ("input_gates", "hidden_gates", "input_bias", "hidden_bias"):
        if isinstance(call.args.get(name), Tensor):
            gates = call.axes(name)[-1]
            for gate in pieces(gates, [state[-1].size] * (gates.size // state[-1].size)):
                unify(gate, state[-1])
    return [state if out.shape == call.outs[0].shape else [fixed(s) for s in out.shape] for out in call.outs]


def _windows(axes: int) -> Rule:
    """Pooling, resizing: the last axes are space."""

    def rule(call: Call) -> list[Axes]:
        given = list(call.of(call.tensors()[0]))
        for axis in given[-axes:]:
            fix(axis, _SPACE)
        return [[*given[:-axes], *(fixed(size, _SPACE) for size in out.shape[-axes:])] for out in call.outs]

    return rule


def _weight_norm(call: Call) -> list[Axes]:
    """``v g / |v|``: the norms have one place along the axes they are over."""
    direction, length = call.axes("v"), call.axes("g")
    unify_all([(a, b) for a, b in zip(direction, length, strict=True) if a.size == b.size])
    return [direction, length]


def _im2col(call: Call) -> list[Axes]:
    given = call.axes("self")
    for axis in given[-2:]:
        fix(axis, _SPACE)
    inside = fixed(call.outs[0].shape[-2] // given[-3].size, _KERNEL)
    return [[*given[:-3], times([given[-3], inside]), fixed(call.outs[0].shape[-1], _SPACE)]]


def _shuffle(call: Call) -> list[Axes]:
    """Pixels out of channels."""
    given = call.axes("self")
    for axis in given[-2:]:
        fix(axis, _SPACE)
    outer, inner = factor(given[-3], call.args["upscale_factor"] ** 2)
    fix(inner, _SPACE)
    return [[*given[:-3], outer, *(fixed(size, _SPACE) for size in call.outs[0].shape[-2:])]]


_FACTORS = {
    "mm": ("self", "mat2"),
    "bmm": ("self", "mat2"),
    "addmm": ("mat1", "mat2"),
    "baddbmm": ("batch1", "batch2"),
    "mv": ("self", "vec"),
    "addmv": ("mat", "vec"),
    "dot": ("self", "tensor"),
}
_ADDED = {"addmm": "self", "baddbmm": "self", "addmv": "self", "linear": "bias"}

PRODUCTS: dict[str, Rule] = {
    **everywhere(" ".join(_FACTORS), _matrices),
    **everywhere("linear", _linear),
    **everywhere("convolution _convolution convolution_overrideable", _convolution),
    **everywhere(
        "native_batch_norm _native_batch_norm_legit _native_batch_norm_legit_no_training _batch_norm_no_update "
        "_batch_norm_with_update cudnn_batch_norm miopen_batch_norm",
        _batch_norm,
    ),
    **everywhere("native_layer_norm _fused_rms_norm", _layer_norm),
    **everywhere("native_group_norm", _group_norm),
    **everywhere(
        "_scaled_dot_product_flash_attention_for_cpu _scaled_dot_product_flash_attention "
        "_scaled_dot_product_efficient_attention _scaled_dot_product_cudnn_attention",
        _attention,
    ),
    **everywhere("_thnn_fused_lstm_cell _thnn_fused_gru_cell", _cell),
    **everywhere("im2col", _im2col),
    **everywhere("_weight_norm_interface", _weight_norm),
    **everywhere("pixel_shuffle", _shuffle),
    **everywhere(
        "max_pool1d_with_indices avg_pool1d adaptive_avg_pool1d upsample_nearest1d upsample_linear1d", _windows(1)
    ),
    **everywhere(
        "max_pool2d_with_indices avg_pool2d _adaptive_avg_pool2d adaptive_max_pool2d upsample_nearest2d "
        "upsample_bilinear2d upsample_bicubic2d _upsample_nearest_exact2d reflection_pad2d replication_pad2d",
        _windows(2),
    ),
    **everywhere(
        "max_pool3d_with_indices avg_pool3d _adaptive_avg_pool3d adaptive_max_pool3d upsample_nearest3d "
        "upsample_trilinear3d",
        _windows(3),
    ),
}
