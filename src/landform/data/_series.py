"""Time series in the text files of the UCR and UEA archives."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Unpack

import numpy
import torch
from torch import Tensor

from landform.data._assemble import Raw, Scaling, assemble, present
from landform.data._options import Common, Options
from landform.data._places import first_of, missing, root_of
from landform.data._types import Dataset, Split
from landform.errors import BadInput

# Padding a file of a few long and many short series must not fill the memory.
MOST = 2**32


@dataclass
class Series:
    """What a ``.ts`` file holds.

    Attributes:
        labels: the classes its header lists, in order; None for regression.
        cases: one array ``[T, C]`` a case.
        targets: a class index or a number for each case.
        regression: whether the targets are numbers.
    """

    labels: list[str] | None = None
    cases: list[Tensor] = field(default_factory=list)
    targets: list[float] = field(default_factory=list)
    regression: bool = False


def time_series(name: str, *, mask: bool = False, **common: Unpack[Common]) -> Dataset:
    """Load a set of the UCR/UEA archives from its ``.ts`` files.

    Series shorter than the longest are right-aligned: zeros come first, and ``lengths`` says how many steps are real.
    Mean and deviation are taken for each channel over the real steps.

    Args:
        name: the problem, such as ``"GunPoint"``; read from ``root/timeseries/<name>/<name>_TRAIN.ts`` and
            ``_TEST.ts`` (or one or two folders up).
        mask: append a channel that is 1 where a step is real and 0 in the padding.
        **common: the options common to all data sets.

    Returns:
        The data set; inputs ``[T, C]``, time first; targets are classes, or numbers where the file says so.

    Raises:
        BadInput: when the files are missing, malformed, or do not belong together.
    """
    options = Options.of(time_series, common)
    how = f"put {name}_TRAIN.ts and {name}_TEST.ts there, from timeseriesclassification.com"
    root = root_of(options.root, name, how)
    folders = [root / "timeseries" / name, root / "timeseries", root / name, root]
    if not name or Path(name).name != name:
        raise BadInput(f"A time series set is called by a plain name such as GunPoint, not {name!r}.")
    files = [first_of(folders, [f"{name}_{part}.ts"]) for part in ("TRAIN", "TEST")]
    if files[0] is None or files[1] is None:
        raise missing(f"{name}_{'TEST' if files[0] else 'TRAIN'}.ts", folders, how)
    train, test = (read_ts(file) for file in files if file is not None)
    if train.labels != test.labels or train.regression != test.regression:
        raise BadInput(f"{files[0]} and {files[1]} list other classes: take both from the same source.")
    if len({case.shape[1] for part in (train, test) for case in part.cases}) > 1:
        raise BadInput(f"{files[0]} and {files[1]} have other numbers of channels: take both from the same source.")
    longest = max(len(case) for part in (train, test) for case in part.cases)
    equal = all(len(case) == longest for part in (train, test) for case in part.cases)
    raws = [_raw(part, longest, not equal, file) for part, file in zip((train, test), files, strict=True)]
    dataset = assemble(
        f"time_series:{name}",
        options,
        {"mask": mask},
        train=raws[0],
        test=raws[1],
        classes=None if train.labels is None else len(train.labels),
        scaling=Scaling(channels=2),
        source={"from": "ts", "labels": train.labels, "steps": longest, "equal length": equal},
    )
    return replace(dataset, train=_masked(dataset.train), test=_masked(dataset.test)) if mask else dataset


def _raw(part: Series, longest: int, unequal: bool, file: Path | None) -> Raw:
    channels = part.cases[0].shape[1]
    if len(part.cases) * longest * channels > MOST:
        raise BadInput(f"{file} padded to its longest series of {longest} steps would fill the memory: cut the series.")
    inputs = torch.zeros(len(part.cases), longest, channels)
    for row, case in zip(inputs, part.cases, strict=True):
        row[longest - len(case) :] = case
    targets = torch.tensor(part.targets, dtype=torch.float32 if part.regression else torch.int64)
    lengths = torch.tensor([len(case) for case in part.cases]) if unequal else None
    return Raw.of(inputs, targets, lengths)


def _masked(split: Split) -> Split:
    samples, steps, _ = split.inputs.shape
    lengths = torch.full((samples,), steps) if split.lengths is None else split.lengths
    channel = present(lengths, steps).to(split.inputs.dtype)[:, :, None]
    return replace(split, inputs=torch.cat([split.inputs, channel], 2))


def read_ts(file: Path) -> Series:
    """Read a ``.ts`` file of sktime or aeon.

    Args:
        file: the file.

    Returns:
        What it holds.

    Raises:
        BadInput: when it is malformed, has missing values or time stamps, or a label that its header does not list.
    """
    try:
        lines = file.read_bytes().decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise BadInput(f"{file} is no text in UTF-8: fetch it again.") from None
    except OSError as refused:
        raise BadInput(f"{file} cannot be read ({refused.strerror}).") from None
    series = Series()
    body = None
    for number, line in enumerate((each.strip() for each in lines), start=1):
        where = f"Line {number} of {file}"
        if not line or line.startswith("#"):
            continue
        if body is not None:
            _case(series, line, where)
        elif line.startswith("@"):
            if line.split()[0].lower() == "@data":
                body = number
            else:
                _header(series, line, where)
        else:
            raise BadInput(f"{where} comes before @data but starts with neither @ nor #: is it a .ts file?")
    if body is None:
        raise BadInput(f"{file} has no line @data: is it a .ts file?")
    if not series.cases:
        raise BadInput(f"{file} holds no series after @data: fetch it again.")
    return series


def _header(series: Series, line: str, where: str) -> None:
    key, *values = line.split()
    key = key.lower()
    said = values[0].lower() if values else ""
    if key == "@timestamps" and said == "true":
        raise BadInput(f"{where} says that values come with time stamps, which landform does not read: resample them.")
    if key == "@targetlabel" and said == "true":
        series.regression = True
    elif key == "@classlabel" and said == "true":
        series.labels = values[1:]
        if len(set(series.labels)) != len(series.labels) or not series.labels:
            raise BadInput(f"{where} does not list the classes once each after @classLabel true.")


def _case(series: Series, line: str, where: str) -> None:
    if series.labels is None and not series.regression:
        raise BadInput(
            f"{where} holds a series, but the header announces neither @classLabel true nor @targetLabel true."
        )
    *channels, label = line.split(":")
    if not channels:
        raise BadInput(f"{where} has no label after a colon.")
    values = [_numbers(channel, where) for channel in channels]
    if len({len(each) for each in values}) > 1:
        raise BadInput(f"{where} has channels of {' and '.join(str(len(v)) for v in values)} steps: make them equal.")
    if series.cases and len(channels) != series.cases[0].shape[1]:
        raise BadInput(f"{where} has {len(channels)} channels where the first series has {series.cases[0].shape[1]}.")
    series.targets.append(_target(series, label.strip(), where))
    series.cases.append(torch.from_numpy(numpy.stack(values, 1)))


def _numbers(channel: str, where: str) -> numpy.ndarray[tuple[int], numpy.dtype[numpy.float32]]:
    try:
        # out of float32's range becomes infinite, which is refused below
        with numpy.errstate(over="ignore"):
            values = numpy.array(channel.split(","), dtype=numpy.float64).astype(numpy.float32)
    except ValueError:
        what = "a missing value" if "?" in channel else "something that is no number"
        raise BadInput(f"{where} holds {what}: fill it in, since landform reads whole series only.") from None
    if not numpy.isfinite(values).all():
        raise BadInput(f"{where} holds NaN or infinity: fill it in, since landform reads whole series only.")
    return values


def _target(series: Series, label: str, where: str) -> float:
    if series.labels is not None:
        if label in series.labels:
            return series.labels.index(label)
        # some files write 1 in the header and 1.0 beside a series
        value = _as_number(label)
        same = [i for i, known in enumerate(series.labels) if value is not None and _as_number(known) == value]
        if not same:
            raise BadInput(f"{where} has the class {label!r}, but the header lists {', '.join(series.labels)}.")
        return same[0]
    value = _as_number(label)
    if value is None:
        raise BadInput(f"{where} has the target {label!r}, which is no finite number.")
    return value


def _as_number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if math.isfinite(value) else None
