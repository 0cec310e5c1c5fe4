"""Adaptive grids against whole ones: how far off, how many places read, and what was foretold."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

import landform as lf
from landform import surface
from landform.errors import BadInput
from landform.surface._adaptive import Refined, refine
from landform.surface._reading import Values

Function = Callable[[Tensor], Tensor]


def axes(*steps: int) -> list[Tensor]:
    return [torch.linspace(-1, 1, count, dtype=torch.float64) for count in steps]


def whole(function: Function, lines: Sequence[Tensor]) -> Tensor:
    return function(torch.stack(torch.meshgrid(*lines, indexing="ij"), -1).reshape(-1, len(lines))).view(
        [len(line) for line in lines]
    )


def refined(function: Function, lines: Sequence[Tensor], tolerance: float = 0.01, within: str = "range") -> Refined:
    seen: list[Tensor] = []

    def reading(at: Tensor, told: object) -> Values:
        seen.append(at)
        return Values(function(at), function(at).sigmoid(), "a function", len(at))

    made = refine(reading, lines, tolerance, within)  # type: ignore[arg-type]
    every = torch.cat(seen)
    assert len(torch.unique(every, dim=0)) == len(every) == int(made.read.sum()) == made.passes  # each place once
    return made


def off(made: Refined, right: Tensor, within: str) -> float:
    scale = right.abs() if within == "value" else right.max() - right.min()
    return float(((made.losses - right).abs() / scale).max())


SMOOTH: dict[str, Function] = {
    "bowl": lambda at: 1 + (at**2).sum(1),
    "plane": lambda at: 5 + at.sum(1),
    "valley": lambda at: 0.05 + torch.log1p((3 * at[:, 0] - 2 * at[:, -1] ** 2) ** 2),
    "saddle": lambda at: 4 + at[:, 0] ** 2 - at[:, -1] ** 3,
    "steep": lambda at: torch.exp(4 * at[:, 0] + 2 * at[:, -1]),
}


@pytest.mark.parametrize("within", ["range", "value"])
@pytest.mark.parametrize("name", SMOOTH)
def test_within_what_was_asked_for_and_from_few_places(name: str, within: str) -> None:
    lines = axes(25, 25)
    right = whole(SMOOTH[name], lines)
    made = refined(SMOOTH[name], lines, 0.01, within)
    assert off(made, right, within) <= 0.01
    assert made.estimate is not None
    assert made.estimate <= 0.01
    assert torch.equal(made.losses[made.read], right[made.read])
    if within == "range":
        assert made.read.double().mean() < (0.6 if name == "valley" else 0.3)
    if name in ("bowl", "plane") and within == "range":  # foretold exactly: nothing has to be cut
        assert made.read.double().mean() < 0.2
        assert off(made, right, within) < 1e-9


def test_a_line_and_a_volume() -> None:
    for name, lines in (("valley", axes(101)), ("saddle", axes(13, 13, 13)), ("steep", axes(21, 21, 21))):
        right = whole(SMOOTH[name], lines)
        made = refined(SMOOTH[name], lines)
        assert off(made, right, "range") <= 0.01
        assert made.read.double().mean() < 0.4


def test_it_is_finer_where_it_bends() -> None:
    def wall(at: Tensor) -> Tensor:
        return 2 + torch.tanh(12 * (at[:, 0] - 0.4)) + 0.1 * at[:, 1]

    made = refined(wall, axes(49, 49))
    right = whole(wall, axes(49, 49))
    assert off(made, right, "range") <= 0.01
    rows = made.read.double().mean(1)
    assert rows[30:38].mean() > 3 * rows[:16].mean()


def test_noise_is_read_whole_and_a_constant_is_not() -> None:
    drawn = torch.rand(25, 25, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def noise(at: Tensor) -> Tensor:
        i, j = ((at.T + 1) * 12).round().long()
        return drawn[i, j]

    made = refined(noise, axes(25, 25))
    assert bool(made.read.all())
    assert torch.equal(made.losses, drawn)
    flat = refined(lambda at: 2.3 + 1e-7 * noise(at), axes(25, 25))
    assert flat.read.double().mean() < 0.2
    assert refined(lambda at: at[:, 0] * 0, axes(25, 25), within="value").read.double().mean() < 0.2


def test_what_is_no_number_is_read_and_kept() -> None:
    def hole(at: Tensor) -> Tensor:
        values = 1 + (at**2).sum(1)
        values[(at[:, 0] > 0.5) & (at[:, 1] > 0.5)] = torch.nan
        values[at[:, 0] < -0.95] = math.inf
        return values

    right = whole(hole, axes(25, 25))
    made = refined(hole, axes(25, 25))
    assert torch.equal(made.losses.isnan(), right.isnan())
    assert torch.equal(made.losses.isinf(), right.isinf())
    fine = right.isfinite()
    torch.testing.assert_close(made.losses[fine], right[fine], rtol=0.02, atol=0)
    nowhere = refined(lambda at: at[:, 0] * torch.nan, axes(9, 9))
    assert bool(nowhere.losses.isnan().all())


@settings(max_examples=25)
@given(
    terms=st.lists(st.tuples(*(st.floats(-2, 2) for _ in range(4))), min_size=1, max_size=4),
    steps=st.integers(3, 30),
    other=st.integers(2, 30),
)
def test_smooth_surfaces_of_any_size(terms: list[tuple[float, ...]], steps: int, other: int) -> None:
    def waves(at: Tensor) -> Tensor:
        total = sum(a * torch.sin(b * at[:, 0] + c * at[:, 1] + d) for a, b, c, d in terms)
        return torch.as_tensor(total) + 3.0

    lines = axes(steps, other)
    right = whole(waves, lines)
    made = refined(waves, lines, 0.02)
    spread = float(right.max() - right.min())
    assert float((made.losses - right).abs().max()) <= 0.02 * max(spread, 1e-4)


def test_a_plane_of_a_network_is_within_the_tolerance(tmp_path: object) -> None:
    model = lf.models.mlp(inputs=(64,), classes=10, width=16, depth=2, seed=0)
    data = lf.data.digits(per_class=20)
    lf.train(model, data, lf.Recipe(epochs=5, batch_size=20, lr=0.1), device="cpu")
    landscape = lf.Landscape(model, data, device="cpu")
    right = surface.plane(landscape, steps=25)
    for within in ("range", "value"):
        made = surface.plane(landscape, steps=25, tolerance=0.01, within=within)
        apart = (made.losses - right.losses).abs()
        scale = right.losses if within == "value" else right.losses.max() - right.losses.min()
        assert float((apart / scale).max()) <= 0.01
        assert made.estimate is not None
        assert f"others to {made.estimate:.1%} of their {within}" in str(made)
        assert made.errors is not None
        assert right.errors is not None
        assert float((made.errors - right.errors)[made.read].abs().max()) <= 0.011
        assert made.passes == int(made.read.sum()) + 3 + 1  # the check against the plain reading, and the centre
    assert int(surface.plane(landscape, steps=25, tolerance=0.01).read.sum()) < 300


def test_an_adaptive_plane_on_disk_is_the_same(tmp_path) -> None:
    model = lf.models.mlp(inputs=(64,), classes=10, width=8, depth=1, seed=0)
    landscape = lf.Landscape(model, lf.data.digits(per_class=5), device="cpu")
    made = surface.plane(landscape, steps=13, tolerance=0.05, out=tmp_path / "plane")
    for again in (
        surface.load(tmp_path / "plane"),
        surface.plane(landscape, steps=13, tolerance=0.05, out=tmp_path / "plane"),
    ):
        assert torch.equal(again.losses, made.losses)
        assert torch.equal(again.read, made.read)
        assert (again.tolerance, again.within, again.estimate) == (0.05, "range", made.estimate)
    with pytest.raises(BadInput, match="tolerance differ"):
        surface.plane(landscape, steps=13, out=tmp_path / "plane")


def test_no_such_tolerance() -> None:
    model = lf.models.mlp(inputs=(64,), classes=10, width=8, depth=1, seed=0)
    landscape = lf.Landscape(model, lf.data.digits(per_class=5), device="cpu")
    with pytest.raises(BadInput, match="tolerance is"):
        surface.plane(landscape, tolerance=1.5)
    with pytest.raises(BadInput, match="within is 'colour'"):
        surface.plane(landscape, tolerance=0.1, within="colour")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="way is 'slow'"):
        surface.plane(landscape, way="slow")  # type: ignore[arg-type]
