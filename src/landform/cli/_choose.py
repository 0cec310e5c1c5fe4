"""Models and data sets by what the user calls them."""

from __future__ import annotations

import difflib
import importlib
import inspect
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from landform.errors import BadInput

if TYPE_CHECKING:
    from torch import nn

    from landform.data import Dataset


@dataclass(frozen=True)
class Choice:
    """A model or a data set, as the command line was told; plain JSON, so that it can be kept with the run.

    Attributes:
        name: of the zoo or the library, or ``module:function`` of the user's own.
        options: keyword arguments.
    """

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


def options(given: Sequence[str], flag: str) -> dict[str, Any]:
    """Read ``name=value`` pairs; a value is JSON where it can be, and text otherwise.

    Args:
        given: the pairs.
        flag: where they were given, for the message.

    Returns:
        Values by name.

    Raises:
        BadInput: when one is no such pair.
    """
    found: dict[str, Any] = {}
    for pair in given:
        name, equals, text = pair.partition("=")
        if not equals or not name.strip().isidentifier():
            raise BadInput(f"{flag} takes name=value pairs, such as width=64; got {pair!r}.")
        try:
            found[name.strip()] = json.loads(text)
        except ValueError:
            found[name.strip()] = {"True": True, "False": False, "None": None}.get(text, text)
    return found


def load_data(choice: Choice) -> Dataset:
    """Load a data set.

    Args:
        choice: which.

    Returns:
        The data set.

    Raises:
        BadInput: when there is none, or what the user's function returned is none.
    """
    from landform import data

    if not _is_own(choice.name, data.names()):
        return data.load(choice.name, **choice.options)
    found = _call(choice.name, choice.options)
    if not isinstance(found, data.Dataset):
        raise BadInput(f"{choice.name} returned a {type(found).__name__}: return a landform.data.Dataset.")
    return found


def build_model(choice: Choice, dataset: Dataset) -> nn.Module:
    """Make a model that fits a data set.

    The user's own function is called with the options, and with those of ``inputs`` (shape of one input), ``classes``
    and ``seed`` that it has parameters for.

    Args:
        choice: which.
        dataset: what it shall take.

    Returns:
        The model.

    Raises:
        BadInput: when there is none, or what the user's function returned is none.
    """
    from torch import nn

    from landform import models

    inputs, outputs = tuple(dataset.train.inputs.shape[1:]), _outputs(dataset)
    if not _is_own(choice.name, models.names()):
        if choice.name not in models.names():
            near = difflib.get_close_matches(choice.name, models.names(), 1)
            raise BadInput(
                f"There is no model {choice.name!r}{f' (did you mean {near[0]!r}?)' if near else ''}: give one that "
                "'landform list models' shows, or your own as my_module:build."
            )
        return models.build(choice.name, **{"inputs": inputs, "classes": outputs, **choice.options})
    found = _call(choice.name, choice.options, inputs=inputs, classes=outputs, seed=0)
    if not isinstance(found, nn.Module):
        raise BadInput(f"{choice.name} returned a {type(found).__name__}: return a torch.nn.Module.")
    return found


def default_loss(dataset: Dataset) -> str:
    """The loss that fits a data set: of classes or of numbers.

    Args:
        dataset: the data set.

    Returns:
        The name of a loss.
    """
    return "mse" if dataset.classes is None else "cross-entropy"


def _outputs(dataset: Dataset) -> int:
    if dataset.classes is not None:
        return dataset.classes
    targets = dataset.train.targets
    return 1 if targets.dim() == 1 else int(targets.shape[-1])


def _is_own(name: str, known: Sequence[str]) -> bool:
    """``module:function``; but what stands before the colon may be a data set that takes a name after it."""
    return ":" in name and name.partition(":")[0] not in known


def _call(name: str, given: Mapping[str, Any], **offered: Any) -> Any:
    """Call the user's own function."""
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        return _call_from(here, name, given, offered)
    finally:
        if added:
            sys.path.remove(here)


def _call_from(here: str, name: str, given: Mapping[str, Any], offered: Mapping[str, Any]) -> Any:
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as why:
        text = " ".join(str(why).split())
        raise BadInput(f"{module_name} could not be imported from {here} ({type(why).__name__}: {text}).") from why
    function = getattr(module, attribute, None)
    if not callable(function):
        has = "is no function" if hasattr(module, attribute) else "is not there"
        raise BadInput(f"{attribute or 'A name'} in {module.__file__} {has}: give module:function.")
    try:
        known = inspect.signature(function).parameters
    except (TypeError, ValueError):
        known = {}  # type: ignore[assignment]
    every = any(each.kind is inspect.Parameter.VAR_KEYWORD for each in known.values())
    arguments = {key: value for key, value in offered.items() if key in known} | dict(given)
    for key in given:
        if key not in known and not every:
            raise BadInput(f"{name} has no parameter {key!r}: it has {', '.join(known) or 'none'}.")
    try:
        return function(**arguments)
    except BadInput:
        raise
    except Exception as why:
        text = " ".join(str(why).split())
        raise BadInput(f"{name} failed ({type(why).__name__}: {text}).") from why
