"""What a survey has to measure, and in which order."""

from __future__ import annotations

import hashlib
import heapq
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from landform.atlas import Stored
from landform.errors import Damaged
from landform.landscape import Landscape
from landform.probes import Probe
from landform.recording import Trajectory

# Probes of up to this many gradients share one unit of work for each record and set: the point is read once, and
# what they have in common (BatchNorm's statistics, the forward passes) is computed once.
_CHEAP = 3.0


@dataclass(frozen=True)
class Task:
    """One result to be had.

    Attributes:
        probe: what to take;
        set: on which set, or None where the probe looks at no data;
        index: at which record.
        rank: how early it should come: times are visited from coarse to fine.
        roles: index of each other record the probe looks at, by the part it plays.
        stored: what will be known of the result, without its numbers.
    """

    probe: Probe
    set: str | None
    index: int
    rank: int
    roles: Mapping[str, int]
    stored: Stored


class Run:
    """What a survey needs to know of a run: which records are sound, and which belong together."""

    def __init__(self, trajectory: Trajectory) -> None:
        """Look at the header of every record.

        Args:
            trajectory: the run.
        """
        self.trajectory = trajectory
        self.digests: dict[int, str] = {}
        self.damaged: list[str] = []
        partners: set[int] = set()
        for index in range(len(trajectory)):
            try:
                record = trajectory.records[index]
            except Damaged as why:
                self.damaged.append(f"One record is skipped: {why}")
                continue
            self.digests[index] = record.digest
            if record.partner:
                partners.add(index)
        self.times = [index for index in self.digests if index not in partners]
        self._place = {index: place for place, index in enumerate(self.times)}
        self._partner = dict(trajectory.pairs)
        self._children = _families(trajectory)
        self._whole = hashlib.blake2b("".join(self.digests.values()).encode(), digest_size=8).hexdigest()
        self._index = {step: index for index, step in enumerate(trajectory.steps)}

    def roles(self, index: int, needs: Sequence[str]) -> dict[str, int] | None:
        """Find the other records that a probe looks at.

        Args:
            index: where it is taken.
            needs: what it needs.

        Returns:
            The index of each by the part it plays; None where one is not there.
        """
        place = self._place.get(index, -1)
        near = {
            "start": 0 if 0 in self.digests else None,
            "before": self.times[place - 1] if place > 0 else None,
            "after": self.times[place + 1] if 0 <= place < len(self.times) - 1 else None,
            "partner": self._partner.get(index),
        }
        found = {need: near[need] for need in needs if need in near}
        return None if None in found.values() else {need: at for need, at in found.items() if at is not None}

    def children(self, index: int) -> tuple[Trajectory, ...]:
        """Find the runs that were spawned from a record and have come to their end.

        Args:
            index: the record.

        Returns:
            The children, by number.
        """
        return self._children.get(self.trajectory.steps[index], ())

    def seen(self, index: int, needs: Sequence[str]) -> dict[str, str] | None:
        """Find the digests of what a probe looks at.

        Args:
            index: where it is taken.
            needs: what it needs.

        Returns:
            Digests by part, the record's own as ``record``; None where something is not there.
        """
        roles = self.roles(index, needs)
        if roles is None or index not in self.digests or any(at not in self.digests for at in roles.values()):
            return None
        whole = {"trajectory": self._whole} if "trajectory" in needs else {}
        if "children" in needs:
            ends = [child.records[-1].digest for child in self.children(index)]
            if len(ends) < 2:
                return None
            whole["children"] = hashlib.blake2b("".join(ends).encode(), digest_size=8).hexdigest()
        return {"record": self.digests[index], **{need: self.digests[at] for need, at in roles.items()}, **whole}

    def outdated(self, stored: Stored) -> bool:
        """Tell whether a result is of records that the run does not have, or no longer has like that.

        Args:
            stored: the result.

        Returns:
            True when it can never hold again for the run as it is; a damaged record proves nothing.
        """
        index = self._index.get(stored.step)
        if index is None:
            return True
        if self.damaged:
            return index in self.digests and self.digests[index] != stored.seen.get("record")
        return self.seen(index, tuple(need for need in stored.seen if need != "record")) != stored.seen


def _families(trajectory: Trajectory) -> dict[int, tuple[Trajectory, ...]]:
    """Children that are as old as their parent, by the step at which they were spawned."""
    last = max(trajectory.steps, default=0)
    found: dict[int, list[Trajectory]] = {}
    for child in trajectory.children:
        parent = child.parent
        if parent is None or not len(child) or child.steps[-1] < last:
            continue
        try:
            child.records[-1]
        except Damaged:
            continue
        found.setdefault(parent["step"], []).append(child)
    return {step: tuple(each) for step, each in found.items()}


