"""`import landform` costs hardly more than importing torch."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys

import pytest

HEAVY = {
    "sklearn", "matplotlib", "plotly", "jinja2", "pandas", "pyarrow", "PIL", "xarray", "datasets",
    "transformers", "lightning", "ray", "pennylane",
}  # fmt: skip


def fresh(code: str) -> str:
    """What the code prints in an interpreter of its own."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def modules_after(statement: str) -> set[str]:
    return set(json.loads(fresh(f"import json, sys; {statement}; print(json.dumps(list(sys.modules)))")))


def test_nothing_heavy_comes_with_it() -> None:
    loaded = modules_after("import landform") - modules_after("import torch")
    assert not HEAVY & {name.partition(".")[0] for name in loaded}


@pytest.mark.timing
def test_it_takes_hardly_longer_than_torch() -> None:
    def seconds(name: str) -> float:
        return float(
            fresh(f"import time; start = time.process_time(); import {name}; print(time.process_time() - start)")
        )

    seconds("landform")  # once unmeasured: the disk's cache, and the compiled files
    torch, landform = zip(*[(seconds("torch"), seconds("landform")) for _ in range(5)], strict=True)
    assert statistics.median(landform) <= 1.3 * statistics.median(torch), (torch, landform)
