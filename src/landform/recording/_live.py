"""What a recorder measures while training goes on: within its budget, and without a trace in the training."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import torch
from torch import Tensor, nn

from landform.errors import BadInput
from landform.layout import Layout
from landform.recording._state import generator_state, restore_buffers, restore_generators
from landform.recording._times import Times

log = logging.getLogger("landform.recording")

# The rest of the budget is for what cannot be foreseen: a measurement that takes longer than before, the next record.
HELD_BACK = 0.9
# What a probe takes the first time is foretold from what cheaper ones took, and may be this many times as much.
_UNSURE = 2.0
# Counts below this say nothing about the price of one.
_LEAST_COST = 0.1


@dataclass(frozen=True)
class Now:
    """A time of a training that goes on, as the recorder's probes see it.

    Attributes:
        step: optimiser steps taken.
        epoch: the same in epochs.
        model: the model being trained. It may be run; what a probe changes in it is put back.
        point: its trainable parameters, ``[P]``, a copy.
        buffers: its persistent buffers by name, copies.
        lr: the learning rate of the last step, where it is known.
        folder: where the run is recorded.
    """

    step: int
    epoch: float
    model: nn.Module
    point: Tensor
    buffers: Mapping[str, Tensor]
    lr: float | None
    folder: Path


Numbers: TypeAlias = float | Tensor | Mapping[str, Any]
LiveProbe: TypeAlias = Callable[[Now], Numbers]
LiveProbes: TypeAlias = LiveProbe | Iterable[LiveProbe] | Mapping[str, LiveProbe]
Log: TypeAlias = Callable[[int, dict[str, float]], object]


@dataclass
class _Account:
    """What one probe has cost, and where it was left out."""

    probe: LiveProbe
    taken: int = 0
    seconds: float = 0.0
    last: float = 0.0
    skipped: list[int] = field(default_factory=list)
    failure: str = ""

    @property
    def cost(self) -> tuple[str, float] | None:
        """How much it takes, counted in something whose price others tell too; None where nobody says."""
        return getattr(self.probe, "cost", None)

    def wanted(self, expected: float) -> float:
        """Seconds it would have taken to be taken every time, this one included."""
        return self.seconds + expected * (1 + len(self.skipped))


class Live:
    """Probes that a recorder takes while training goes on, and their accounts.

    A probe is left out where, with what it took before, the recorder's own seconds would exceed the budget. Each probe
    has an equal share of the budget, and what one does not need is shared by the others. What a probe takes the first
    time is foretold where it says how much it costs (an attribute ``cost``: in which unit, how many) from what others
    of that unit took; the cheap ones, and those that say nothing, are tried once in any case.

    Attributes:
        at: when they are due.
        budget: share of the training's time that the recorder may take; infinite for no limit.
    """

    def __init__(self, probes: LiveProbes, at: Times, log: Log | None, budget: float | None) -> None:
        """Check what was asked for.

        Args:
            probes: functions of a `Now`, alone, several, or by name.
            at: when they are due.
            log: called with the step and the values by name.
            budget: share of the training's time; None for no limit.

        Raises:
            BadInput: when a probe cannot be called or has no name, or the budget is no share.
        """
        if budget is not None and not (isinstance(budget, int | float) and 0 < budget < math.inf):
            raise BadInput(f"budget is {budget!r}: give a share of the training's time, such as 0.03, or None.")
        if log is not None and not callable(log):
            raise BadInput(f"log is a {type(log).__name__}: give a function of (step, {{name: value}}).")
        self._accounts = {name: _Account(probe) for name, probe in _named(probes).items()}
        self.at, self._log, self.budget = at, log, math.inf if budget is None else float(budget)

    @property
    def names(self) -> list[str]:
        """Names of the probes."""
        return list(self._accounts)

    @property
    def skipped(self) -> dict[str, list[int]]:
        """Steps at which a probe was due and left out, by its name."""
        return {name: list(account.skipped) for name, account in self._accounts.items() if account.skipped}

    @property
    def failures(self) -> dict[str, str]:
        """Why probes failed, by name; such are not taken again."""
        return {name: account.failure for name, account in self._accounts.items() if account.failure}

    def choose(self, step: int, trained: float, own: float) -> tuple[list[str], list[str]]:
        """Choose the probes whose next measurement fits into the budget, and into their shares of it.

        Args:
            step: the present step.
            trained: seconds of training so far, without the recorder's own.
            own: seconds that the recorder has taken for itself so far, measuring included.

        Returns:
            Names of those to take, and of those left out.
        """
        sound = {name: account for name, account in self._accounts.items() if not account.failure}
        chosen = set(sound)
        if not math.isinf(self.budget):
            allowed = HELD_BACK * self.budget * trained
            left, spent = allowed - (own - sum(account.seconds for account in sound.values())), own
            expected = {name: self._expected(account) for name, account in sound.items()}
            # Those that want least are served first: what they leave of an equal share is for the others.
            for place, name in enumerate(sorted(sound, key=lambda name: sound[name].wanted(expected[name] or 0.0))):
                account, seconds = sound[name], expected[name]
                if seconds is None:  # nobody knows: it is taken, once
                    continue
                share = min(account.wanted(seconds), left / (len(sound) - place))
                left -= max(share, account.seconds)
                if account.seconds + seconds > share or spent + seconds > allowed:
                    chosen.remove(name)
                else:
                    spent += seconds
        left_out = [name for name in self._accounts if name not in chosen]
        for name in left_out:
            self._accounts[name].skipped.append(step)
        return [name for name in sound if name in chosen], left_out

    def take(self, names: Iterable[str], now: Now, layout: Layout) -> dict[str, float]:
        """Measure, and tell the log.

        Args:
            names: the probes to take.
            now: what to look at.
            layout: the layout of its point.

        Returns:
            The values by name.

        Raises:
            BadInput: before the first step, when a probe fails: nothing is lost then.
        """
        values: dict[str, float] = {}
        for name in names:
            account = self._accounts[name]
            start = time.perf_counter()
            try:
                with _unseen(now, layout) as traces:
                    found = _numbers(name, account.probe(now))
                if traces:
                    raise BadInput(f"it changed {traces[0]}, which was put back: work on a copy of the model")
                values |= found
            except Exception as why:
                self._failed(name, account, now.step, why)
            account.taken += 1
            account.last = time.perf_counter() - start
            account.seconds += account.last
        if values and self._log is not None:
            try:
                with _unseen(now, layout):
                    self._log(now.step, dict(values))
            except Exception as why:
                if now.step == 0:
                    raise BadInput(f"The log failed at the first step ({type(why).__name__}: {_line(why)}).") from why
                log.warning("The log failed at step %d and is told no more: %s", now.step, _line(why))
                self._log = None
        return values

    def summary(self, trained: float, own: float) -> str:
        """Say what measuring took and what was left out.

        Args:
            trained: seconds of training, without the recorder's own.
            own: the recorder's own.

        Returns:
            A sentence.
        """
        parts = []
        for name, account in self._accounts.items():
            due = account.taken + len(account.skipped)
            parts.append(f"{name} at {account.taken} of {due} times{' (it failed)' if account.failure else ''}")
        share = own / trained if trained > 0 else math.inf
        limit = "" if math.isinf(self.budget) else f", of {self.budget:.2%} allowed"
        return f"Measured during training: {', '.join(parts)}; the recorder took {share:.2%} of its time{limit}."

    def _expected(self, account: _Account) -> float | None:
        """Seconds that a probe's next time will take, as far as is known; None where it has to be tried."""
        if account.taken:
            return max(account.last, account.seconds / account.taken)
        if account.cost is None:
            return None
        unit, number = account.cost
        same = [(other, other.cost[1]) for other in self._accounts.values() if other.cost and other.cost[0] == unit]
        prices = [other.last / count for other, count in same if other.taken and count >= _LEAST_COST]
        if prices:
            return _UNSURE * number * min(prices)
        untried = [count for other, count in same if not other.taken]
        # The cheap ones first: they tell what the others will take.
        return None if number <= max(1.0, min(untried)) else math.inf

    def _failed(self, name: str, account: _Account, step: int, why: Exception) -> None:
        text = _line(why) if isinstance(why, BadInput) else f"{type(why).__name__}: {_line(why)}"
        if step == 0:
            raise BadInput(f"Probe {name} failed before the first step: {text.rstrip('.')}.") from why
        account.failure = text
        log.warning("Probe %s failed at step %d and is taken no more: %s", name, step, text)


