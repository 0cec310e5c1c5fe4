"""``landform sweep`` and ``landform status``."""

from __future__ import annotations

import importlib
import json as json_of
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from landform.cli._choose import options
from landform.cli._show import answer, going_on, progress, say, table
from landform.errors import BadInput

if TYPE_CHECKING:
    from landform.engine import Status
    from landform.sweeps import Train

# Seconds between two lines about how far the work is, where there is no terminal for a bar.
_EVERY = 30.0


def sweep(
    what: str,
    /,
    *,
    out: Path | None = None,
    grid: list[str] | None = None,
    seeds: int = 1,
    engine: str | None = None,
    processes: int | None = None,
    retries: int | None = None,
    data: str = "digits",
    data_option: list[str] | None = None,
    model_option: list[str] | None = None,
    curvature: bool = False,
    keep: bool = False,
    cpus: float = 1.0,
    gpus: float = 0.0,
    memory: float = 0.0,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Train for every cell of a grid and every seed: your own function, or many small networks at once.

    Each unit is a file of its own; run again with the same folder, it goes on where it was stopped, whatever stopped
    it. `landform status DIR` tells how far it is.

    For example:

        landform sweep mlp --grid lr=0.1,0.01 --grid width=8,16 --grid epochs=10 --seeds 5 --out runs/mlps
        landform sweep my_module:train --grid lr=0.1,0.01 --seeds 3 --engine local --out runs/mine
        landform sweep my_module:train --grid lr=0.1,0.01 --engine ray://head:10001 --gpus 0.25 --out runs/mine

    Args:
        what: module:function, called with the settings and a seed, which returns numbers by name; or a model of
            'landform list models', trained by landform.
        out: the folder; runs/sweep-NAME by default.
        grid: a setting and its values, as name=value,value; may be given several times.
        seeds: how many seeds for each place of the grid.
        engine: inline (one after the other), local (processes of this machine; the default), ray, or the address of a
            Ray cluster, ray://host:port.
        processes: how many processes of this machine; as many as there are cores by default.
        retries: how often a unit runs again when its process or node was lost.
        data: data set of landform's own networks.
        data_option: an option of the data set, as name=value; may be given several times.
        model_option: an option of the model, as name=value; may be given several times.
        curvature: also measure the Hessian's largest eigenvalue and trace of landform's own networks.
        keep: also keep the weights of landform's own networks.
        cpus: cores that a unit keeps busy.
        gpus: GPUs that a unit needs; 0.25 lets four share one.
        memory: gigabytes of memory that a unit needs.
        json: print what came of it as JSON.
    """
    from landform.engine import Needs, engine_named, status
    from landform.sweeps import sweep as run

    values = _grid(grid or [])
    own = ":" in what
    if own and (data_option or model_option or curvature or keep or data != "digits"):
        raise BadInput(f"{what} has its own data and models: leave --data, --model-option and the like out.")
    folder = out or Path("runs") / f"sweep-{what.rpartition(':')[2]}"
    started = time.perf_counter()
    with _here(), going_on(f"The same command with --out {folder} goes on where it stopped."):
        train = (
            _function(what)
            if own
            else _networks(what, data, options(data_option or [], "--data-option"), model_option, curvature, keep)
        )
        with _told(what) as tell:
            found = run(
                train,
                values,
                out=folder,
                seeds=seeds,
                engine=engine_named(engine, processes=processes, retries=retries),
                needs=Needs(cpus, gpus, memory * 1e9),
                say=say,
                progress=tell,
            )
    seconds = time.perf_counter() - started
    for note in found.notes:
        say(f"landform: {note}")
    if json:
        rows = [
            {**row.settings, **({} if row.seed is None else {"seed": row.seed}), **row.numbers} for row in found.rows
        ]
        answer({"sweep": str(folder), "seconds": round(seconds, 1), "rows": rows, "failed": dict(found.failures)})
    else:
        say(f"That took {seconds:.0f} s.")
        table([("cells done", len(found)), ("table", found.table)])
    if found.failures:
        first, why = next(iter(found.failures.items()))
        raise BadInput(
            f"{len(found.failures)} of {status(folder).total} units failed (first {first}: {why}): mend the cause and "
            f"give the command again, which keeps what is done; {folder / 'failed'} tells more."
        )


def status(folder: Path, /, *, json: Annotated[bool, Parameter(name="--json")] = False) -> None:
    """Tell how far a sweep or a study is: done, failed and why, running, time left.

    For example:

        landform status runs/mlps

    Args:
        folder: of the sweep or the study.
        json: print it as JSON.
    """
    from landform.engine import duration
    from landform.engine import status as look

    found = look(folder)
    if json:
        answer(_status_json(found))
        return
    rows: list[tuple[str, object]] = [
        ("what", found.what),
        ("state", found.state if found.state != "stopped" else "stopped: begin it again, and it goes on"),
        ("where", found.engine),
        ("done", f"{found.done:,} of {found.total:,}"),
        ("failed", f"{len(found.failed):,}"),
        ("running", f"{len(found.running):,}"),
    ]
    if found.seconds_left is not None:
        rows.append(("time left", f"about {duration(found.seconds_left)}"))
    rows.append(("last heard of", f"{duration(max(0.0, time.time() - found.told))} ago"))
    table(rows)
    if found.running:
        ordered = sorted(found.running.items(), key=lambda one: -one[1])
        print()
        table([(name, duration(seconds)) for name, seconds in ordered[:20]], heads=("running", "for"))
    if found.failed:
        print()
        table(list(found.failed.items())[:20], heads=("failed", "why"))
        if len(found.failed) > 20:
            print(f"and {len(found.failed) - 20} more, in {folder / 'failed'}")


def _status_json(found: Status) -> dict[str, Any]:
    return {
        "what": found.what,
        "state": found.state,
        "engine": found.engine,
        "total": found.total,
        "done": found.done,
        "failed": dict(found.failed),
        "running": {name: round(seconds, 1) for name, seconds in found.running.items()},
        "seconds_left": found.seconds_left,
        "began": found.began,
        "told": found.told,
    }


def _networks(
    model: str, data: str, data_options: dict[str, Any], model_option: list[str] | None, curvature: bool, keep: bool
) -> Train:
    from landform.sweeps import Networks

    return Networks(
        model,
        data,
        model_options=options(model_option or [], "--model-option"),
        data_options=data_options,
        curvature=curvature,
        keep=keep,
    )


def _grid(given: Sequence[str]) -> dict[str, list[Any]]:
    """Read ``name=value,value`` pairs; a value is JSON where it can be, and text otherwise."""
    found: dict[str, list[Any]] = {}
    for pair in given:
        name, equals, text = pair.partition("=")
        if not equals or not name.strip().isidentifier() or not text:
            raise BadInput(f"--grid takes a name and its values, such as lr=0.1,0.01; got {pair!r}.")
        if name.strip() in found:
            raise BadInput(f"--grid {name.strip()} is given twice: give all its values at once.")
        found[name.strip()] = [_value(each) for each in text.split(",")]
    if not found:
        raise BadInput("There is nothing to sweep over: give --grid, such as --grid lr=0.1,0.01.")
    return found


def _value(text: str) -> Any:
    try:
        return json_of.loads(text)
    except ValueError:
        return {"True": True, "False": False, "None": None}.get(text.strip(), text.strip())


@contextmanager
def _here() -> Iterator[None]:
    """Look for modules in the folder we are in, here and in processes that are started meanwhile."""
    here = str(Path.cwd())
    added = here not in sys.path
    if added:
        sys.path.insert(0, here)
    try:
        yield
    finally:
        if added:
            sys.path.remove(here)


def _function(what: str) -> Train:
    module_name, _, name = what.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (Exception, SystemExit) as why:
        text = " ".join(str(why).split())
        raise BadInput(
            f"{module_name} could not be imported from {Path.cwd()} ({type(why).__name__}: {text})."
        ) from why
    function = getattr(module, name, None)
    if not callable(function):
        raise BadInput(f"There is no function {name!r} in {module.__file__}: give module:function.")
    found: Train = function
    return found


@contextmanager
def _told(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar with the time left, or a line now and then where stderr is no terminal."""
    from landform.engine import duration

    if sys.stderr.isatty():
        with progress(what) as bar:
            yield bar
        return
    began = last = time.monotonic()
    first: list[int] = []

    def line(done: int, total: int) -> None:
        nonlocal last
        first[:] = first or [done]
        now = time.monotonic()
        if now - last < _EVERY or done == total:
            return
        last = now
        new = done - first[0]
        left = f", about {duration((now - began) / new * (total - done))} left" if new else ""
        say(f"{what}: {done:,} of {total:,} done{left}")

    yield line
