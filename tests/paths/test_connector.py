"""Connectors of many points: plain references of their geometry, known landscapes, what stands beside them."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

import landform as lf
from landform.errors import BadInput
from landform.paths import barrier, connector, curve
from landform.paths._simplex import Geometry, bezier, pieces, star


class Bowl(nn.Module):
    """Parameters alone; its outputs are a function of them."""

    def __init__(self, size: int, function: object) -> None:
        super().__init__()
        self.x = nn.Parameter(torch.zeros(size, dtype=torch.float64))
        self.function = function

    def forward(self, inputs: Tensor) -> Tensor:
        return self.function(self.x).expand(len(inputs), -1)  # type: ignore[operator]


def sphere(size: int) -> lf.Landscape:
    """Zero loss on the unit sphere, one at the centre."""
    data = (torch.zeros(4, 1, dtype=torch.float64), torch.zeros(4, 1, dtype=torch.float64))
    return lf.Landscape(Bowl(size, lambda x: (x.square().sum() - 1).reshape(1)), data, loss="mse", device="cpu")


def recipe(lr: float = 0.02) -> lf.Recipe:
    return lf.Recipe(batch_size=4, optimizer="adam", lr=lr, schedule="cosine")


def some_shares(m: int, seed: int, n: int = 5) -> Tensor:
    made = torch.rand(n, m, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) + 1e-3
    return made / made.sum(1, keepdim=True)


def built(kind: str, m: int) -> Geometry:
    return {"star": star, "bezier": bezier, "pieces": pieces, "centre": lambda m: pieces(m, (m,))}[kind](m)


@given(st.sampled_from(["star", "bezier", "pieces", "centre"]), st.integers(2, 6), st.integers(0, 1000))
def test_every_connector_begins_as_the_plain_simplex_and_keeps_its_corners(kind: str, m: int, seed: int) -> None:
    geometry = built(kind, m)
    torch.manual_seed(seed)
    for shares in (geometry.draw(6), geometry.inside(6), torch.eye(m, dtype=torch.float64)):
        torch.testing.assert_close(shares.sum(1), torch.ones(len(shares), dtype=torch.float64))
        assert bool((shares >= 0).all())
        weights = geometry.weigh(shares)
        assert bool((weights >= -1e-12).all())
        # With every free node where it begins, a point is the plain mixture of the optima.
        torch.testing.assert_close(weights[:, :m] + weights[:, m:] @ geometry.begin, shares)
    corners = geometry.weigh(torch.eye(m, dtype=torch.float64))
    torch.testing.assert_close(corners, torch.eye(m, m + len(geometry.begin), dtype=torch.float64))


@given(st.integers(2, 5), st.integers(0, 1000))
def test_the_bezier_simplex_is_that_of_repeated_mixing(m: int, seed: int) -> None:
    nodes = torch.randn(m + math.comb(m, 2), 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    shares = some_shares(m, seed)
    control = torch.zeros(m, m, 3, dtype=torch.float64)
    for i in range(m):
        control[i, i] = nodes[i]
    for k, (i, j) in enumerate(itertools.combinations(range(m), 2)):
        control[i, j] = control[j, i] = nodes[m + k]
    plain = torch.einsum("ni,nj,ijp->np", shares, shares, control)  # de Casteljau, both rounds at once
    torch.testing.assert_close(bezier(m).weigh(shares) @ nodes, plain)


@given(st.integers(2, 5), st.integers(0, 1000))
def test_pieces_are_straight_between_the_nodes_of_nested_faces(m: int, seed: int) -> None:
    geometry = pieces(m)
    nodes = torch.randn(m + len(geometry.names), 3, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    node = {(k,): nodes[k] for k in range(m)} | dict(zip(geometry.names, nodes[m:], strict=True))
    order = torch.randperm(m, generator=torch.Generator().manual_seed(seed)).tolist()
    nested = [tuple(sorted(order[: j + 1])) for j in range(m)]
    mixed = some_shares(m, seed, 1)[0]
    # A mixture of the barycentres of nested faces lies in one piece, where the map is that of their nodes.
    shares = sum(mixed[j] * torch.eye(m, dtype=torch.float64)[list(face)].mean(0) for j, face in enumerate(nested))
    plain = sum(mixed[j] * node[face] for j, face in enumerate(nested))
    torch.testing.assert_close((geometry.weigh(shares[None]) @ nodes)[0], plain)
    whole = pieces(m, (2, m)).names
    assert whole == (*itertools.combinations(range(m), 2), *([tuple(range(m))] if m > 2 else []))


def test_a_star_runs_from_the_hub_by_the_middles_to_the_optima() -> None:
    geometry = star(3)
    hub, own = torch.full((3,), 1 / 3, dtype=torch.float64), torch.eye(3, dtype=torch.float64)
    weights = geometry.weigh(torch.stack([hub, (hub + own[1]) / 2, 0.25 * hub + 0.75 * own[2]]))
    plain = torch.zeros(3, 7, dtype=torch.float64)
    plain[0, 3] = plain[1, 5] = 1.0
    plain[2, 6] = plain[2, 2] = 0.5
    torch.testing.assert_close(weights, plain)


@pytest.mark.parametrize("kind", ["star", "bezier", "pieces"])
def test_optima_on_a_sphere_are_joined_over_it(kind: str) -> None:
    m = 3
    landscape, optima = sphere(m), torch.eye(m, dtype=torch.float64)
    found = connector(landscape, optima, kind=kind, steps=300, draws=8, samples=64, recipe=recipe())  # type: ignore[arg-type]
    assert found.plain.inside.highest > 0.3
    assert found.trained.inside.highest < 0.1 * found.plain.inside.highest
    assert found.trained.inside.mean < 0.05 * found.plain.inside.mean
    assert torch.equal(found.nodes[:m], optima)
    assert found.trained.optima.tolist() == pytest.approx([0.0] * m, abs=1e-12)
    if kind != "star":
        assert found.trained.edges is not None
        assert found.plain.edges is not None
        assert found.trained.edges.highest < 0.2 * found.plain.edges.highest
    else:
        assert found.trained.edges is None


def test_midpoints_move_at_right_angles_to_the_optima() -> None:
    # In five dimensions, where the sphere can be reached at right angles to the plane of three points of it.
    landscape, optima = sphere(5), torch.eye(5, dtype=torch.float64)[:3]
    whole = 2 * torch.rand(5, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) - 1
    optima = optima @ torch.linalg.qr(torch.outer(whole, whole) + torch.eye(5, dtype=torch.float64))[0]
    for kind in ("star", "pieces"):
        found = connector(landscape, optima, kind=kind, method="midpoint", steps=400, samples=32, recipe=recipe(0.05))  # type: ignore[arg-type]
        moved = found.nodes[3:] - found._how.geometry.begin @ optima
        span = optima[1:] - optima[0]
        torch.testing.assert_close(moved @ span.T, torch.zeros(len(moved), 2, dtype=torch.float64), rtol=0, atol=1e-9)
        assert float(moved.norm(dim=1).max()) > 0.1
        assert float(landscape.loss(found.nodes[3:]).max()) < 0.01
        assert found.method == "midpoint"


def test_two_optima_are_a_curve() -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.ReLU(), nn.Linear(6, 10))
    data = lf.data.digits(per_class=6)
    landscape = lf.Landscape(net, data, device="cpu")
    a, b = landscape.here + 0.3 * torch.randn(2, landscape.layout.size, generator=torch.Generator().manual_seed(1))
    found = connector(landscape, torch.stack([a, b]), steps=60, samples=16, on={"test": data.test})
    alone = curve(landscape, a, b, steps=60)
    # The same family of paths, of about the same loss; t and shares are drawn in another way.
    ts = torch.linspace(0, 1, 9, dtype=torch.float64)
    there = torch.stack([1 - ts, ts], 1)
    assert found.nodes.shape == (3, landscape.layout.size)
    assert float(landscape.loss(found.points(there)).mean()) == pytest.approx(
        float(landscape.loss(alone.points(ts)).mean()), rel=0.1
    )
    edge = barrier(landscape, a, b, steps=11, refine=0)
    assert found.plain.edges is not None
    assert found.plain.edges.losses.tolist() == pytest.approx(edge.losses[1:-1].tolist(), rel=1e-4)
    # What is said is what is read.
    inside = found.trained.inside
    losses = landscape.loss(found.points(inside.shares))
    assert inside.losses.tolist() == pytest.approx(losses.tolist(), rel=1e-4)
    assert inside.highest == float(inside.losses.max())
    assert inside.standard_error == pytest.approx(float(inside.losses.std()) / 4)
    test = landscape.on(data.test)
    trained, plain = found.on["test"]
    assert trained.inside.losses.tolist() == pytest.approx(test.loss(found.points(inside.shares)).tolist(), rel=1e-4)
    assert plain.optima.tolist() == pytest.approx(test.loss(torch.stack([a, b])).tolist(), rel=1e-5)
    twice = found.more()
    assert (twice.steps, twice.earlier) == (120, ((60, inside.mean, inside.highest),))
    assert torch.equal(twice.trained.inside.shares, inside.shares)
    assert "begun linear, seed 0" in str(twice)
    assert "after 60 steps" in str(twice)
    assert torch.equal(connector(landscape, torch.stack([a, b]), steps=60, samples=16).nodes, found.nodes)


def test_misuse_is_told_in_a_sentence() -> None:
    landscape, optima = sphere(3), torch.eye(3, dtype=torch.float64)
    with pytest.raises(BadInput, match="at least 2"):
        connector(landscape, optima[:1])
    with pytest.raises(BadInput, match="second point holds NaN"):
        connector(landscape, torch.stack([optima[0], optima[1] * float("nan")]))
    with pytest.raises(BadInput, match="no connector of the kind"):
        connector(landscape, optima, kind="cube")  # type: ignore[arg-type]
    with pytest.raises(BadInput, match="does not go with 'bezier'"):
        connector(landscape, optima, method="midpoint")
    with pytest.raises(BadInput, match="sizes belongs to"):
        connector(landscape, optima, sizes=(2,))
    with pytest.raises(BadInput, match="numbers from 2 to 3"):
        connector(landscape, optima, kind="pieces", sizes=(2, 4))
    with pytest.raises(BadInput, match="8192 faces"):
        connector(sphere(13), torch.eye(13, dtype=torch.float64), kind="pieces")
