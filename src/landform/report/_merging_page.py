"""The page about merging: what each way of merging gives where, and what told it beforehand."""

from __future__ import annotations

import math
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import landform
from landform import store
from landform.errors import BadInput
from landform.report._facts import Fact
from landform.report._figure import Axis, Figure, Numbers, Series
from landform.report._gather import one_line
from landform.report._heat import HeatAxis, HeatMap
from landform.report._lines import Times
from landform.report._material import Drawn
from landform.report._panels import Panel, Panels
from landform.report._study_page import STUDY, StudyMaterial, Table, controls_of, counted
from landform.report._terrain import Terrain
from landform.series import interval
from landform.studies import (
    CHOICES,
    SETTINGS,
    Claim,
    Predicted,
    claims_of_merging,
    merging_protocol_of,
    merging_results,
    predict,
    read_claims,
)

Results = Mapping[str, Sequence[Mapping[str, Any]]]
# A gain in error that is worth a word.
_LITTLE = 0.005
_PAPER = "Khan, Kolbeinsson, Boski, Gaunt, Vries, arXiv 2410.12927"


def gather(place: Path, times: Times = "auto") -> StudyMaterial:
    """Read everything that the page says.

    Args:
        place: folder of the study.
        times: how time is drawn; not looked at here.

    Returns:
        The material.

    Raises:
        BadInput: when nothing was measured yet.
    """
    described = store.read_json(place / STUDY)
    protocol = merging_protocol_of(described)
    results = merging_results(place)
    if not any(setting in results for setting in SETTINGS):
        raise BadInput(f"{place} holds no results yet: 'landform reproduce merging --out {place}' goes on.")
    try:
        claims = read_claims(place)
    except BadInput:
        claims = claims_of_merging(protocol, results, described["scale"])
    foretold = [found for outcome in ("mean", "best") if (found := predict(results, outcome)) is not None]
    groups = {setting: each for setting, each in results.items() if setting in SETTINGS}
    seeds = max(map(len, groups.values()))
    sentence = (
        f"{counted(protocol.sources, 'network')} ({protocol.model}) in each of {len(groups)} settings with {seeds} "
        f"seeds on {protocol.data}, merged in pairs in {len(CHOICES)} ways; the training loss chose the settings of "
        "each way, the test set judged."
    )
    command = f"landform reproduce merging --scale {described['scale']}" if described["scale"] != "own" else ""
    return StudyMaterial(
        title="The common ground of merging",
        sentence=sentence,
        verdict=_verdict(groups, claims),
        facts=tuple(_facts(groups, foretold, claims)),
        claims=tuple(claims),
        controls=controls_of(place),
        figures=tuple(_figures(groups, results, foretold)),
        settings={
            "study": {
                "scale": described["scale"],
                "seeds": seeds,
                "sources of a group": protocol.sources,
                "epochs of a parent of tasks": protocol.parent,
                "forks at epochs": ", ".join(f"{t:g}" for t in protocol.forks),
                "steps of a curve": protocol.curve,
            },
            "recipe": {key: one_line(value) for key, value in protocol.recipe.to_json().items() if value is not None},
            "tuning": {key: one_line(value) for key, value in protocol.tune.to_json().items() if value is not None},
            "data": {"name": protocol.data, **protocol.data_options},
            "model": {"name": protocol.model, **protocol.model_options},
        },
        notes=tuple(_notes(groups)),
        command=command,
        provenance={
            "page made": f"{time.strftime('%Y-%m-%dT%H:%M:%S%z')}, by landform {landform.__version__}",
            "paper": _PAPER,
        },
        tables=(_methods_table(groups), _connected(groups), _directed(groups), *_ensembles(results)),
    )


def merged_errors(each: Mapping[str, Any], method: str) -> float:
    """Test error of a method over a seed's pairs; nan where it cannot merge them."""
    found = [pair["methods"].get(method, {}).get("error") for pair in each["pairs"]]
    return math.nan if None in found else float(np.mean(found))


def _over_pairs(each: Mapping[str, Any], take: Callable[[Mapping[str, Any]], float]) -> float:
    return float(np.mean([take(pair) for pair in each["pairs"]]))


def _sources(pair: Mapping[str, Any]) -> float:
    return float(np.mean(pair["sources"]))


def _wins(groups: Results) -> Counter[tuple[str, str]]:
    """How often a method is the best of a seed's pairs in a setting; those that tie all are."""
    found: Counter[tuple[str, str]] = Counter()
    for setting, every in groups.items():
        for each in every:
            errors = {method: merged_errors(each, method) for method in CHOICES}
            best = min(error for error in errors.values() if math.isfinite(error))
            found.update((method, setting) for method, error in errors.items() if error <= best)
    return found


