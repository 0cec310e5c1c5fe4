"""One run followed while it goes on: what a terminal shows, as text."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from landform.engine import duration
from landform.errors import BadInput
from landform.live._folder import Found
from landform.live._history import History, Line
from landform.live._standing import Memory, Standing, recorded, standing
from landform.live._text import is_wide, plot, spark
from landform.recording._format import RUN, read_run
from landform.report._facts import number
from landform.store import Writers

_STATES = {
    "training": "training",
    "measuring": "being measured",
    "finished": "finished",
    "stopped": "stopped before its end",
    "ended": "ended",
    "unreadable": "cannot be read",
}
# Rows of a frame that are no curve, beside one for each quantity that was measured; and what a curve needs at least.
_AROUND, _LEAST = 7, 8
# What comes first in the table.
_FIRST = ("loss", "error")


@dataclass(frozen=True)
class Frame:
    """What is to be seen of a run at one moment.

    Attributes:
        text: lines for a terminal.
        line: the same in one line, for a log.
        standing: the numbers behind it.
    """

    text: str
    line: str
    standing: Standing


def watch(
    run: str | Path,
    *,
    every: float = 1.0,
    curve: str = "loss",
    size: Callable[[], tuple[int, int]] = lambda: (80, 24),
    plain: bool = False,
    once: bool = False,
) -> Iterator[Frame]:
    """Follow a run until it has ended.

    Each file of the run is read once, and only the numbers in it that are shown.

    Args:
        run: its folder; it may still be empty of records.
        every: seconds between two looks.
        curve: which curve is drawn: one that the loop told (``loss``, ``lr``, ...) or a quantity that is measured.
        size: tells columns and rows there are for a frame.
        plain: draw by ASCII alone.
        once: look once.

    Yields:
        What is to be seen, again and again; the last one when neither training nor a survey goes on any more.

    Raises:
        BadInput: when there is no run, the time between looks is not above zero, or the run has ended and has no
            curve of that name.
    """
    if not every > 0:
        raise BadInput(f"There are {every:g} seconds between two looks: give a number above zero.")
    folder = recorded(Path(run))
    description = read_run(folder)
    root = Path(run).resolve()
    found = Found(root.name, root, "run")
    history, memory = History(folder.resolve(), max(1, description["epoch"])), Memory()
    stamp: object = None
    lines: dict[str, Line] = {}
    measured: dict[str, dict[str, Line]] = {}
    while True:
        began = time.monotonic()
        # Whoever names a run may read what its links lead to.
        now = standing(found, Path(root.anchor), Writers(), memory)
        if not (folder / RUN).is_file():
            raise BadInput(f"{folder} holds no run any more: its {RUN} has gone.")
        if (seen := (now.changed, now.records, now.results, now.state)) != stamp or memory.standing is None:
            stamp, lines, measured = seen, history.curves(), history.measured()
            for name, told in lines.items():
                _add_told(name, told, measured)
        drawn = _drawn(curve, lines, measured)
        if drawn is None and not now.going and curve != "loss":
            raise BadInput(_no_curve(curve, lines, measured))
        others = history.others(measured)
        yield _frame(now, curve, drawn, measured, others, size(), plain, of_batches=curve == "loss" and curve in lines)
        if once or not now.going:
            return
        time.sleep(max(0.0, every - (time.monotonic() - began)))


def _drawn(curve: str, lines: dict[str, Line], measured: dict[str, dict[str, Line]]) -> Line | None:
    if curve in lines:
        return lines[curve]
    if curve in measured:
        return next(iter(measured[curve].values()))
    return None


def _add_told(name: str, told: Line, measured: dict[str, dict[str, Line]]) -> None:
    """Put what the loop told, or a probe measured during training (``train/gradient_norm``), beside a survey's."""
    where, slash, quantity = name.partition("/")
    where, quantity = (where, quantity) if slash else ("", name)
    if name != "loss" and where not in measured.get(quantity, {}):
        measured.setdefault(quantity, {})[where] = told


