"""Merge trees against flooding level by level, and on grids made by hand."""

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import landform as lf
from landform import surface


def _components(low, neighbours):
    """Connected parts of a set of places, by flood fill."""
    left = set(zip(*np.nonzero(low), strict=True))
    parts = []
    while left:
        edge, part = [left.pop()], set()
        while edge:
            at = edge.pop()
            part.add(at)
            for move in itertools.product((-1, 0, 1), repeat=low.ndim):
                to = tuple(a + m for a, m in zip(at, move, strict=True))
                if sum(map(abs, move)) <= (1 if neighbours == "sides" else low.ndim) and to in left:
                    left.remove(to)
                    edge.append(to)
        parts.append(part)
    return parts


def _plain_diagram(values, neighbours):
    """Persistence by its definition: each level's components, followed upwards."""
    found = []
    alive = {}  # lowest place of each component, to its value
    for level in sorted(set(values[~np.isnan(values)].tolist())):
        lowest = {min(part, key=lambda at: (values[at], at)) for part in _components(values <= level, neighbours)}
        found.extend((alive.pop(at), level) for at in set(alive) - lowest)
        for at in lowest - set(alive):
            alive[at] = values[at]
    found += [(value, math.inf) for value in alive.values()]
    return sorted((birth, death) for birth, death in found if death > birth)


_GRIDS = arrays.arrays(
    np.float64,
    st.one_of(
        st.tuples(st.integers(1, 9)), st.tuples(st.integers(1, 5), st.integers(1, 5)), st.just((3, 2, 3))
    ),
    elements=st.one_of(st.integers(0, 5).map(float), st.floats(-10, 10), st.just(math.nan)),
)  # fmt: skip


@given(values=_GRIDS, neighbours=st.sampled_from(["sides", "all"]))
def test_persistence_is_what_flooding_level_by_level_gives(values, neighbours):
    if np.isnan(values).all():
        with pytest.raises(lf.BadInput, match="no number"):
            surface.merge_tree(torch.from_numpy(values))
        return
    tree = surface.merge_tree(torch.from_numpy(values), neighbours=neighbours)
    assert sorted(map(tuple, tree.diagram.tolist())) == _plain_diagram(values, neighbours)
    persistence = [one.persistence for one in tree.basins]
    assert persistence == sorted(persistence, reverse=True)
    assert torch.equal(tree.labels == -1, torch.isnan(torch.from_numpy(values)))
    assert sum(one.share for one in tree.basins) == pytest.approx(float((~np.isnan(values)).mean()))
    for number, one in enumerate(tree.basins):
        assert one.value == values[one.place]
        assert one.share == pytest.approx(float((tree.labels == number).double().mean()))
        if one.into is not None:
            assert values[one.saddle_place] == one.saddle
            assert tree.basins[one.into].value <= one.value
            assert tree.basins[one.into].saddle >= one.saddle
    for level in values[~np.isnan(values)].tolist():
        assert tree.below(level) == len(_components(values <= level, neighbours))


@given(values=_GRIDS, least=st.floats(0, 5))
def test_a_simplified_tree_is_the_tree_without_its_ripples(values, least):
    if np.isnan(values).all():
        return
    whole = surface.merge_tree(torch.from_numpy(values))
    simple = whole.simplified(least)
    kept = [one for one in whole.diagram.tolist() if one[1] - one[0] > least]
    assert simple.diagram.tolist() == kept
    assert sum(one.share for one in simple.basins) == pytest.approx(sum(one.share for one in whole.basins))
    for number, one in enumerate(simple.basins):
        assert one.share == pytest.approx(float((simple.labels == number).double().mean()))


def test_two_valleys_made_by_hand():
    values = torch.tensor([5.0, 1.0, 2.0, 4.0, 3.0, 0.0, 6.0])
    tree = surface.merge_tree(values)
    deep, shallow = tree.basins
    assert (deep.place, deep.value, deep.saddle, deep.into) == ((5,), 0.0, math.inf, None)
    assert (shallow.place, shallow.value, shallow.saddle, shallow.saddle_place) == ((1,), 1.0, 4.0, (3,))
    assert shallow.into == 0
    assert tree.labels.tolist() == [1, 1, 1, 1, 0, 0, 0]
    assert (shallow.share, deep.share) == (4 / 7, 3 / 7)
    assert (tree.below(-1), tree.below(0.5), tree.below(2), tree.below(4)) == (0, 1, 2, 1)
    assert "2 basins" in str(tree)
    assert "climbs 3" in str(tree)
    hills = surface.merge_tree(values, maxima=True)
    assert [one.place for one in hills.basins] == [(6,), (0,), (3,)]