def _points(values: Sequence[float]) -> str:
    known = interval(values)
    if not known.count:
        return "–"
    error = f" ± {100 * known.standard_error:.1f}" if math.isfinite(known.standard_error) else ""
    return f"{100 * known.mean:.1f}{error}"


def _methods_table(groups: Results) -> Table:
    wins = _wins(groups)
    rows = []
    for method in CHOICES:
        cells = [_points([merged_errors(each, method) for each in every]) for every in groups.values()]
        won = [f"{setting} ({wins[method, setting]})" for setting in groups if wins[method, setting]]
        rows.append((method, *cells, ", ".join(won) or "never"))
    for name, take in (
        ("mean of the sources", _sources),
        ("better source", lambda pair: float(np.min(pair["sources"]))),
        ("ensemble of both", lambda pair: float(pair["ensemble"])),
        ("one network trained on all", lambda pair: float(pair["joint"])),
    ):
        rows.append((name, *(_points([_over_pairs(e, take) for e in every]) for every in groups.values()), ""))
    return Table(
        "Every way of merging, in every setting",
        "Test error in percent over all tasks of the pair, mean and standard error over seeds. The last column says in "
        "which settings a method was the best of all, and with how many of the seeds (methods that tie are all "
        "counted).",
        ("method", *groups, "best in"),
        tuple(rows),
    )


def _said(values: Sequence[float | None], digits: int = 2) -> str:
    """Mean and standard error of what was measured."""
    known = interval([value for value in values if value is not None])
    if not known.count:
        return "–"
    error = f" ± {known.standard_error:.{digits}f}" if known.count > 1 else ""
    return f"{known.mean:.{digits}f}{error}"


def _connected(groups: Results) -> Table:
    rows = []
    for setting, every in groups.items():
        ways = ([p["connection"][name] for e in every for p in e["pairs"]] for name in ("straight", "matched", "curve"))
        rows.append((setting, SETTINGS[setting].title, *(_said(heights, 3) for heights in ways)))
    return Table(
        "Connectivity",
        "Barriers of the training loss between two sources: on the straight line, with the units of one matched to the "
        "other's, and along a trained curve. Mean and standard error over seeds and pairs.",
        ("setting", "the sources have", "straight", "matched", "curve"),
        tuple(rows),
    )


def _directed(groups: Results) -> Table:
    names = ("cosine", "signs", "sum", "negated", "beside", "rank", "mask", "overlap")
    rows = []
    for setting, every in groups.items():
        told = [each["directedness"] for each in every if "directedness" in each]
        if told:
            rows.append((setting, *(_said([each[name] for each in told]) for name in names)))
    return Table(
        "Directedness",
        "Of the task vectors, the sources less their base: mean cosine of two; share of equal signs; share of both "
        "gains in loss that their sum keeps, at the best of a few scales; rise of the loss on a task when its vector "
        "is taken away, and on another "
        "task; share of their squares in a tenth of the singular values; share of the weights that keep 95% of a "
        "task's gain; and what two such masks have in common of what they cover. Mean and standard error over seeds.",
        ("setting", "cosine", "signs", "sum keeps", "negated", "beside", "top tenth", "mask", "overlap"),
        tuple(rows),
    )


def _ensembles(results: Results) -> list[Table]:
    forks = results.get("forks", ())
    rows = []
    for kind, members, label in (
        ("snapshots", "snapshots", "snapshots of one cyclic run"),
        ("rank one", "members", "members of rank one (BatchEnsemble)"),
    ):
        told = [each[kind] for each in forks if kind in each]
        if told:
            cells = ([float(np.mean(each[name])) for each in told] for name in (members, "ensemble", "mean"))
            rows.append((label, *(_points(values) for values in cells)))
    if not rows:
        return []
    return [
        Table(
            "Ensembles of one training",
            "Test error in percent of the members, of their ensemble, and of the mean of their weights (of their "
            "factors); mean and standard error over seeds. Ensembles of sources stand in the first table.",
            ("", "members", "ensemble", "mean"),
            tuple(rows),
        )
    ]


def _figures(groups: Results, results: Results, foretold: Sequence[Predicted]) -> list[Drawn]:
    found: list[Drawn] = [_rises(groups)]
    found += _planes(groups)
    found.append(_soups(groups))
    if results.get("forks"):
        found.append(_forks(results["forks"]))
    found.append(_layers(groups))
    if foretold:
        found += [_scatter(foretold[-1]), _features(foretold)]
    return found


