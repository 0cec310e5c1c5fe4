"""Units that write files of their own: those whose file is there are done."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from landform.engine._in_process import InProcess
from landform.engine._unit import Engine, Progress, Unit
from landform.errors import BadInput


def run_missing(
    units: Sequence[Unit],
    *,
    there: Callable[[Unit], bool] = lambda unit: False,
    engine: Engine | None = None,
    progress: Progress | None = None,
) -> None:
    """Run the units that are not done, all of them whatever becomes of one, and then raise the first failure.

    Args:
        units: the work; each leaves what it found in a file of its own.
        there: tells whether a unit's file is there.
        engine: where they run; here, one after the other, by default.
        progress: called as ``progress(done, total)``, once before the first and after each.

    Raises:
        BadInput: when one has failed.
    """
    left = [unit for unit in units if not there(unit)]
    results = (engine or InProcess()).run(left, progress=progress)
    failed = [result for result in results if result.failure is not None]
    if failed:
        more = f" (and {len(failed) - 1} more)" if len(failed) > 1 else ""
        raise BadInput(
            f"{failed[0].name}{more} failed ({failed[0].failure}): run the study again, which keeps what is done."
        )
