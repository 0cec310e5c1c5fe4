"""What is made ahead, and what becomes of its thread."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator

import pytest

from landform.merging._ahead import ahead


def test_items_come_in_order() -> None:
    assert list(ahead(range(100))) == list(range(100))
    assert list(ahead([])) == []


def test_what_goes_wrong_is_raised_where_it_would_have_come() -> None:
    def items() -> Iterator[int]:
        yield 1
        raise ValueError("two")

    found = ahead(items())
    assert next(found) == 1
    with pytest.raises(ValueError, match="two"):
        next(found)


def test_at_most_three_exist() -> None:
    made = []
    found = ahead(made.append(i) or i for i in range(10))
    next(found)
    found.close()
    assert len(made) <= 3


def test_the_thread_ends_when_nobody_takes_the_rest() -> None:
    before = threading.active_count()
    found = ahead(range(100))
    next(found)
    found.close()
    assert threading.active_count() == before


def test_ctrl_c_while_the_thread_starts(monkeypatch: pytest.MonkeyPatch) -> None:
    started = []

    class Interrupted(threading.Thread):
        def start(self) -> None:
            super().start()
            started.append(self)
            raise KeyboardInterrupt

    monkeypatch.setattr(threading, "Thread", Interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(ahead(range(100)))
    started[0].join(10)
    assert not started[0].is_alive()


def test_one_that_is_forgotten_does_not_hold_the_interpreter_up() -> None:
    forgotten = """
import torch
from landform.merging._ahead import ahead
found = ahead(torch.ones(1000, 1000) @ torch.ones(1000, 1000) for _ in range(10_000))
next(found)
kept = [found]
kept.append(kept)
"""
    done = subprocess.run([sys.executable, "-c", forgotten], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
