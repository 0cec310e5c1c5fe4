"""Weights and settings that differ from tensor to tensor, by its name and by how deep it lies."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from landform.errors import BadInput
from landform.merging._ask import ask
from landform.merging._method import Asked, Method, Per

_LAYER = re.compile(r"(?:^|.*?\.)(\d+)\.")


@dataclass(frozen=True)
class Varying:
    """A weight or a setting with a value of its own for each tensor.

    Attributes:
        rules: pairs of what a tensor's name has to contain (None fits all) and of values that are spread over the
            layers: the first for the first layer, the last for the last one, those between interpolated. The first rule
            that fits counts.

    Examples:
        >>> t = lf.merging.Varying((("attention", (0.0, 1.0)), (None, (0.5,))))
        >>> lf.merging.merge_files(["a", "b"], "out", method="slerp", per="tensor", t=t)
    """

    rules: tuple[tuple[str | None, tuple[Any, ...]], ...]

    def at(self, name: str, depth: float) -> Any:
        """The value for a tensor.

        Args:
            name: of the tensor.
            depth: of its layer, 0 for the first and 1 for the last.

        Returns:
            The value.

        Raises:
            BadInput: when no rule fits.
        """
        for part, values in self.rules:
            if part is None or part in name:
                place = depth * (len(values) - 1)
                below = int(place)
                if not all(isinstance(one, int | float) and not isinstance(one, bool) for one in values):
                    return values[below]
                above = min(len(values) - 1, below + 1)
                return values[below] + (place - below) * (values[above] - values[below])
        raise BadInput(f"No rule of {self} fits {name}: add one for all other tensors.")

    def __str__(self) -> str:
        """Each rule."""
        return "; ".join(f"{part or 'else'}: {', '.join(map(str, values))}" for part, values in self.rules)


def depths(names: Iterable[str]) -> dict[str, float]:
    """How deep each tensor lies, by the number of its layer.

    Args:
        names: of the tensors, such as ``layers.3.weight``.

    Returns:
        0 for the first layer and 1 for the last by name; 0 where a name has no number, 1 where there is a single layer.
    """
    found: dict[str, tuple[str, int]] = {}
    counts: dict[str, int] = {}
    for name in names:
        if match := _LAYER.match(name):
            stack, number = name[: match.start(1)], int(match[1])
            found[name] = stack, number
            counts[stack] = max(counts.get(stack, 0), number + 1)
    return {
        name: found[name][1] / (counts[found[name][0]] - 1) if counts[found[name][0]] > 1 else 1.0 for name in found
    } | {name: 0.0 for name in names if name not in found}


def layers_in(names: Iterable[str]) -> int:
    """How many layers there are, by the numbers in names.

    Args:
        names: of the tensors.

    Returns:
        The count in the longest stack of layers.
    """
    return max((int(match[1]) + 1 for name in names if (match := _LAYER.match(name))), default=0)


def asking(
    method: Method,
    names: Sequence[str],
    tensors: Sequence[str],
    *,
    base: bool,
    weights: Sequence[float | Varying] | None,
    settings: Mapping[str, Any],
    per: Per | None,
    seed: int,
) -> Callable[[str], Asked]:
    """Check what is asked of a method for each tensor.

    Args:
        method: the method.
        names: of the sources.
        tensors: names of the tensors that are merged.
        base: whether there is a base.
        weights: of the sources.
        settings: of the method.
        per: as for `ask`.
        seed: as for `ask`.

    Returns:
        What is asked, by the name of a tensor.

    Raises:
        BadInput: when it cannot be done, or values vary where the method looks at the whole point.
    """

    def checked(weights: Sequence[float] | None, settings: Mapping[str, Any]) -> Asked:
        return ask(method, names, base=base, weights=weights, settings=settings, per=per, seed=seed)

    if not varies(weights, settings):
        asked = checked(weights, settings)  # type: ignore[arg-type]
        return lambda name: asked
    given = None if weights is None else list(weights)
    depth = depths(tensors)
    found: dict[str, Asked] = {}
    made: dict[str, Asked] = {}
    for name in tensors:
        own = None if given is None else [_at(weight, name, depth[name]) for weight in given]
        here = {key: _at(value, name, depth[name]) for key, value in settings.items()}
        key = repr((own, here))
        if key not in made:
            made[key] = checked(own, here)
        found[name] = made[key]
    first = found[tensors[0]]
    if first.per == "point" and method.gather is not None:
        raise BadInput(
            f"{method.name} looks at the whole point, and values vary from tensor to tensor: give per='tensor'."
        )
    return lambda name: found.get(name, first)


def varies(*values: Any) -> bool:
    """Whether any value, or one within it, differs from tensor to tensor.

    Args:
        *values: weights, settings, and lists and mappings of such.

    Returns:
        Whether it does.
    """
    within = [v for value in values if isinstance(value, Mapping) for v in value.values()]
    within += [v for value in values if isinstance(value, tuple | list) for v in value]
    return any(isinstance(value, Varying) for value in values) or (bool(within) and varies(*within))


def _at(value: Any, name: str, depth: float) -> Any:
    if isinstance(value, Varying):
        return value.at(name, depth)
    if isinstance(value, tuple | list):
        return tuple(_at(one, name, depth) for one in value)
    return value
