"""Whatever a file holds, its reader gives what it promises or says in a sentence what is wrong."""

from __future__ import annotations

import os
import random
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mutating import spoil_some
from PIL import Image
from safetensors.torch import save_file
from sandbox import guarded
from torch import nn

import landform as lf
from landform import merging
from landform.data import time_series
from landform.data._idx import read_idx
from landform.data._pickles import read_batches
from landform.data._series import read_ts
from landform.diagnosis import phase_table, read_table
from landform.errors import BadInput
from landform.recording import from_checkpoints
from landform.studies import read_claims

# Cases of each reader in the usual run; FUZZ=1300 makes 20,000 of all.
CASES = int(os.environ.get("FUZZ", "25"))
CLASSES = "# toy\n@problemName Toy\n@univariate true\n@classLabel true a b\n@data\n"


def make_run(folder: Path) -> None:
    model = nn.Linear(4, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
    with lf.Recorder(folder / "run", model, optimizer, epoch=2, at=[0, 1, 2, 4], resumable_at=[2]) as recorder:
        for _ in range(4):
            optimizer.zero_grad()
            loss = model(torch.ones(2, 4)).square().mean()
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    landscape = lf.Landscape(model, (torch.ones(2, 4), torch.zeros(2, dtype=torch.long)), device="cpu")
    lf.survey(folder / "run", landscape, probes=["loss", "distance"])


def read_run(folder: Path) -> None:
    run = lf.Trajectory(folder / "run")
    run.points[:]
    _ = run.curves, run.children, run.pairs, run.damaged, run.resumable, run.times
    run.verify()
    for record in run.records:
        record.restore(nn.Linear(4, 3))


def read_atlas(folder: Path) -> None:
    atlas = lf.Atlas(folder / "run")
    for name in atlas.names():
        _ = atlas[name].values, atlas.settings(name)


def make_ts(folder: Path) -> None:
    (folder / "Toy_TRAIN.ts").write_text(CLASSES + "1,2,3:a\n4,5.5,-6:b\n")
    (folder / "Toy_TEST.ts").write_text(CLASSES + "1,2,3:a\n4,5.5,1e-3:b\n")


def read_series(folder: Path) -> None:
    for name in ("Toy_TRAIN.ts", "Toy_TEST.ts"):
        assert all(case.isfinite().all() for case in read_ts(folder / name).cases)
    time_series("Toy", root=folder)


def make_idx(folder: Path) -> None:
    header = bytes([0, 0, 8, 3]) + b"".join(size.to_bytes(4, "big") for size in (3, 4, 4))
    (folder / "images-idx3-ubyte").write_bytes(header + bytes(range(48)))


def make_batches(folder: Path) -> None:
    import pickle

    held = {b"data": np.zeros((4, 3072), np.uint8), b"labels": [0, 1, 2, 3]}
    (folder / "data_batch_1").write_bytes(pickle.dumps(held, protocol=2))


def make_parquet(folder: Path) -> None:
    import io

    import pyarrow as pa
    from pyarrow import parquet

    (folder / "cifar10").mkdir()
    buffer = io.BytesIO()
    Image.new("RGB", (32, 32)).save(buffer, "PNG")
    for split in ("train", "test"):
        rows = [{"bytes": buffer.getvalue(), "path": None}] * 12
        table = pa.table({"img": rows, "label": pa.array([i % 10 for i in range(12)], pa.int64())})
        parquet.write_table(table, folder / "cifar10" / f"{split}-00000.parquet")


def make_weights(folder: Path) -> None:
    for name in ("a", "b"):
        (folder / name).mkdir()
        (folder / name / "config.json").write_text('{"torch_dtype": "float32"}')
        save_file(
            {"layers.0.w": torch.randn(4, 3), "layers.0.n": torch.tensor([3])}, folder / name / "model.safetensors"
        )


def make_recipe(folder: Path) -> None:
    (folder / "recipe.yml").write_text(
        "merge_method: ties\nbase_model: base\nparameters: {density: 0.5, normalize: true}\nslices:\n"
        "  - sources:\n    - {model: a, layer_range: [0, 2], parameters: {weight: [0, 0.5, 1]}}\n"
        "    - {model: b, layer_range: [0, 2]}\ndtype: bfloat16\n"
    )


def make_table(folder: Path) -> None:
    rows = [
        f"{w},{b},{1.5 * w % 7},{0.1 * b},{0.3 * w},{-2 + w % 3},{0.9 - 0.1 * (b % 4)},{50 + w}"
        for w in (2, 4, 8, 16)
        for b in (16, 32, 64)
    ]
    head = "width,batch_size,train_error,train_loss,hessian_e,mode_connectivity,CKA,test_acc\n"
    (folder / "table.csv").write_text(head + "\n".join(rows) + "\n")


def make_claims(folder: Path) -> None:
    claim = {
        "id": "a", "paper": "p", "statement": "s", "definition": "d", "expected": "e", "value": 0.5,
        "interval": [0.0, 1.0], "seeds": 3, "settings": {"scale": "tiny"}, "verdict": "reproduced", "why": "w",
    }  # fmt: skip
    import json

    (folder / "claims.json").write_text(json.dumps([claim, {**claim, "id": "b", "value": None, "interval": None}]))


def make_checkpoints(folder: Path) -> None:
    for step in (10, 20):
        place = folder / f"checkpoint-{step}"
        place.mkdir()
        save_file(dict(nn.Linear(4, 3).state_dict()), place / "model.safetensors")
        (place / "trainer_state.json").write_text(
            f'{{"global_step": {step}, "epoch": {step / 10}, "log_history": [{{"step": {step}, "loss": 0.5}}]}}'
        )
    torch.save({"model": nn.Linear(4, 3).state_dict(), "step": 30}, folder / "checkpoint-30.pt")


READERS: dict[str, tuple[Callable[[Path], None], Callable[[Path], Any]]] = {
    "run": (make_run, read_run),
    "atlas": (make_run, read_atlas),
    "series": (make_ts, read_series),
    "idx": (make_idx, lambda folder: read_idx(folder / "images-idx3-ubyte", 3)),
    "batches": (make_batches, lambda folder: read_batches([folder / "data_batch_1"], "labels", (3, 32, 32))),
    "parquet": (make_parquet, lambda folder: lf.data.cifar10(root=folder)),
    "weights": (
        make_weights,
        lambda folder: merging.merge_files([folder / "a", folder / "b"], folder / "out", method="linear"),
    ),
    "recipe": (make_recipe, lambda folder: merging.read_recipe(folder / "recipe.yml")),
    "table": (make_table, lambda folder: phase_table(read_table(folder / "table.csv"))),
    "claims": (make_claims, read_claims),
    "checkpoints": (
        make_checkpoints,
        lambda folder: from_checkpoints(folder, folder / "made", nn.Linear(4, 3)),
    ),
}


@pytest.mark.parametrize("name", READERS)
def test_whatever_a_file_holds(name: str, tmp_path: Path) -> None:
    make, call = READERS[name]
    torch.manual_seed(0)
    sound = tmp_path / "sound"
    sound.mkdir()
    make(sound)
    refused = 0
    for case in range(CASES):
        draw = random.Random(f"{name} {case}")
        with guarded(tmp_path / "sandbox", f"{name}, case {case}") as place, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            folder = place / "case"
            shutil.rmtree(folder, ignore_errors=True)
            shutil.copytree(sound, folder)
            if case:  # the first is sound
                spoil_some(folder, draw)
            said = None
            try:
                call(folder)
            except BadInput as why:
                said = str(why)
            except Exception as why:
                why.add_note(f"{name}, case {case}")
                raise
            if said is not None:
                refused += 1
                assert case, f"sound, and refused: {said}"
                assert said.strip(), f"case {case} says nothing"
    assert refused or CASES < 100  # an atlas leaves out most of what is damaged, and says so
