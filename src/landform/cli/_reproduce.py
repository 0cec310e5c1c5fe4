"""``landform reproduce``."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from landform.cli._choose import options
from landform.cli._show import answer, going_on, progress, say, table
from landform.cli._threads import few, threads
from landform.errors import BadInput

if TYPE_CHECKING:
    from landform.studies import Claim


def reproduce(
    study: Literal[
        "adversarial-kernel",
        "adversarial-landscape",
        "deep-vs-kernel",
        "emergent-geometry",
        "federated-kernel",
        "merging",
        "needle",
        "quantum-patches",
        "recurrent-kernel",
        "taxonomy",
        "wedges",
    ],
    /,
    *,
    out: Path | None = None,
    scale: Literal["small", "medium", "paper", "tiny"] = "small",
    data: str | None = None,
    data_option: list[str] | None = None,
    model: str | None = None,
    model_option: list[str] | None = None,
    seeds: int | None = None,
    controls: bool = False,
    device: str = "auto",
    engine: str | None = None,
    processes: int | None = None,
    format: Literal["html", "pdf", "png"] = "html",
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Reproduce a paper: train, measure, hold its claims against the numbers, and write the page.

    Run again with the same folder, it goes on where it was stopped, whatever stopped it.

    For example:

        landform reproduce deep-vs-kernel
        landform reproduce deep-vs-kernel --scale medium --out runs/medium
        landform reproduce merging --out runs/merging
        landform reproduce deep-vs-kernel --data moved_digits --model small_cnn --seeds 1 --out runs/cnn

    Args:
        study: which paper; 'landform list studies' has the question of each.
        out: the folder of the study; runs/STUDY-SCALE by default.
        scale: small takes minutes on a laptop; medium, mostly on CIFAR-10, less than an hour (deep-vs-kernel hours);
            paper a GPU; tiny takes seconds and proves nothing.
        data: another data set of 'landform list data'; this option and the next three are of deep-vs-kernel.
        data_option: an option of the data set, as name=value; may be given several times.
        model: another model of 'landform list models'.
        model_option: an option of the model, as name=value; may be given several times.
        seeds: how many runs, each with an initialisation and an order of the data of its own.
        controls: also run what should change the verdicts of deep-vs-kernel: a smaller step, another schedule, another
            task.
        device: auto, cpu, cuda or mps.
        engine: where it is worked: inline (one unit after the other), local (processes of this machine; the default),
            ray, or the address of a Ray cluster that sees the folder, ray://host:port.
        processes: how many measure at once; as many as there are cores by default.
        format: also print the page as a PDF, or as a picture (needs Chromium or Chrome).
        json: print the claims as JSON.
    """
    own = {
        "data": data,
        "data_options": options(data_option or [], "--data-option"),
        "model": model,
        "model_options": options(model_option or [], "--model-option"),
        "controls": controls,
    }
    if study != "deep-vs-kernel":
        for name, given in own.items():
            if given:
                option = name.replace("_options", "-option")
                raise BadInput(f"{study} has its own data and models and no controls: leave --{option} out.")
        own = {}
    run_study(
        out or Path("runs") / f"{study}-{scale}",
        study=study,
        json=json,
        engine=engine,
        processes=processes,
        format=format,
        scale=scale,
        seeds=seeds,
        device=device,
        **own,
    )


def run_study(
    out: Path,
    *,
    study: str = "deep-vs-kernel",
    json: bool,
    engine: str | None = None,
    processes: int | None = None,
    format: Literal["html", "pdf", "png"] = "html",
    **asked: Any,
) -> None:
    """Run the study, print its claims, and write its page.

    Args:
        out: the folder.
        study: its name.
        json: print the claims as JSON.
        engine: where it is worked.
        processes: how many measure at once.
        format: what else the page is printed as.
        **asked: options of the study.
    """
    from landform.engine import Ledger, cores, engine_named
    from landform.report import check_browser, print_page
    from landform.report import report as write
    from landform.studies import STUDIES

    if format != "html":
        check_browser()
    started = time.perf_counter()
    count = cores() if processes is None else processes
    ledger = Ledger(engine_named(engine, processes=count), out, f"study {study}")
    with ledger, threads(few()), going_on(f"The same command with --out {out} goes on where it stopped."):
        claims = STUDIES[study].run(out, engine=ledger, say=say, progress=_bars, **asked)
    try:
        page: Path | None = write(out)
        printed = None if page is None or format == "html" else print_page(page, format)
    except BadInput as why:
        page, printed = None, None
        say(f"landform: There is no page, but the numbers are here. {why}")
    seconds = time.perf_counter() - started
    if json:
        answer(
            {
                "study": str(out),
                "report": None if page is None else str(page),
                "seconds": round(seconds, 1),
                "claims": [claim.to_json() for claim in claims],
            }
        )
        return
    show_claims(claims)
    for file in (page, printed):
        if file is not None:
            say(f"The report is {file}: open it in a browser.")
    say(f"That took {seconds:.0f} s; the numbers are in {out / 'claims.json'}.")


def show_claims(claims: Sequence[Claim]) -> None:
    """Print claims with their verdicts.

    Args:
        claims: the claims.
    """
    from landform.report import claim_value

    rows = [(claim.statement, claim.expected, claim_value(claim), claim.verdict, claim.why) for claim in claims]
    table(rows, heads=("claim", "the paper", "here", "verdict", "why"))


class _bars:
    """A bar for each stage, which is closed when the next one begins or the stage is done."""

    def __init__(self, title: str) -> None:
        self._bar = progress(title)
        self._tell: Any = None

    def __call__(self, done: int, total: int) -> None:
        if self._tell is None:
            self._tell = self._bar.__enter__()
        self._tell(done, total)
        if done >= total:
            self._bar.__exit__(None, None, None)
            self._tell = lambda done, total: None