def _rises(groups: Results) -> HeatMap:
    """Rise of the error over the sources' by method and setting."""
    values = np.array(
        [
            [
                np.mean(
                    [merged_errors(e, method) - _over_pairs(e, lambda p: float(np.mean(p["sources"]))) for e in every]
                )
                for every in groups.values()
            ]
            for method in CHOICES
        ]
    )
    return HeatMap(
        "merges",
        "What merging gives",
        "Test error of a merge less the mean error of its two sources, in points, mean over seeds; blue is better than "
        "the sources. Blank: the method needs a base, and these sources have none in common.",
        "A merge that beats sources which know half of the tasks may still be far from a network trained on all: see "
        "the table. Soups may keep one source alone, and do where the mean is bad. Settings of each method were "
        "chosen by "
        "the training loss from a few.",
        HeatAxis("how the sources differ", tuple(groups)),
        HeatAxis("", tuple(CHOICES), every=True),
        100 * values,
        "points of test error",
        diverging=True,
    )


def _planes(groups: Results) -> list[Terrain]:
    found = []
    for setting, every in groups.items():
        plane = every[0].get("plane")
        if plane is None or plane["errors"] is None:
            continue
        marks = tuple((name, float(at[0]), float(at[1])) for name, at in plane["marks"].items())
        third = (
            "the mean of A and B with B's units matched to A's; the plain mean lies in the plane too"
            if "matched mean" in plane["marks"]
            else "a network trained on both tasks' data, as matching units moves none here; the mean lies in the plane"
        )
        found.append(
            Terrain(
                f"plane-{setting}",
                f"Two sources and their merge: {SETTINGS[setting].title}",
                f"Share of wrong test labels on the plane through two sources A and B and {third}, seed 0; dark is "
                f"low.",
                "A plane is two directions of very many; where units are matched, the valley of B with its units in "
                "A's "
                "order lies outside of it.",
                Axis("from A towards B (L2 distance)"),
                Axis("across"),
                np.array(plane["alphas"]),
                np.array(plane["betas"]),
                np.array(plane["errors"], dtype=float),
                "wrong labels",
                percent=True,
                marks=marks,
            )
        )
    return found


def _soups(groups: Results) -> Panels:
    panels = []
    for setting, every in groups.items():
        lines = []
        for place, (name, label) in enumerate((("mean", "mean of the weights"), ("ensemble", "ensemble"))):
            table = np.array([each["soups"][name] for each in every])
            lines.append(_band(label, np.arange(1.0, table.shape[1] + 1), table, place, dash=place))
        panels.append(Panel(setting, Axis("wrong labels", percent=True), tuple(lines)))
    return Panels(
        "soups",
        "More and more sources",
        "Test error, over the tasks of all, of the mean of the weights of the first 1, 2, .. sources, and of their "
        "ensemble; bands are standard errors over seeds.",
        "The first source alone knows only its own task where tasks differ.",
        Axis("sources"),
        tuple(panels),
    )


def _forks(forks: Sequence[Mapping[str, Any]]) -> Figure:
    epochs = np.array(forks[0]["epochs"], dtype=float)
    lines = [
        _band(f"another {kind}" if kind != "augmentation" else "augmentation", epochs,
              np.array([each["barriers"][kind] for each in forks], dtype=float), place, dash=place)
        for place, kind in enumerate(forks[0]["barriers"])
    ]  # fmt: skip
    return Figure(
        "determinism",
        "When the mode is fixed",
        "Loss barrier between the ends of two children that left a run at the same time, by the time at which they "
        "left, "
        "when they differ in the order of the data, the learning rate (halved), or in augmentation besides; bands are "
        "standard errors over seeds. Where it is nothing, the rest of the training stays in one mode (Frankle et al. "
        "2020).",
        "Children take their parent's weights, not its momentum, and bring their step down to nothing by the same "
        "epoch: late "
        "ones "
        "have little time left to part.",
        Axis("epoch at which children leave"),
        Axis("loss barrier"),
        tuple(lines),
        reference=0.0,
    )  # fmt: skip


def _layers(groups: Results) -> HeatMap:
    first = next(iter(groups.values()))[0]["pairs"][0]["connection"]["layers"]
    values = np.array(
        [
            [np.mean([p["connection"]["layers"][name] for e in every for p in e["pairs"]]) for every in groups.values()]
            for name in first
        ]
    )
    return HeatMap(
        "layers",
        "Connectivity layer by layer",
        "Training loss half way between a source and the same source with one layer taken from the other, less the "
        "mean "
        "of both ends; mean over pairs and seeds.",
        "Layers that can be mixed one at a time cannot always be mixed together.",
        HeatAxis("how the sources differ", tuple(groups)),
        HeatAxis("layer", tuple(first)),
        values,
        "loss",
        diverging=True,
    )


