"""The points that a training run visited, read from its folder when asked for."""

from __future__ import annotations

import bisect
import logging
import math
import operator
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import torch
from torch import Tensor

from landform import store
from landform.errors import BadInput, Damaged
from landform.layout import Layout
from landform.recording._format import CHILDREN, CURVES, RUN, SKIPPED, read_run, record_files
from landform.recording._record import Record, make_record, read_curves

log = logging.getLogger("landform.recording")


class Trajectory:
    """A recorded run.

    Opening it lists the folder; everything else is read when asked for. It shows the run as it was when it was
    opened: open it again to see what has been recorded since.

    Examples:
        >>> trajectory = Trajectory("runs/mine")
        >>> trajectory.points[3:7]  # [4, P]
        >>> trajectory.at(epoch=2.4).point  # [P], the nearest time recorded

    Attributes:
        folder: the run's folder.
        run: its description, the content of ``run.json``.
        layout: the layout of its points.
        points: its points, a sequence whose slices are matrices ``[n, P]``.
        records: its records, with everything kept of each time.
        steps: the recorded steps.
        epochs: the same in epochs.
    """

    def __init__(self, folder: str | Path) -> None:
        """Open a run.

        Args:
            folder: a folder that a recorder wrote.

        Raises:
            BadInput: when there is no run in it.
            Damaged: when its description is damaged.
        """
        self.folder = Path(folder)
        self.run: dict[str, Any] = read_run(self.folder)
        self.layout = Layout.from_json(self.run["layout"])
        self._files = record_files(self.folder)
        self._opened: dict[int, Record | Damaged] = {}
        self.steps = [step for step, _ in self._files]
        self.epochs = [step / self.run["epoch"] for step in self.steps]
        self.points = Points(self)
        self.records = Records(self)

    @property
    def times(self) -> list[float]:
        """The recorded times in epochs."""
        return self.epochs

    @cached_property
    def seconds(self) -> list[float]:
        """Time spent training until each record; nan for damaged ones."""
        return [math.nan if record is None else record.seconds for record in self._sound()]

    @cached_property
    def pairs(self) -> list[tuple[int, int]]:
        """Indices of each record that has a partner, and of the partner."""
        index = {step: i for i, step in enumerate(self.steps)}
        sound = self._sound()
        found = [(i, index.get(r.step + r.gap)) for i, r in enumerate(sound) if r is not None and r.gap]
        return [(i, j) for i, j in found if j is not None and sound[j] is not None]

    @cached_property
    def resumable(self) -> list[Record]:
        """The records from which training can go on."""
        return [record for record in self._sound() if record is not None and record.resumable]

    @cached_property
    def curves(self) -> dict[str, tuple[Tensor, Tensor]]:
        """What the loop told the recorder, by name (``loss``, ``lr``, ...): steps ``[n]`` and values ``[n]``.

        The values that lie in a damaged record are missing.
        """
        found: dict[str, dict[int, float]] = {}
        for file in self._told():
            try:
                read = read_curves(file)
            except Damaged as why:
                self._damage[file.path] = why
                continue
            for name, (steps, values) in read.items():
                found.setdefault(name, {}).update(zip(steps.tolist(), values.tolist(), strict=True))
        return {
            name: (
                torch.tensor(sorted(values)),
                torch.tensor([values[step] for step in sorted(values)], dtype=torch.float64),
            )
            for name, values in found.items()
        }

    @cached_property
    def skipped(self) -> dict[str, list[int]]:
        """Steps at which a probe was due during training and was left out for the budget, by the probe's name.

        Those of records that were left out (``Recorder(thin=True)``) are under ``records``.
        """
        found: dict[str, set[int]] = {}
        for file in self._told():
            for name in file.entries:
                if name.startswith(SKIPPED):
                    try:
                        found.setdefault(name.removeprefix(SKIPPED), set()).update(file.read(name).tolist())
                    except Damaged as why:
                        self._damage[file.path] = why
        return {name: sorted(steps) for name, steps in found.items()}

    @cached_property
    def children(self) -> list[Trajectory]:
        """Runs that left this one, from the folder ``children``, by name; damaged ones are left out and named."""
        place = self.folder / CHILDREN
        found: list[Trajectory] = []
        for folder in sorted(place.iterdir()) if place.is_dir() else []:
            if (folder / RUN).is_file():
                try:
                    found.append(Trajectory(folder))
                except Damaged as why:
                    self._damage[folder / RUN] = why
                    log.warning("%s", why)
        return found

    @property
    def parent(self) -> dict[str, Any] | None:
        """For a child, where it left its parent: ``step`` and ``epoch``."""
        parent: dict[str, Any] | None = self.run["parent"]
        return parent

    @property
    def damaged(self) -> list[Path]:
        """Files known to be damaged.

        Every header is looked at; a change among the numbers of a record shows when they are read, or by `verify`.
        """
        self._sound()
        return sorted(self._damage)

    @cached_property
    def disk_use(self) -> int:
        """Bytes the records take."""
        return sum(path.stat().st_size for _, path in self._files)

    def at(self, *, epoch: float | None = None, step: float | None = None) -> Record:
        """Find the record nearest to a time.

        Args:
            epoch: the time in epochs;
            step: or in steps.

        Returns:
            The nearest record, the earlier of two equally near ones.

        Raises:
            BadInput: when not exactly one time is given, or nothing is recorded.
        """
        if (epoch is None) == (step is None):
            raise BadInput("Give one time, at(epoch=2.4) or at(step=100).")
        wanted = float(step) if step is not None else float(epoch or 0.0) * self.run["epoch"]
        if math.isnan(wanted):
            raise BadInput("A time must be a number; got nan.")
        if not self.steps:
            raise BadInput(f"{self.folder} holds no record yet.")
        place = bisect.bisect_left(self.steps, wanted)
        near = [i for i in (place - 1, place) if 0 <= i < len(self.steps)]
        return self.record(min(near, key=lambda i: abs(self.steps[i] - wanted)))

    def record(self, index: int) -> Record:
        """Open a record.

        Args:
            index: its place among the records; a negative one counts from the end.

        Returns:
            The record.

        Raises:
            Damaged: when it is damaged.
        """
        step, path = self._files[index]
        if step not in self._opened:
            try:
                self._opened[step] = make_record(store.open_tensors(path), self.run, self.layout, step)
            except Damaged as why:
                self._opened[step] = why
                self._damage[path] = why
        found = self._opened[step]
        if isinstance(found, Damaged):
            raise found
        return found

    def verify(self) -> list[Path]:
        """Read everything, and name what is damaged.

        Returns:
            The damaged files.
        """
        rests = [self._open(path) for _, path in record_files(self.folder, CURVES)]
        for file in (*rests, *(None if record is None else record.file for record in self._sound())):
            if file is not None:
                try:
                    file.read_all()
                except Damaged as why:
                    self._damage[file.path] = why
        return self.damaged

    def __len__(self) -> int:
        """How many records there are."""
        return len(self._files)

    def __repr__(self) -> str:
        about = self.run["settings"]
        model = about.get("recorder", about).get("model", "a model")
        model = model.get("class", "a model") if isinstance(model, dict) else model
        span = f"steps {self.steps[0]} to {self.steps[-1]} (epoch {self.epochs[-1]:.4g})" if self.steps else "no steps"
        bad = f", {len(self.damaged)} damaged" if self.damaged else ""
        return (
            f"Trajectory({str(self.folder)!r}: {model} of {self.layout.size} parameters, {len(self)} records over "
            f"{span}, {store.size_text(self.disk_use)}{bad})"
        )

    @cached_property
    def _damage(self) -> dict[Path, Damaged]:
        return {}

    def _sound(self) -> list[Record | None]:
        """All records, None in place of damaged ones."""
        found: list[Record | None] = []
        for index in range(len(self)):
            try:
                found.append(self.record(index))
            except Damaged:
                found.append(None)
        return found

    def _told(self) -> list[store.TensorFile]:
        """The files that hold curves, as far as they are sound."""
        # The values after the last record first: a run that went on from there has them again in its records.
        rests = [file for _, path in record_files(self.folder, CURVES) if (file := self._open(path))]
        return [*rests, *(record.file for record in self._sound() if record is not None)]

    def _open(self, path: Path) -> store.TensorFile | None:
        try:
            return store.open_tensors(path)
        except Damaged as why:
            self._damage[path] = why
            return None


