"""Both sides of the page for those who come from another package, where that is installed."""

from __future__ import annotations

import importlib.util
import re
import warnings
from pathlib import Path
from typing import Any

import pytest
import torch

PAGE = Path(__file__).resolve().parents[1] / "docs" / "coming-from.md"
BLOCK = re.compile(r"(?:<!-- peer: (?P<peer>\w+) -->\n<!-- no-run -->\n)?```python\n(?P<code>.*?)```", re.DOTALL)
SECTION = re.compile(r"^## ", re.MULTILINE)


def session(title: str, place: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run what stands before the first section, and a section; skipped where its peer is not installed."""
    head, *sections = SECTION.split(PAGE.read_text(encoding="utf-8"))
    (section,) = [each for each in sections if each.startswith(title)]
    monkeypatch.chdir(place)
    names: dict[str, Any] = {"__name__": "__main__"}
    for block in BLOCK.finditer(head + section):
        if (peer := block["peer"]) and importlib.util.find_spec(peer) is None:
            pytest.skip(f"{peer} is not installed")
        with warnings.catch_warnings():
            if peer:
                warnings.simplefilter("ignore")  # what peers are told by torch is theirs
            exec(compile(block["code"], str(PAGE), "exec"), names)
    return names


def test_pyhessian(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = session("PyHessian", tmp_path, monkeypatch)
    assert found["our_top"].tolist() == pytest.approx(found["their_top"], rel=1e-2)
    trace = found["our_trace"]
    assert trace.value == pytest.approx(found["their_trace"], rel=0.1)


def test_loss_landscapes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = session("loss-landscapes", tmp_path, monkeypatch)
    assert found["our_line"].tolist() == pytest.approx(found["their_line"].tolist(), abs=1e-4)
    assert found["plane"].losses.shape == found["their_plane"].shape


def test_the_recipe_of_torch_func(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = session("torch.func", tmp_path, monkeypatch)
    assert torch.allclose(found["our_kernel"], found["their_kernel"], rtol=1e-4, atol=1e-3)
