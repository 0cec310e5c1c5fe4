"""The page about merging: what each way of merging gives where, and what told it beforehand."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from landform.report._facts import Fact
from landform.report._gather import one_line
from landform.report._lines import Times
from landform.report._merging_figures import Results, figures_of_merging, merged_errors, over_pairs
from landform.report._study_page import (
    StudyMaterial,
    Table,
    counted,
    studied,
)
from landform.series import interval
from landform.studies import (
    CHOICES,
    MERGING,
    SETTINGS,
    Claim,
    Predicted,
    predict,
)

# A gain in error that is worth a word.
_LITTLE = 0.005
_PAPER = "Khan, Kolbeinsson, Boski, Gaunt, Vries, arXiv 2410.12927"


def gather(place: Path, times: Times = "auto") -> StudyMaterial:
    """Read everything that the page says, see `gather_study`."""
    study = studied(place, MERGING, set(SETTINGS).intersection)
    protocol, results, claims = study.protocol, study.found, study.claims
    foretold = [found for outcome in ("mean", "best") if (found := predict(results, outcome)) is not None]
    groups = {setting: each for setting, each in results.items() if setting in SETTINGS}
    seeds = max(map(len, groups.values()))
    sentence = (
        f"{counted(protocol.sources, 'network')} ({protocol.model}) in each of {len(groups)} settings with {seeds} "
        f"seeds on {protocol.data}, merged in pairs in {len(CHOICES)} ways; the training loss chose the settings of "
        "each way, the test set judged."
    )
    return study.material(
        paper=_PAPER,
        title="The common ground of merging",
        sentence=sentence,
        verdict=_verdict(groups, claims),
        facts=_facts(groups, foretold, claims),
        figures=figures_of_merging(groups, results, foretold),
        settings={
            "study": {
                "scale": study.scale,
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
        tables=(_methods_table(groups), _connected(groups), _directed(groups), *_ensembles(results)),
    )


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
        rows.append((name, *(_points([over_pairs(e, take) for e in every]) for every in groups.values()), ""))
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


def _above(connection: Mapping[str, Any], way: str) -> float | None:
    """Height above the higher end; a barrier is told above the mean of both, which may differ."""
    height, (a, b) = connection[way], connection["ends"]
    return None if height is None else max(0.0, height - abs(a - b) / 2)


def _connected(groups: Results) -> Table:
    rows = []
    for setting, every in groups.items():
        between = [p["connection"] for e in every for p in e["pairs"]]
        ways = ([_above(each, name) for each in between] for name in ("straight", "matched", "curve"))
        rows.append((setting, SETTINGS[setting].title, *(_said(heights, 3) for heights in ways)))
    return Table(
        "Connectivity",
        "How far the training loss between two sources rises above that of the worse of them: on the straight line, "
        "with the units of one matched to the other's, and along a trained curve. Mean and standard error over seeds "
        "and pairs.",
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
        "is taken away, and on another task; share of their squares in a tenth of the singular values; share of the "
        "weights that keep 95% of a task's gain; and what two such masks have in common of what they cover. Mean and "
        "standard error over seeds; no gain, no share of it.",
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


def _best(groups: Results, setting: str) -> tuple[str, float]:
    errors = {method: float(np.mean([merged_errors(each, method) for each in groups[setting]])) for method in CHOICES}
    known = {method: error for method, error in errors.items() if math.isfinite(error)}
    best = min(known, key=lambda method: known[method])
    return best, known[best]


def _facts(groups: Results, foretold: Sequence[Predicted], claims: Sequence[Claim]) -> list[Fact]:
    found = []
    for setting in groups:
        method, error = _best(groups, setting)
        found.append(Fact(f"best_{setting}", f"best for {setting}: {method}", error, f"{error:.1%}"))
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
