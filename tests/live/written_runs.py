"""Runs written by hand, as training would write them."""

from __future__ import annotations

import math
import os
import shutil
from pathlib import Path
from typing import Any

import torch

from landform.layout import Layout
from landform.recording import Background, RecordData, RunWriter


class Fake:
    """A run that is written record by record, as training would, but at once: losses fall as exp(-rate * step)."""

    def __init__(self, folder: Path, *, epochs: float | None = 8, rate: float = 0.05, background: Any = None) -> None:
        layout = Layout.of(torch.nn.Linear(4, 2))
        self._point, self._rate, self._last = torch.zeros(layout.size), rate, 0
        recipe = {} if epochs is None else {"recipe": {"epochs": epochs, "lr": rate}}
        settings = {"model": {"class": "Linear"}, **recipe}
        self.writer = RunWriter(folder, layout=layout, epoch=10, settings=settings, background=background)

    def loss(self, step: int) -> float:
        return 2.3 * math.exp(-self._rate * step)

    def record(self, *steps: int, loss: float | None = None) -> Fake:
        for step in steps:
            since = range(self._last + 1, step + 1)
            losses = [self.loss(each) if loss is None else loss for each in since]
            told = {"loss": (list(since), losses)} if since else {}
            self.writer.write(
                RecordData(
                    step, self._point + step, losses[-1] if losses else None, 0.1, 0.25 * step, curves=told
                )
            )  # fmt: skip
            self._last = step
        self.writer.flush()
        return self

    def close(self) -> None:
        self.writer.close()


def write_runs(root: Path, count: int) -> list[str]:
    """Many small runs in folders of fifty, in eight versions; every eighth was stopped."""
    back = Background()
    for k in range(8):
        run = Fake(root / "grid-0" / f"mlp-{k}", rate=0.01 * (k + 1), background=back)
        for step in (0, 1, 2, 5, 10, 20, 40, *(() if k == 7 else (80,))):
            run.record(step)
        run.close()
    back.close()
    for k in range(8, count):
        shutil.copytree(
            root / "grid-0" / f"mlp-{k % 8}",
            root / f"grid-{k // 50}" / f"mlp-{k}",
            ignore=shutil.ignore_patterns(".lock"),
            copy_function=os.link,
        )
    return [f"grid-{k // 50}/mlp-{k}" for k in range(count)]
