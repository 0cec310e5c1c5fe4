"""Data sets of studies, read once: their parts ask for the same one many times, and decoding pictures takes seconds."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from landform import data as data_room
from landform.data import Dataset


def loaded(name: str, options: Mapping[str, Any]) -> Dataset:
    """A data set by name, the same object for the same options; nobody writes into its tensors.

    Args:
        name: one of `landform.data.names`.
        options: plain JSON.

    Returns:
        The data set.
    """
    return _loaded(name, json.dumps(options, sort_keys=True), os.environ.get("LANDFORM_DATA"))


@lru_cache(maxsize=4)
def _loaded(name: str, options: str, place: str | None) -> Dataset:
    return data_room.load(name, **json.loads(options))