def _no_curve(curve: str, lines: dict[str, Line], measured: dict[str, dict[str, Line]]) -> str:
    there = ", ".join(dict.fromkeys([*lines, *measured])) or "none"
    return f"The run has no curve {curve!r}: it has {there}."


def _frame(
    now: Standing,
    curve: str,
    drawn: Line | None,
    measured: dict[str, dict[str, Line]],
    others: Sequence[str],
    size: tuple[int, int],
    plain: bool,
    *,
    of_batches: bool,
) -> Frame:
    width, height = max(40, size[0]), max(12, size[1])
    dot = "-" if plain else "·"
    head = [now.found.name, _STATES[now.state], _epochs(now)]
    left = "" if now.left is None else f", about {duration(now.left)} left"
    if now.seconds >= 1:
        head.append(f"{duration(now.seconds)}{left}")
    about = [now.what, f"{now.records:,} records", f"last change {_ago(now.changed)}"]
    rows = _rows(measured, width, plain)
    if len(rows) > (fit := max(4, height - _AROUND - _LEAST)):
        rows = [*rows[: fit - 1], f"and {len(rows) - fit + 1} more rows"]
    text = [_cut(f" {dot} ".join(head), width), _cut(f" {dot} ".join(each for each in about if each), width)]
    if now.diverged:
        text.append("Its loss is no finite number any more: it has diverged.")
    if now.note:
        text.append(_cut(now.note, width))
    text.append("")
    if drawn is not None and len(drawn[0]):
        name = "loss of the batches" if of_batches else curve
        scale = " (log scale)" if is_wide(drawn[1]) else ""
        text.append(f"{name}{scale}: {number(float(drawn[1][-1]))}")
        text += plot(*drawn, width, max(6, height - _AROUND - len(rows)), plain=plain)
    else:
        text.append(f"There is no {curve} to draw yet." if now.going else f"No {curve} was told.")
    if rows:
        text += ["", *rows]
    if others:
        text.append(_cut(f"also measured: {', '.join(others)}", width))
    return Frame("\n".join(line.rstrip() for line in text), _line(now), now)


def _epochs(now: Standing) -> str:
    whole = "" if now.until is None else f" of {number(now.until)}"
    return f"epoch {number(now.epoch)}{whole} (step {now.step:,})"


def _rows(measured: dict[str, dict[str, Line]], width: int, plain: bool) -> list[str]:
    """One row for each quantity on each set: its course, its last value and when that was."""
    rates = measured.get("lr", {}).get("")
    if rates is not None and bool((rates[1] == rates[1][0]).all()):
        measured = {name: each for name, each in measured.items() if name != "lr"}
    cells = []
    for name in sorted(measured, key=lambda each: (each not in _FIRST, each != "loss", each)):
        for where, (epochs, values) in measured[name].items():
            last = f"{values[-1]:.2%}" if name == "error" else number(float(values[-1]))
            cells.append((name, where, spark(values.tolist(), plain=plain), last, number(float(epochs[-1]))))
    if not cells:
        return []
    heads = ("measured", "set", "", "last", "at epoch")
    wide = [max(len(row[column]) for row in [heads, *cells]) for column in range(5)]
    lines = []
    for row in [heads, *cells]:
        words = [f"{cell:<{wide[i]}}" if i < 3 else f"{cell:>{wide[i]}}" for i, cell in enumerate(row)]
        lines.append(_cut("  ".join(words), width))
    return lines


def _line(now: Standing) -> str:
    parts = [_STATES[now.state], _epochs(now)]
    if now.loss is not None:
        parts.append(f"loss {number(now.loss)}")
    for name, value in now.measured.items():
        parts.append(f"{name} {value:.2%}" if name.endswith("error") else f"{name} {number(value)}")
    return ", ".join(parts)


def _ago(moment: float) -> str:
    return f"{duration(max(0.0, time.time() - moment))} ago"


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3] + "..."
