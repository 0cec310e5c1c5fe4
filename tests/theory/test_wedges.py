"""The toy of wedges: its loss against a plain loop, and every law against a simulation."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import trapezoid
from scipy.optimize import linprog, lsq_linear

from landform.errors import BadInput
from landform.theory import wedges
from landform.theory.wedges import Wedges

D = 1000
ORIENTATIONS = ["axes", "random"]


def plain_loss(toy: Wedges, point: torch.Tensor) -> float:
    """The formula of the notes, one wedge and one coordinate at a time."""
    found = []
    for k in range(toy.count):
        basis = toy.basis(k)
        beyond = [max(0.0, abs(float(basis[:, i] @ point)) - toy.thickness) for i in range(toy.short)]
        found.append(math.sqrt(sum(b * b for b in beyond)))
    return min(found)


def optima(toy: Wedges, seed: int = 1) -> torch.Tensor:
    """One optimum on each wedge, each from a start of its own."""
    return torch.stack([toy.project(p, k) for k, p in enumerate(toy.gaussian(toy.count, seed=seed))])


def close(measured: list[float] | torch.Tensor, law: float, within: float = 0.05) -> None:
    mean = float(torch.as_tensor(measured, dtype=torch.float64).mean())
    assert mean == pytest.approx(law, rel=within)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("thickness", [0.0, 0.4])
def test_the_loss_and_its_gradient(orientation, thickness: float) -> None:
    toy = Wedges.draw(12, 7, 4, orientation=orientation, thickness=thickness, seed=3)
    points = toy.gaussian(6, seed=1).requires_grad_()
    losses = toy.loss(points)
    assert losses.tolist() == pytest.approx([plain_loss(toy, p) for p in points.detach()])
    (slopes,) = torch.autograd.grad(losses.sum(), points)
    torch.testing.assert_close(toy.gradient(points.detach()), slopes)
    ends = toy.project(points.detach())
    torch.testing.assert_close(toy.loss(ends), torch.zeros(6, dtype=torch.float64), atol=1e-12, rtol=0)
    torch.testing.assert_close((points - ends).norm(dim=1), losses)
    assert not toy.gradient(torch.zeros(12, dtype=torch.float64)).any()
    assert (toy.count, toy.short, toy.long) == (4, 5, 7)


@given(st.integers(2, 30), st.integers(1, 5), st.sampled_from(ORIENTATIONS), st.integers(0, 99))
def test_a_projection_is_the_nearest_point_of_its_wedge(dimension: int, count: int, orientation, seed: int) -> None:
    toy = Wedges.draw(dimension, dimension // 2, count, orientation=orientation, thickness=0.1, seed=seed)
    (point,) = toy.gaussian(1, seed=seed)
    which = seed % count
    end = toy.project(point, which)
    assert float((point - end).norm()) == pytest.approx(float(toy.distances(point)[which]))
    assert float(toy.loss(end)) < 1e-9
    assert float(toy.loss(2 * point)) <= 2 * float(toy.loss(point)) + 2 * 0.1 * math.sqrt(toy.short) + 1e-9


@pytest.mark.parametrize("short", [100, 200])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.9, 1.0])
def test_one_wedge_and_a_random_plane_follow_the_square_root(short: int, share: float) -> None:
    plane = int(share * short)
    found = []
    for seed in range(3):
        toy = Wedges.draw(D, D - short, 4, seed=seed)
        best = wedges.best_in_plane(toy, toy.gaussian(1, seed=seed + 10)[0], toy.plane(plane, seed=seed + 20))
        assert float(toy.loss(best.point)) == pytest.approx(best.loss, abs=1e-9)
        found += best.losses.tolist()
    law = wedges.plane_law(D, D - short, plane)
    if share == 1:
        assert law == 0
        assert max(found) < 1e-9
    else:
        close(found, law)
        assert law == pytest.approx(math.sqrt(short - plane), rel=0.03)
        assert wedges.threshold_law(D, D - short) == short


@pytest.mark.parametrize(("plane", "orientation"), [(40, "axes"), (100, "axes"), (160, "axes"), (60, "random")])
def test_the_best_of_many_wedges_is_the_least_of_as_many_chis(plane: int, orientation) -> None:
    short, count = (200, 50) if orientation == "axes" else (100, 12)
    found, one = [], []
    for seed in range(6):
        toy = Wedges.draw(D, D - short, count, orientation=orientation, seed=seed)
        best = wedges.best_in_plane(toy, toy.gaussian(1, seed=seed + 10)[0], toy.plane(plane, seed=seed + 20))
        found.append(best.loss)
        one.append(float(best.losses.mean()))
        if orientation == "random" and seed == 1:
            break
    law = wedges.plane_law(D, D - short, plane, wedges=count)
    close(found, law)
    assert law < 0.95 * wedges.plane_law(D, D - short, plane)  # one wedge's is only a bound


@pytest.mark.parametrize("count", [1, 5])
def test_descent_in_a_plane_comes_to_what_algebra_says(count: int) -> None:
    toy = Wedges.draw(D, D - 100, count, seed=2)
    (origin,) = toy.gaussian(1, seed=3)
    plane = toy.plane(40, seed=4)
    best = wedges.best_in_plane(toy, origin, plane)
    ended = wedges.descend(toy, origin, plane, rate=4.0, momentum=0.8, steps=150)
    # It stays with the wedge it began to go to, which need not be the best.
    assert float(ended.losses[-1]) == pytest.approx(float(best.losses[ended.wedge]), rel=1e-4)
    assert best.start == pytest.approx(float(ended.losses[0]))
    free = wedges.descend(toy, origin, steps=1)
    assert float(free.losses[-1]) < 1e-12


def test_thick_wedges_in_a_plane_against_a_bounded_least_squares_solver() -> None:
    toy = Wedges.draw(60, 30, 3, orientation="random", thickness=0.3, seed=0)
    (origin,) = toy.gaussian(1, seed=1)
    plane = toy.plane(12, seed=2)
    best = wedges.best_in_plane(toy, origin, plane, tol=1e-9)
    for k in range(3):
        basis = toy.basis(k).numpy()
        left = np.hstack([basis.T @ plane.numpy(), -np.eye(30)])  # G z - v, |v| <= h
        bounds = (np.r_[-np.full(12, np.inf), -np.full(30, 0.3)], np.r_[np.full(12, np.inf), np.full(30, 0.3)])
        solved = lsq_linear(left, -basis.T @ origin.numpy(), bounds=bounds, tol=1e-12)
        assert float(best.losses[k]) == pytest.approx(math.sqrt(2 * solved.cost), rel=1e-4)


@pytest.mark.parametrize("thickness", [0.2, 0.5])
def test_thick_wedges_follow_the_comparison_theorem(thickness: float) -> None:
    toy = Wedges.draw(D, D - 200, 8, thickness=thickness, seed=1)
    (origin,) = toy.gaussian(1, seed=5)
    close(toy.distances(origin), wedges.plane_law(D, D - 200, 0, thickness=thickness))
    for plane in (50, 100):
        best = wedges.best_in_plane(toy, origin, toy.plane(plane, seed=6))
        close(best.losses, wedges.plane_law(D, D - 200, plane, thickness=thickness))
    beyond = wedges.best_in_plane(toy, origin, toy.plane(195, seed=6))
    assert beyond.loss < 1e-2 * beyond.start
    thin = wedges.plane_law(D, D - 200, 100)
    assert wedges.plane_law(D, D - 200, 100, thickness=1e-4) == pytest.approx(thin, rel=0.01)


def meets(toy: Wedges, seed: int, plane: int) -> bool:
    """Whether a random plane meets a thick wedge, as a linear program."""
    (origin,) = toy.gaussian(1, seed=seed)
    slopes = toy.coordinates(toy.gaussian(plane, seed=seed + 1000), 0).T.numpy()
    offset = toy.coordinates(origin, 0).numpy()
    h = toy.thickness
    both = linprog(
        np.zeros(plane),
        A_ub=np.vstack([slopes, -slopes]),
        b_ub=np.r_[h - offset, h + offset],
        bounds=(None, None),
        method="highs",
    )
    return both.status == 0


def test_thick_wedges_are_met_from_a_threshold_on() -> None:
    toy = Wedges.draw(D, D - 100, 1, thickness=0.5, seed=0)
    law = wedges.threshold_law(D, D - 100, thickness=0.5)
    assert 80 < law < 90
    below, above = (sum(meets(toy, seed, round(law + side)) for seed in range(6)) for side in (-18, 18))
    assert (below, above) == (0, 6)
    assert wedges.plane_law(D, D - 100, math.ceil(law), thickness=0.5) == pytest.approx(0, abs=1e-3)


@pytest.mark.parametrize(
    ("short", "orientation"), [(50, "axes"), (200, "axes"), (500, "axes"), (50, "random"), (200, "random")]
)
def test_lines_arcs_and_connectors(short: int, orientation) -> None:
    pairs = 12 if orientation == "axes" else 3
    toy = Wedges.draw(D, D - short, 2 * pairs, orientation=orientation, seed=1)
    ends = optima(toy).view(pairs, 2, D)
    long = D - short
    straight, arcs, middle, whole = [], [], [], []
    for a, b in ends:
        straight.append(wedges.barrier(toy, a, b))
        arcs.append(wedges.barrier(toy, a, b, arc=True))
        middle.append(wedges.connector(toy, a, b, only_middle=True)[1])
        whole.append(wedges.connector(toy, a, b)[1])
    close(straight, wedges.barrier_law(D, long))
    close(arcs, wedges.arc_law(D, long))
    close(middle, wedges.midpoint_law(D, long, orientation=orientation))
    assert max(whole) < 1e-9


def test_the_line_is_a_tent() -> None:
    toy = Wedges.draw(D, 800, 2, seed=1)
    a, b = optima(toy)
    for t in (0.1, 0.3, 0.5, 0.8):
        assert float(toy.loss(a + t * (b - a))) == pytest.approx(wedges.barrier_law(D, 800, at=t), rel=0.08)


@pytest.mark.parametrize("thickness", [0.2, 0.6])
def test_thick_wedges_have_lower_barriers(thickness: float) -> None:
    toy = Wedges.draw(D, 800, 16, thickness=thickness, seed=1)
    ends = optima(toy).view(8, 2, D)
    close([wedges.barrier(toy, a, b) for a, b in ends], wedges.barrier_law(D, 800, thickness=thickness))
    assert wedges.barrier_law(D, 800, thickness=1e-6) == pytest.approx(wedges.barrier_law(D, 800), rel=1e-3)
    assert wedges.barrier_law(D, 800, at=0.0, thickness=0.2) == 0


@pytest.mark.parametrize("short", [50, 200, 500])
def test_optima_of_one_start(short: int) -> None:
    toy = Wedges.draw(D, D - short, 8, seed=1)
    (start,) = toy.gaussian(1, seed=2)
    ends = torch.stack([toy.project(start, k) for k in range(8)])
    units = ends / ends.norm(dim=1, keepdim=True)
    angles = [math.degrees(math.acos(float(units[i] @ units[j]))) for i, j in itertools.combinations(range(8), 2)]
    close(angles, wedges.angle_law(D, D - short, one_start=True))
    arcs = [wedges.barrier(toy, ends[2 * i], ends[2 * i + 1], arc=True) for i in range(4)]
    close(arcs, wedges.arc_law(D, D - short, one_start=True))
    apart = optima(toy)
    assert math.degrees(math.acos(float(apart[0] @ apart[1] / apart[0].norm() / apart[1].norm()))) == pytest.approx(
        wedges.angle_law(D, D - short), abs=6
    )


@pytest.mark.parametrize("orientation", ORIENTATIONS)
@pytest.mark.parametrize("short", [50, 200])
def test_tunnels(short: int, orientation) -> None:
    toy = Wedges.draw(D, D - short, 3, orientation=orientation, seed=1)
    (point, *_) = optima(toy)
    ways = toy.gaussian(30, seed=7)
    ways /= ways.norm(dim=1, keepdim=True)
    widths = wedges.tunnel(toy, point, ways, 1.0)
    close(widths, wedges.tunnel_law(D, D - short, 1.0))
    at = torch.stack([toy.loss(point + width * way) for width, way in zip(widths, ways, strict=True)])
    torch.testing.assert_close(at, torch.ones(30, dtype=torch.float64))
    assert wedges.tunnel(toy, point, (point / point.norm()).unsqueeze(0), 1.0).item() > 1e6  # along the radius
    # Turning: from the point towards a direction at right angles to it.
    radius = float(point.norm())
    across = ways - (ways @ point)[:, None] * point / radius**2
    across /= across.norm(dim=1, keepdim=True)
    angle = math.radians(wedges.angular_width_law(D, D - short, 1.0, radius))
    close(toy.loss(math.cos(angle) * point + math.sin(angle) * radius * across), 1.0)
    assert wedges.angular_width_law(D, D - short, 1.0, 1.0) == 90.0


def test_thick_tunnels_and_tunnels_through_two_wedges() -> None:
    toy = Wedges.draw(D, 900, 1, thickness=0.1, seed=1)
    ways = toy.gaussian(20, seed=3)
    ways /= ways.norm(dim=1, keepdim=True)
    middle = wedges.connect(toy, toy.gaussian(1, seed=2)[0], [0])
    widths = wedges.tunnel(toy, middle, ways, 1.0)
    close(widths, wedges.tunnel_law(D, 900, 1.0, thickness=0.1))
    assert wedges.tunnel_law(D, 900, 1.0, thickness=0.1) > 1.2 * wedges.tunnel_law(D, 900, 1.0)
    # Two wedges in the plane, one along each axis: a way along the first goes on beyond the second.
    cross = Wedges(2, torch.tensor([[1], [0]]), None)
    way = torch.tensor([[1.0, 0.1]], dtype=torch.float64)
    assert wedges.tunnel(cross, torch.tensor([-3.0, 0.0], dtype=torch.float64), way, 0.5).item() == pytest.approx(5.0)
    at = torch.linspace(0, 5, 999, dtype=torch.float64)[:, None] * way + torch.tensor([-3.0, 0.0], dtype=torch.float64)
    assert float(cross.loss(at).max()) == pytest.approx(0.5, abs=1e-3)


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_common_parts(orientation) -> None:
    for short in (50, 200):
        toy = Wedges.draw(D, D - short, 5, orientation=orientation, seed=2)
        for m in (1, 2, 3, 5) if orientation == "axes" or short == 50 else (2,):
            found = wedges.common(toy, range(m))
            law = wedges.common_law(D, D - short, m, orientation=orientation)
            assert found == pytest.approx(law, rel=0.05)
            (point,) = toy.gaussian(1, seed=m)
            inside = wedges.connect(toy, point, range(m))
            assert float(toy.distances(inside)[:m].max()) < 1e-9
    assert wedges.common_law(D, 800, 6, orientation="random") == 0


def test_how_many_optima_have_a_connector() -> None:
    most = wedges.most_connected(100, 90, orientation="random")
    assert most == 9
    toy = Wedges.draw(100, 90, 12, orientation="random", seed=0)
    assert wedges.common(toy, range(most)) == 10
    assert wedges.common(toy, range(most + 1)) == 0
    axes = wedges.most_connected(D, 800)
    assert wedges.common_law(D, 800, axes) >= 1 > wedges.common_law(D, 800, axes + 1)
    assert wedges.most_connected(10, 0) == 0


def test_principal_angles_of_random_wedges() -> None:
    toy = Wedges.draw(400, 300, 2, orientation="random", seed=0)
    cosines = torch.linalg.svdvals(toy.basis(0).T @ toy.basis(1)).numpy()
    grid = np.linspace(0, 1, 4001)
    density = wedges.cosine_density(400, 300, grid)
    assert trapezoid(density, grid) == pytest.approx(1, abs=0.01)
    assert (cosines**2).mean() == pytest.approx(trapezoid(density * grid**2, grid), rel=0.05)
    assert cosines.max() == pytest.approx(grid[density > 0].max(), rel=0.05)
    for q in (0.25, 0.5, 0.75):
        at = np.searchsorted(np.cumsum(density) * (grid[1] - grid[0]), q)
        assert np.quantile(cosines, q) == pytest.approx(grid[at], abs=0.03)


def test_a_fit_finds_the_short_directions() -> None:
    planes, losses = (0, 20, 50, 100, 150, 180, 220, 260), []
    for d in planes:
        each = []
        for seed in range(2):
            toy = Wedges.draw(D, 800, 3, seed=seed)
            (origin,) = toy.gaussian(1, seed=seed + 10)
            best = (
                wedges.best_in_plane(toy, origin, toy.plane(d, seed=seed + 20)).losses if d else toy.distances(origin)
            )
            each += best.tolist()
        losses.append(float(np.mean(each)))
    found = wedges.fit_wedge(D, planes, losses)
    assert found.short == pytest.approx(200, rel=0.05)
    assert found.long == D - found.short
    assert found.start == pytest.approx(math.sqrt(200), rel=0.05)
    assert found.residual < 0.02
    assert found.law([0, 300]).tolist() == [pytest.approx(found.start), 0]
    noisy = wedges.fit_wedge(100, [1, 10], [3.0, 2.0])
    assert noisy.law([1, 10]).tolist() == pytest.approx([3.0, 2.0], rel=1e-2)


MISUSE = {
    "long": (lambda: Wedges.draw(10, 10), "no 50 wedges of 10 long"),
    "orientation": (lambda: Wedges.draw(10, 5, orientation="skew"), "orientation is 'skew'"),
    "point": (lambda: Wedges.draw(10, 5).loss(torch.zeros(9)), r"tensor \[..., 10\]; got shape \[9\]"),
    "plane": (lambda: Wedges.draw(10, 5).plane(11), "does not fit into 10"),
    "directions": (lambda: wedges.best_in_plane(Wedges.draw(10, 5), torch.zeros(10), torch.zeros(9, 2)), "A plane is"),
    "threshold": (lambda: wedges.tunnel(Wedges.draw(10, 5), torch.ones(10), torch.ones(1, 10), 0.1), "above the thr"),
    "rate": (lambda: wedges.descend(Wedges.draw(10, 5), torch.ones(10), rate=0.0), "rate above 0"),
    "start": (lambda: wedges.descend(Wedges.draw(10, 5), torch.ones(9)), "start is a point"),
    "law": (lambda: wedges.barrier_law(10, 10), "0 <= n < D"),
    "thick and many": (lambda: wedges.plane_law(10, 5, 2, wedges=3, thickness=0.1), "that of one wedge"),
    "common": (lambda: wedges.common_law(10, 5, 2, orientation="skew"), "orientation is 'skew'"),
    "one plane": (lambda: wedges.fit_wedge(10, [2, 2], [1.0, 1.0]), "two or more plane dimensions"),
    "flat": (lambda: wedges.fit_wedge(10, [2, 4], [1.0, 2.0]), "do not fall"),
    "cosines": (lambda: wedges.cosine_density(10, 4, np.zeros(1)), "n >= D / 2"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISUSE)
def test_misuse_is_one_sentence(name: str) -> None:
    act, says = MISUSE[name]
    with pytest.raises(BadInput, match=says):
        act()
