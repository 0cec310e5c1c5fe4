"""The command line: commands by name, and one sentence for everything that goes wrong."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import cyclopts
from cyclopts import App, Parameter

import landform
from landform.cli._align import align
from landform.cli._compare import compare
from landform.cli._demo import demo
from landform.cli._diagnose import diagnose
from landform.cli._federated import federated
from landform.cli._free import free
from landform.cli._info import info
from landform.cli._kernel import kernel
from landform.cli._list import list_
from landform.cli._merge import merge
from landform.cli._paths import paths
from landform.cli._report import report
from landform.cli._reproduce import reproduce
from landform.cli._serve import serve
from landform.cli._show import Stopped, say
from landform.cli._surface import surface
from landform.cli._survey import survey
from landform.cli._sweep import status, sweep
from landform.cli._taxonomy import taxonomy
from landform.cli._train import train
from landform.cli._watch import watch
from landform.errors import BadInput

MISUSE, INTERRUPTED, NOBODY_READS = 2, 130, 141

app = App(
    name="landform",
    help="""Measure the geometry of neural-network training: the loss landscape that a run moves through.

    To begin:

        landform demo                   a paper reproduced in miniature, in minutes
        landform train --out runs/mine  a run of your own
        landform survey runs/mine       measure along it
        landform report runs/mine       the page about it

    `landform COMMAND --help` explains a command, with an example.
    """,
    help_format="markdown",
    version=landform.__version__,
    default_parameter=Parameter(negative=""),
)
for _command in (
    demo,
    reproduce,
    train,
    federated,
    survey,
    report,
    compare,
    watch,
    serve,
    kernel,
    paths,
    surface,
    align,
    merge,
    free,
    taxonomy,
    diagnose,
    sweep,
    status,
    info,
):
    app.command(_command)
app.command(list_, name="list")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command.

    Args:
        arguments: what stands after ``landform``; the process's own arguments by default.

    Returns:
        The exit status: 0, 2 for misuse (one sentence on stderr), 130 when interrupted.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    try:
        command, bound, _ = app.parse_args(given, exit_on_error=False, print_error=False)
        command(*bound.args, **bound.kwargs)
        sys.stdout.flush()
    except cyclopts.CycloptsError as why:
        say(f"landform: {_one_line(str(why))} (see: {' '.join(['landform', *_command_in(given), '--help'])})")
        return MISUSE
    except BadInput as why:
        say(f"landform: {_one_line(str(why))}")
        return MISUSE
    except KeyboardInterrupt as why:
        how = str(why) if isinstance(why, Stopped) else "Nothing was left half-written."
        say(f"landform: Interrupted. {how}")
        return INTERRUPTED
    except BrokenPipeError:
        # Whoever read our output has gone (landform list models | head -1); Python must not flush it once more.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return NOBODY_READS
    except OSError as why:
        named = "what was asked of it" if why.filename is None else str(why.filename)[:200]
        say(f"landform: {_one_line(f'The system refuses {named} ({why.strerror or why}): give another path.')}")
        return MISUSE
    return 0


def _command_in(given: Sequence[str]) -> list[str]:
    """The command that was meant, if it is one."""
    return [given[0]] if given and given[0] in list(app) else []


def _one_line(text: str) -> str:
    return " ".join(text.split())
