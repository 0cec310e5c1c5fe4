"""State dicts that torch.save wrote, read a few numbers at a time."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.merging._reading import CODES, Held
from landform.store import load_pickle, state_in

# After so many bytes a map is let go and made anew: the pages that were looked at count as memory.
_SEEN = 2**26


class PickledFile:
    """A state dict in a file of ``torch.save``, mapped into memory for a while at a time.

    Attributes:
        path: the file.
        held: its tensors.
        tied: further names of tensors that are held once.
        within: the entry of the checkpoint under which the weights lie, or "".
        left: names of entries that are no tensors.
    """

    def __init__(self, path: Path) -> None:
        """Open a file.

        Args:
            path: the file.

        Raises:
            BadInput: when it holds no tensors by name, or more than tensors and plain values.
        """
        self.path = path
        self._seen = 0
        self._state: Mapping[str, Any] | None = None
        content, self._mapped = load_pickle(path)
        self.within, state = state_in(path, content)
        self.left = tuple(str(name) for name, value in state.items() if not isinstance(value, Tensor))
        held: dict[str, Held] = {}
        tied: dict[str, str] = {}
        owners: dict[tuple[Any, ...], str] = {}
        for name, tensor in state.items():
            if not isinstance(tensor, Tensor):
                continue
            if tensor.layout is not torch.strided or tensor.is_quantized or tensor.dtype not in CODES:
                raise BadInput(
                    f"{path} holds {name} as {_kind(tensor)}, of which no merge can be made: give dense weights in "
                    "float16, bfloat16, float32 or float64."
                )
            same = (tensor.data_ptr(), tensor.shape, tensor.stride(), tensor.dtype)
            if tensor.numel() and same in owners:
                tied[name] = owners[same]
                continue
            owners[same] = name
            held[name] = Held(tensor.dtype, tuple(tensor.shape))
        if not held:
            raise BadInput(
                f"{path} holds no tensor: give a state dict, as torch.save(model.state_dict(), path) writes."
            )
        self.held: Mapping[str, Held] = held
        self.tied: Mapping[str, str] = tied
        self._state = state

    def read(self, name: str, start: int, out: Tensor) -> None:
        """Read consecutive numbers of a tensor.

        Args:
            name: of the tensor.
            start: the first number.
            out: where they go, ``[m]``, of the tensor's own type.
        """
        if self._state is None:
            self._state = state_in(self.path, load_pickle(self.path)[0])[1]
        tensor = self._state[name].detach()
        # One that does not lie in order is put in order whole, for each piece of it: such are rare in state dicts.
        out.copy_(tensor.reshape(-1)[start : start + len(out)])
        self._seen += out.numel() * out.dtype.itemsize
        if self._mapped and self._seen >= _SEEN:
            self._state, self._seen = None, 0


def _kind(tensor: Tensor) -> str:
    if tensor.is_quantized:
        return "a quantised tensor"
    return "a sparse tensor" if tensor.layout is not torch.strided else str(tensor.dtype)
