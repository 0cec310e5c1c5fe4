"""Arrays put together from single results hold each number in its place, and nan everywhere else."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from landform.atlas._labelled import Piece, assemble, to_numpy
from landform.errors import BadInput

DTYPES = st.sampled_from([np.float64, np.float32, np.int64, np.int32, np.bool_])


@st.composite
def pieces(draw: st.DrawFn) -> list[Piece]:
    dtype = draw(DTYPES)
    dims = draw(st.sampled_from([(), ("a",), ("a", "b")]))
    ragged = draw(st.booleans())
    shape = arrays.array_shapes(min_dims=len(dims), max_dims=len(dims), min_side=0, max_side=3)
    common = draw(shape) if dims else ()
    sets = draw(st.sampled_from([[None], ["train"], ["test", "train"], ["x", "y", "train"]]))
    places = draw(st.lists(st.tuples(st.sampled_from(sets), st.integers(0, 40)), min_size=1, max_size=12, unique=True))
    elements = st.integers(0, 1) if dtype is np.bool_ else st.integers(-5, 5)
    found = []
    for name, step in places:
        size = draw(shape) if ragged and dims else common
        numbers = draw(arrays.arrays(dtype, size, elements=elements))
        found.append(Piece(name, step, step / 8, numbers, dims, {}))
    return found


@given(pieces())
def test_every_number_is_in_its_place_and_nothing_else(given: list[Piece]) -> None:
    labelled = assemble("q", given)
    sets = sorted({p.set for p in given}, key=lambda name: (name != "train", name or ""))
    steps = sorted({p.step for p in given})
    assert labelled.coords["step"].tolist() == steps
    assert labelled.coords["time"].tolist() == [step / 8 for step in steps]
    assert labelled.dims == (("set",) if len(sets) > 1 else ()) + ("time", *given[0].dims)
    if len(sets) > 1:
        assert labelled.coords["set"].tolist() == sets
    assert labelled.values.ndim == len(labelled.dims)
    values = labelled.values if len(sets) > 1 else labelled.values[None]
    expected = np.full(values.shape, np.nan)
    for piece in given:
        for inner in np.ndindex(piece.numbers.shape):
            expected[(sets.index(piece.set), steps.index(piece.step), *inner)] = piece.numbers[inner]
    np.testing.assert_array_equal(values.astype(np.float64), expected)
    for i, dim in enumerate(given[0].dims):
        sizes = {piece.numbers.shape[i] for piece in given}
        assert (dim in labelled.lengths) == (len(sizes) > 1)
        if dim in labelled.lengths:
            lengths = labelled.lengths[dim] if len(sets) > 1 else labelled.lengths[dim][None]
            for piece in given:
                assert lengths[sets.index(piece.set), steps.index(piece.step)] == piece.numbers.shape[i]
    whole = len(given) == len(sets) * len(steps) and not labelled.lengths
    if whole:
        assert labelled.values.dtype == given[0].numbers.dtype


def test_labels_go_with_their_dimension() -> None:
    long = Piece(None, 0, 0.0, np.zeros(3), ("k",), {"k": ["a", "b", "c"]})
    short = Piece(None, 1, 0.1, np.ones(2), ("k",), {"k": ["a", "b"]})
    found = assemble("q", [long, short])
    assert found.coords["k"].tolist() == ["a", "b", "c"]
    assert found.lengths["k"].tolist() == [3, 2]
    other = Piece(None, 2, 0.2, np.ones(2), ("k",), {"k": ["b", "c"]})
    with pytest.raises(BadInput, match="other labels along 'k'"):
        assemble("q", [long, other])
    with pytest.raises(BadInput, match="other labels along 'k'"):
        assemble("q", [long, Piece(None, 2, 0.2, np.ones(2), ("k",), {})])


def test_results_of_other_dimensions_are_refused() -> None:
    with pytest.raises(BadInput, match="give one of them another name"):
        assemble("q", [Piece(None, 0, 0.0, np.zeros(3), ("k",), {}), Piece(None, 1, 0.1, np.zeros(3), ("j",), {})])


def test_every_type_that_can_be_stored_can_be_read() -> None:
    for dtype in (torch.float16, torch.float32, torch.float64, torch.int8, torch.int64, torch.bool):
        assert str(to_numpy(torch.ones(2, dtype=dtype)).dtype) == str(dtype).removeprefix("torch.")
    assert to_numpy(torch.tensor([1.5], dtype=torch.bfloat16)).tolist() == [1.5]
