"""``landform merge`` on files and on runs, against the library."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import landform as lf
from landform import merging
from landform.cli import main
from landform.cli._main import app
from landform.errors import BadInput


def weights(seed: int) -> dict[str, torch.Tensor]:
    made = torch.Generator().manual_seed(seed)
    shapes = {"embed.weight": (9, 4), "layers.0.w": (8, 4), "layers.1.w": (8, 4), "head.bias": (5,)}
    return {name: torch.randn(shape, generator=made) for name, shape in shapes.items()}


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for i, name in enumerate("abc"):
        save_file(weights(i), tmp_path / f"{name}.safetensors")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("merge")
    small = "--data digits --data-option per_class=10 --epochs 2 --lr 0.1 --records 4 --threads 1 --device cpu"
    for name, width, seed in (("a", 8, 0), ("b", 8, 1), ("narrow", 4, 0)):
        told = f"--model mlp --model-option width={width} --model-option seed={seed} --seed {seed} {small}"
        assert main(["train", "--out", str(folder / name), *told.split()]) == 0
    return folder


def said(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str, str]:
    capsys.readouterr()
    words = [word for argument in arguments for word in (argument.split() if isinstance(argument, str) else [argument])]
    status = main(["merge", *map(str, words)])
    return status, *capsys.readouterr()


def test_files(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    how = "a.safetensors b.safetensors --method ties --base c.safetensors --weights .5,1 --density .2,.4 --per tensor"
    status, out, err = said(capsys, how, "--normalise false --seed 3 --dtype bf16 --out merged")
    assert status == 0, err
    given = ["a.safetensors", "b.safetensors"]
    asked = {"weights": [0.5, 1], "density": (0.2, 0.4), "per": "tensor", "normalise": False, "seed": 3}
    done = merging.merge_files(given, "same", method="ties", base="c.safetensors", dtype="bf16", **asked)
    got, expected = (load_file(files / folder / "model.safetensors") for folder in ("merged", "same"))
    assert all(torch.equal(got[name], expected[name]) for name in expected)
    assert got["layers.0.w"].dtype == torch.bfloat16
    assert "written to merged" in err
    rows = out.splitlines()
    assert [row.split()[0] for row in rows] == ["tensor", *(layer.name for layer in done.layers), "all"]
    assert f"{done.layers[0].agreement:.1%}" in rows[1]
    told = json.loads((files / "merged" / "merge.json").read_text())
    assert told["settings"]["density"] == [0.2, 0.4]


def test_numbers_and_words_reach_the_method(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = said(capsys, "a.safetensors b.safetensors --method slerp --t 0.25 --dry-run --json")
    assert status == 0, err
    told = json.loads(out)
    assert told["settings"] == {**told["settings"], "t": 0.25}
    assert told["out"] is None
    assert told["bytes"] == sum(tensor.nbytes for tensor in weights(0).values())
    assert [layer["name"] for layer in told["layers"]] == list(load_file(files / "a.safetensors"))
    assert sorted(file.name for file in files.iterdir()) == [f"{name}.safetensors" for name in "abc"]
    status, out, err = said(capsys, "a.safetensors b.safetensors --weights=-1,3 --no-report --out m.safetensors")
    assert status == 0, err
    assert out == ""
    got, a, b = load_file(files / "m.safetensors"), weights(0), weights(1)
    torch.testing.assert_close(got["layers.0.w"], (3 * b["layers.0.w"] - a["layers.0.w"]) / 2)


def test_many_tensors_are_told_by_block(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in "de":
        many = {f"net.layers.{i}.{kind}": torch.randn(3) for i in range(25) for kind in ("w", "b")}
        save_file({**many, "net.head.weight": torch.randn(2)}, files / f"{name}.safetensors")
    status, out, _ = said(capsys, "d.safetensors e.safetensors --dry-run")
    assert status == 0
    names = [row.split()[0] for row in out.splitlines()]
    assert sorted(names[1:]) == sorted([*(f"net.layers.{i}" for i in range(25)), "net.head", "all"])
    status, out, _ = said(capsys, "d.safetensors e.safetensors --dry-run --all-tensors")
    assert len(out.splitlines()) == 1 + 51 + 1


def test_shards_of_a_size(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert said(capsys, "a.safetensors b.safetensors --out m --shard-size 0.0002MB")[0] == 0
    assert len(list((files / "m").glob("*.safetensors"))) == 3
    assert said(capsys, "a.safetensors b.safetensors --out m")[0] == 2
    assert said(capsys, "a.safetensors b.safetensors --out m --overwrite")[0] == 0
    assert [file.name for file in (files / "m").glob("*.safetensors")] == ["model.safetensors"]


def test_a_recipe(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (files / "r.yml").write_text(
        "merge_method: task_arithmetic\nbase_model: c.safetensors\nparameters: {int8_mask: true}\n"
        "models: [{model: a.safetensors, parameters: {weight: 0.5}}]\n"
    )
    status, _, err = said(capsys, "--recipe r.yml --out m.safetensors")
    assert status == 0, err
    assert "int8_mask makes no difference here" in err
    a, c = weights(0), weights(2)
    torch.testing.assert_close(
        load_file(files / "m.safetensors")["layers.0.w"], (a["layers.0.w"] + c["layers.0.w"]) / 2
    )
    for more in ("a.safetensors", "--method ties", "--density 0.2", "--base c.safetensors"):
        status, _, err = said(capsys, "--recipe r.yml --out n", more)
        assert status == 2
        assert more.split()[0] in err or "sources" in err


def test_runs_are_merged_on_data_and_read(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place = "--device cpu --threads 1 --json"
    status, out, err = said(capsys, runs / "a", runs / "b", "--method fisher --draws 2", place, "--out", tmp_path / "f")
    assert status == 0, err
    told = json.loads(out)
    data = lf.data.digits(per_class=10)
    where = lf.Landscape(lf.models.mlp(inputs=(64,), classes=10, width=8), data, device="cpu")
    points = [lf.Trajectory(runs / name).points[-1] for name in "ab"]
    expected = merging.merge(points, method="fisher", data=where, draws=2)
    got = load_file(tmp_path / "f" / "model.safetensors")
    assert torch.equal(where.layout.join(got), expected.point)
    assert told["read"]["the merge"]["train_loss"] == pytest.approx(float(where.loss(expected.point)))
    test = where.on(data.test)
    assert told["read"][str(runs / "a")]["test_error"] == pytest.approx(float(test.error(points[0])))
    assert json.loads((tmp_path / "f" / "merge.json").read_text())["sources"] == [str(runs / "a"), str(runs / "b")]


def test_a_plain_method_on_data(runs: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base = f"{runs / 'a'}@epoch=0"
    more = ["--method task_arithmetic --scale 0.5 --data digits --data-option per_class=10 --device cpu --threads 1"]
    status, out, err = said(capsys, runs / "a", f"{runs / 'b'}@epoch=1", "--base", base, *more, "--out", tmp_path / "t")
    assert status == 0, err
    a, b = lf.Trajectory(runs / "a"), lf.Trajectory(runs / "b")
    start = a.at(epoch=0).point
    expected = start + 0.5 * (a.points[-1] - start + b.at(epoch=1).point - start)
    torch.testing.assert_close(a.layout.join(load_file(tmp_path / "t" / "model.safetensors")), expected)
    assert "the merge" in out
    assert f"{base} (base)" in out
    # The same as files, without data.
    assert said(capsys, runs / "a", f"{runs / 'b'}@epoch=1", "--base", base, more[0].split(" --data ")[0], "--out",
                tmp_path / "u")[0] == 0  # fmt: skip
    torch.testing.assert_close(a.layout.join(load_file(tmp_path / "u" / "model.safetensors")), expected)


def test_advice(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = said(capsys, "--advise", runs / "a", runs / "b", "--device cpu --threads 1")
    assert status == 0, err
    data = lf.data.digits(per_class=10)
    where = lf.Landscape(lf.models.mlp(inputs=(64,), classes=10, width=8), data, device="cpu")
    points = [lf.Trajectory(runs / name).points[-1] for name in "ab"]
    found = merging.mergeable(where, *points)
    assert found.advice in err
    assert f"{found.features['barrier']:.4g}" in out
    base = f"{runs / 'a'}@step=0"
    status, out, err = said(
        capsys, "--advise", runs / "a", runs / "b", "--base", base, "--json --device cpu --threads 1"
    )
    assert status == 0, err
    with_base = merging.mergeable(where, *points, base=lf.Trajectory(runs / "a").points[0])
    assert json.loads(out)["features"] == pytest.approx(dict(with_base.features))


def test_misuse(files: Path, runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    ab = "a.safetensors b.safetensors"

    def refused(*arguments: object, because: str) -> None:
        before = sorted(files.iterdir())
        status, out, err = said(capsys, *arguments)
        assert (status, out) == (2, ""), err
        assert because in err
        assert len(err.splitlines()) == 1
        assert err.startswith("landform: ")
        assert sorted(files.iterdir()) == before

    refused(ab, because="no --out")
    refused(ab, "--out x --method tise", because="tise")
    refused(ab, "--out x --density 0.2", because="no setting 'density'")
    refused(ab, "--out x --weights a,b", because="--weights is 'a,b'")
    refused(ab, "--out x --weights 1", because="1 weights for 2 sources")
    refused(ab, "--out x --method ties", because="base")
    refused(ab, "--out x --shard-size big", because="'big'")
    refused(ab, "--out x --per layer", because="layer")
    refused(ab, "--out a.safetensors", because="sources")
    refused(ab, "--out x --dtype int", because="'int'")
    refused("a.safetensors nowhere --out x", because="nowhere")
    refused("a.safetensors --out x", because="1 given")
    refused("--out x", because="0 given")
    refused("--recipe nowhere.yml --out x", because="nowhere.yml")
    refused(ab, "--out x --data digits", because="a.safetensors is no run")
    refused(ab, "--out x --method fisher", because="a.safetensors is no run")
    refused("--advise", ab, because="a.safetensors is no run")
    refused("--advise", runs / "a", because="1 given")
    refused("--advise", runs / "a", runs / "b", "--method ties", because="merges nothing")
    refused("--advise", runs / "a", runs / "narrow", because="only runs of one model")
    refused(runs / "a", runs / "narrow", "--out x", because="dense1.weight")
    refused(runs / "a", runs / "b", "--data digits --shard-size 1MB --out x", because="--shard-size")


def test_options_of_the_command_are_no_settings_of_a_method() -> None:
    """A setting with the name of an option would never reach its method."""
    command = app["merge"].default_command
    assert command is not None
    options = set(command.__annotations__)
    for name in merging.methods():
        assert not options & set(merging.get(name).settings), name


def test_interrupted(files: Path) -> None:
    for name in "de":
        save_file({"big": torch.zeros(20_000_000), **weights(0)}, files / f"{name}.safetensors")
    # A job in the background is begun with Ctrl-C ignored, and so would be what it begins.
    listen = "import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler)"
    command = [sys.executable, "-c", f"{listen}; from landform.cli import main; sys.exit(main())", "merge"]
    command += ["d.safetensors", "e.safetensors", "--method", "ties", "--base", "d.safetensors", "--out", "m"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for _ in range(5):
        with subprocess.Popen(
            command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        ) as process:
            while not list(files.glob("m/.model*")) and process.poll() is None:
                time.sleep(0.01)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=60)
        if process.returncode:
            break
        shutil.rmtree(files / "m")  # a busy machine looked too late: it was done already
    assert process.returncode == 130, err
    assert "Interrupted. What is unfinished was removed." in err
    assert not (files / "m").exists()


def test_methods_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    capsys.readouterr()
    assert main(["list", "methods", "--json"]) == 0
    rows = {row["name"]: row for row in json.loads(capsys.readouterr().out)}
    assert tuple(rows) == merging.methods()
    assert rows["ties"]["needs"] == "base"
    assert "density=0.2" in rows["ties"]["settings"]
    assert "data" in rows["fisher"]["needs"]


def test_a_merge_in_memory_is_saved(tmp_path: Path) -> None:
    net = lf.models.build("small_cnn", inputs=(1, 8, 8), classes=3, width=2, norm="batch")
    other = lf.models.build("small_cnn", inputs=(1, 8, 8), classes=3, width=2, norm="batch", seed=1)
    found = merging.merge([net, other])
    done = merging.save(found, tmp_path / "new" / "m", sources=["x", "y"], dtype="float64")
    got = load_file(tmp_path / "new" / "m" / "model.safetensors")
    fresh = lf.models.build("small_cnn", inputs=(1, 8, 8), classes=3, width=2, norm="batch", seed=2)
    fresh.load_state_dict(got)
    assert got["conv1.weight" if "conv1.weight" in got else next(iter(got))].dtype == torch.float64
    assert torch.equal(found.layout.point(fresh), found.point)
    assert done.sources == ("x", "y")
    assert merging.save(found, None).out is None
    merging.save(found, tmp_path / "m.safetensors")
    with pytest.raises(BadInput, match="not empty"):
        merging.save(found, tmp_path / "m.safetensors")
    with pytest.raises(BadInput, match="no layout"):
        merging.save(merging.merge(torch.randn(2, 5)), tmp_path / "n")
