"""``landform serve``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from landform.cli._show import answer, going_on, say


def serve(
    folder: Path = Path("runs"),
    /,
    *,
    port: int = 8420,
    host: str = "127.0.0.1",
    every: float = 2.0,
    open: bool = False,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Show the runs of a folder in a browser: how each stands, its report, any of them side by side, kept up to date.

    Nothing outside the folder is read, and only this machine is answered unless --host says otherwise.

    For example:

        landform serve runs
        landform serve runs --port 0 --open

    Args:
        folder: a folder of runs, however deep they lie, or of one run.
        port: where to listen; 0 takes any port that is free.
        host: the address to listen at; 0.0.0.0 lets other machines in, and nobody is asked for a password.
        every: seconds after which an open page asks for what is new.
        open: open the page in the browser.
        json: print the address as JSON.
    """
    from landform.live import serve as begin

    with (
        begin(folder, host=host, port=port, every=every) as server,
        going_on("The pages are gone, the runs are as they were."),
    ):
        if not server.is_local:
            say(
                f"note: Everyone who can reach {host} on port {server.port} can see these runs, without a password. "
                "Leave --host out to keep them to this machine."
            )
        if json:
            answer({"url": server.url, "folder": str(server.runs.root)})
        else:
            print(f"The runs of {folder} are at {server.url} until you press Ctrl-C.", flush=True)
        if open:
            import webbrowser

            webbrowser.open(server.url)
        server.wait()
