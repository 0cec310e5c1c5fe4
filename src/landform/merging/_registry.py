"""The methods there are: one is added by its import and its place in the list."""

from __future__ import annotations

from landform.errors import BadInput
from landform.merging._aligned import ALIGNED, REPAIR
from landform.merging._angles import KARCHER, MODEL_STOCK, SLERP
from landform.merging._ask import nearest
from landform.merging._fisher import FISHER
from landform.merging._linear import MEAN, TASK_ARITHMETIC, WISE_FT
from landform.merging._method import Method
from landform.merging._regmean import REGMEAN
from landform.merging._soups import GREEDY_SOUP, LEARNED_SOUP
from landform.merging._task_vectors import (
    BREADCRUMBS,
    BREADCRUMBS_TIES,
    DARE,
    DARE_TIES,
    DELLA,
    DELLA_LINEAR,
    TIES,
)

METHODS: tuple[Method, ...] = (
    MEAN,
    SLERP,
    KARCHER,
    TASK_ARITHMETIC,
    TIES,
    DARE,
    DARE_TIES,
    DELLA,
    DELLA_LINEAR,
    BREADCRUMBS,
    BREADCRUMBS_TIES,
    MODEL_STOCK,
    WISE_FT,
    FISHER,
    REGMEAN,
    GREEDY_SOUP,
    LEARNED_SOUP,
    ALIGNED,
    REPAIR,
)


def methods() -> tuple[str, ...]:
    """Names of the methods.

    Returns:
        What `merge` takes as ``method``.
    """
    return tuple(method.name for method in METHODS)


def get(name: str | Method) -> Method:
    """Find a method.

    Args:
        name: of the method, with underscores or hyphens, or one of the names that other tools give it; a method of
            one's own is returned as it is.

    Returns:
        The method.

    Raises:
        BadInput: when there is none of this name.
    """
    if isinstance(name, Method):
        return name
    if not isinstance(name, str):
        raise BadInput(f"method is {name!r}: give one of {', '.join(methods())}.")
    known = {other: method for method in METHODS for other in (method.name, *method.also)}
    wanted = name.strip().lower().replace("-", "_")
    if wanted not in known:
        raise BadInput(f"There is no method {name!r}{nearest(wanted, known)}: give one of {', '.join(methods())}.")
    return known[wanted]
