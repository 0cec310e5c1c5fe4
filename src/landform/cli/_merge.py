"""``landform merge``."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from landform.cli._choose import Choice, load_data, options
from landform.cli._paths import landscape_of
from landform.cli._show import answer, going_on, progress, say, table
from landform.cli._threads import threads as use
from landform.cli._told import settled
from landform.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

    from landform.landscape import Landscape
    from landform.layout import Layout
    from landform.merging import FileMerge, Layer
    from landform.recording import Record

# Beyond so many tensors the blocks that they belong to are shown instead.
_ROWS = 40
_UNITS = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}


def merge(
    *sources: str,
    method: str | None = None,
    base: str | None = None,
    weights: str | None = None,
    per: Literal["point", "tensor"] | None = None,
    out: Path | None = None,
    recipe: Path | None = None,
    dry_run: bool = False,
    advise: bool = False,
    dtype: str | None = None,
    shard_size: str | None = None,
    seed: int | None = None,
    overwrite: bool = False,
    no_report: bool = False,
    all_tensors: bool = False,
    data: str | None = None,
    model: str | None = None,
    data_option: list[str] | None = None,
    model_option: list[str] | None = None,
    loss: str | None = None,
    batch_size: int = 512,
    device: str = "auto",
    threads: int | None = None,
    json: Annotated[bool, Parameter(name="--json")] = False,
    **settings: str,
) -> None:
    """Make one model of several: files and folders of weights, larger than memory if need be, or runs.

    Settings of a method are given as options too, such as --density 0.2, or 0.2,0.4 for each source its own; 'landform
    list methods' shows them. What was done lies as merge.json beside the weights.

    For example:

        landform merge models/a models/b --out models/mean
        landform merge a.safetensors b.safetensors --method ties --base base.safetensors --density 0.2 --out merged
        landform merge --recipe recipe.yml --out merged --dry-run
        landform merge --advise runs/a runs/b
        landform merge runs/a runs/b@epoch=2 --data digits --method fisher --out merged

    Args:
        sources: .safetensors, .pt, .pth or .bin files, folders as the Hugging Face hub has them, or folders of runs
            (run@epoch=2 for another time than the last).
        method: one of 'landform list methods'; mean if not given.
        base: what the sources came from, for the methods that merge differences from it.
        weights: of the sources, as 0.5,0.5.
        per: whether thresholds, norms and angles are of the whole point or of each tensor; by default as the method's
            paper has it.
        out: the folder, or a file that ends in .safetensors.
        recipe: a YAML file in the form that mergekit's users know, in place of sources and method.
        dry_run: go through everything and tell what would be written, but write nothing.
        advise: measure whether and how two runs can be merged, in place of merging them.
        dtype: of the merged weights: bf16, fp16, fp32; by default that of the first source.
        shard_size: how large a file may be, such as 5GB; by default as the first source is divided.
        seed: of what is dropped at random.
        overwrite: replace the model that lies in the folder.
        no_report: do not compare the merge with its sources.
        all_tensors: show every tensor where there are many, not the blocks they belong to.
        data: runs are merged in memory and read on this data set: one of 'landform list data', or a function of your
            own that returns one. Some methods need it; statistics of BatchNorm are found anew.
        model: the model of the runs, where they do not say: one of 'landform list models', or module:function.
        data_option: an option of the data set, as name=value; may be given several times.
        model_option: an option of the model, as name=value; may be given several times.
        loss: name of the loss; by default whichever fits the data.
        batch_size: samples at a time.
        device: auto, cpu, cuda or mps; files are merged on the CPU.
        threads: on how many threads torch runs.
        json: print what was done as JSON.
        **settings: of the method.
    """
    started = time.perf_counter()
    given = {name.replace("-", "_"): _value(text) for name, text in settings.items()}
    asked: dict[str, Any] = {"weights": _weights(weights), "per": per, "seed": seed}
    asked = {name: value for name, value in {**asked, **given}.items() if value is not None}
    chosen = (
        None if model is None else Choice(model, options(model_option or [], "--model-option")),
        None if data is None else Choice(data, options(data_option or [], "--data-option")),
    )
    where = {"loss": loss, "batch_size": batch_size, "device": device}
    with use(threads), going_on("What is unfinished was removed." if out else "Nothing was written."):
        if advise:
            _advise(sources, base, chosen, where, json=json, others=[out, recipe, method, weights, per, dtype, *given])
            return
        if out is None and not dry_run:
            raise BadInput("There is no --out: give a folder for the merge, or --dry-run.")
        how: dict[str, Any] = {"dtype": dtype, "overwrite": overwrite}
        read: dict[str, Any] | None = None
        if recipe is None and _needs_data(method, data):
            if shard_size is not None:
                raise BadInput("--shard-size divides files: runs that are merged on data are written as one.")
            found, read = _with_data(sources, method, base, chosen, where, asked, None if dry_run else out, how)
        else:
            with progress("merging") as bar:
                how |= {"dry_run": dry_run, "report": not no_report, "shard_bytes": _bytes(shard_size), "progress": bar}
                found = _files(sources, out, method, base, recipe, asked, how)
    _tell(found, read, every=all_tensors, json=json, seconds=time.perf_counter() - started)


def _files(
    sources: Sequence[str],
    out: Path | None,
    method: str | None,
    base: str | None,
    recipe: Path | None,
    asked: Mapping[str, Any],
    how: dict[str, Any],
) -> FileMerge:
    from landform.merging import merge_files, read_recipe

    if recipe is None:
        return merge_files(sources, out, method=method or "mean", base=base, **asked, **how)
    if sources or method or base or asked:
        names = ["sources"] * bool(sources) + ["--method"] * bool(method) + ["--base"] * bool(base)
        names += [f"--{name}" for name in asked]
        raise BadInput(
            f"The recipe says what is merged and how, and {', '.join(names)} given as well: leave it out, or write it "
            "into the recipe."
        )
    wanted = read_recipe(recipe)
    for note in wanted.notes:
        say(f"{recipe}: {note}")
    return wanted.merge(out, **{key: value for key, value in how.items() if key != "dtype" or value is not None})


def _needs_data(method: str | None, data: str | None) -> bool:
    from landform.merging import get

    return data is not None or get(method or "mean").whole is not None


def _with_data(
    sources: Sequence[str],
    method: str | None,
    base: str | None,
    chosen: tuple[Choice | None, Choice | None],
    where: Mapping[str, Any],
    asked: Mapping[str, Any],
    out: Path | None,
    how: Mapping[str, Any],
) -> tuple[FileMerge, dict[str, Any]]:
    """Merge runs in memory, and read loss and error of what came of it."""
    import torch

    from landform.merging import merge, save
    from landform.merging._files import as_type

    as_type(how["dtype"])
    landscape, test, records = _runs([*sources, *([] if base is None else [base])], chosen, where)
    points = [record.point for record in records]
    origin = None if base is None else points.pop()
    found = merge(points, method=method or "mean", base=origin, data=landscape, layout=landscape.layout, **asked)
    told = save(found, out, sources=sources, base=base, **how)
    names = [*sources, *([] if base is None else [f"{base} (base)"]), "the merge"]
    beside = [*points, *([] if origin is None else [origin]), found.point]
    every = torch.stack([one.to(landscape.device, landscape.dtype) for one in beside])
    read: dict[str, Any] = {name: {} for name in names}
    for what, one in {"train": landscape, **test}.items():
        reading = one.read(every)
        for i, name in enumerate(names):
            read[name][f"{what}_loss"] = float(reading.loss[i])
            if reading.error is not None:
                read[name][f"{what}_error"] = float(reading.error[i])
    return told, read


def _runs(
    given: Sequence[str], chosen: tuple[Choice | None, Choice | None], where: Mapping[str, Any]
) -> tuple[Landscape, dict[str, Landscape], list[Record]]:
    """Recorded times, and the landscape of the first on its training and test data."""
    from landform.merging._places import record_at

    for one in given:
        if not Path(one.partition("@")[0]).is_dir() or not (Path(one.partition("@")[0]) / "run.json").is_file():
            raise BadInput(f"{one} is no run: what looks at data takes folders that landform recorded runs in.")
    records = [record_at(one) for one in given]
    for one, record in zip(given, records, strict=True):
        _one_model(records[0].layout, record.layout, given[0], one)
    both = settled(records[0].file.path.parent.parent, *chosen)
    dataset = load_data(both[1])
    landscape = landscape_of(*both, dataset, **where)
    _one_model(landscape.layout, records[0].layout, f"the model {both[0].name}", given[0])
    test = {"test": landscape.on(dataset.test)} if len(dataset.test) else {}
    return landscape, test, records


def _one_model(first: Layout, second: Layout, *names: str) -> None:
    """Refuse runs of different models, by the first tensor that differs."""
    a, b = ({slot.name: slot.shape for slot in layout.slots} for layout in (first, second))
    for name in {**a, **b}:
        if a.get(name) != b.get(name):
            told = [
                f"{list(one[name])} in {where}" if name in one else f"not there in {where}"
                for one, where in zip((a, b), names, strict=True)
            ]
            raise BadInput(f"{name} is {' and '.join(told)}: only runs of one model can be merged.")


def _advise(
    sources: Sequence[str],
    base: str | None,
    chosen: tuple[Choice | None, Choice | None],
    where: Mapping[str, Any],
    *,
    json: bool,
    others: Sequence[object],
) -> None:
    from landform.merging import mergeable

    if len(sources) != 2:
        raise BadInput(f"--advise measures two runs, and {len(sources)} given: give two folders of runs.")
    if any(others):
        raise BadInput("--advise merges nothing: leave options of a merge out, or leave --advise out.")
    landscape, _, records = _runs([*sources, *([] if base is None else [base])], chosen, where)
    points: list[Tensor] = [record.point for record in records]
    found = mergeable(landscape, *points[:2], base=points[2] if base is not None else None)
    if json:
        answer({"sources": list(sources), "base": base, "features": dict(found.features), "advice": found.advice})
        return
    say(f"{sources[0]} and {sources[1]}" + (f", from {base}" if base else ""))
    table([(name.replace("_", " "), f"{value:.4g}") for name, value in found.features.items()])
    say(f"Measured at the cost of {found.cost:.3g} gradients over the data.")
    say(found.advice)


def _tell(found: FileMerge, read: Mapping[str, Any] | None, *, every: bool, json: bool, seconds: float) -> None:
    if json:
        answer({**found.to_json(), **({} if read is None else {"read": read})})
        return
    for line in str(found).splitlines():
        say(line)
    layers = found.layers if every or len(found.layers) <= _ROWS or not found.groups else found.groups
    if layers:
        total = () if found.total is None or len(layers) == 1 else (found.total,)
        heads = ("tensor", "numbers", "moved by", "merged", "cosine to each", "between", "one sign", "changed")
        table([_row(layer) for layer in (*layers, *total)], heads)
    if read:
        columns = list(next(iter(read.values())))
        rows = [(name, *(_number(one[key], key) for key in columns)) for name, one in read.items()]
        table(rows, ("", *(key.replace("_", " ") for key in columns)))
    say(f"{'Merged' if found.out else 'Gone through'} in {seconds:.1f} s.")


def _row(layer: Layer) -> tuple[str, ...]:
    def several(values: Sequence[float], form: str) -> str:
        told = " ".join("-" if value != value else format(value, form) for value in values[:4])
        return told + (" ..." if len(values) > 4 else "")

    def share(value: float) -> str:
        return "-" if value != value else f"{value:.1%}"

    return (
        layer.name,
        f"{layer.size:,}",
        several(layer.norms, ".3g"),
        f"{layer.norm:.3g}",
        several(layer.cosines, ".2f"),
        several([layer.between], ".2f"),
        share(layer.agreement),
        share(layer.changed),
    )


def _number(value: float, key: str) -> str:
    return f"{value:.2%}" if key.endswith("error") else f"{value:.4g}"


def _value(text: str) -> Any:
    """What was given for a setting: a number, several, a truth value or a word."""
    parts = text.split(",")
    if len(parts) > 1:
        return tuple(_value(part) for part in parts)
    word = text.strip()
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def _weights(text: str | None) -> list[float] | None:
    if text is None:
        return None
    try:
        return [float(part) for part in text.split(",")]
    except ValueError:
        raise BadInput(f"--weights is {text!r}: give a number for each source, as 0.5,0.5.") from None


def _bytes(text: str | None) -> int | None:
    if text is None:
        return None
    match = re.fullmatch(r"\s*([0-9.]+)\s*([a-z]*)\s*", text.lower())
    try:
        assert match is not None
        return int(float(match[1]) * _UNITS[match[2]])
    except (AssertionError, KeyError, ValueError):
        raise BadInput(f"--shard-size is {text!r}: give a size such as 5GB or 200MB.") from None
