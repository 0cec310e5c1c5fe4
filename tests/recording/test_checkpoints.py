"""Checkpoints of other loops become a run: Hugging Face folders, files of torch.save, safetensors."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn

import landform as lf
from landform.errors import BadInput
from landform.recording import find_checkpoints, from_checkpoints


def net(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3))


def states(count: int) -> list[dict[str, Tensor]]:
    """As a training loop would come past them."""
    found = []
    for seed in range(count):
        model = net(seed)
        model[1].running_mean.fill_(seed)  # type: ignore[union-attr,operator]
        found.append({name: tensor.clone() for name, tensor in model.state_dict().items()})
    return found


def points(found: list[dict[str, Tensor]]) -> Tensor:
    names = [name for name, _ in net().named_parameters()]
    return torch.stack([torch.cat([state[name].reshape(-1) for name in names]) for state in found])


def as_trainer(folder: Path, found: list[dict[str, Tensor]], gap: int = 50, shards: bool = False) -> None:
    """Folders as a Hugging Face Trainer saves them, 20 steps an epoch, with losses every 25 steps."""
    for number, state in enumerate(found, start=1):
        place = folder / f"checkpoint-{gap * number}"
        place.mkdir(parents=True)
        logs: list[dict[str, Any]] = []
        for step in range(25, gap * number + 1, 25):
            logs.append({"step": step, "epoch": step / 20, "loss": 1 / step, "learning_rate": 0.1, "note": "text"})
            if step % gap == 0:
                logs.append({"step": step, "epoch": step / 20, "eval_loss": 2 / step})
        trainer = {"global_step": gap * number, "epoch": gap * number / 20, "log_history": logs}
        (place / "trainer_state.json").write_text(json.dumps(trainer), encoding="utf-8")
        (place / "optimizer.pt").write_bytes(b"never opened")
        (place / "training_args.bin").write_bytes(b"never opened")
        if not shards:
            save_file(state, place / "model.safetensors")
            continue
        parts = [dict(list(state.items())[:3]), dict(list(state.items())[3:])]
        names = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
        for name, part in zip(names, parts, strict=True):
            save_file(part, place / name)
        table = {key: name for name, part in zip(names, parts, strict=True) for key in part}
        (place / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}), encoding="utf-8")


@pytest.mark.parametrize("shards", [False, True])
def test_folders_of_a_trainer(tmp_path: Path, shards: bool) -> None:
    found = states(3)
    as_trainer(tmp_path / "out", found, shards=shards)
    run = from_checkpoints(str(tmp_path / "out" / "checkpoint-*"), tmp_path / "run", net(9))
    assert run.steps == [50, 100, 150]
    assert run.epochs == [2.5, 5.0, 7.5]
    assert torch.equal(run.points[:], points(found))
    assert [record.buffers["1.running_mean"][0].item() for record in run.records] == [0, 1, 2]
    assert run.curves["loss"][0].tolist() == [25, 50, 75, 100, 125, 150]
    assert run.curves["eval_loss"][0].tolist() == [50, 100, 150]
    assert run.curves["loss"][1][0] == 1 / 25
    assert sorted(run.curves) == ["eval_loss", "loss", "lr"]
    assert run.records[1].loss == 1 / 100
    assert run.records[1].lr == 0.1
    # A new one is added, and the others are left as they are.
    before = {file: file.stat().st_mtime_ns for file in (tmp_path / "run" / "points").iterdir()}
    more = states(4)
    as_trainer(tmp_path / "more", more, shards=shards)
    os.rename(tmp_path / "more" / "checkpoint-200", tmp_path / "out" / "checkpoint-200")
    assert find_checkpoints(tmp_path / "o*" / "checkpoint-1*0")[0] == tmp_path / "out" / "checkpoint-100"
    again = from_checkpoints(tmp_path / "out", tmp_path / "run", net())
    assert again.steps == [50, 100, 150, 200]
    assert again.curves["loss"][0].tolist() == list(range(25, 201, 25))
    assert {file: file.stat().st_mtime_ns for file in before} == before


@pytest.mark.parametrize("kind", ["plain", "state_dict", "model", "compiled", "inner", "half", "safetensors", "legacy"])
def test_files_of_any_loop(tmp_path: Path, kind: str) -> None:
    found = states(3)
    for number, state in enumerate(found):
        path = tmp_path / "out" / f"epoch{number}.pt"
        path.parent.mkdir(exist_ok=True)
        renamed = {f"module._orig_mod.{name}": tensor for name, tensor in state.items()}
        if kind == "safetensors":
            save_file(state, path.with_suffix(".safetensors"))
        elif kind == "half":
            torch.save({name: t.bfloat16() if t.is_floating_point() else t for name, t in state.items()}, path)
        elif kind == "state_dict":
            torch.save({"state_dict": state, "epoch": number, "global_step": 30 * (number + 1), "lr": [0.1]}, path)
        elif kind == "model":
            torch.save({"model": renamed, "best": 0.5, "optimizer": {"state": {0: torch.ones(2)}}}, path)
        elif kind == "legacy":
            torch.save(state, path, _use_new_zipfile_serialization=False)
        else:
            torch.save(renamed if kind == "compiled" else state, path)
    model: nn.Module = nn.ModuleDict({"body": net(9)}) if kind == "inner" else net(9)
    run = from_checkpoints(tmp_path / "out", tmp_path / "run", model)
    if kind == "half":
        torch.testing.assert_close(run.points[:], points(found).bfloat16().float(), rtol=0, atol=0)
    else:
        assert torch.equal(run.points[:], points(found))
    assert run.epochs == ([1.0, 2.0, 3.0] if kind == "state_dict" else [0, 1, 2])
    assert run.steps == ([30, 60, 90] if kind == "state_dict" else [0, 1, 2])
    prefix = "body." if kind == "inner" else ""
    assert run.records[2].buffers[f"{prefix}1.running_mean"][0] == 2


def test_tied_weights_under_either_name(tmp_path: Path) -> None:
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = nn.Embedding(5, 3)
            self.head = nn.Linear(3, 5, bias=False)
            self.head.weight = self.embed.weight

    weight = torch.arange(15.0).view(5, 3)
    for step, name in ((1, "embed.weight"), (2, "head.weight")):
        save_file({f"model.{name}": weight * step}, tmp_path / f"step_{step}.safetensors")
    run = from_checkpoints(tmp_path, tmp_path / "run", Tied())
    assert torch.equal(run.points[:], torch.stack([weight.reshape(-1), 2 * weight.reshape(-1)]))


def test_surveyed_like_a_recorded_run(tmp_path: Path) -> None:
    found = states(3)
    as_trainer(tmp_path / "out", found)
    inputs, labels = torch.randn(20, 4), torch.randint(0, 3, (20,))
    run = from_checkpoints(tmp_path / "out", tmp_path / "run", net())
    atlas = lf.survey(run, lf.Landscape(net(), (inputs, labels), batchnorm="keep"), probes=["loss", "distance"])
    far = (points(found) - points(found)[0]).double().norm(dim=1)
    torch.testing.assert_close(torch.tensor(atlas["distance"].values), far)


def test_steps_of_ones_own(tmp_path: Path) -> None:
    found = states(2)
    for name, state in zip(("last.pt", "best.pt"), found, strict=True):
        torch.save(state, tmp_path / name)
    paths = [tmp_path / "last.pt", tmp_path / "best.pt"]
    run = from_checkpoints(paths, tmp_path / "run", net(), steps=[40, 10], epoch=10)
    assert run.epochs == [1.0, 4.0]
    assert torch.equal(run.points[:], points(found[::-1]))
    for options, why in (
        ({}, "last.pt does not tell its step"),
        ({"steps": [1]}, "steps has 1 entries and there are 2"),
        ({"steps": [3, 3]}, "are both of step 3"),
        ({"steps": [3, -1]}, "must be at least 0"),
        ({"steps": [3, 4], "epoch": 0}, "epoch must be at least 1"),
    ):
        with pytest.raises(BadInput, match=why):
            from_checkpoints(paths, tmp_path / "other", net(), **options)  # type: ignore[arg-type]


class Foreign:
    """What only a pickle can hold."""


def test_no_pickle_without_the_users_word(tmp_path: Path) -> None:
    state = states(1)[0]
    torch.save({"state_dict": state, "config": Foreign(), "step": 3}, tmp_path / "step3.pt")
    with pytest.raises(BadInput, match="reading it could run any code"):
        from_checkpoints([tmp_path / "step3.pt"], tmp_path / "run", net())
    run = from_checkpoints([tmp_path / "step3.pt"], tmp_path / "run", net(), trusted=True)
    assert torch.equal(run.points[:], points([state]))


def test_misuse_is_told(tmp_path: Path) -> None:
    save_file({"a": torch.ones(2)}, tmp_path / "step1.safetensors")
    with pytest.raises(
        BadInput, match=r"does not hold the parameters of this Sequential: 6 of 6 are missing, such as 0.weight"
    ):
        from_checkpoints([tmp_path / "step1.safetensors"], tmp_path / "run", net())
    wrong = states(1)[0] | {"0.weight": torch.ones(3, 4)}
    torch.save(wrong, tmp_path / "step2.pt")
    with pytest.raises(BadInput, match=r"0.weight in .* has shape \(3, 4\), and 0.weight of the model \(6, 4\)"):
        from_checkpoints([tmp_path / "step2.pt"], tmp_path / "run2", net())
    (tmp_path / "step3.pt").write_bytes(b"PK\x03\x04 cut")
    (tmp_path / "step4.safetensors").write_bytes(b"short")
    (tmp_path / "empty").mkdir()
    torch.save({"a": 3}, tmp_path / "step5.pt")
    broken = tmp_path / "checkpoint-7"
    broken.mkdir()
    torch.save(states(1)[0], broken / "pytorch_model.bin")
    (broken / "trainer_state.json").write_text("{", encoding="utf-8")
    (tmp_path / "sharded").mkdir()
    (tmp_path / "sharded" / "__0_0.distcp").write_bytes(b"")
    index = tmp_path / "checkpoint-8"
    index.mkdir()
    (index / "model.safetensors.index.json").write_text('{"weight_map": {"a": "../../secret"}}', encoding="utf-8")
    for name, why in (
        ("step3.pt", "is not a file that torch.save wrote"),
        ("step4.safetensors", "not a whole safetensors file"),
        ("step5.pt", "holds no state dict .its entries are a."),
        ("empty", "holds no weights that could be told apart"),
        ("gone.pt", "There is no checkpoint"),
        ("sharded", "make a file of it first"),
        ("gone-*", "No checkpoint matches"),
        ("checkpoint-7", "trainer_state.json is not what a Trainer writes"),
        ("checkpoint-8", "names ../../secret, which is not beside it"),
    ):
        with pytest.raises(BadInput, match=why):
            from_checkpoints([tmp_path / name], tmp_path / "run3", net())
    with pytest.raises(BadInput, match="There is no checkpoint: give paths"):
        find_checkpoints([])
    with pytest.raises(BadInput, match="model must be"):
        from_checkpoints([tmp_path / "step2.pt"], tmp_path / "run3", 3)  # type: ignore[arg-type]
    lf.Recorder(tmp_path / "mine", net(), epoch=1, at=1).close()
    torch.save(states(1)[0], tmp_path / "step6.pt")
    with pytest.raises(BadInput, match="holds a run already"):
        from_checkpoints([tmp_path / "step6.pt"], tmp_path / "mine", net())


BUILD = """
import torch
from torch import nn
from landform.data import Dataset, Split

