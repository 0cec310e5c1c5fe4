"""The page: what it says, that it loads nothing from elsewhere, and what it says when something is missing."""

from __future__ import annotations

import importlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from landform.atlas import Atlas
from landform.errors import BadInput
from landform.landscape import Landscape
from landform.recording import Recorder, Trajectory
from landform.report import Material, Measured, as_json, facts, figures, gather, report
from landform.report._gather import _seeds, as_rows, gaps, one_line
from landform.report._page import page
from landform.survey import survey

SETTINGS = {
    "recipe": {"lr": 0.1, "seed": 3, "betas": [0.9, 0.999], "schedule": {"name": "cosine", "final": 0.0}},
    "model": {"name": "a <net> & more"},
}


class Loads(HTMLParser):
    """Collects everything that a browser would fetch."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.text: list[str] = []
        self.scripts: list[str] = []
        self._in: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._in.append(tag)
        self.found += [value for name, value in attrs if name in {"src", "href", "srcset", "data", "action"} and value]

    def handle_endtag(self, tag: str) -> None:
        while self._in and self._in.pop() != tag:
            pass

    def handle_data(self, data: str) -> None:
        if "script" in self._in:
            self.scripts.append(data)
        elif "style" in self._in:
            self.found += re.findall(r"url\(([^)]*)\)|@import\s+(\S+)", data)  # type: ignore[arg-type]
        else:
            self.text.append(data)


def read(html: str) -> Loads:
    parser = Loads()
    parser.feed(html)
    parser.close()
    return parser


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recorded and surveyed run of a tiny net."""
    folder = tmp_path_factory.mktemp("runs") / "tiny"
    torch.manual_seed(0)
    x = torch.randn(40, 3)
    y = (x.sum(1) > 0).long()
    model = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.Tanh(), torch.nn.Linear(4, 2))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.5)
    with Recorder(folder, model, optimizer, epoch=4, at=[0, 1, 2, 4, 8, 16, 32], pairs=None, settings=SETTINGS) as kept:
        for step in range(32):
            picked = slice(10 * (step % 4), 10 * (step % 4) + 10)
            loss = torch.nn.functional.cross_entropy(model(x[picked]), y[picked])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            kept.step(loss=loss)
    train = Landscape(model, (x, y), device="cpu")
    survey(folder, {"train": train, "test": train.on((x[:7], y[:7]))})
    return folder


def test_material_is_what_the_atlas_and_the_run_hold(run: Path) -> None:
    material, atlas = gather(run), Atlas(run)
    assert set(material.measured) == set(atlas.names())
    assert material.measured["loss"].sets == ("train", "test")
    np.testing.assert_array_equal(material.measured["loss"].values, atlas["loss"].values)
    np.testing.assert_array_equal(material.measured["distance"].values[0], atlas["distance"].values)
    np.testing.assert_allclose(material.measured["loss"].epochs, [0, 0.25, 0.5, 1, 2, 4, 8])
    epochs, values = material.curves["loss"]
    assert len(values) == 32
    assert epochs[-1] == 8.0
    assert material.settings["recipe"]["schedule"] == "cosine (final 0)"
    assert "recipe 3" in material.provenance["seeds"]
    assert material.notes == ()


def test_the_headline_is_the_last_measurement(run: Path) -> None:
    material, atlas = gather(run), Atlas(run)
    found = {fact.key: fact.value for fact in facts(material)}
    assert found["train_loss"] == atlas["loss"].values[0, -1]
    assert found["test_error"] == atlas["error"].values[1, -1]
    assert found["distance"] == atlas["distance"].values[-1]
    assert found["records"] == 7
    assert found["diverged"] is False
    plain = as_json(material)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


@pytest.mark.parametrize("source", ["folder", "text", "trajectory", "atlas"])
def test_a_page_can_be_made_from_any_of_them(run: Path, tmp_path: Path, source: str) -> None:
    given = {"folder": run, "text": str(run), "trajectory": Trajectory(run), "atlas": Atlas(run)}[source]
    path = report(given, tmp_path / "deep" / "page.html")
    assert path.read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_the_page_says_everything_and_loads_nothing(run: Path) -> None:
    path = report(run)
    assert path == run / "report.html"
    html = read(path.read_text(encoding="utf-8"))
    within = [link for link in html.found if link.startswith("#")]
    assert [link for link in html.found if link not in within] == ["data:,"]
    assert within == [f"#{figure.name}" for figure in figures(gather(run))]
    text = " ".join(html.text)
    material = gather(run)
    for figure in figures(material):
        assert figure.title in text
        assert figure.caption in text
        assert figure.fools in text
    for fact in facts(material):
        assert fact.text in text
    assert "a <net> & more" in text  # shown, not obeyed
    assert "Everything asked for was measured" in text
    assert "with torch" in text


