"""State dicts that torch.save wrote, read a few numbers at a time."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.merging._reading import CODES, Held

# Under which of these the weights lie in checkpoints that hold more than them.
_KEYS = ("state_dict", "model_state_dict", "model", "module", "weights")
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
        self._mapped = True
        self._seen = 0
        self._state: Mapping[str, Any] | None = None
        content = self._load()
        self.within, state = _weights_in(path, content)
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
            self._state = _weights_in(self.path, self._load())[1]
        tensor = self._state[name].detach()
        # One that does not lie in order is put in order whole, for each piece of it: such are rare in state dicts.
        out.copy_(tensor.reshape(-1)[start : start + len(out)])
        self._seen += out.numel() * out.dtype.itemsize
        if self._mapped and self._seen >= _SEEN:
            self._state, self._seen = None, 0

    def _load(self) -> Any:
        given: dict[str, Any] = {"map_location": "cpu", "weights_only": True}
        try:
            if self._mapped:
                try:
                    return torch.load(self.path, mmap=True, **given)
                except RuntimeError:
                    self._mapped = False  # the form of before 2020 cannot be mapped: it is held
            return torch.load(self.path, **given)
        except FileNotFoundError:
            raise BadInput(f"There is no file {self.path}.") from None
        except OSError as why:
            raise BadInput(f"{self.path} cannot be read ({why.strerror}).") from None
        except pickle.UnpicklingError:
            raise BadInput(
                f"{self.path} is no state dict, or holds more than tensors and plain values, which is not loaded since "
                "it could run any code: save model.state_dict() alone."
            ) from None
        except (RuntimeError, EOFError, ValueError, KeyError) as why:
            text = " ".join(str(why).split()).partition(". ")[0][:120]
            raise BadInput(f"{self.path} is not a file that torch.save wrote, or is cut short ({text}).") from None


def _weights_in(path: Path, content: Any) -> tuple[str, Mapping[str, Any]]:
    """Find the state dict in what was loaded."""
    if isinstance(content, Mapping):
        if any(isinstance(value, Tensor) for value in content.values()):
            return "", content
        for key in _KEYS:
            inner = content.get(key)
            if isinstance(inner, Mapping) and any(isinstance(value, Tensor) for value in inner.values()):
                return key, inner
    what = "has the entries " + ", ".join(map(str, content)) if isinstance(content, Mapping) else type(content).__name__
    raise BadInput(
        f"{path} holds no tensors by name ({what[:200]}): give a state dict, as torch.save(model.state_dict(), path) "
        "writes."
    )


def _kind(tensor: Tensor) -> str:
    if tensor.is_quantized:
        return "a quantised tensor"
    return "a sparse tensor" if tensor.layout is not torch.strided else str(tensor.dtype)
