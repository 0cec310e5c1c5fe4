"""What a command says, and where: results on stdout, everything else on stderr."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table


class Stopped(KeyboardInterrupt):
    """The user pressed Ctrl-C; the message says how to go on."""


@contextmanager
def going_on(how: str) -> Iterator[None]:
    """Say how to go on when the user interrupts what happens inside.

    Args:
        how: the sentence.

    Raises:
        Stopped: in place of the bare interrupt.
    """
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(how) from None


@contextmanager
def progress(title: str) -> Iterator[Callable[[int, int], None]]:
    """Show a bar while something long goes on; nothing where stderr is no terminal.

    Args:
        title: what goes on.

    Yields:
        A function to be called with (done, total).
    """
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda done, total: None
        return
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    with Progress(*columns, TimeRemainingColumn(), console=console) as bars:
        bar = bars.add_task(title, total=None)
        yield lambda done, total: bars.update(bar, completed=done, total=total)


def say(text: str) -> None:
    """Tell the user something that is no result.

    Args:
        text: one line.
    """
    print(text, file=sys.stderr, flush=True)


def answer(content: Mapping[str, Any] | Sequence[Any]) -> None:
    """Print JSON, pure: numbers that are not finite become null.

    Args:
        content: plain values.
    """
    print(json.dumps(_plain(content), indent=1, ensure_ascii=False, allow_nan=False), flush=True)


def table(rows: Sequence[Sequence[object]], heads: Sequence[str] = (), title: str | None = None) -> None:
    """Print a table.

    Args:
        rows: what stands in it; what is empty stays empty.
        heads: names of the columns, if they need any.
        title: above it.
    """
    # Where nobody looks, lines are not broken, so that each row stays one line for whoever reads it.
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 1000)
    found = Table(title=title, title_justify="left", show_header=bool(heads), box=None, pad_edge=False)
    for number in range(max(map(len, rows), default=len(heads))):
        found.add_column(heads[number] if number < len(heads) else "", overflow="fold")
    for row in rows:
        found.add_row(*("" if cell is None else str(cell) for cell in row))
    with console.capture() as lines:
        console.print(found, markup=False)
    print("\n".join(line.rstrip() for line in lines.get().splitlines()), flush=True)


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
