"""Work of which the next piece is done while the last one is used."""

from __future__ import annotations

import queue
import threading
from collections.abc import Generator, Iterable
from typing import TypeVar

T = TypeVar("T")
_END = object()


def ahead(items: Iterable[T]) -> Generator[T, None, None]:
    """Go through items, the next of which is made in a thread meanwhile.

    At most three exist at a time: the one in use, one that waits, and one that is being made.

    Args:
        items: what makes them.

    Yields:
        The items, in their order; what goes wrong while one is made is raised where it would have come.
    """
    waiting: queue.Queue[object] = queue.Queue(maxsize=1)
    given_up = threading.Event()

    def put(item: object) -> bool:
        while not given_up.is_set() and threading.main_thread().is_alive():
            try:
                waiting.put(item, timeout=0.1)
                return True
            except queue.Full:
                continue
        return False

    def make() -> None:
        try:
            for item in items:
                if not put(item):
                    return
            put(_END)
        except BaseException as why:  # told where the items are used
            put(why)

    # No daemon: an interpreter that ends while one is deep in torch takes the whole process down with it.
    thread = threading.Thread(target=make)
    try:
        thread.start()  # Ctrl-C may come while this waits for the thread
        while (item := waiting.get()) is not _END:
            if isinstance(item, BaseException):
                raise item
            yield item  # type: ignore[misc]
    finally:
        given_up.set()
        if thread.is_alive():
            thread.join()