def test_plotly_is_in_the_page_once_and_the_figures_beside_it(run: Path, tmp_path: Path) -> None:
    html = read(report(run, tmp_path / "page.html").read_text(encoding="utf-8"))
    assert sum(len(script) > 1_000_000 for script in html.scripts) == 1
    own = html.scripts[-1]
    assert "http" not in own
    described = json.loads(re.search(r"const figures = (.*);\n", own)[1])  # type: ignore[index]
    assert list(described) == [figure.name for figure in figures(gather(run))]


def test_figures_are_written_as_files_too(run: Path, tmp_path: Path) -> None:
    report(run, tmp_path / "page.html", drawings="svg")
    names = {figure.name for figure in figures(gather(run))}
    assert {path.stem for path in (tmp_path / "figures").glob("*.svg")} == names


def test_notes_name_gaps_and_damage(run: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    broken = copy / "points" / "000000004.safetensors"
    broken.write_bytes(broken.read_bytes()[:100])
    notes = gather(copy).notes
    assert any(str(broken) in note and "damaged" in note for note in notes)
    text = " ".join(read(page(gather(copy), [])).text)
    assert "There is nothing to draw yet" in text
    assert "000000004" in text


def test_a_run_without_measurements_says_what_to_do(tmp_path: Path) -> None:
    model = torch.nn.Linear(2, 2)
    with Recorder(tmp_path / "run", model, epoch=1, at=[0], pairs=None):
        pass
    material = gather(tmp_path / "run")
    assert any("landform survey" in note for note in material.notes)
    report(tmp_path / "run")


def test_gaps_are_counted() -> None:
    values = np.array([[1.0, np.nan, np.inf], [1.0, 1.0, 1.0]])
    (note,) = gaps({"loss": Measured(np.array([0.0, 0.5, 1.0]), values, ("train", "test"))})
    assert "loss on train" in note
    assert "2 of 3" in note
    assert "0.5" in note


@pytest.mark.parametrize(("last", "diverged"), [(float("nan"), True), (float("inf"), True), (1.0, False)])
def test_a_diverged_run_says_so(last: float, diverged: bool) -> None:
    steps = np.arange(3.0)
    material = Material("run", curves={"loss": (steps, np.array([1.0, 2.0, last]))})
    assert material.diverged is diverged
    assert ("This run diverged" in page(material, [])) is diverged


def test_the_last_value_is_the_last_that_there_is() -> None:
    measured = Measured(np.arange(3.0), np.array([[1.0, 2.0, np.nan], [np.nan] * 3]), ("train", "test"))
    assert measured.last("train") == 2.0
    assert measured.last("test") is None
    assert measured.last("validation") is None
    text = {fact.key: fact.text for fact in facts(Material("run", measured={"loss": measured}))}
    assert text["test_loss"] == "not measured"


def test_rows_of_a_quantity_of_one_set(run: Path) -> None:
    labelled = Atlas(run)["parameter_norm"]
    assert as_rows(labelled).sets == ("",)
    assert as_rows(labelled).values.shape == (1, 7)


def test_seeds_are_named_after_what_they_decide() -> None:
    model = {"name": "mlp", "options": {"seed": 1}}
    settings = {"seed": 9, "recipe": {"seed": 0}, "command": {"model": model}, "data": {"transform": {"seed": 2}}}
    assert _seeds(settings) == "run 9, recipe 0, model 1, data 2"


def test_settings_fit_one_line() -> None:
    assert one_line({"name": "mlp", "options": {"width": 64}}) == "mlp (options width 64)"
    assert one_line([1, [2, 3]]) == "1, 2, 3"
    assert one_line({}) == ""
    assert one_line({"name": "digits", "options": {}, "mean": 0.123456}) == "digits (mean 0.1235)"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({"source": "nowhere"}, "nowhere"),
        ({"source": 3}, "got a int"),
        ({"times": "weekly"}, "weekly"),
        ({"drawings": "gif"}, "gif"),
    ],
)
def test_misuse_is_one_sentence(run: Path, arguments: dict[str, object], says: str) -> None:
    with pytest.raises(BadInput, match=says):
        report(**{"source": run, **arguments})  # type: ignore[arg-type]


def test_a_folder_is_no_page(run: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is a folder"):
        report(run, tmp_path)


@pytest.mark.parametrize("module", ["jinja2", "plotly", "matplotlib"])
def test_without_the_extra_it_says_how_to_install(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, module: str
) -> None:
    find = importlib.import_module

    def absent(name: str, *rest: object) -> object:
        if name.partition(".")[0] == module:
            raise ModuleNotFoundError(f"No module named {name!r}", name=module)
        return find(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(importlib, "import_module", absent)
    with pytest.raises(BadInput, match=r"pip install 'landform\[report\]'"):
        report(run, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()
