"""One thread that writes while training goes on."""

from __future__ import annotations

import logging
import os
import queue
import threading
import weakref
from collections.abc import Callable

from landform.errors import BadInput

log = logging.getLogger("landform.recording")


class Background:
    """One thread that does jobs one after the other, at most one waiting: who hands over a third one waits.

    It ends with `close`, with the interpreter, or when nobody refers to it any more, and never before its last job.
    """

    def __init__(self) -> None:
        self._jobs: queue.Queue[Callable[[], None] | None] = queue.Queue(1)
        self._process = os.getpid()
        self._thread = threading.Thread(target=_work, args=(self._jobs,), name="landform-recording", daemon=True)
        self._thread.start()
        self._end = weakref.finalize(self, _end, self._jobs, self._thread, self._process)

    def submit(self, job: Callable[[], None]) -> None:
        """Hand over a job.

        Args:
            job: what to do; it must deal with its own errors.

        Raises:
            BadInput: in another process than the one that made this, or after `close`.
        """
        if os.getpid() != self._process:
            raise BadInput("A recorder works only in the process that made it: make one after forking.")
        if not self._end.alive:
            raise BadInput("This background thread is closed: make a new one.")
        self._jobs.put(job)

    @property
    def idle(self) -> bool:
        """Whether no further job waits."""
        return self._jobs.empty()

    def wait(self) -> None:
        """Wait until all jobs are done."""
        if os.getpid() == self._process:
            self._jobs.join()

    def close(self) -> None:
        """Wait until all jobs are done, and end the thread."""
        self._end()


def _work(jobs: queue.Queue[Callable[[], None] | None]) -> None:
    while True:
        job = jobs.get()
        try:
            if job is None:
                return
            job()
        except Exception:  # a job deals with its own errors; whatever slips through must not stop the others
            log.exception("A background job failed.")
        finally:
            del job  # or its tensors would live until the next one
            jobs.task_done()


def _end(jobs: queue.Queue[Callable[[], None] | None], thread: threading.Thread, process: int) -> None:
    if os.getpid() == process and thread is not threading.current_thread():
        jobs.put(None)
        thread.join()
