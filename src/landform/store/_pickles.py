"""Files that ``torch.save`` wrote, of whoever wrote them: nothing in them is run unless the user trusts them."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from landform.errors import BadInput

# Under which of these a checkpoint keeps its weights, where it holds more than them.
_STATES = ("state_dict", "model_state_dict", "model", "module", "net", "weights")


def load_pickle(path: Path, *, trusted: bool | None = None) -> tuple[Any, bool]:
    """Load a file of ``torch.save``, mapped into memory where its form allows.

    Args:
        path: the file.
        trusted: unpickle whatever it holds, which can run any code; None where the user is not asked.

    Returns:
        What it holds, on the CPU, and whether its tensors are views of the mapped file (that of before 2020 cannot be).

    Raises:
        BadInput: when it is none, is cut short, or reading it would run code and nobody said it may.
    """
    how: dict[str, Any] = {"map_location": "cpu", "weights_only": not trusted}
    try:
        try:
            return torch.load(path, mmap=True, **how), True
        except RuntimeError:
            return torch.load(path, **how), False
    except FileNotFoundError:
        raise BadInput(f"There is no file {path}.") from None
    except pickle.UnpicklingError:
        remedy = "" if trusted is None else ", or, if you trust whoever wrote it, give trusted=True (--trusted)"
        raise BadInput(
            f"{path} is no state dict, or holds more than tensors and plain values, and reading it could run any code: "
            f"save model.state_dict() alone{remedy}."
        ) from None
    except OSError as why:
        raise BadInput(f"{path} cannot be read ({why.strerror}).") from None
    except Exception as why:  # torch has no error of its own for what is no file of its
        text = " ".join(str(why).split()).partition(". ")[0][:120]
        raise BadInput(f"{path} is not a file that torch.save wrote, or is cut short ({text}).") from None


def state_in(path: Path, content: Any) -> tuple[str, Mapping[str, Any]]:
    """Find the state dict in what a file holds.

    Args:
        path: the file, for the message.
        content: what was loaded.

    Returns:
        The entry under which it lies ("" where it is all there is), and the state dict.

    Raises:
        BadInput: when there is none.
    """
    if isinstance(content, torch.nn.Module):  # only where pickles are trusted
        return "", content.state_dict()
    if isinstance(content, Mapping):
        for key in ("", *_STATES):
            inner = content.get(key) if key else content
            if isinstance(inner, torch.nn.Module):
                inner = inner.state_dict()
            # A checkpoint may hold a tensor or two beside its weights: a state dict is where most values are tensors.
            if isinstance(inner, Mapping) and 2 * sum(isinstance(v, Tensor) for v in inner.values()) > len(inner):
                return key, inner
    what = f"its entries are {', '.join(map(str, content))}" if isinstance(content, Mapping) else type(content).__name__
    raise BadInput(f"{path} holds no state dict ({what[:200]}): give what torch.save(model.state_dict(), path) writes.")
