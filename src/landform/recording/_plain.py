"""Python values of the kinds that optimisers and schedulers keep, as JSON and tensors, and back.

Nothing that is read back can run code, as a pickle could.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import Any

import numpy as np
from torch import Tensor

from landform.errors import BadInput


def encode(value: Any, tensors: dict[str, Tensor], prefix: str) -> Any:
    """Put a value as JSON, its tensors aside.

    Args:
        value: numbers, strings, tensors, and lists, tuples, dicts and counters of such.
        tensors: where its tensors are put, under new names.
        prefix: what their names begin with; also the name of the value in the message.

    Returns:
        JSON (which may hold nan and inf).

    Raises:
        BadInput: when there is something else in it.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Tensor):
        name = f"{prefix}.{len(tensors)}"
        tensors[name] = value.detach()
        return {"tensor": name}
    if isinstance(value, np.ndarray):
        return {"array": [str(value.dtype), value.tolist()]}
    if isinstance(value, list):
        return [encode(item, tensors, prefix) for item in value]
    if isinstance(value, tuple):
        return {"tuple": [encode(item, tensors, prefix) for item in value]}
    if isinstance(value, Mapping):
        kind = "counter" if isinstance(value, Counter) else "dict"
        pairs = [[encode(k, tensors, prefix), encode(v, tensors, prefix)] for k, v in value.items()]
        return {kind: pairs}
    raise BadInput(
        f"The state of the {prefix} holds a {type(value).__name__}, which cannot be kept in a record: give no "
        "resumable_at, or one whose state is numbers and tensors."
    )


def decode(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    """The inverse of `encode`.

    Args:
        value: what it returned.
        tensors: the tensors it put aside.

    Returns:
        The value.
    """
    if isinstance(value, list):
        return [decode(item, tensors) for item in value]
    if not isinstance(value, dict):
        return value
    ((kind, content),) = value.items()
    if kind == "tensor":
        return tensors[content]
    if kind == "array":
        return np.array(content[1], dtype=content[0])
    if kind == "tuple":
        return tuple(decode(item, tensors) for item in content)
    pairs = {decode(k, tensors): decode(v, tensors) for k, v in content}
    return Counter(pairs) if kind == "counter" else pairs
