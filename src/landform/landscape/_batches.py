"""What a landscape is a function on: batches, in an order that never changes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.utils import _pytree as pytree

from landform.data import Dataset, Split
from landform.errors import BadInput
from landform.landscape._checks import check_finite


class Batches(Protocol):
    """Batches that can be gone through again and again, each time the same."""

    def batches(self, size: int) -> Iterator[Any]:
        """Go through all batches once; ``size`` is how many samples to take at a time, where there is a choice."""

    def to(self, device: torch.device, dtype: torch.dtype) -> Batches:
        """Move what can be moved once and for all."""


class Tensors:
    """Inputs and targets in memory."""

    def __init__(self, inputs: Tensor, targets: Tensor) -> None:
        """Take the pair, checked."""
        self.inputs, self.targets = inputs, targets

    def __len__(self) -> int:
        return len(self.inputs)

    def batches(self, size: int) -> Iterator[tuple[Tensor, Tensor]]:
        """Cut the tensors into batches; the last may be smaller."""
        for start in range(0, len(self), size):
            yield self.inputs[start : start + size], self.targets[start : start + size]

    def to(self, device: torch.device, dtype: torch.dtype) -> Tensors:
        """Move both tensors."""
        return Tensors(_move(self.inputs, device, dtype), _move(self.targets, device, dtype))

    def subset(self, indices: Tensor) -> Tensors:
        """Choose samples."""
        return Tensors(self.inputs[indices], self.targets[indices])


class Stream:
    """Batches from a re-iterable such as a DataLoader, moved to the device one by one."""

    def __init__(self, loader: Iterable[Any]) -> None:
        """Take the loader."""
        self.loader = loader
        self.place: tuple[torch.device, torch.dtype] | None = None

    def batches(self, size: int) -> Iterator[Any]:
        """Go through the loader as it cuts its own batches."""
        for batch in map(_plain, _begun(self.loader)):
            if self.place is None:
                yield batch
            else:
                yield pytree.tree_map_only(Tensor, lambda t: _move(t, *self.place), batch)  # type: ignore[misc]

    def to(self, device: torch.device, dtype: torch.dtype) -> Stream:
        """Say where batches go."""
        moved = Stream(self.loader)
        moved.place = (device, dtype)
        return moved


def batches_of(data: Any) -> Tensors | Stream:
    """Read the data a user gives.

    Args:
        data: a `Dataset` (its training split), a `Split`, a pair of tensors ``(inputs, targets)``, or a re-iterable of
            batches such as a DataLoader.

    Returns:
        Its batches.

    Raises:
        BadInput: when it is none of these, or holds nothing or NaN.
    """
    if isinstance(data, Dataset):
        data = data.train
    if isinstance(data, Split):
        data = (data.inputs, data.targets)
    if isinstance(data, tuple | list) and len(data) == 2 and all(isinstance(t, Tensor) for t in data):
        return _pair(*data)
    if isinstance(data, Tensor | str | bytes) or not isinstance(data, Iterable):
        raise BadInput(
            f"Data is one of lf.data, a pair of tensors (inputs, targets), or a DataLoader; got {type(data).__name__}."
        )
    if _begun(data) is data:
        raise BadInput(
            "The data can be gone through only once: a landscape passes over it many times, so give a list of "
            "batches or a DataLoader, not an iterator."
        )
    _look_twice(data)
    return Stream(data)


def _pair(inputs: Tensor, targets: Tensor) -> Tensors:
    if not inputs.dim() or not targets.dim():
        raise BadInput("The data are a single number: give one row for each sample.")
    if len(inputs) != len(targets):
        raise BadInput(f"There are {len(inputs)} inputs but {len(targets)} targets: give one target for each input.")
    if len(inputs) == 0:
        raise BadInput("The data set is empty: a loss needs at least one sample.")
    check_finite(inputs, "inputs")
    check_finite(targets, "targets")
    return Tensors(inputs, targets)


def _look_twice(loader: Iterable[Any], most: int = 4) -> None:
    """Refuse a loader that gives other batches the second time."""
    with torch.random.fork_rng([]):  # both passes draw one after the other, and the caller's generator is put back
        first, second = (_digests(loader, most) for _ in range(2))
    if not first:
        raise BadInput("The data set is empty: going through the loader gave no batch.")
    if first != second:
        raise BadInput(
            "Two passes over the data differ: the loader shuffles or augments at random; give one with shuffle=False "
            "and without random transforms."
        )


def _plain(batch: Any) -> Any:
    """A batch in which every mapping is a dict: those of tokenizers are not, and nobody could look into them."""
    if isinstance(batch, Mapping):
        return {key: _plain(value) for key, value in batch.items()}
    if type(batch) in (tuple, list):
        return type(batch)(map(_plain, batch))
    return batch


def _begun(loader: Iterable[Any]) -> Iterator[Any]:
    """Begin a pass; a DataLoader draws a seed for its workers, and the caller's generator is put back."""
    with torch.random.fork_rng([]):
        return iter(loader)


def _digests(loader: Iterable[Any], most: int) -> list[str]:
    found: list[str] = []
    for batch in map(_plain, loader):
        tensors = [leaf for leaf in pytree.tree_leaves(batch) if isinstance(leaf, Tensor)]
        if any(t.is_floating_point() and not bool(torch.isfinite(t).all()) for t in tensors):
            raise BadInput(f"Batch {len(found)} holds NaN or infinity: remove or mend those samples.")
        found.append(digest(tensors))
        if len(found) == most:
            break
    return found


def digest(tensors: Iterable[Tensor]) -> str:
    """Name the content of tensors by a short hash."""
    sponge = hashlib.blake2b(digest_size=10)
    for tensor in tensors:
        plain = tensor.detach().cpu().contiguous()
        sponge.update(f"{plain.dtype}{tuple(plain.shape)}".encode())
        sponge.update(plain.reshape(-1).view(torch.uint8).numpy().data if plain.numel() else b"")
    return sponge.hexdigest()


def digest_of(data: Tensors | Stream, size: int) -> str:
    """Name the content of a whole data set."""
    if isinstance(data, Tensors):
        return digest([data.inputs, data.targets])
    leaves = (leaf for batch in data.batches(size) for leaf in pytree.tree_leaves(batch))
    return digest(leaf for leaf in leaves if isinstance(leaf, Tensor))


def _move(tensor: Tensor, device: torch.device, dtype: torch.dtype) -> Tensor:
    return tensor.to(device, dtype if tensor.is_floating_point() else None)
