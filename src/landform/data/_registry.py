"""Data sets by name, for the command line and for settings in files."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from landform.data._clusters import clusters
from landform.data._digits import digit_sums, digits, moved_digits
from landform.data._images import cifar10, cifar100, fashion_mnist, mnist
from landform.data._options import check_names, near, own_options
from landform.data._series import time_series
from landform.data._text import characters
from landform.data._types import Dataset
from landform.errors import BadInput

LOADERS: dict[str, Callable[..., Dataset]] = {
    loader.__name__: loader
    for loader in (
        digits,
        digit_sums,
        moved_digits,
        cifar10,
        cifar100,
        mnist,
        fashion_mnist,
        time_series,
        characters,
        clusters,
    )
}


def names() -> tuple[str, ...]:
    """List the data sets.

    Returns:
        The names that `load` knows.
    """
    return tuple(LOADERS)


def load(name: str, /, **options: Any) -> Dataset:
    """Load a data set by name.

    ``load(dataset.name, **dataset.transform["options"])`` makes a data set again.

    Args:
        name: one of `names`; a problem or a path may follow a colon: ``"time_series:GunPoint"``,
            ``"characters:my.txt"``.
        **options: the options of that data set and those common to all.

    Returns:
        The data set.

    Raises:
        BadInput: when there is no such set or option, with the near ones; and whatever the set itself refuses.
    """
    known, colon, first = name.partition(":")
    if known not in LOADERS:
        raise BadInput(f"There is no data set {known!r}{near(known, LOADERS)}.")
    loader = LOADERS[known]
    check_names(loader, options)
    own = own_options(loader)
    lead = [key for key, each in own.items() if each.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
    if colon:
        if not lead or lead[0] in options:
            raise BadInput(f"{known} takes nothing after a colon, but {name!r} was given: leave {first!r} out.")
        options = {lead[0]: first, **options}
    for key in lead:
        if own[key].default is inspect.Parameter.empty and key not in options:
            raise BadInput(f"{known} needs to know which: write {known}:<{key}> or give {key}=.")
    return loader(**options)