def _scatter(found: Predicted) -> Figure:
    truth, ranks = 100 * found.truth, np.argsort(np.argsort(found.foretold)).astype(float) + 1
    lines = []
    for place, setting in enumerate(dict.fromkeys(found.settings)):
        own = np.array([each == setting for each in found.settings])
        lines.append(Series(setting, ranks[own], truth[own], "points", place, dash=place))
    return Figure(
        "mergeability",
        "Told beforehand",
        "Rise of the best merge's test error over its sources' mean, against its rank as foretold from cheap "
        "measurements "
        f"of the two sources by a fit on other seeds: rank correlation {found.rho['all']:.2f} over {len(truth)} pairs "
        f"(by the distance of the parameters alone {found.rho['distance']:.2f}).",
        "Pairs of one setting are alike: most of the correlation tells settings apart.",
        Axis("rank as foretold"),
        Axis("points of test error"),
        tuple(lines),
        reference=0.0,
    )


def _features(foretold: Sequence[Predicted]) -> HeatMap:
    names = sorted(
        (name for name in foretold[-1].rho if name not in ("all", "ends")),
        key=lambda name: -abs(foretold[-1].rho[name]),
    )
    rows = ("all features, other seeds", "without reading between", *names)
    keys = ("all", "ends", *names)
    return HeatMap(
        "features",
        "What tells it",
        "Rank correlation over all pairs of what was measured before merging with the rise of test error, of the plain "
        "mean and of the best method. The first two rows are foretold by fits on other seeds; in the second nothing "
        "was "
        "read between the sources.",
        "What is read between the sources is nearly the outcome itself, on the training data.",
        HeatAxis(
            "rise of the error of", tuple("the mean" if each.outcome == "mean" else "the best" for each in foretold)
        ),
        HeatAxis("", rows, every=True),
        np.array([[each.rho[key] for each in foretold] for key in keys]),
        "rank correlation",
        diverging=True,
        limits=(-1.0, 1.0),
    )


def _band(name: str, x: Numbers, table: Numbers, colour: int, dash: int) -> Series:
    mean = table.mean(0)
    if len(table) < 2:
        return Series(name, x, mean, "marked", colour, dash=dash)
    error = table.std(0, ddof=1) / math.sqrt(len(table))
    return Series(name, x, mean, "marked", colour, low=mean - error, high=mean + error, dash=dash)


def _best(groups: Results, setting: str) -> tuple[str, float]:
    errors = {method: float(np.mean([merged_errors(each, method) for each in groups[setting]])) for method in CHOICES}
    known = {method: error for method, error in errors.items() if math.isfinite(error)}
    best = min(known, key=lambda method: known[method])
    return best, known[best]


def _facts(groups: Results, foretold: Sequence[Predicted], claims: Sequence[Claim]) -> list[Fact]:
    found = []
    for setting in groups:
        method, error = _best(groups, setting)
        found.append(Fact(f"best_{setting}", f"best for {setting}", error, f"{method}, {error:.1%}"))
    if foretold:
        rho = foretold[-1].rho["all"]
        found.append(Fact("foretold", "told beforehand (rank correlation)", rho, f"{rho:.2f}"))
    held = Counter(claim.verdict for claim in claims)["reproduced"]
    found.append(Fact("reproduced", "claims reproduced", held, f"{held} of {len(claims)}"))
    return found


def _verdict(groups: Results, claims: Sequence[Claim]) -> str:
    wins = _wins(groups)
    count = Counter(method for method, setting in wins if setting in groups for _ in range(wins[method, setting]))
    parts = sum(map(len, groups.values()))
    (first, most), *_ = count.most_common(1)
    never = [method for method in CHOICES if not count[method]]
    gains = []
    for setting in groups:
        method, error = _best(groups, setting)
        mean = float(np.mean([merged_errors(each, "mean") for each in groups[setting]]))
        if mean - error > _LITTLE:
            gains.append(f"{method} by {100 * (mean - error):.1f} points for {setting}")
    verdicts = Counter(claim.verdict for claim in claims)
    told = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.most_common())
    return " ".join(
        [
            f"The best most often is {first}, in {most} of {parts} settings and seeds; the plain mean is in "
            f"{count['mean']}.",
            *([f"Never the best: {', '.join(never)}."] if never else []),
            *([f"The mean is beaten by more than half a point: {'; '.join(gains)}."] if gains else []),
            f"Of the claims: {told}.",
        ]
    )


def _notes(groups: Results) -> list[str]:
    found = [
        "Settings of each method were chosen by the loss on the training samples of both tasks, with their clean "
        "labels.",
        "Methods that work on differences take the common start or parent as base; sources from other starts have "
        "none.",
    ]  # fmt: skip
    missing = {
        (method, pair["methods"][method]["why"])
        for setting, every in groups.items() if setting != "start"
        for each in every for pair in each["pairs"] for method in pair["methods"] if "why" in pair["methods"][method]
    }  # fmt: skip
    return found + [f"{method} could not merge some pairs: {why}" for method, why in sorted(missing)]
