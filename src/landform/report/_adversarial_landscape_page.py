"""The page about adversarial training and the loss surface: two measures of sharpness side by side."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from landform.report._facts import Fact
from landform.report._figure import Axis, Figure, Numbers, Series
from landform.report._gather import one_line
from landform.report._lines import Times
from landform.report._material import Drawn
from landform.report._panels import Panel, Panels
from landform.report._study_page import (
    StudyMaterial,
    Table,
    counted,
    studied,
)
from landform.report._terrain import Terrain
from landform.series import interval
from landform.studies import (
    ADVERSARIAL_LANDSCAPE,
    Claim,
    RobustProtocol,
    gap_of,
    rise_of,
    settings_of_robust,
    top_of,
)

Results = Mapping[str, Sequence[Mapping[str, Any]]]
Take = Callable[[Mapping[str, Any]], float]
_PAPER = "Prabhu, Yap, Xu, Whaley, arXiv 1907.09061"
_RANDOM = "Random directions are a few of very many, and miss nearly all of the curvature, which lies in few others."


def gather(place: Path, times: Times = "auto") -> StudyMaterial:
    """Read everything that the page says, see `gather_study`."""
    study = studied(place, ADVERSARIAL_LANDSCAPE, _enough)
    protocol, claims = study.protocol, study.claims
    titles = {setting.id: setting.title for setting in settings_of_robust(protocol)}
    results = {name: study.found[name] for name in titles if name in study.found}
    seeds = max(map(len, results.values()))
    low = protocol.eps[0]
    return study.material(
        paper=_PAPER,
        title="Adversarial training and the loss surface",
        sentence=f"{counted(seeds, 'network')} ({protocol.model}) on {protocol.data} in each of {len(results)} ways of "
        "training, looked at alike: average rise of the loss in filter-normalised random directions, largest "
        "eigenvalue of the Hessian, of the clean loss and of that under attack, and the norm of the weights.",
        verdict=_verdict(protocol, results, claims),
        facts=_facts(protocol, results, claims),
        figures=_figures(protocol, results, titles),
        settings={
            "study": {
                "scale": study.scale,
                "seeds": seeds,
                "eps": ", ".join(f"{eps:.3g}" for eps in protocol.eps),
                "adversary in training": f"PGD of {protocol.steps} steps from a random start",
                "attack": next(iter(results["standard"][0]["robust"].values()))["attack"].split(" within")[0]
                + f", {protocol.strong[1]} restarts, loss and margin in turn",
                "random directions": protocol.directions,
                "length of equal steps": protocol.length,
            },
            "recipe": {key: one_line(value) for key, value in protocol.recipe.to_json().items() if value is not None},
            "data": {"name": protocol.data, **protocol.data_options},
            "model": {"name": protocol.model, **protocol.model_options},
        },
        notes=(
            f"Inputs are not normalised: eps counts them as they are. The adversarial loss is that at eps {low:.3g} "
            "for every network, whatever it was trained against; away from the weights the attack is made anew.",
            "The Hessian of the adversarial loss is that at adversarial examples held where they are.",
        ),
        tables=(_sharpness(protocol, results, titles), _attacked(protocol, results, titles)),
    )


def _enough(results: Mapping[str, Any]) -> bool:
    return "standard" in results and len(results) > 1


def _said(every: Sequence[Mapping[str, Any]], take: Take, form: str = ".2f") -> str:
    known = interval([take(each) for each in every])
    if not known.count:
        return "–"
    return f"{known.mean:{form}}" + (f" ± {known.standard_error:{form}}" if known.count > 1 else "")


def _percent(every: Sequence[Mapping[str, Any]], take: Take) -> str:
    return _said(every, lambda each: 100 * take(each), ".1f")


def _strong(eps: float, how: str = "strong") -> Take:
    return lambda each: float(each["robust"][f"{eps:g}"][how])


def _sharpness(protocol: RobustProtocol, results: Results, titles: Mapping[str, str]) -> Table:
    rows = []
    for name, every in results.items():
        rows.append(
            (
                titles[name],
                _percent(every, lambda each: 1 - each["error"]["test"]),
                _said(every, gap_of, ".3f"),
                _said(every, lambda each: rise_of(each, 0.5)),
                _said(every, rise_of, ".1f"),
                _said(every, top_of),
                _said(every, lambda each: each["trace"], ".1f"),
                _said(every, lambda each: rise_of(each, 1.0, "even"), ".2f"),
                _said(every, lambda each: rise_of(each, 1.0, "adversarial"), ".1f"),
                _said(every, lambda each: top_of(each, "adversarial"), ".1f"),
                _said(every, lambda each: each["input"]["curvature"], ".1f"),
                _said(every, lambda each: each["norm"], ".1f"),
            )
        )
    return Table(
        "Sharpness, both ways",
        "Test accuracy in percent; test loss less training loss; average rise of the training loss in "
        "filter-normalised random directions at alpha .5 and 1; largest eigenvalue and trace (Gauss-Newton) of its "
        f"Hessian; average rise over steps of L2 length {protocol.length:g}; rise and largest eigenvalue of the loss "
        f"under attack at eps {protocol.eps[0]:.3g}; curvature by the input; norm of the weights. Mean and standard "
        "error over seeds.",
        ("training", "accuracy", "gap", "rise at .5", "rise at 1", "λ₁", "trace", "equal steps",
         "adversarial rise at 1", "adversarial λ₁", "input curvature", "norm"),
        tuple(rows),
    )  # fmt: skip


def _attacked(protocol: RobustProtocol, results: Results, titles: Mapping[str, str]) -> Table:
    rows = []
    for name, every in results.items():
        cells = [_percent(every, _strong(protocol.eps[0], "clean"))]
        for eps in protocol.eps:
            cells += [_percent(every, _strong(eps, how)) for how in ("random", "one step", "strong")]
        rows.append((titles[name], *cells))
    head = [f"{how}, {eps:.3g}" for eps in protocol.eps for how in ("random", "FGSM", "strong")]
    return Table(
        "Accuracy under attack",
        "Test accuracy in percent on inputs as they are, under random changes as large as the attack's (the worst of "
        "as many as it restarts), under a single step, and under the strong attack, at both radii. Where gradients are "
        "masked one of the weaker finds more. Mean and standard error over seeds.",
        ("training", "clean", *head),
        tuple(rows),
    )


def _figures(protocol: RobustProtocol, results: Results, titles: Mapping[str, str]) -> list[Drawn]:
    found: list[Drawn] = [_by_eps(protocol, results), _scatter(results, titles), _cuts(protocol, results, titles)]
    for name, every in results.items():
        planes = every[0].get("planes")
        if planes is not None:
            found += [_plane(name, titles[name], planes, loss, protocol) for loss in ("clean", "adversarial")]
    return found


def _by_eps(protocol: RobustProtocol, results: Results) -> Panels:
    """Each measure against the radius that was trained against."""
    radii = {0.0: "standard"} | {eps: f"alone-{eps:g}" for eps in sorted({*protocol.eps, *protocol.sweep})}
    chosen = {eps: name for eps, name in radii.items() if name in results}
    x = np.array(list(chosen))
    low = protocol.eps[0]

    def panel(label: str, *lines: tuple[str, Take], percent: bool = False) -> Panel:
        drawn = []
        for place, (name, take) in enumerate(lines):
            table = [interval([take(each) for each in results[setting]]) for setting in chosen.values()]
            mean = np.array([each.mean for each in table])
            error = np.nan_to_num(np.array([each.standard_error for each in table]))
            drawn.append(Series(name, x, mean, "marked", place, low=mean - error, high=mean + error, dash=place))
        return Panel(label, Axis(label, percent=percent), tuple(drawn))

    return Panels(
        "by-eps",
        "By the radius of the adversary",
        "Networks trained on adversarial examples alone, by their radius eps; 0 is standard training. Mean and "
        "standard error over seeds.",
        f"Robust accuracy is at eps {low:.3g} throughout. Networks trained against more have a larger training loss at "
        "the end, and curvature of cross-entropy goes with what is left of the loss.",
        Axis("eps of training", zero_at=float(x[1]) / 2 if len(x) > 1 else None),
        (
            panel(
                "accuracy", ("clean", lambda each: 1 - each["error"]["test"]), ("robust", _strong(low)), percent=True
            ),
            panel("average rise at alpha 1", ("rise", rise_of)),
            panel("largest eigenvalue", ("eigenvalue", top_of)),
            panel("norm of the weights", ("norm", lambda each: float(each["norm"]))),
            panel("curvature by the input", ("input", lambda each: float(each["input"]["curvature"]))),
        ),
    )


def _scatter(results: Results, titles: Mapping[str, str]) -> Figure:
    lines = []
    for place, (name, every) in enumerate(results.items()):
        tops, rises = (np.array([take(each) for each in every]) for take in (top_of, rise_of))
        lines.append(Series(titles[name], tops, rises, "points", place, dash=place))
    return Figure(
        "two-measures",
        "Two measures of sharpness",
        "Average rise at alpha 1 in filter-normalised directions against the largest eigenvalue of the Hessian, both "
        "of the clean training loss; one point a network. If both measured one sharpness, the points would lie on a "
        "rising line.",
        _RANDOM,
        Axis("largest eigenvalue", "log"),
        Axis("average rise at alpha 1"),
        tuple(lines),
    )


def _cuts(protocol: RobustProtocol, results: Results, titles: Mapping[str, str]) -> Figure:
    names = [name for name in ("standard", *(f"alone-{eps:g}" for eps in protocol.eps)) if name in results]
    lines = []
    for place, name in enumerate(names):
        every = results[name]
        alphas = np.array(every[0]["clean"]["alphas"])
        table = np.array([each["clean"]["losses"] for each in every])
        centre = np.array([each["clean"]["centre"] for each in every])
        order = np.argsort(np.append(alphas, 0.0))
        table = np.column_stack([table, centre])[:, order]
        lines.append(_band(titles[name], np.append(alphas, 0.0)[order], table, place))
    return Figure(
        "cuts",
        "Along random directions",
        f"Training loss along filter-normalised random directions, mean over {protocol.directions} of them; bands are "
        "standard errors over seeds.",
        _RANDOM,
        Axis("alpha"),
        Axis("training loss"),
        tuple(lines),
    )


def _plane(name: str, title: str, planes: Mapping[str, Any], loss: str, protocol: RobustProtocol) -> Terrain:
    under = "Clean loss" if loss == "clean" else f"Loss under attack, eps {protocol.eps[0]:.3g}"
    return Terrain(
        f"{loss}-{name}",
        f"{under}: {title}",
        f"{under} of the training samples on a plane of two filter-normalised random directions, seed 0, drawn alike "
        "for all; logarithmic, dark is low."
        + ("" if loss == "clean" else " At every place the inputs are attacked anew."),
        f"{_RANDOM} Colours are each figure's own.",
        Axis("alpha (norm of each filter)"),
        Axis("beta (norm of each filter)"),
        np.array(planes["alphas"]),
        np.array(planes["betas"]),
        np.array(planes[loss], dtype=float),
        "mean loss (log scale)",
        "log",
        marks=(("the network", 0.0, 0.0),),
    )


def _band(name: str, x: Numbers, table: Numbers, place: int) -> Series:
    mean = table.mean(0)
    if len(table) < 2:
        return Series(name, x, mean, "marked", place, dash=place)
    error = table.std(0, ddof=1) / math.sqrt(len(table))
    return Series(name, x, mean, "marked", place, low=mean - error, high=mean + error, dash=place)


def _mean(every: Sequence[Mapping[str, Any]], take: Take) -> float:
    return interval([take(each) for each in every]).mean


def _facts(protocol: RobustProtocol, results: Results, claims: Sequence[Claim]) -> list[Fact]:
    low = protocol.eps[0]
    found = []
    for name, label in (("standard", "standard"), (f"alone-{low:g}", f"against eps {low:.3g}")):
        if name in results:
            rise, top = (_mean(results[name], take) for take in (rise_of, top_of))
            right, norm = _mean(results[name], _strong(low)), _mean(results[name], lambda each: each["norm"])
            text = f"rise {rise:.1f}, λ₁ {top:.2f}, norm {norm:.1f}, robust {right:.0%}"
            found.append(Fact(f"{name}_rise", label, rise, text))
    held = Counter(claim.verdict for claim in claims)["reproduced"]
    found.append(Fact("reproduced", "claims reproduced", held, f"{held} of {len(claims)}"))
    return found


def _verdict(protocol: RobustProtocol, results: Results, claims: Sequence[Claim]) -> str:
    low, high = protocol.eps
    said = []
    for eps in (low, high):
        name = f"alone-{eps:g}"
        if name in results:
            rise = [_mean(results[each], rise_of) for each in ("standard", name)]
            top = [_mean(results[each], top_of) for each in ("standard", name)]
            norm = [_mean(results[each], lambda one: one["norm"]) for each in ("standard", name)]
            said.append(
                f"Against eps {eps:.3g}, the average rise at alpha 1 goes from {rise[0]:.3g} to {rise[1]:.3g}, the "
                f"largest eigenvalue from {top[0]:.3g} to {top[1]:.3g}, the norm of the weights from {norm[0]:.3g} to "
                f"{norm[1]:.3g}."
            )
    verdicts = Counter(claim.verdict for claim in claims)
    told = ", ".join(f"{number} {verdict}" for verdict, number in verdicts.most_common())
    return " ".join([*said, f"Of the claims: {told}."])
