"""A page as a PDF or a picture, printed by a browser that is installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Literal

from landform.errors import BadInput

# Names of browsers that print without a window.
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
_MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
_SECONDS = 120


def check_browser() -> str:
    """Find a browser that can print.

    Returns:
        Its program.

    Raises:
        BadInput: when there is none.
    """
    chosen = os.environ.get("LANDFORM_BROWSER")
    if chosen:
        if shutil.which(chosen) is None:
            raise BadInput(f"LANDFORM_BROWSER is {chosen!r}, which is no program: give the path of Chromium or Chrome.")
        return chosen
    found = next((name for name in _BROWSERS if shutil.which(name)), None)
    if found is None and sys.platform == "darwin" and Path(_MAC).is_file():
        found = _MAC
    if found is None:
        raise BadInput(
            "A PDF or a picture of the page is printed by Chromium, Chrome or Edge, and none is installed: install "
            "one, or name it in LANDFORM_BROWSER, or open the HTML page and print it."
        )
    return found


def print_page(page: str | Path, kind: Literal["pdf", "png"]) -> Path:
    """Print a page.

    Args:
        page: the HTML file.
        kind: ``"pdf"`` or ``"png"``.

    Returns:
        The file, beside the page.

    Raises:
        BadInput: when there is no browser, or it fails.
    """
    program = check_browser()
    page = Path(page).resolve()
    target = page.with_suffix(f".{kind}")
    with tempfile.TemporaryDirectory(prefix="landform-") as folder:
        made = Path(folder) / target.name
        how = [f"--print-to-pdf={made}", "--no-pdf-header-footer"]
        if kind == "png":
            how = [f"--screenshot={made}", "--window-size=1100,9000", "--hide-scrollbars"]
        plain = ["--headless=new", "--disable-gpu", "--virtual-time-budget=10000", f"--user-data-dir={folder}/profile"]
        # A browser's sandbox does not run as root, as in a container; the page is our own.
        plain += ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        try:
            subprocess.run([program, *plain, *how, page.as_uri()], capture_output=True, timeout=_SECONDS, check=True)
        except (OSError, subprocess.SubprocessError) as why:
            raise BadInput(f"{program} could not print {page} ({type(why).__name__}): open it and print it.") from None
        if not made.is_file():
            raise BadInput(f"{program} printed nothing for {page}: open it in a browser and print it.")
        shutil.move(made, target)
    return target
