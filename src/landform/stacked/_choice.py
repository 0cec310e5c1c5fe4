"""Stack or loop: a choice made by counting, so that it is the same every time."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from landform.stacked._tensor import Stacked, Unstackable

# Floating-point operations of one forward pass of one model over one batch, above which a loop over the models is at
# least as quick as the stack. Measured on CPU, one thread: dense stacks 0.2 of the loop's time at 0.3 million, 0.8 at
# 70 million; convolutions 0.4 at 2 million, 0.8 at 15 million, 1.1 at 18 million, 1.5 at 60 million. On a GPU a small
# model leaves most of the device idle, so the bound on dense layers lies higher there.
DENSE_LIMIT = {"cpu": 60e6, "cuda": 2e9, "mps": 5e8}
CONV_LIMIT = 16e6
# Parameters of one model above which a stack in training no longer stays in the cache, where one model would.
# Measured, 16 models: 26 thousand 0.4 of the loop's time, 85 thousand 0.5, 300 thousand 0.8; none larger.
SIZE_LIMIT = {"cpu": 3.2e5}
# Fewer models than this do not pay for the stack's own bookkeeping. Measured with dense layers: two 1.2, four 0.7;
# convolutions cost more each, and two already gain.
DENSE_LEAST, CONV_LEAST = 3, 2


@dataclass(frozen=True)
class Cost:
    """What one forward pass of one model costs, for each sample.

    Attributes:
        dense: floating-point operations in matrix products.
        conv: floating-point operations in convolutions.
        widest: the most numbers any operation gives.
    """

    dense: float
    conv: float
    widest: float


@dataclass(frozen=True)
class Choice:
    """Whether many models run as one program.

    Attributes:
        stack: True for one program, False for a loop.
        why: the reason, as a clause.
    """

    stack: bool
    why: str


def count(run: Callable[[], Any], samples: int) -> Cost:
    """Count what a forward pass costs.

    Args:
        run: runs it.
        samples: how many samples it takes in.

    Returns:
        The cost for each sample.
    """
    with torch.no_grad(), _Tally(samples) as tally:
        run()
    return Cost(tally.dense / samples, tally.conv / samples, tally.widest / samples)


def choose(cost: Cost, samples: int, device: torch.device, *, models: int = 1000, size: int = 0) -> Choice:
    """Decide between a stack and a loop.

    Args:
        cost: what a model costs for each sample.
        samples: how many samples are in a batch.
        device: where it runs.
        models: how many there are.
        size: parameters of one model, where they are trained.

    Returns:
        The choice.
    """
    dense, conv = cost.dense * samples, cost.conv * samples
    limit = DENSE_LIMIT.get(device.type, DENSE_LIMIT["cpu"])
    if conv > CONV_LIMIT:
        return Choice(False, f"its convolutions fill the core alone ({conv / 1e6:.0f} MFLOP a batch)")
    if dense > limit:
        return Choice(False, f"its matrix products fill the core alone ({dense / 1e6:.0f} MFLOP a batch)")
    if size > SIZE_LIMIT.get(device.type, math.inf):
        return Choice(False, f"one model of {size:,} parameters stays in the cache, a stack does not")
    if models < (CONV_LEAST if conv else DENSE_LEAST):
        return Choice(False, f"{models} models are too few to gain")
    return Choice(True, f"small operations ({(dense + conv) / 1e6:.2g} MFLOP a batch) run quicker together")


def refusal(run: Callable[[], Any]) -> str | None:
    """Tell why something cannot run for many models at once, by running it.

    Args:
        run: runs a stack and returns its loss.

    Returns:
        The reason, as a clause; None if it can.
    """
    try:
        with torch.no_grad():
            value = run()
    except Unstackable as why:
        return str(why).rstrip(".")
    except (RuntimeError, TypeError, AttributeError, ValueError) as why:
        return f"its code does not take many models at once ({type(why).__name__})"
    return None if isinstance(value, Stacked) and value.dim() == 0 else "its loss is not one number for each model"


class _Tally(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the operations that reach the device."""

    @classmethod
    def _should_skip_dynamo(cls) -> bool:
        """Nothing here is compiled; to be told so, torch would first import its compiler, which takes seconds."""
        return False

    def __init__(self, samples: int) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.samples = samples
        self.dense = self.conv = 0.0
        self.widest = 1

    def __torch_dispatch__(
        self, func: Any, types: Iterable[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        if isinstance(result, Tensor) and result.dim() and len(result) == self.samples:  # not a view of a weight
            self.widest = max(self.widest, result.numel())
        counter = flop_registry.get(func._overloadpacket)
        if counter is not None:
            flops = counter(*args, **(kwargs or {}), out_val=result)
            if "conv" in func._overloadpacket.__name__:
                self.conv += flops
            else:
                self.dense += flops
        return result
