"""A bridge to Flower: the server's model of each round, recorded."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from landform.errors import BadInput, try_import
from landform.recording._recorder import Recorder

S = TypeVar("S")
# How Flower calls what ends a round: strategies of messages, and those of before.
_TRAIN, _FIT = "aggregate_train", "aggregate_fit"


@contextmanager
def record_flower(
    strategy: S, folder: str | Path, model: nn.Module, *, at: int | Iterable[int] = 1, **options: Any
) -> Iterator[S]:
    """Record the server's model of a Flower run, a step a round, while what is inside goes on.

    The strategy is the one given, whichever it is: what it aggregates is put into the model and recorded before it goes
    back to Flower, with the metrics that are numbers as curves. Metrics called ``loss`` or ``train_loss`` are the loss.

    Examples:
        >>> with record_flower(FedAvg(), "runs/flower", model) as strategy:
        ...     strategy.start(grid, ArrayRecord(model.state_dict()), num_rounds=20)
        >>> landform.survey("runs/flower", Landscape(model, data))

    Args:
        strategy: of ``flwr.serverapp.strategy`` or ``flwr.server.strategy``, or of one's own.
        folder: where the run shall lie.
        model: what is trained, with the weights that the run begins from; it follows the server's model.
        at: rounds to record, or a whole number n for every n-th.
        options: the other options of `Recorder`.

    Yields:
        The strategy.

    Raises:
        BadInput: when it is no strategy, or what it aggregates is of another model.
    """
    kinds = [name for name in (_TRAIN, _FIT) if callable(getattr(strategy, name, None))]
    if not kinds:
        raise BadInput(
            f"{type(strategy).__name__} has neither {_TRAIN} nor {_FIT}: give a strategy of Flower's, such as FedAvg()."
        )
    with Recorder(folder, model, epoch=1, at=at, **{"pairs": None, **options}) as recorder:
        for name in kinds:
            setattr(strategy, name, _recorded(getattr(strategy, name), recorder, model))
        try:
            yield strategy
        finally:
            for name in kinds:
                delattr(strategy, name)


def _recorded(aggregate: Any, recorder: Recorder, model: nn.Module) -> Any:
    """What aggregates, and records before it returns."""

    def aggregated(*given: Any, **named: Any) -> Any:
        found = aggregate(*given, **named)
        arrays, metrics = found
        if arrays is not None:
            _load(model, arrays)
        numbers = _numbers(metrics)
        loss = numbers.pop("loss", numbers.pop("train_loss", None))
        recorder.step(loss=loss, **numbers)
        return found

    return aggregated


def _load(model: nn.Module, arrays: Any) -> None:
    """Put what was aggregated into the model: by name, or in the order of its state as Flower's examples have it."""
    own = model.state_dict()
    if hasattr(arrays, "to_torch_state_dict"):
        state = dict(arrays.to_torch_state_dict())
    else:
        plain = try_import("flwr.common", "flower").parameters_to_ndarrays(arrays)
        if len(plain) != len(own):
            raise BadInput(f"The server has {len(plain)} arrays and the model {len(own)}: record the model it trains.")
        state = {name: torch.as_tensor(array) for name, array in zip(own, plain, strict=True)}
    if {name: tuple(t.shape) for name, t in state.items()} != {name: tuple(t.shape) for name, t in own.items()}:
        raise BadInput("The server's arrays have other names or shapes than the model's: record the model it trains.")
    with torch.no_grad():
        for name, tensor in own.items():
            tensor.copy_(state[name])


def _numbers(metrics: Mapping[str, Any] | None) -> dict[str, float]:
    found: dict[str, float] = {}
    for name, value in dict(metrics or {}).items():
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
            found[str(name)] = float(value)
    return found
