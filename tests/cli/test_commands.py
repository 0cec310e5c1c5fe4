"""The commands, called in this process."""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import shutil
import sys
import textwrap
from collections.abc import Callable
from dataclasses import MISSING, fields, replace
from pathlib import Path

import pytest

import landform
from landform.atlas import Atlas
from landform.cli import main
from landform.cli._choose import Choice, options
from landform.cli._show import _plain
from landform.cli._told import recall
from landform.cli._train import train
from landform.errors import BadInput
from landform.models import names as model_names
from landform.recording import Trajectory
from landform.studies import SCALES
from landform.training import Recipe

Run = Callable[..., tuple[int, str, str]]
SMALL = ("--data-option", "per_class=5", "--records", "5", "--batch-size", "25", "--epochs", "2", "--device", "cpu")


@pytest.fixture
def landform_(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Run:
    """Runs a command in an empty folder; gives its status, stdout and stderr."""
    monkeypatch.chdir(tmp_path)

    def run(*arguments: object) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        return status, *capsys.readouterr()

    return run


@pytest.fixture(scope="module")
def small_run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small trained and surveyed run; not to be changed."""
    out = tmp_path_factory.mktemp("small") / "run"
    assert main(["train", "--out", str(out), "--model-option", "width=8", *SMALL]) == 0
    assert main(["survey", str(out)]) == 0
    return out


def test_every_field_of_a_recipe_is_a_flag_with_the_same_default() -> None:
    flags = inspect.signature(train).parameters
    for field in fields(Recipe):
        default = "constant" if field.name == "schedule" else field.default
        assert default is not MISSING
        assert flags[field.name].default == default, field.name


def test_train_survey_report(landform_: Run) -> None:
    status, out, err = landform_("train", "--out", "runs/mine", "--model-option", "width=8", *SMALL)
    assert status == 0, err
    assert "landform survey runs/mine" in err
    assert "diverged" in out
    run = Trajectory("runs/mine")
    assert run.steps[-1] == 4  # 50 samples in batches of 25, twice
    assert recall(Path("runs/mine")) == {
        "model": Choice("mlp", {"width": 8}),
        "data": Choice("digits", {"per_class": 5}),
    }
    status, out, err = landform_("survey", "runs/mine")
    assert status == 0, err
    assert "train loss" in out
    assert set(Atlas("runs/mine").names()) >= {"loss", "error", "gradient_norm", "distance"}
    status, out, err = landform_("report", "runs/mine", "--drawings", "svg")
    assert status == 0, err
    assert Path("runs/mine/report.html").is_file()
    assert Path("runs/mine/figures/loss.svg").is_file()
    assert "runs/mine/report.html" in err


def test_flags_reach_the_recipe(landform_: Run) -> None:
    flags = ("--optimizer", "adamw", "--lr", "0.01", "--betas", "0.8", "0.99", "--schedule", "cosine", "--seed", "3",
             "--weight-decay", "0.1", "--warmup", "0.5", "--label-noise", "0.2", "--label-seed", "4")  # fmt: skip
    status, _, err = landform_("train", "--out", "run", *SMALL, *flags)
    assert status == 0, err
    recipe = Recipe.from_json(Trajectory("run").run["settings"]["recipe"])
    assert recipe == Recipe(
        epochs=2,
        batch_size=25,
        optimizer="adamw",
        lr=0.01,
        betas=(0.8, 0.99),
        schedule="cosine",
        seed=3,
        weight_decay=0.1,
        warmup=0.5,
        label_noise=0.2,
        label_seed=4,
    )


def test_recorded_times(landform_: Run) -> None:
    assert landform_("train", "--out", "run", *SMALL, "--every", "2", "--pairs", "0")[0] == 0
    assert Trajectory("run").steps == [0, 2, 4]


def test_json_is_all_there_is_on_stdout(landform_: Run, small_run: Path) -> None:
    commands = (
        ("train", "--out", "other", *SMALL),
        ("survey", small_run),
        ("report", small_run, "--out", "page.html"),
        ("list", "probes"),
        ("list", "models"),
        ("list", "data"),
        ("list", "runs", "--folder", small_run.parent),
        ("info",),
        ("info", small_run),
    )
    for command in commands:
        status, out, err = landform_(*command, "--json")
        assert status == 0, err
        assert json.loads(out), command


def test_survey_prints_what_the_atlas_holds(landform_: Run, small_run: Path) -> None:
    found = json.loads(landform_("survey", small_run, "--json")[1])
    atlas = Atlas(small_run)
    assert found["measured"]["loss"]["test"] == atlas["loss"].values[1].tolist()
    assert found["measured"]["distance"]["values"] == atlas["distance"].values.tolist()
    assert found["train_loss"] == atlas["loss"].values[0, -1]
    assert found["diverged"] is False


def test_json_has_no_nan() -> None:
    assert _plain({"a": [1.0, float("nan"), (float("inf"), {"b": 2})]}) == {"a": [1.0, None, [None, {"b": 2}]]}


def test_a_diverged_run_still_prints_json(landform_: Run) -> None:
    status, out, err = landform_("train", "--out", "run", *SMALL, "--lr", "1e30", "--json")
    assert status == 0, err
    found = json.loads(out)
    assert found["diverged"] is True
    assert found["last_batch_loss"] is None
    assert landform_("survey", "run")[0] == 0
    status, out, _ = landform_("report", "run", "--json")
    assert status == 0
    assert json.loads(out)["diverged"] is True
    assert "This run diverged" in Path("run/report.html").read_text()


def test_resume_and_overwrite(landform_: Run) -> None:
    assert landform_("train", "--out", "run", *SMALL)[0] == 0
    before = Trajectory("run").points[-1]
    status, _, err = landform_("train", "--out", "run", *SMALL)
    assert status == 2
    assert "--resume" in err
    assert "--overwrite" in err
    assert landform_("train", "--out", "run", *SMALL, "--resume")[0] == 0
    assert (Trajectory("run").points[-1] == before).all()
    assert landform_("train", "--out", "run", *SMALL, "--overwrite", "--seed", "1")[0] == 0
    assert not (Trajectory("run").points[-1] == before).all()


@pytest.fixture
def in_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A study that takes seconds, in this process."""
    tiny = SCALES["tiny"]
    quick = replace(
        tiny,
        data_options={"train_size": 80, "test_size": 40},
        recipe=replace(tiny.recipe, epochs=2.0),
        model_options={"width": 8, "depth": 1},
        spawns=(0.0, 1.0),
        onsets=(0.0, 2.0),
        onset={**tiny.onset, "epochs": 1.0, "samples": 20},
        records=3,
        kernel=10,
        curvature=0,
        seeds=1,
    )
    monkeypatch.setitem(SCALES, "tiny", quick)  # type: ignore[arg-type]
    monkeypatch.setattr("landform.engine.cores", lambda: 1)


@pytest.mark.usefixtures("in_seconds")
def test_demo_again_goes_on(landform_: Run) -> None:
    status, out, err = landform_("demo", "--scale", "tiny", "--out", "demo")
    assert status == 0, err
    assert "The report is demo/report.html" in err
    assert "the final linearly connected basin" in out
    first = Path("demo/claims.json").read_text()
    before = Path("demo/seed-0/run.json").stat().st_mtime_ns
    Path("demo/report.html").unlink()
    status, out, err = landform_("demo", "--scale", "tiny", "--out", "demo", "--json")
    assert status == 0, err
    assert json.loads(out)["report"] == "demo/report.html"
    assert json.loads(out)["claims"] == json.loads(first)
    assert Path("demo/report.html").is_file()
    assert Path("demo/seed-0/run.json").stat().st_mtime_ns == before


@pytest.mark.usefixtures("in_seconds")
def test_reproduce_and_the_page_of_a_study(landform_: Run) -> None:
    given = ["reproduce", "deep-vs-kernel", "--scale", "tiny", "--processes", "1"]
    status, out, err = landform_(*given, "--data-option", "train_size=60", "--json")
    assert status == 0, err
    assert json.loads(out)["study"] == "runs/deep-vs-kernel-tiny"
    told = json.loads(Path("runs/deep-vs-kernel-tiny/study.json").read_text())["protocol"]
    assert told["data"]["options"] == {"train_size": 60, "test_size": 40}
    status, out, err = landform_("report", "runs/deep-vs-kernel-tiny", "--out", "page.html")
    assert status == 0, err
    assert "the final linearly connected basin" in out
    assert "reproduce deep-vs-kernel" in Path("page.html").read_text()
    status, _, err = landform_(*given, "--data-option", "train_size=70")
    assert status == 2
    assert "another data" in err
    status, _, err = landform_(*given, "--model", "no_such", "--out", "other")
    assert status == 2
    assert "no_such" in err
    assert err.count("\n") <= 2


def test_the_study_of_merging_by_name(landform_: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from landform.studies import _merging as study

    tiny = study.SCALES["tiny"]
    few = dataclasses.replace(
        tiny,
        data_options={"flat": False, "per_class": 6},
        recipe=dataclasses.replace(tiny.recipe, epochs=1.0),
        tune=dataclasses.replace(tiny.tune, epochs=1.0),
        parent=1.0,
        forks=(0.0, 0.5),
        curve=0,
    )
    monkeypatch.setitem(study.SCALES, "tiny", few)
    status, out, err = landform_("reproduce", "merging", "--scale", "tiny", "--seeds", "1", "--processes", "1")
    assert status == 0, err
    assert "the mode is fixed early" in out
    assert "The common ground of merging" in Path("runs/merging-tiny/report.html").read_text()
    status, out, _ = landform_("list", "studies")
    assert status == 0
    assert "merging" in out
    assert "deep-vs-kernel" in out


def test_a_page_is_printed_by_a_browser_or_says_what_is_missing(
    landform_: Run, small_run: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LANDFORM_BROWSER", "no-such-browser")
    status, _, err = landform_("report", small_run, "--format", "pdf")
    assert status == 2
    assert "no-such-browser" in err
    monkeypatch.setenv("LANDFORM_BROWSER", "false")
    status, _, err = landform_("report", small_run, "--format", "png")
    assert status == 2
    assert "could not print" in err
    monkeypatch.delenv("LANDFORM_BROWSER")
    monkeypatch.setenv("PATH", "/nowhere")
    status, _, err = landform_("report", small_run, "--format", "png")
    assert status == 2
    assert "none is installed" in err


@pytest.mark.skipif(not any(map(shutil.which, ("chromium", "google-chrome"))), reason="no browser is installed")
def test_a_page_printed(landform_: Run, small_run: str) -> None:
    status, _, err = landform_("report", small_run, "--out", "page.html", "--format", "pdf")
    assert status == 0, err
    assert Path("page.pdf").read_bytes().startswith(b"%PDF")


def test_my_own_model_and_data(landform_: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Path("own_code_of_a_user.py").write_text(
        textwrap.dedent("""
            import torch, landform.data
            def build(inputs, classes, width=4):
                return torch.nn.Sequential(torch.nn.Linear(inputs[0], width), torch.nn.Linear(width, classes))
            def data(**options):
                return landform.data.digits(per_class=5, **options)
            def nothing(): return 3
            def broken(): raise RuntimeError("no luck\\ntoday")
            value = 3
            """)
    )
    own = "own_code_of_a_user"
    flags = ("--data", f"{own}:data", "--records", "3", "--batch-size", "25", "--epochs", "1", "--device", "cpu")
    status, _, err = landform_("train", "--out", "run", "--model", f"{own}:build", "--model-option", "width=6", *flags)
    assert status == 0, err
    assert Trajectory("run").layout.size == 64 * 6 + 6 + 6 * 10 + 10
    assert landform_("survey", "run")[0] == 0
    assert str(tmp_path) not in sys.path
    for model, says in {
        f"{own}:absent": "is not there",
        f"{own}:value": "is no function",
        f"{own}:nothing": "return a torch.nn.Module",
        f"{own}:broken": "no luck today",
        "absent_module_of_a_user:build": "could not be imported",
    }.items():
        status, out, err = landform_("train", "--out", "x", "--model", model, *flags)
        assert (status, out) == (2, "")
        assert says in err
        assert err.count("\n") == 1
    status, _, err = landform_("train", "--out", "x", "--model", f"{own}:build", "--model-option", "depth=6", *flags)
    assert status == 2
    assert "depth" in err
    status, _, err = landform_("train", "--out", "x", "--data", f"{own}:nothing")
    assert status == 2
    assert "landform.data.Dataset" in err


def test_a_run_of_the_users_own_loop_needs_model_and_data(landform_: Run, small_run: Path, tmp_path: Path) -> None:
    import torch

    from landform.recording import Recorder

    model = torch.nn.Linear(64, 10)
    with Recorder(tmp_path / "own", model, epoch=1, at=[0], pairs=None):
        pass
    status, _, err = landform_("survey", "own")
    assert status == 2
    assert "--model" in err
    (tmp_path / "line.py").write_text("import torch\ndef build():\n    return torch.nn.Linear(64, 10)\n")
    status, _, err = landform_("survey", "own", "--model", "line:build", "--data", "digits", "--probes", "loss, error")
    assert status == 0, err
    assert Atlas("own").names() == ("error", "loss")
    status, _, err = landform_("survey", "own", "--model", "mlp", "--data", "digits")
    assert status == 2
    assert "own" in err


def test_list(landform_: Run, small_run: Path) -> None:
    assert {row["name"] for row in json.loads(landform_("list", "models", "--json")[1])} == set(model_names())
    out = landform_("list", "probes")[1]
    assert "norm of the full-data gradient" in out
    status, out, err = landform_("list", "runs")
    assert (status, out) == (0, "")
    assert "landform train" in err
    assert json.loads(landform_("list", "runs", "--json")[1]) == []
    (row,) = json.loads(landform_("list", "runs", "--folder", small_run.parent, "--json")[1])
    assert row["run"] == str(small_run)
    assert row["records"] == len(Trajectory(small_run))


def test_info(landform_: Run, small_run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDFORM_DATA", str(small_run))
    found = json.loads(landform_("info", "--json")[1])
    assert found["landform"] == landform.__version__
    assert found["data_root"] == str(small_run)
    assert found["data_root_exists"] is True
    found = json.loads(landform_("info", small_run, "--json")[1])
    assert (found["model"], found["data"]) == ("mlp", "digits")
    assert found["records"] == len(Trajectory(small_run))
    assert found["damaged"] == []
    assert "loss" in landform_("info", small_run)[1]


def test_numbers_are_printed_without_the_report_extra(
    landform_: Run, small_run: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    find = importlib.import_module

    def absent(name: str, *rest: object) -> object:
        if name.partition(".")[0] == "jinja2":
            raise ModuleNotFoundError(f"No module named {name!r}", name="jinja2")
        return find(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(importlib, "import_module", absent)
    status, out, err = landform_("report", small_run, "--json")
    assert status == 2
    assert json.loads(out)["report"] is None
    assert json.loads(out)["records"] == len(Trajectory(small_run))
    assert "pip install" in err


@pytest.mark.usefixtures("in_seconds")
def test_a_study_without_the_report_extra_still_gives_its_claims(
    landform_: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(importlib.import_module("landform.report._page"), "check_installed", _nothing_installed)
    status, out, err = landform_("demo", "--scale", "tiny", "--out", "demo")
    assert status == 0
    assert "the final linearly connected basin" in out
    assert "pip install" in err


def _nothing_installed() -> None:
    raise BadInput("plotly is not installed: pip install landform[report].")


@pytest.mark.parametrize(
    ("command", "says"),
    [
        (["frobnicate"], "frobnicate"),
        (["trian"], "train"),
        (["train"], "--out"),
        (["train", "--out", "x", "--epochs", "two"], "two"),
        (["train", "--out", "x", "--epochs", "-1"], "epochs"),
        (["train", "--out", "x", "--epochs", "nan"], "epochs"),
        (["train", "--out", "x", "--bogus", "3"], "--bogus"),
        (["train", "--out", "x", "--optimizer", "lion"], "lion"),
        (["train", "--out", "x", "--schedule", "weekly"], "weekly"),
        (["train", "--out", "x", "--model", "mpl"], "'mlp'"),
        (["train", "--out", "x", "--model-option", "width"], "name=value"),
        (["train", "--out", "x", "--model-option", "wdith=3"], "wdith"),
        (["train", "--out", "x", "--data", "digit"], "digits"),
        (["train", "--out", "x", "--data-option", "per_clas=3"], "per_clas"),
        (["train", "--out", "x", "--data", "cifar10", "--data-option", "root=/nowhere"], "/nowhere"),
        (["train", "--out", "x", "--device", "abacus"], "abacus"),
        (["train", "--out", "x", "--loss", "regret"], "regret"),
        (["train", "--out", "x", "--records", "1"], "--records"),
        (["train", "--out", "x", "--every", "0"], "--every"),
        (["train", "--out", "x", "--threads", "0"], "--threads"),
        (["train", "--out", "x", "--resume", "--overwrite"], "--overwrite"),
        (["survey"], "RUN"),
        (["survey", "nowhere"], "nowhere"),
        (["report", "nowhere"], "nowhere"),
        (["report", "."], "run.json"),
        (["info", "nowhere"], "nowhere"),
        (["list"], "WHAT"),
        (["list", "things"], "things"),
        (["demo", "--scale", "medium"], "medium"),
        (["reproduce", "deep-vs-nothing"], "deep-vs-nothing"),
        (["reproduce", "merging", "--data", "digits"], "leave --data out"),
        (["reproduce", "merging", "--scale", "paper"], "no scale 'paper' of merging"),
    ],
)
def test_misuse(landform_: Run, command: list[str], says: str) -> None:
    status, out, err = landform_(*command)
    assert (status, out) == (2, ""), err
    assert says in err
    assert err.startswith("landform: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--probes", "luck"], "luck"),
        (["--budget", "-1"], "budget"),
        (["--model-option", "width=3"], "--model"),
        (["--data-option", "width=3"], "--data"),
        (["--model", "mlp", "--model-option", "width=9"], "the model that was trained"),
        (["--batch-size", "0"], "batch_size"),
        (["--set", "luck.k=3"], "'luck', which is not measured"),
        (["--set", "loss.k=3"], "has no setting 'k'"),
        (["--set", "k=3"], "probe.k=3"),
        (["--set", "times"], "name=value"),
        (["--set", "times=-1"], "times of probe loss"),
        (["--rehearse", "--budget", "0.5"], "leave --budget away"),
        (["--samples", "0"], "--samples is 0"),
        (["--engine", "elsewhere"], "no engine 'elsewhere'"),
        (["--engine", "inline", "--processes", "2"], "--processes is for --engine local"),
    ],
)
def test_misuse_of_survey(landform_: Run, small_run: Path, flags: list[str], says: str) -> None:
    status, out, err = landform_("survey", small_run, *flags)
    assert (status, out) == (2, "")
    assert says in err
    assert err.count("\n") == 1


def test_survey_is_rehearsed(landform_: Run, small_run: Path) -> None:
    settings = ["--probes", "loss,eigenvalues", "--set", "eigenvalues.k=2", "--set", "times=2", "--rehearse"]
    status, out, err = landform_("survey", small_run, *settings)
    assert status == 0
    assert out.splitlines()[0].split() == ["probe", "on", "times", "each", "together", "memory"]
    assert [line.split()[:3] for line in out.splitlines()[1:3]] == [
        ["loss", "train", "2"],
        ["eigenvalues", "train", "2"],
    ]
    assert "Measuring would take about" in err
    found = json.loads(landform_("survey", small_run, *settings, "--json")[1])
    assert found["seconds"] > 0
    assert {part["probe"] for part in found["parts"]} == {"loss", "eigenvalues"}


def test_survey_of_some_samples_in_processes(landform_: Run, small_run: Path, tmp_path: Path) -> None:
    shutil.copytree(small_run, tmp_path / "few")
    flags = ["--probes", "loss", "--set", "times=1"]
    assert landform_("survey", "few", *flags, "--samples", "7", "--engine", "local", "--processes", "1")[0] == 0
    few = Atlas("few")["loss"].values[:, -1]
    assert landform_("survey", "few", *flags)[0] == 0
    assert all(abs(Atlas("few")["loss"].values[:, -1] - few) > 1e-6)


@pytest.mark.parametrize("command", ["demo", "reproduce", "train", "survey", "report", "list", "info"])
def test_help_has_an_example_that_is_understood(landform_: Run, command: str) -> None:
    status, out, _ = landform_(command, "--help")
    assert status == 0
    assert f"landform {command}" in out.partition("For example")[2]
    assert command in landform_("--help")[1]


def test_version(landform_: Run) -> None:
    assert landform_("--version")[:2] == (0, f"{landform.__version__}\n")


def test_options_are_json_where_they_can_be() -> None:
    found = options(["a=1", "b=0.5", "c=[1, 2]", "d=true", "e=True", "f=batch", "g=None", "h=a=b"], "--model-option")
    assert found == {"a": 1, "b": 0.5, "c": [1, 2], "d": True, "e": True, "f": "batch", "g": None, "h": "a=b"}
    with pytest.raises(BadInput, match="--model-option"):
        options(["=3"], "--model-option")
