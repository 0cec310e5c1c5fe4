"""Recipes in the form of mergekit, against merge_files with the same words spelled out."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from merge_file_cases import load_folder, save_folder, tensors

from landform.errors import BadInput
from landform.merging import Varying, merge_files, read_recipe
from landform.merging._varying import depths, layers_in

Found = dict[str, torch.Tensor]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for i, name in enumerate(("a", "b", "base")):
        save_folder(tmp_path / name, tensors(i, plain=True))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(folder: Path, text: str) -> Path:
    (folder / "recipe.yml").write_text(text)
    return folder / "recipe.yml"


def same(one: Found, other: Found) -> None:
    assert one.keys() == other.keys()
    for name in one:
        torch.testing.assert_close(one[name], other[name], rtol=0, atol=0)


def test_ties(here: Path) -> None:
    recipe = read_recipe(
        write(
            here,
            """
            models:
              - model: base
              - model: a
                parameters: {density: 0.5, weight: 0.3}
              - model: b
                parameters: {density: 0.7, weight: 0.6}
            merge_method: ties
            base_model: base
            parameters: {normalize: true, int8_mask: true, lambda: 1.5}
            dtype: bfloat16
            """,
        )
    )
    assert recipe.sources == ("a", "b")
    assert (recipe.base, recipe.per, recipe.dtype) == ("base", "tensor", "bfloat16")
    assert recipe.notes == ("int8_mask makes no difference here",)
    recipe.merge("out")
    asked: dict[str, Any] = {"density": (0.5, 0.7), "undecided": "positive", "scale": 1.5, "weights": [0.3, 0.6]}
    merge_files(["a", "b"], "same", method="ties", base="base", per="tensor", dtype="bf16", **asked)
    same(load_folder(here / "out"), load_folder(here / "same"))
    got, found = load_folder(here / "out"), [tensors(i) for i in (0, 1, 2)]
    for name in ("layers.0.w", "layers.1.w"):  # once more, as it is written down there
        base = found[2][name]
        kept = []
        for own, density, weight in ((found[0], 0.5, 0.3), (found[1], 0.7, 0.6)):
            delta = own[name] - base
            least = delta.abs().flatten().sort(descending=True).values[int(density * delta.numel()) - 1]
            kept.append((weight, torch.where(delta.abs() >= least, delta * weight, 0.0)))
        up = sum(delta for _, delta in kept) >= 0
        agree = [torch.where(up, delta > 0, delta < 0) for _, delta in kept]
        total = sum(delta * own for (_, delta), own in zip(kept, agree, strict=True))
        divisor = sum(weight * own for (weight, _), own in zip(kept, agree, strict=True))
        expected = base + 1.5 * total / torch.where(divisor == 0, 1.0, divisor)
        torch.testing.assert_close(got[name], expected.bfloat16())


CASES = {
    "merge_method: linear\nmodels: [{model: a, parameters: {weight: 1}}, {model: b, parameters: {weight: 0.5}}]": {
        "method": "mean", "weights": [1, 0.5],
    },
    "merge_method: linear\nmodels: [{model: a}, {model: b}]\ntokenizer_source: a": {"method": "mean"},
    "merge_method: slerp\nbase_model: a\nmodels: [{model: a}, {model: b}]\nparameters: {t: 0.3}": {
        "method": "slerp", "t": 0.3,
    },
    "merge_method: slerp\nbase_model: b\nmodels: [{model: a}]\nparameters: {t: 0.3}": {
        "sources": ["b", "a"], "method": "slerp", "t": 0.3,
    },
    "merge_method: task_arithmetic\nbase_model: base\nmodels: [{model: a}, {model: b}]\nparameters: {weight: 0.4}": {
        "method": "task_arithmetic", "base": "base", "weights": [0.4, 0.4],
    },
    "merge_method: dare_linear\nbase_model: base\nmodels: [{model: a}, {model: b}]\nseed: 3\n"
    "parameters: {density: 0.5}": {
        "method": "dare", "base": "base", "density": 0.5, "rescale": "norm", "seed": 3,
    },
    "merge_method: dare_ties\nbase_model: base\nmodels: [{model: a}, {model: b}]\n"
    "parameters: {density: 0.5, rescale: false}": {
        "method": "dare_ties", "base": "base", "density": 0.5, "rescale": "none", "normalise": False,
        "undecided": "positive",
    },
    "merge_method: breadcrumbs\nbase_model: base\nmodels: [{model: a}, {model: b}]\n"
    "parameters: {density: 0.9, gamma: 0.05}": {
        "method": "breadcrumbs", "base": "base", "density": 0.9, "gamma": 0.05,
    },
    "merge_method: model_stock\nbase_model: base\nmodels: [{model: a}, {model: b}]\nparameters: {filter_wise: false}": {
        "method": "model_stock", "base": "base", "clip": False,
    },
    "merge_method: karcher\nmodels: [{model: a}, {model: b}]\nparameters: {tol: 1e-9, max_iter: 50}": {
        "method": "karcher", "steps": 50, "tolerance": 1e-9,
    },
    "merge_method: wise_ft\nbase_model: base\nmodels: [{model: a}]\nparameters: {alpha: 0.2}\nper: point": {
        "sources": ["a"], "method": "wise_ft", "base": "base", "alpha": 0.2, "per": "point",
    },
    "merge_method: slerp\nbase_model: a\nslices: [{sources: [{model: a, layer_range: [0, 2]}, {model: b, layer_range: "
    "[0, 2]}]}]\nparameters: {t: 0.5}\ntokenizer_source: base\nout_dtype: float16": {
        "method": "slerp", "t": 0.5, "dtype": "fp16",
    },
}  # fmt: skip


@pytest.mark.parametrize("text", CASES, ids=lambda text: text.split("\n")[0].split()[1])
def test_what_recipes_mean(text: str, here: Path) -> None:
    read_recipe(write(here, text)).merge("out")
    asked = {"sources": ["a", "b"], "per": "tensor", **CASES[text]}
    merge_files(asked.pop("sources"), "same", **asked)
    same(load_folder(here / "out"), load_folder(here / "same"))


def test_values_by_name_and_by_depth(here: Path) -> None:
    recipe = read_recipe(
        write(
            here,
            """
            merge_method: slerp
            base_model: a
            models: [{model: a}, {model: b}]
            parameters:
              t:
                - filter: layers
                  value: [0, 0.5, 1]
                - filter: norm
                  value: 0.25
                - value: 1.0e+0
            """,
        )
    )
    done = recipe.merge("out")
    a, b, got = tensors(0), tensors(1), load_folder(here / "out")
    assert torch.equal(got["layers.0.w"], a["layers.0.w"])  # of two layers the first has the first value
    assert torch.equal(got["layers.1.w"], b["layers.1.w"])
    assert torch.equal(got["embed.weight"], b["embed.weight"])
    x, y = a["norm.weight"], b["norm.weight"]
    angle = torch.arccos(x @ y / x.norm() / y.norm())
    torch.testing.assert_close(
        got["norm.weight"], (torch.sin(0.75 * angle) * x + torch.sin(0.25 * angle) * y) / torch.sin(angle)
    )
    assert "layers: 0, 0.5, 1; norm: 0.25; else: 1.0" in str(done.settings["t"])
    assert done.to_json()["settings"]["t"] == str(done.settings["t"])


def test_weights_by_depth(here: Path) -> None:
    text = "merge_method: linear\nmodels: [{model: a, parameters: {weight: [0, 1]}}, {model: b}]"
    text += "\nparameters: {weight: [1, 0]}"
    read_recipe(write(here, text)).merge("out")
    a, b, got = tensors(0), tensors(1), load_folder(here / "out")
    assert torch.equal(got["layers.0.w"], b["layers.0.w"])
    assert torch.equal(got["layers.1.w"], a["layers.1.w"])
    assert torch.equal(got["embed.weight"], b["embed.weight"])  # outside the layers it is as in the first
    weights = (Varying(((None, (0, 1)),)), Varying(((None, (1, 0)),)))
    with pytest.raises(BadInput, match="whole point"):
        merge_files(["a", "b"], None, dry_run=True, method="karcher", per="point", weights=weights)
    with pytest.raises(BadInput, match=r"No rule of lay: 0, 1 fits embed\.weight"):
        merge_files(["a", "b"], None, dry_run=True, weights=(Varying((("lay", (0, 1)),)), 1.0))
    with pytest.raises(BadInput, match="t of slerp is 2"):
        merge_files(["a", "b"], None, dry_run=True, method="slerp", per="tensor", t=Varying(((None, (0, 2)),)))


def test_depths() -> None:
    names = ["embed.w", "enc.0.w", "enc.1.w", "enc.2.mix.7.w", "dec.0.w", "head"]
    found = depths(names)
    assert found == {"embed.w": 0, "enc.0.w": 0, "enc.1.w": 0.5, "enc.2.mix.7.w": 1, "dec.0.w": 1, "head": 0}
    assert layers_in(names) == 3
    rule = Varying((("mix", ("down", "up")), (None, (1, 3))))
    assert [rule.at(name, found[name]) for name in names] == [1, 1, 2, "up", 3, 1]


def test_models_are_looked_for_beside_the_recipe(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (here / "else").mkdir()
    monkeypatch.chdir(here / "else")
    path = write(here, "merge_method: linear\nmodels: [{model: a}, {model: ./b}]\nbase_model: base")
    recipe = read_recipe(path)
    assert [Path(one) for one in (*recipe.sources, recipe.base or "")] == [here / "a", here / "b", here / "base"]
    assert recipe.merge(None, dry_run=True).tensors == 6


AB = "models: [{model: a}, {model: b}]\n"
MISUSE = {
    "": "needs the entries",
    "[1, 2]": "no recipe",
    "merge_method: [": "line 1",
    AB: "names no method",
    f"{AB}merge_method: linear\ntokenizer_source: b": "'b'.*of a is copied",
    f"{AB}merge_method: task_arithmetik": "did you mean 'task_arithmetic'",
    f"{AB}merge_method: passthrough": "passthrough",
    f"{AB}merge_method: linear\nmodel: a": "'model'.*did you mean 'models'",
    f"{AB}merge_method: linear\nchat_template: auto": "chat template",
    f"{AB}merge_method: linear\ntokenizer: {{source: union}}": "tokenizer",
    f"{AB}merge_method: linear\ntokenizer_source: union": "'union'.*leave it out",
    f"{AB}merge_method: linear\nmodules: {{}}": "modules",
    f"{AB}merge_method: linear\ndtype: int3": "int3",
    f"{AB}merge_method: ties": "base_model",
    f"{AB}merge_method: linear\nparameters: {{wieght: 2}}": "'wieght'.*did you mean 'weight'",
    f"{AB}merge_method: linear\nparameters: [1]": "names with values",
    f"{AB}merge_method: linear\nparameters: {{weight: [[1]]}}": "neither numbers nor rules",
    f"{AB}merge_method: linear\nparameters: {{weight: []}}": "neither numbers nor rules",
    f"{AB}merge_method: linear\nparameters: {{weight: {{filter: a}}}}": "not a value with a filter",
    "merge_method: linear": "needs models",
    "merge_method: linear\nmodels: a": "list of entries",
    "merge_method: linear\nmodels: [{model: 3}]": "no path",
    "merge_method: linear\nmodels: [{modle: a}]": "'modle'.*did you mean 'model'",
    "merge_method: linear\nmodels: [{model: a+adapter}]": "adapter",
    "merge_method: ties\nbase_model: a\nmodels: [{model: a}]": "beside the base",
    "merge_method: task_arithmetic\nbase_model: base\n"
    "models: [{model: a, parameters: {lambda: 1}}, {model: b, parameters: {lambda: 2}}]": "different values of lambda",
    "merge_method: linear\nslices: [{sources: [{model: a, layer_range: [0, 1]}]}, {sources: [{model: b}]}]": "slices",
    "merge_method: linear\nslices: [{sources: [{model: a, layer_range: [1, 2]}]}]": "slices",
    f"{AB}merge_method: linear\nper: layer": "'layer'",
    f"{AB}merge_method: slerp\nbase_model: a\nparameters: {{t: 2}}": "t of slerp is 2",
    "merge_method: linear\nmodels: [{model: a}, {model: org/b}]": "downloaded",
    "merge_method: linear\nslices: [{sources: [{model: a, layer_range: [0, 9]}, {model: b, layer_range: [0, 9]}]}]":
        "layers 0 to 9 of models that have 2",
}  # fmt: skip


@pytest.mark.parametrize("text", MISUSE, ids=range(len(MISUSE)))
def test_misuse(text: str, here: Path) -> None:
    path = write(here, text)
    with pytest.raises(BadInput) as why:
        read_recipe(path).merge("out")
    told = str(why.value)
    assert re.search(MISUSE[text], told), told
    assert told.endswith(".")
    assert "\n" not in told
    assert not (here / "out").exists()


def test_parameters_kept_for_other_methods(here: Path) -> None:
    recipe = read_recipe(write(here, f"{AB}merge_method: linear\nparameters: {{density: 0.5, normalize: true}}"))
    assert recipe.notes == ("mean takes no density",)
    assert recipe.settings == {"normalise": True}


def test_without_yaml(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(here, AB)
    monkeypatch.setitem(sys.modules, "yaml", None)
    with pytest.raises((BadInput, ImportError), match="yaml"):
        read_recipe(path)
    monkeypatch.undo()
    with pytest.raises(BadInput, match=r"nowhere\.yml"):
        read_recipe(here / "nowhere.yml")