def synchronize(model: nn.Module) -> None:
    """Wait until a device has done what it was given.

    Args:
        model: the model that lies there.
    """
    kinds = {parameter.device.type for parameter in model.parameters()}
    if "cuda" in kinds:
        torch.cuda.synchronize()
    if "mps" in kinds:
        torch.mps.synchronize()


@contextmanager
def _unseen(now: Now, layout: Layout) -> Iterator[list[str]]:
    """Let something look at the model, and leave training as it was: weights, buffers, modes, gradients, generators.

    What had to be put back though nobody should have touched it is named in the list afterwards.
    """
    model, traces = now.model, list[str]()
    kept = {name: (p, p.data_ptr(), p._version) for name, p in model.named_parameters() if not p.requires_grad}
    modes = [(module, module.training) for module in model.modules()]
    gradients = [(p, p.grad) for p in model.parameters()]
    devices = {p.device for p in model.parameters()}
    if any(device.type == "cuda" for device in devices):  # asking about others would take memory on them
        devices.add(torch.device("cuda", torch.cuda.current_device()))
    generators = generator_state(devices)
    for parameter, _ in gradients:
        parameter.grad = None
    kinds = {device.type for device in devices} & {"cpu", "cuda"}
    cast = torch.autocast(kinds.pop(), enabled=False) if len(kinds) == 1 else nullcontext()
    try:
        with torch.inference_mode(False), torch.enable_grad(), cast:
            yield traces
    finally:
        for module, mode in modes:
            module.training = mode
        for parameter, gradient in gradients:
            parameter.grad = gradient
        restore_generators(generators)
        if not _same(layout.point(model), now.point):
            layout.load_(model, now.point)
            traces.append("the model's weights")
        changed = {name: value for name, value in now.buffers.items() if not _same(model.get_buffer(name), value)}
        if changed:
            restore_buffers(model, changed)
            traces.append(f"the model's buffer {next(iter(changed))}")
        frozen = [name for name, (p, place, version) in kept.items() if (p.data_ptr(), p._version) != (place, version)]
        if frozen:  # these may be large, and are not copied
            log.error("A probe changed the frozen parameter %s, of which there is no copy to put back.", frozen[0])
            traces.append(f"the frozen parameter {frozen[0]}")