def build(inputs, classes):
    return nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, 3))

def data():
    made = torch.Generator().manual_seed(0)
    x, y = torch.randn(20, 4, generator=made), torch.randint(0, 3, (20,), generator=made)
    return Dataset("own", Split(x, y), Split(x[:5], y[:5]), 3, {})
"""


def test_on_the_command_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    from landform.cli import main

    monkeypatch.chdir(tmp_path)
    Path("my_checkpoint_model.py").write_text(BUILD, encoding="utf-8")
    as_trainer(Path("out"), states(3))
    places = [str(path) for path in sorted(Path("out").iterdir())]
    how = ["--model", "my_checkpoint_model:build", "--data", "my_checkpoint_model:data", "--device", "cpu"]
    assert main(["survey", *places, *how, "--probes", "loss,distance"]) == 0
    assert "out/landform holds 3 checkpoints as a run, from step 50 to 150" in capsys.readouterr().err
    assert lf.Atlas("out/landform")["loss"].values.shape == (2, 3)
    # The run knows its model now, and a folder of checkpoints will do.
    assert main(["survey", "out/landform", "--probes", "loss", "--device", "cpu"]) == 0
    assert main(["survey", "out", *how, "--probes", "loss", "--into", "runs/out"]) == 0
    assert lf.Trajectory("runs/out").steps == [50, 100, 150]
    capsys.readouterr()
    for arguments, why in (
        ([*places], "Checkpoints do not say how they were trained: give --model and --data"),
        (["out/landform", "--into", "runs/x"], "--into and --trusted are for checkpoints"),
        (["out/landform", "nowhere", *how], "holds no weights"),
        (["nowhere"], "nowhere is not a run (is no folder)"),
    ):
        assert main(["survey", *arguments]) == 2
        assert why in capsys.readouterr().err


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"\x80\x02.", b"\x80\x02}q\x00(K\x01u.", b"no pickle at all"])
def test_whatever_is_no_file_of_torch_is_told_so(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "step3.pt").write_bytes(content)
    for trusted in (False, True):
        with pytest.raises(BadInput, match=r"step3\.pt"):
            from_checkpoints(tmp_path / "step3.pt", tmp_path / "run", nn.Linear(2, 2), trusted=trusted)