class OutOfRange(BadInput, IndexError):
    """An index beyond the last record; an `IndexError` too, on which Python's loops over a sequence end."""


class Points:
    """The points of a run: an index gives ``[P]``; a slice or a list of indices gives ``[n, P]``."""

    def __init__(self, trajectory: Trajectory) -> None:
        self._trajectory = trajectory

    def __len__(self) -> int:
        """How many points there are."""
        return len(self._trajectory)

    @property
    def shape(self) -> tuple[int, int]:
        """The shape ``(n, P)`` of all of them as a matrix."""
        return len(self), self._trajectory.layout.size

    def __getitem__(self, index: int | slice | Iterable[int]) -> Tensor:
        """Read points.

        Args:
            index: a place, a slice, or several places; negative ones count from the end.

        Returns:
            ``[P]`` or ``[n, P]``, on the CPU, in the type the run had.

        Raises:
            Damaged: when one of the records is damaged.
        """
        places = _places(index, len(self))
        if isinstance(places, int):
            return self._trajectory.record(places).point
        dtype = getattr(torch, self._trajectory.run["dtype"])
        matrix = torch.empty(len(places), self.shape[1], dtype=dtype)
        for row, place in zip(matrix, places, strict=True):
            self._trajectory.record(place).read_point(row)
        return matrix


class Records:
    """The records of a run, by index or slice."""

    def __init__(self, trajectory: Trajectory) -> None:
        self._trajectory = trajectory

    def __len__(self) -> int:
        """How many records there are."""
        return len(self._trajectory)

    @overload
    def __getitem__(self, index: int) -> Record: ...
    @overload
    def __getitem__(self, index: slice | Iterable[int]) -> list[Record]: ...
    def __getitem__(self, index: int | slice | Iterable[int]) -> Record | list[Record]:
        """Open records.

        Args:
            index: a place, a slice, or several places; negative ones count from the end.

        Returns:
            A record, or several.

        Raises:
            Damaged: when one of them is damaged.
        """
        places = _places(index, len(self))
        if isinstance(places, int):
            return self._trajectory.record(places)
        return [self._trajectory.record(place) for place in places]

    def __iter__(self) -> Iterator[Record]:
        """Open one record after the other."""
        return (self._trajectory.record(place) for place in range(len(self)))


def _places(index: int | slice | Iterable[int], count: int) -> int | list[int]:
    if isinstance(index, slice):
        return list(range(count)[index])
    if isinstance(index, Tensor):
        index = index.tolist()
    if isinstance(index, Iterable):
        return [_place(item, count) for item in index]
    return _place(index, count)


def _place(index: int, count: int) -> int:
    try:
        place = operator.index(index)
    except TypeError:
        raise BadInput(f"An index must be a whole number, a slice or a list of such; got {index!r}.") from None
    if not -count <= place < count:
        raise OutOfRange(f"There are {count} records, and none at index {place}: count from 0, or from -1 backwards.")
    return place % count
