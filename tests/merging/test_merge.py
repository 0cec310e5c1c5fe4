"""merge: what goes in, what comes out, and what is refused."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from merge_cases import array, layout, model, near, points
from torch import nn

import landform as lf
from landform import merging
from landform.errors import BadInput


def test_means_task_vectors_and_lines() -> None:
    base, sources = near()
    weights = [1.0, 2.0, -0.5]
    plain, origin = array(sources), array(base)
    expected = {
        "mean": sum(w * p for w, p in zip(weights, plain, strict=True)) / 2.5,
        "task_arithmetic": origin + sum(w * (p - origin) for w, p in zip(weights, plain, strict=True)),
        "wise_ft": origin + 0.5 * sum(w * (p - origin) for w, p in zip(weights, plain, strict=True)) / 2.5,
    }
    for method, wanted in expected.items():
        for per in ("point", "tensor"):
            found = merging.merge(sources, method=method, base=base, weights=weights, layout=layout(), per=per)
            np.testing.assert_allclose(array(found.point), wanted, atol=1e-12)
            assert found.method == method
            assert found.weights == tuple(weights)
    raw = merging.merge(sources, weights=weights, normalise=False)
    np.testing.assert_allclose(array(raw.point), 2.5 * expected["mean"], atol=1e-12)
    scaled = merging.merge(sources, method="task-arithmetic", base=base, scale=0.3, normalise=True)
    np.testing.assert_allclose(array(scaled.point), origin + 0.3 * (plain.mean(0) - origin), atol=1e-12)
    negated = merging.merge([sources[0]], method="task_arithmetic", base=base, weights=[-1])
    np.testing.assert_allclose(array(negated.point), 2 * origin - plain[0], atol=1e-12)
    for alpha, end in ((0.0, base), (1.0, sources[1])):
        line = merging.merge([sources[1]], method="wise_ft", base=base, alpha=alpha)
        torch.testing.assert_close(line.point, end)


def test_the_report_is_what_plain_numpy_says() -> None:
    base, sources = near()
    sources[:, 3:9] = base[3:9]  # coordinates that nobody moved
    sources[1, 20] = base[20]
    found = merging.merge(sources, method="task_arithmetic", base=base, scale=0.4, layout=layout())
    own = layout()
    merged = array(found.point) - array(base)
    deltas = array(sources) - array(base)

    def check(layer: merging.Layer, here: slice) -> None:
        d, m = deltas[:, here], merged[here]
        norms = [math.sqrt((row**2).sum()) for row in d]
        assert layer.size == d.shape[1]
        assert layer.norms == pytest.approx(norms)
        assert layer.norm == pytest.approx(np.linalg.norm(m))
        assert layer.cosines == pytest.approx(
            [row @ m / (n * np.linalg.norm(m)) for row, n in zip(d, norms, strict=True)]
        )
        pairs = [d[i] @ d[j] / (norms[i] * norms[j]) for i in range(3) for j in range(i)]
        assert layer.between == pytest.approx(np.mean(pairs))
        same = [len({np.sign(v) for v in column if v != 0}) == 1 for column in d.T if (column != 0).any()]
        assert layer.agreement == pytest.approx(np.mean(same))
        assert layer.changed == pytest.approx(np.mean(m != 0))

    for layer, slot in zip(found.layers, own.slots, strict=True):
        assert layer.name == slot.name
        check(layer, slice(slot.start, slot.stop))
    check(found.total, slice(None))
    assert found.total.changed < 1
    text = str(found)
    assert text.startswith("task_arithmetic of 3, per point: scale 0.4, normalise False")
    assert all(name in text for name in own.names)


def test_a_long_report_is_cut() -> None:
    net = nn.ParameterDict({f"p{i:03}": nn.Parameter(torch.ones(2)) for i in range(100)})
    found = merging.merge([net, net])
    assert len(found.layers) == 100
    assert len(str(found).splitlines()) == 1 + 1 + 1 + 60 + 1
    assert str(found).endswith("and 40 tensors more")


def test_without_a_base_deltas_are_from_the_mean() -> None:
    sources = points(3, 40, dtype=torch.float32)
    found = merging.merge(sources)
    (layer,) = found.layers
    assert layer.name == "point"
    mean = array(sources).mean(0)
    assert layer.norms == pytest.approx([np.linalg.norm(p - mean) for p in array(sources)], rel=1e-6)
    assert layer.norm < 1e-6
    assert layer.changed == 0
    assert merging.merge(sources, weights=[1, 1, 2]).layers[0].changed == 1
    alone = merging.merge([sources[0]], method="task_arithmetic", base=sources[1])
    assert math.isnan(alone.total.between)
    same = merging.merge([sources[0]] * 2, method="task_arithmetic", base=sources[0])
    assert math.isnan(same.total.agreement)
    assert all(map(math.isnan, same.total.cosines))
    assert "-" in str(same)


@given(st.permutations(range(4)), st.lists(st.floats(0.1, 3), min_size=4, max_size=4))
def test_the_order_of_sources_says_nothing(order: list[int], weights: list[float]) -> None:
    base, sources = near(4)
    for method in ("mean", "task_arithmetic", "wise_ft"):
        one = merging.merge(sources, method=method, base=base, weights=weights)
        other = merging.merge(sources[order], method=method, base=base, weights=[weights[i] for i in order])
        torch.testing.assert_close(one.point, other.point)


@given(st.floats(-5, 5), st.integers(0, 1000))
def test_means_scale_and_shift_along(factor: float, seed: int) -> None:
    sources, shift = points(3, 20, seed), points(1, 20, seed + 1)[0]
    plain = merging.merge(sources, weights=[1, 2, 3]).point
    moved = merging.merge(factor * sources + shift, weights=[1, 2, 3]).point
    torch.testing.assert_close(moved, factor * plain + shift)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_types_stay(dtype: torch.dtype) -> None:
    sources = points(3, 30, dtype=dtype)
    found = merging.merge(sources)
    assert found.point.dtype == dtype
    work = sources.to(torch.float64 if dtype == torch.float64 else torch.float32)
    torch.testing.assert_close(found.point, work.mean(0).to(dtype))


def test_every_device(device: torch.device) -> None:
    base, sources = near(dtype=torch.float32)
    own = layout()
    for method in ("mean", "task_arithmetic", "wise_ft"):
        plain = merging.merge(sources, method=method, base=base, layout=own)
        there = merging.merge(sources.to(device), method=method, base=base, layout=own)
        assert there.point.device.type == device.type
        torch.testing.assert_close(there.point.cpu(), plain.point)
        assert there.total.cosines == pytest.approx(plain.total.cosines, rel=1e-4)


def test_models_bring_their_layout() -> None:
    nets = [model(seed) for seed in range(3)]
    own = lf.Layout.of(nets[0])
    found = merging.merge(nets)
    assert [layer.name for layer in found.layers] == list(own.names)
    torch.testing.assert_close(found.point, torch.stack([own.point(net) for net in nets]).mean(0))
    assert not found.buffers
    mixed = merging.merge([nets[0], own.point(nets[1])], method="task_arithmetic", base=nets[2])
    assert mixed.layout == own
    target = model(9)
    mixed.load_(target)
    torch.testing.assert_close(own.point(target), mixed.point)


def test_buffers_of_models_are_averaged_and_said() -> None:
    nets = [model(seed, "batch") for seed in range(2)]
    for seed, net in enumerate(nets):
        for name, buffer in net.named_buffers():
            buffer.fill_(7 + seed) if "tracked" in name else buffer.copy_(torch.rand(buffer.shape) + seed)
    found = merging.merge(nets, weights=[1, 3])
    assert found.facts["buffers"] == "averaged over the sources"
    ours, theirs = (dict(net.named_buffers()) for net in nets)
    for name, buffer in found.buffers.items():
        wanted = ours[name] if "tracked" in name else 0.25 * ours[name] + 0.75 * theirs[name]
        torch.testing.assert_close(buffer, wanted)
    target = model(5, "batch")
    found.load_(target)
    for name, buffer in target.named_buffers():
        torch.testing.assert_close(buffer, found.buffers[name])
    given_ones = merging.merge([lf.Layout.of(net).point(net) for net in nets], weights=[1, 3], buffers=[ours, theirs])
    for name, buffer in given_ones.buffers.items():
        assert torch.equal(buffer, found.buffers[name])


def test_statistics_never_have_negative_weights() -> None:
    nets = [model(seed, "batch") for seed in range(2)]
    for seed, net in enumerate(nets):
        for name, buffer in net.named_buffers():
            if "running" in name:
                buffer.fill_(seed + 1)
    found = merging.merge(nets, method="task_arithmetic", base=nets[0], weights=[1, -0.5])
    assert all(bool((buffer == 1.5).all()) for name, buffer in found.buffers.items() if "running" in name)


def test_with_data_the_statistics_are_found_anew() -> None:
    nets = [model(seed, "batch") for seed in range(2)]
    made = torch.Generator().manual_seed(0)
    data = torch.rand(30, 1, 8, 8, generator=made), torch.arange(30) % 3
    where = lf.Landscape(nets[0], data, device="cpu")
    found = merging.merge(nets, data=where)
    assert found.facts["buffers"] == "found over the data"
    wanted = where.calibrate(found.point)
    assert all(torch.equal(buffer, wanted[name]) for name, buffer in found.buffers.items())
    assert found.layout == where.layout
    kept = merging.merge(nets, data=lf.Landscape(nets[0], data, device="cpu", batchnorm="keep"))
    assert kept.facts["buffers"] == "averaged over the sources"


def test_a_method_of_ones_own() -> None:
    def largest(part: merging.Part, known: float, asked: merging.Asked) -> torch.Tensor:
        return part.sources.flatten(1).max(0).values.view(part.sources.shape[1:]) + known

    mine = merging.Method(
        "largest",
        "The largest of each coordinate.",
        "nobody",
        settings={
            "size": merging.Setting(1.0, "what", lambda value: "" if value > 0 else "give more than 0", each=True)
        },
        part=largest,
        gather=lambda parts, asked: float(sum(part.sources[0].numel() for part in parts)),
        tell=lambda known, asked: {"counted": known},
    )
    _, sources = near()
    whole = merging.merge(sources, method=mine, layout=layout(), size=[1, 2, 3])
    assert whole.facts == {"counted": layout().size}
    assert whole.settings == {"size": (1, 2, 3)}
    np.testing.assert_allclose(array(whole.point), array(sources).max(0) + layout().size)
    each = merging.merge(sources, method=mine, layout=layout(), per="tensor")
    assert [layer.facts["counted"] for layer in each.layers] == [slot.size for slot in layout().slots]
    for size, said in ((0, "size of largest is 0: give more than 0"), ([1, 2], "2 values for 3 sources")):
        with pytest.raises(BadInput, match=said):
            merging.merge(sources, method=mine, size=size)


def test_names_of_methods() -> None:
    assert {"mean", "task_arithmetic", "wise_ft"} <= set(merging.methods())
    assert merging.get("Task-Arithmetic") is merging.get("task_arithmetic")
    assert merging.get("linear").name == "mean"
    for name in merging.methods():
        found = merging.get(name)
        assert found.doc.endswith(".")
        assert found.paper
        assert (found.part is None) != (found.whole is None)
        assert all(setting.doc for setting in found.settings.values())
        assert all(not setting.wrong(setting.default) for setting in found.settings.values())


def test_loading_into_another_model_is_refused() -> None:
    nets = [model(seed, "batch") for seed in range(2)]
    found = merging.merge(nets)
    other = copy.deepcopy(nets[0])
    next(module for module in other.modules() if isinstance(module, nn.BatchNorm2d)).track_running_stats = False
    with pytest.raises(BadInput, match="no parameter"):
        found.load_(model())
    norm = next(module for module in other.modules() if isinstance(module, nn.BatchNorm2d))
    norm.running_mean = None
    with pytest.raises(BadInput, match="no buffer"):
        found.load_(other)