def plan(run: Run, landscapes: Mapping[str, Landscape], probes: Sequence[Probe]) -> tuple[list[Task], list[str]]:
    """List what there is to measure.

    Args:
        run: the run.
        landscapes: what to measure on, by the name of the set.
        probes: what to take.

    Returns:
        The tasks, from coarse to fine, and notes on what cannot be measured at all.
    """
    fingerprints = {name: landscape.fingerprint() for name, landscape in landscapes.items()}
    tasks: list[tuple[tuple[int, ...], Task]] = []
    notes: list[str] = []
    for order, probe in enumerate(probes):
        chosen = [index for index in _chosen(run, probe) if run.seen(index, probe.needs) is not None]
        if not chosen:
            notes.append(f"{probe.name} was not measured: no record has beside it what it needs.")
        ranks = {chosen[place]: rank for rank, place in enumerate(coarse_to_fine(len(chosen)))}
        wanted = [name for name in landscapes if not probe.only_on or name in probe.only_on]
        sets: list[str | None] = [*wanted] if "landscape" in probe.needs else [None]
        for place, name in enumerate(sets):
            looked = [name] if name is not None else list(landscapes) if "sets" in probe.needs else []
            refusals = [probe.applies(landscapes[each]) for each in looked] if probe.applies is not None else []
            if refusal := next(filter(None, refusals), None):
                where = "" if name is None else f" on {name}"
                notes.append(f"{probe.name} was not measured{where}: {refusal.rstrip('.')}.")
                continue
            basis = _basis(probe, "+".join(fingerprints[each] for each in looked) or None)
            dtype = str(landscapes[looked[0]].dtype).removeprefix("torch.") if looked else ""
            seed = probe.settings.get("seed")
            for index in chosen:
                stored = Stored(
                    probe=probe.name,
                    set=name,
                    step=run.trajectory.steps[index],
                    epoch=run.trajectory.epochs[index],
                    basis=basis,
                    seen=run.seen(index, probe.needs) or {},
                    version=probe.version,
                    settings=probe.settings,
                    dtype=dtype or str(run.trajectory.records[index].dtype).removeprefix("torch."),
                    seed=seed if isinstance(seed, int) else None,
                )
                task = Task(probe, name, index, ranks[index], run.roles(index, probe.needs) or {}, stored)
                tasks.append(((ranks[index], index, place, order), task))
    return [task for _, task in sorted(tasks, key=lambda each: each[0])], notes


def together(tasks: Sequence[Task]) -> list[list[Task]]:
    """Group the tasks that share a unit of work: cheap probes at the same record, on the same set.

    Args:
        tasks: what is to be done, in order.

    Returns:
        The groups, in the order of their first tasks.
    """
    groups: dict[tuple[object, ...], list[Task]] = {}
    for task in tasks:
        alone = (task.probe.name,) if task.probe.cost > _CHEAP else ()
        groups.setdefault((task.index, task.set, *alone), []).append(task)
    # One rank for a group, so that a budget can stop between ranks.
    return [[replace(task, rank=group[0].rank) for task in group] for group in groups.values()]


def coarse_to_fine(count: int) -> list[int]:
    """Order 0..count-1 so that every beginning of the order is spread evenly.

    First and last, then always the middle of the widest gap: at any time the widest gap is at most twice as wide as
    the narrowest, and one more.

    Args:
        count: how many.

    Returns:
        The order.
    """
    order = list(dict.fromkeys((0, count - 1)))[: max(count, 0)]
    gaps = [(1 - count, 0, count - 1)]
    while len(order) < count:
        _, low, high = heapq.heappop(gaps)
        middle = (low + high) // 2
        order.append(middle)
        for start, stop in ((low, middle), (middle, high)):
            if stop - start > 1:
                heapq.heappush(gaps, (start - stop, start, stop))
    return order


def _chosen(run: Run, probe: Probe) -> list[int]:
    """The records at which a probe is taken, in the order of time."""
    times = run.times
    if probe.times == "all" or not times:
        return times
    if probe.times == "pairs":
        return [index for index in times if run.roles(index, ("partner",))]
    if probe.times == "children":
        return [index for index in times if len(run.children(index)) > 1]
    if isinstance(probe.times, int):
        places = np.linspace(len(times) - 1, 0, min(probe.times, len(times))).round()  # one time is the last
        return [times[int(place)] for place in places[::-1]]
    epochs = run.trajectory.epochs
    assert not isinstance(probe.times, str)  # the probe has seen to it
    return sorted({min(times, key=lambda index: abs(epochs[index] - epoch)) for epoch in probe.times})


def _basis(probe: Probe, fingerprint: str | None) -> str:
    described = json.dumps([probe.name, probe.version, probe.settings, fingerprint], sort_keys=True)
    return hashlib.blake2b(described.encode(), digest_size=10).hexdigest()
