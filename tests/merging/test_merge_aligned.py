"""Means of aligned networks, and REPAIR, through the one way in."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import landform as lf
from landform import alignment, merging
from landform.errors import BadInput


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def setting(norm: str = "none") -> tuple[lf.Landscape, Tensor]:
    x = draw(40, 3, 8, 8)
    y = torch.randint(0, 3, (40,), generator=torch.Generator().manual_seed(1))
    model = lf.models.small_cnn(inputs=(3, 8, 8), classes=3, width=4, norm=norm).double()
    where = lf.Landscape(model, (x, y), device="cpu", batch_size=20)
    return where, where.here + 0.1 * draw(where.layout.size, seed=2)


@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("match", ["weights", "activations"])
@pytest.mark.parametrize("to", ["universe", "first"])
def test_permuted_copies_merge_into_the_one_they_are(norm: str, match: str, to: str) -> None:
    where, point = setting(norm)
    found = alignment.symmetries(where)
    copies = torch.stack([point, *(found.apply(point, found.random(seed)) for seed in range(2))])
    merged = merging.merge(copies, method="aligned", data=where, match=match, to=to)
    torch.testing.assert_close(merged.point, point)
    assert merged.facts["after"] < 1e-6 < merged.facts["before"]
    if norm == "batch":
        for name, buffer in where.calibrate(point).items():
            torch.testing.assert_close(merged.buffers[name], buffer)


def test_it_is_the_weighted_mean_of_what_alignment_gives() -> None:
    where, point = setting()
    points = point + 0.1 * draw(3, len(point), seed=5)
    universe = alignment.align_many(where, points, seed=3).points
    shares = torch.tensor([0.5, 0.25, 0.25]).double()
    merged = merging.merge(points, method="aligned", data=where, weights=(2, 1, 1), seed=3)
    torch.testing.assert_close(merged.point, shares @ universe)
    moved = [points[0], *(alignment.align(where, points[0], one, method="activations").point for one in points[1:])]
    merged = merging.merge(points, method="aligned", data=where, to="first", match="activations")
    torch.testing.assert_close(merged.point, torch.stack(moved).mean(0))


def test_repair_alone_and_behind_alignment() -> None:
    where, point = setting()
    a, b = point + 0.2 * draw(2, len(point), seed=6)
    plain = alignment.repair(where, a, b, at=0.25)
    found = merging.merge([a, b], method="repair", data=where, weights=(3, 1))
    torch.testing.assert_close(found.point, plain.point)
    assert found.facts["repaired"] == plain.layers
    matched = alignment.align(where, a, b).point
    found = merging.merge([a, b], method="aligned", data=where, repair=True)
    torch.testing.assert_close(found.point, alignment.repair(where, a, matched).point)
    assert found.facts["collapse"] == alignment.repair(where, a, matched).collapse


def test_what_is_wrong_is_said() -> None:
    where, point = setting()
    points = point + draw(3, len(point))
    for options, said in (
        ({"method": "repair"}, "repair merges 2 sources, and 3 given"),
        ({"method": "aligned", "repair": True}, "there are 3 sources"),
        ({"method": "aligned", "match": "features"}, "match of aligned is 'features'"),
        ({"method": "aligned", "weights": (1, 1, -1)}, "numbers of 0 or more"),
    ):
        with pytest.raises(BadInput, match=said):
            merging.merge(points, data=where, **options)
