"""Weights on disk that shall be merged, held beside one another before a number of them is read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import torch

from landform.errors import BadInput
from landform.merging._places import Stored
from landform.merging._reading import Held

# How packed weights are called by those who pack them.
_PACKED = re.compile(r".*(qweight|qzeros|g_idx|absmax|quant_map|quant_state|weight_packed|\.SCB|weight_format).*")


@dataclass(frozen=True)
class Beside:
    """Sources of one architecture, and what becomes of each of their tensors.

    Attributes:
        sources: the sources.
        base: the base, or None.
        merged: names of the tensors a method merges, in the order of the first source.
        averaged: names of statistics, which are averaged whatever the method.
        kept: names of tensors that are no floating-point numbers, which are those of the first source.
        out: type and shape of each tensor of the merge.
    """

    sources: tuple[Stored, ...]
    base: Stored | None
    merged: tuple[str, ...]
    averaged: tuple[str, ...]
    kept: tuple[str, ...]
    out: Mapping[str, Held]

    @property
    def every(self) -> tuple[Stored, ...]:
        """The sources, and the base if there is one."""
        return self.sources if self.base is None else (*self.sources, self.base)


def put_beside(sources: Sequence[Stored], base: Stored | None, dtype: torch.dtype | None) -> Beside:
    """Check that weights are of one architecture.

    Args:
        sources: at least one.
        base: the base, or None.
        dtype: for the floating-point tensors of the merge; None for those of the first source.

    Returns:
        What becomes of each tensor.

    Raises:
        BadInput: when a tensor is missing, of another shape, or of another type and no type is asked for; the message
            names the first one.
    """
    first = sources[0]
    for other in [*sources[1:], *([] if base is None else [base])]:
        _same_names(first, other)
        for name in first.files:
            _same_tensor(first, other, name, dtype)
    merged, averaged, kept = [], [], []
    for name in first.files:
        held = first.held(name)
        if not held.dtype.is_floating_point:
            if _PACKED.fullmatch(name):
                raise BadInput(
                    f"{first.name} holds quantised weights ({name}), of which no merge can be made: give those it was "
                    "quantised from."
                )
            kept.append(name)
        elif name in first.buffers:
            averaged.append(name)
        else:
            merged.append(name)
    if not merged:
        raise BadInput(f"{first.name} holds no floating-point weights: there is nothing to merge.")
    out = {}
    for name in first.files:
        held = first.held(name)
        out[name] = replace(held, dtype=dtype) if dtype is not None and held.dtype.is_floating_point else held
    return Beside(tuple(sources), base, tuple(merged), tuple(averaged), tuple(kept), out)


def _same_names(first: Stored, other: Stored) -> None:
    for name in first.files:
        if name in other.files:
            continue
        owner = other.tied.get(name)
        if owner is None:
            raise BadInput(
                f"{other.name} lacks the tensor {name}, which {first.name} holds: only models of one architecture can "
                f"be merged{_tie(name)}."
            )
        if owner in first.files:
            raise BadInput(
                f"{name} is tied to {owner} in {other.name} and a tensor of its own in {first.name}: tie it in both, "
                "or in neither."
            )
    for name in other.files:
        if name in first.files:
            continue
        owner = first.tied.get(name)
        if owner is None:
            raise BadInput(
                f"{other.name} holds the tensor {name}, which {first.name} lacks: only models of one architecture can "
                f"be merged{_tie(name)}."
            )
        if other.tied.get(owner) != name:
            raise BadInput(
                f"{name} is tied to {owner} in {first.name} and a tensor of its own in {other.name}: tie it in both, "
                "or in neither."
            )


def _same_tensor(first: Stored, other: Stored, name: str, dtype: torch.dtype | None) -> None:
    here, there = first.held(name), other.held(name)
    if here.shape != there.shape:
        hint = " (have their vocabularies the same length?)" if here.shape[1:] == there.shape[1:] and here.shape else ""
        raise BadInput(
            f"{name} is {list(there.shape)} in {other.name} and {list(here.shape)} in {first.name}: only models of one "
            f"architecture can be merged{hint}."
        )
    if here.dtype == there.dtype:
        return
    if not (here.dtype.is_floating_point and there.dtype.is_floating_point):
        raise BadInput(
            f"{name} is {type_name(there.dtype)} in {other.name} and {type_name(here.dtype)} in {first.name}: whole "
            "numbers and weights cannot be merged."
        )
    if dtype is None:
        raise BadInput(
            f"{name} is {type_name(there.dtype)} in {other.name} and {type_name(here.dtype)} in {first.name}: say with "
            "dtype= in which type the merge shall be."
        )


def type_name(dtype: torch.dtype) -> str:
    """Name a type as users do.

    Args:
        dtype: the type.

    Returns:
        For example ``"bfloat16"``.
    """
    return str(dtype).removeprefix("torch.")


def _tie(name: str) -> str:
    heads = ("lm_head", "embed_out", "output_projection", "decoder.weight")
    return "; where it is tied in one of them, save both alike" if any(head in name for head in heads) else ""