def test_corners_count_only_where_they_are_neighbours():
    values = torch.tensor([[0.0, 9.0], [9.0, 1.0]])
    assert len(surface.merge_tree(values)) == 1
    sides = surface.merge_tree(values, neighbours="sides")
    assert sides.diagram.tolist() == [[0.0, math.inf], [1.0, 9.0]]


def test_a_wall_of_nan_is_not_crossed():
    tree = surface.merge_tree(torch.tensor([[1.0, math.nan, 0.0], [2.0, math.nan, 3.0]]))
    assert tree.diagram.tolist() == [[0.0, math.inf], [1.0, math.inf]]
    assert tree.labels.tolist() == [[1, -1, 0], [1, -1, 0]]


def _bowl(widths, extent=3.0, steps=121):
    """A surface of an elongated quadratic bowl along orthonormal directions of a linear model."""
    model = torch.nn.Linear(2, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    inputs = torch.diag(torch.tensor(widths).double().reciprocal()) * 2**0.5
    landscape = lf.Landscape(model, (inputs, torch.zeros(2, 1).double()), loss="mse", device="cpu", dtype=torch.float64)
    return surface.plane(landscape, directions=torch.eye(2).double(), extent=extent, steps=steps)


def test_the_basin_below_a_level_has_the_size_and_shape_of_the_ellipse():
    bowl = _bowl((2.0, 0.5))  # the loss is (x / 2)^2 + (y / 0.5)^2
    found = surface.region(bowl, 1.0)
    assert found.size == pytest.approx(math.pi * 2.0 * 0.5, rel=0.05)  # 121 places across
    # An ellipse's places have the standard deviation of half its radius along each axis.
    assert found.widths.tolist() == pytest.approx([3**0.5 * 2.0, 3**0.5 * 0.5], rel=0.05)
    assert found.elongation == pytest.approx(4.0, rel=0.05)
    assert not found.cut
    assert surface.region(bowl, 9.0).cut
    assert found.share == pytest.approx(float((bowl.losses <= 1.0).double().mean()))
    assert "of the grid lies" in str(found)


def test_lengths_of_a_region_do_not_depend_on_the_units_of_its_directions():
    model = torch.nn.Linear(2, 1, bias=False)
    torch.nn.init.zeros_(model.weight)
    landscape = lf.Landscape(
        model, (torch.eye(2).double() * 2**0.5, torch.zeros(2, 1).double()), loss="mse", device="cpu",
        dtype=torch.float64,
    )  # fmt: skip
    skewed = torch.tensor([[0.5, 0.0], [0.3, 0.4]]).double()  # the loss is the squared distance from zero
    found = surface.region(surface.plane(landscape, directions=skewed, extent=5.0, steps=101), 1.0)
    assert found.size == pytest.approx(math.pi, rel=0.02)
    assert found.widths.tolist() == pytest.approx([3**0.5] * 2, rel=0.05)


def test_only_what_hangs_together_with_the_centre_is_the_basin():
    base = surface.line(_landscape(), extent=3.0, steps=7)
    losses = torch.tensor([0.0, 5.0, 1.0, 0.5, 1.0, 5.0, 0.0]).double()
    found = surface.region(type(base)(**{**vars(base), "losses": losses}), 2.0)
    assert found.inside.tolist() == [False, False, True, True, True, False, False]
    with pytest.raises(lf.BadInput, match=r"The loss at the centre is 0\.5, not below 0\.1"):
        surface.region(type(base)(**{**vars(base), "losses": losses}), 0.1)


def _landscape():
    torch.manual_seed(0)
    model = torch.nn.Linear(2, 2)
    return lf.Landscape(model, (torch.randn(4, 2), torch.tensor([0, 1, 1, 0])), device="cpu", dtype=torch.float64)


def test_surfaces_and_misuse():
    plane = surface.plane(_landscape(), steps=5, extent=2.0)
    tree = surface.merge_tree(plane)
    deepest = tree.basins[0]
    assert deepest.coordinates == (float(plane.alphas[deepest.place[0]]), float(plane.betas[deepest.place[1]]))
    assert deepest.value == float(plane.losses.min())
    assert surface.merge_tree(plane, errors=True).basins[0].value == float(plane.errors.min())
    with pytest.raises(lf.BadInput, match="neighbours is 'some'"):
        surface.merge_tree(plane, neighbours="some")
    with pytest.raises(lf.BadInput, match="least persistence"):
        surface.merge_tree(plane, least=-1.0)
    with pytest.raises(lf.BadInput, match="no number"):
        surface.merge_tree(torch.tensor(1.0))
    bare = type(plane)(**{**vars(plane), "errors": None})
    with pytest.raises(lf.BadInput, match="has no errors"):
        surface.merge_tree(bare, errors=True)
