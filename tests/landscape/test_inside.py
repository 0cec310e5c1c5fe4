"""The rooms above use of a landscape's inside what its contract names, and no more."""

from __future__ import annotations

import ast
from pathlib import Path

import torch
from torch import nn

import landform
from landform.landscape import Landscape
from landform.landscape._inside import Inside

NAMED = {name for name in (*Inside.__annotations__, *vars(Inside)) if name.startswith("_") and not name.endswith("__")}


def made() -> Landscape:
    return Landscape(nn.Linear(3, 2), (torch.randn(8, 3), torch.arange(8) % 2), device="cpu")


def test_a_landscape_keeps_the_contract() -> None:
    landscape = made()
    assert isinstance(landscape, Inside)
    (point, own), *_ = landscape._blocks(landscape.here, None)
    ((outputs, targets),) = landscape._passes(point, landscape._own_buffers(point, own))
    assert outputs.shape == (8, 2)
    torch.testing.assert_close(landscape._loss(outputs, targets).double(), landscape.loss(point))


def test_no_other_private_name_is_used_from_outside() -> None:
    private = {name for name in (*vars(Landscape), *vars(made())) if name.startswith("_") and not name.endswith("__")}
    hidden = private - NAMED
    assert {"_means", "_choice", "_check"} <= hidden
    root = Path(landform.__file__).parent
    used = set()
    for path in sorted(root.rglob("*.py")):
        if path.parent.name == "landscape":
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not (isinstance(node, ast.Attribute) and node.attr in hidden):
                continue
            of = node.value
            holder = of.id if isinstance(of, ast.Name) else of.attr if isinstance(of, ast.Attribute) else ""
            if "landscape" in holder or holder in ("chosen", "place"):
                used.add(f"{path.relative_to(root)}: {ast.unparse(node)}")
    assert not used
