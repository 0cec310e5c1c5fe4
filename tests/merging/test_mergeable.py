"""Mergeability: each feature against a plain computation, what it cost, and the advice."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

import landform as lf
from landform import alignment, merging
from landform.errors import BadInput


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def setting(norm: str = "none") -> tuple[lf.Landscape, Tensor, Tensor, Tensor]:
    if norm == "none":
        model, x = lf.models.mlp(inputs=(4,), classes=3, width=6, depth=1, activation="tanh").double(), draw(50, 4)
    else:
        model, x = lf.models.small_cnn(inputs=(2, 8, 8), classes=3, width=4, norm=norm).double(), draw(50, 2, 8, 8)
    y = torch.randint(0, 3, (50,), generator=torch.Generator().manual_seed(1))
    where = lf.Landscape(model, (x, y), device="cpu", batch_size=25)
    base = where.here
    a, b = base + 0.4 * draw(2, len(base), seed=2)
    return where, base, a, b


def test_every_feature_is_what_it_says() -> None:
    where, base, a, b = setting()
    found = merging.mergeable(where, a, b, base=base, steps=5).features
    x, y = where._data.inputs, where._data.targets

    def outputs(point: Tensor) -> Tensor:
        v = where.layout.views(point)
        return torch.tanh(x @ v["dense1.weight"].T + v["dense1.bias"]) @ v["readout.weight"].T + v["readout.bias"]

    def loss(point: Tensor) -> Tensor:
        return F.cross_entropy(outputs(point), y)

    def error(point: Tensor) -> float:
        return float((outputs(point).argmax(1) != y).double().mean())

    def along(first: Tensor, second: Tensor) -> tuple[list[float], list[float]]:
        every = [first + t * (second - first) for t in (0, 0.25, 0.5, 0.75, 1)]
        return [float(loss(p)) for p in every], [error(p) for p in every]

    losses, errors = along(a, b)
    matched = alignment.align(where, a, b)
    aligned, aligned_errors = along(a, matched.point)
    gradients, bends, rises = [], [], []
    for point, towards in ((a, b - a), (b, a - b)):
        gradients.append(torch.autograd.functional.jacobian(loss, point))
        curved = torch.autograd.functional.hessian(loss, point)
        bends.append(float(towards @ curved @ towards))
        rises.append(float(gradients[-1] @ towards) / 2 + bends[-1] / 8)
    one, other = a - base, b - base
    wanted = {
        "distance": float((a - b).norm()),
        "relative_distance": float((a - b).norm() / (0.5 * (a.norm() + b.norm()))),
        "cosine": float(F.cosine_similarity(a, b, dim=0)),
        "task_cosine": float(F.cosine_similarity(one, other, dim=0)),
        "sign_agreement": float((one * other > 0).double().mean()),
        "magnitude_overlap": float(F.cosine_similarity(one.abs(), other.abs(), dim=0)),
        "norm_ratio": min(float(one.norm() / other.norm()), float(other.norm() / one.norm())),
        "loss": (losses[0] + losses[-1]) / 2,
        "barrier": max(losses) - (losses[0] + losses[-1]) / 2,
        "midpoint": losses[2] - (losses[0] + losses[-1]) / 2,
        "error": (errors[0] + errors[-1]) / 2,
        "error_barrier": max(errors) - (errors[0] + errors[-1]) / 2,
        "error_midpoint": errors[2] - (errors[0] + errors[-1]) / 2,
        "alignment_gain": 1 - float((a - matched.point).norm() / (a - b).norm()),
        "moved": matched.moved,
        "aligned_barrier": max(aligned) - (aligned[0] + aligned[-1]) / 2,
        "aligned_midpoint": aligned[2] - (aligned[0] + aligned[-1]) / 2,
        "aligned_error_midpoint": aligned_errors[2] - (aligned_errors[0] + aligned_errors[-1]) / 2,
        "gradient_cosine": float(F.cosine_similarity(*gradients, dim=0)),
        "slope": float(gradients[0] @ (b - a) + gradients[1] @ (a - b)) / 2,
        "curvature": sum(bends) / 2,
        "largest_curvature": max(bends),
        "expected_midpoint": sum(rises) / 2,
        "disagreement": float((outputs(a).argmax(1) != outputs(b).argmax(1)).double().mean()),
    }
    assert set(found) == set(wanted)
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, abs=1e-9), name


def test_of_a_quadratic_loss_the_middle_is_expected_exactly() -> None:
    torch.manual_seed(0)
    model = torch.nn.Linear(4, 3).double()
    where = lf.Landscape(model, (draw(40, 4), draw(40, 3, seed=1)), loss="mse", device="cpu")
    a, b = where.here + draw(2, where.layout.size)
    found = merging.mergeable(where, a, b, measure=("barrier", "curvature")).features
    assert found["expected_midpoint"] == pytest.approx(found["midpoint"])
    assert found["midpoint"] == pytest.approx(-found["curvature"] / 8)  # a valley: the mean is below both
    assert "error" not in found


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_costs_are_told_for_each_measurement(norm: str) -> None:
    where, base, a, b = setting(norm)
    found = merging.mergeable(where, a, b, base=base, steps=3)
    passes = 2 if norm == "batch" else 1
    assert found.costs["distance"] == found.costs["task"] == 0
    assert found.costs["barrier"] == found.costs["alignment"] == pytest.approx(3 * passes / 3)
    assert found.costs["disagreement"] == pytest.approx(2 / 3)
    alone = merging.mergeable(where, a, b, measure=("disagreement",))
    assert alone.cost == pytest.approx(2 * passes / 3)
    assert alone.features["disagreement"] == found.features["disagreement"]
    assert found.costs["gradient"] == pytest.approx(2 + 2 * (passes - 1) / 3)
    assert 2 < found.costs["curvature"] < 16
    assert found.cost == pytest.approx(sum(found.costs.values()))
    assert found.barrier is not None
    assert found.aligned is not None
    assert str(found).endswith(found.advice)
    assert all(name in str(found) for name in found.features)


def test_ends_change_places_and_nothing_lies_between_a_point_and_itself() -> None:
    where, base, a, b = setting()
    one, other = (merging.mergeable(where, *ends, base=base).features for ends in ((a, b), (b, a)))
    for name in set(one) - {"moved", "aligned_barrier", "aligned_midpoint", "aligned_error_midpoint"}:
        assert one[name] == pytest.approx(other[name], abs=1e-9), name
    same = merging.mergeable(where, a, a, base=base)
    for name in ("distance", "barrier", "midpoint", "alignment_gain", "moved", "curvature", "slope", "disagreement"):
        assert same.features[name] == pytest.approx(0, abs=1e-12), name
    assert same.features["sign_agreement"] == 1
    assert same.features["task_cosine"] == pytest.approx(1)
    assert "method='mean'" in same.advice


def test_advice_follows_what_was_measured() -> None:
    where, base, a, _ = setting()
    trained = lf.train(
        where._model,
        lf.data.Dataset("own", *[lf.data.Split(*where._data.batches(50).__next__())] * 2, 3, {}),
        lf.Recipe(epochs=200, batch_size=50, lr=0.5),
        device="cpu",
    ).point
    permuted = alignment.symmetries(where).apply(trained, alignment.symmetries(where).random(3))
    assert "method='aligned'" in merging.mergeable(where, trained, permuted).advice
    far = merging.mergeable(where, trained, -trained, measure=("barrier",))
    assert "zip_models" in far.advice
    assert (
        "task_arithmetic" in merging.mergeable(where, trained, -trained, base=base, measure=("barrier", "task")).advice
    )
    assert "measure 'barrier'" in merging.mergeable(where, a, trained, measure=("distance",)).advice


def test_models_and_tasks() -> None:
    where, _, a, b = setting()
    one, other = (lf.models.mlp(inputs=(4,), classes=3, width=6, depth=1, activation="tanh") for _ in range(2))
    for model, point in ((one.double(), a), (other.double(), b)):
        where.layout.load_(model, point)
    x, y = where._data.inputs, where._data.targets
    tasks = {"first": where.on((x[:30], y[:30])), "second": where.on((x[30:], y[30:]))}
    whole, parts = merging.mergeable(where, a, b), merging.mergeable(tasks, one, other)
    for name, value in whole.features.items():
        assert parts.features[name] == pytest.approx(value, abs=1e-9), name


class Odd(torch.nn.Module):
    """A step that no rule of permutations knows."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = torch.nn.Linear(4, 6), torch.nn.Linear(6, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.second(torch.fft.fft(self.first(x)).real)