def _same(a: Tensor, b: Tensor) -> bool:
    return torch.equal(a, b) or torch.equal(a.nan_to_num(), b.nan_to_num())


def _named(probes: LiveProbes) -> dict[str, LiveProbe]:
    """Probes by name: what they are called by the user, or their own name."""
    if isinstance(probes, Mapping):
        found = [(str(name), probe) for name, probe in probes.items()]
    else:
        several = list(probes) if isinstance(probes, Iterable) and not isinstance(probes, str) else [probes]
        found = [(getattr(probe, "__name__", type(probe).__name__), probe) for probe in several]
    for name, probe in found:
        if not callable(probe):
            raise BadInput(
                f"Probe {name} is a {type(probe).__name__}: give functions of the present time, such as those of "
                "landform.probes.live(landscape, names)."
            )
    if not found or len(dict(found)) < len(found):
        twice = [name for n, (name, _) in enumerate(found) if name in dict(found[:n])]
        what = f"Two probes are named {twice[0]}" if twice else "There is no probe to take"
        raise BadInput(f"{what}: give them by name, such as probes={{'norm': lambda now: now.point.norm()}}.")
    return dict(found)


def _numbers(name: str, found: Any) -> dict[str, float]:
    """What a probe returned, as numbers by name."""
    given = found if isinstance(found, Mapping) else {name: found}
    numbers: dict[str, float] = {}
    for each, value in given.items():
        try:
            numbers[str(each)] = float(value.detach() if isinstance(value, Tensor) else value)
        except (TypeError, ValueError, RuntimeError):
            shape = f" of shape {list(value.shape)}" if isinstance(value, Tensor) else ""
            raise BadInput(f"{each} is a {type(value).__name__}{shape}: return a number, or numbers by name") from None
        if each in ("loss", "lr"):
            raise BadInput(
                f"a value is named {each!r}, as the loop's own curve is: name it otherwise, such as full_{each}"
            )
    return numbers


def _line(why: Exception) -> str:
    return " ".join(str(why).split())