def test_what_cannot_be_measured_is_skipped_and_told() -> None:
    where, _, a, b = setting()
    assert set(merging.mergeable(where, a, b).skipped) == {"task"}
    torch.manual_seed(0)
    odd = lf.Landscape(Odd().double(), (where._data.inputs, where._data.targets), device="cpu")
    a, b = odd.here + 0.1 * draw(2, odd.layout.size)
    found = merging.mergeable(odd, a, b)
    assert "no rule" in found.skipped["alignment"]
    assert "no alignment: The operation" in str(found)
    assert "barrier" in found.features
    with pytest.raises(BadInput, match="no rule"):
        merging.mergeable(odd, a, b, measure=("alignment",))


def test_what_is_wrong_is_said() -> None:
    where, _, a, b = setting()
    for arguments, options, said in (
        ((where, a, b), {"measure": ("barriers",)}, "no measurement 'barriers'"),
        ((where, a, b), {"measure": ("task",)}, "give base="),
        ((where, a, b), {"measure": ()}, r"measure is \(\)"),
        ((where, a, b), {"measure": "barrier"}, "measure is 'barrier'"),
        ((where, a, b[:-1]), {}, "got a tensor of shape"),
        ((where, a, torch.stack([a, b])), {}, r"b is \[2, "),
        ((where, a, b * torch.nan), {}, "b holds NaN"),
        ((where, a, b), {"steps": 2}, "at least 3"),
        ((a, a, b), {}, "data is a Tensor"),
    ):
        with pytest.raises(BadInput, match=said):
            merging.mergeable(*arguments, **options)
