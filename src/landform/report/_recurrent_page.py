"""The page about recurrent kernels: what they see of a sequence, and how well they tell time series apart."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from landform.report._bands import band, told
from landform.report._facts import Fact
from landform.report._figure import Axis, Figure, Series
from landform.report._heat import HeatAxis, HeatMap
from landform.report._lines import Times
from landform.report._material import Drawn
from landform.report._panels import Panel, Panels
from landform.report._study_page import (
    StudyMaterial,
    Table,
    counted,
    studied,
)
from landform.studies import (
    RECURRENT,
    Claim,
    accuracies,
    ahead,
    best_other,
    ranks,
    sets_needed,
)

Part = Mapping[str, Any]
Found = Mapping[str, Sequence[Part]]


def gather(place: Path, times: Times = "auto") -> StudyMaterial:
    """Read everything that the page says, see `gather_study`."""
    study = studied(place, RECURRENT)
    protocol, found, claims = study.protocol, study.found, study.claims
    table = accuracies(found)
    seeds = study.seeds
    return study.material(
        paper="Alemohammad, Wang, Balestriero, Baraniuk, arXiv 2006.10246",
        title="Recurrent kernels",
        sentence=(
            f"The kernel of infinitely wide recurrent networks beside other kernels, on {len(table)} sets of time "
            f"series and on made sequences of unequal length, with {counted(seeds, 'seed').lower()}; the weight it "
            "gives to every time step; and finite networks on their way to it."
        ),
        verdict=_verdict(found, claims),
        facts=_facts(found, claims),
        figures=_figures(found, protocol.spreads),
        settings={
            "study": {
                "scale": study.scale,
                "seeds": seeds,
                "folds": protocol.folds,
                "values of C": ", ".join(f"{c:g}" for c in protocol.penalties),
                "epochs of a GRU": protocol.gru_epochs,
            },
            "recurrent kernels to choose from": {
                name: ", ".join(f"{value:.4g}" for value in getattr(protocol, name))
                for name in ("sigma_w", "sigma_b", "sigma_h")
            },
            "made sequences": {
                "length, mean": protocol.lengths,
                "for training, and as many for testing": protocol.samples,
                "informative steps": protocol.informative,
                "signal over noise, each step": protocol.signal,
            },
        },
        notes=(
            "Every setting of a kernel is chosen by cross-validation on the training data; where several are as good, "
            "the accuracy is the mean over them. Kernels of vectors see sequences padded with zeros at the front.",
            "A GRU is one network; its learning rate is chosen on a fifth of the training data.",
        ),
        tables=_tables(found),
    )


def _tables(found: Found) -> list[Table]:
    table = accuracies(found)
    if not table:
        return []
    every = {name: [part for part in found["set"] if part["subject"] == name] for name in table}
    methods = list(dict.fromkeys(method for row in table.values() for method in row))
    rows = []
    for name, parts in every.items():
        shape = parts[0]
        low, high = shape["length"]
        rows.append(
            (
                name,
                f"{shape['train']} / {shape['test']}",
                str(low) if low == high else f"{low} to {high}",
                str(shape["classes"]),
                *(told([p["methods"][m]["accuracy"] for p in parts if m in p["methods"]], 1, percent=True)
                  for m in methods),
            )
        )  # fmt: skip
    best = {name: max(row.values()) for name, row in table.items()}
    place = ranks(found)
    shares = {m: [table[name][m] / best[name] for name in table if m in table[name]] for m in methods}
    summary = [
        (
            m,
            f"{100 * float(np.mean([row[m] for row in table.values() if m in row])):.1f}",
            f"{place[m]:.2f}" if m in place else "–",
            f"{100 * float(np.mean([share >= 0.9 for share in shares[m]])):.0f}",
            f"{100 * float(np.mean([share >= 0.95 for share in shares[m]])):.0f}",
            f"{100 * float(np.mean(shares[m])):.1f}",
        )
        for m in methods
    ]
    return [
        Table(
            "Test accuracy in percent",
            "Mean and standard error over seeds of folds and networks; the test data are the archive's own.",
            ("set", "train / test", "length", "classes", *methods),
            tuple(rows),
        ),
        Table(
            "All sets together",
            "Mean accuracy; mean rank, 1 for the best, of those that the claims compare; share of sets on which a "
            "method reaches 90% and 95% of the best accuracy there; mean share of the best accuracy.",
            ("method", "accuracy", "rank", "P90", "P95", "PMA"),
            tuple(summary),
        ),
    ]


def _figures(found: Found, spreads: Sequence[float]) -> list[Drawn]:
    drawn: list[Drawn] = []
    table = accuracies(found)
    if table:
        drawn.append(_accuracy(table))
    if found.get("made"):
        drawn.append(_made(found["made"], spreads))
    if found.get("weights"):
        drawn.append(_weights(found["weights"]))
    if found.get("drawn"):
        drawn.append(_drawn(found["drawn"]))
    return drawn


def _accuracy(table: Mapping[str, Mapping[str, float]]) -> HeatMap:
    methods = list(dict.fromkeys(method for row in table.values() for method in row))
    values = np.array([[row.get(m, math.nan) - max(row.values()) for row in table.values()] for m in methods])
    return HeatMap(
        "accuracy",
        "How far from the best",
        "Test accuracy less that of the best method on the same set, in points, mean over seeds.",
        "Differences of a point or two are a handful of test sequences on most of these sets.",
        HeatAxis("", tuple(table), every=True),
        HeatAxis("", tuple(methods), every=True),
        100 * values,
        "points of accuracy",
    )


def _made(parts: Sequence[Part], spreads: Sequence[float]) -> Panels:
    panels = []
    for subject in ("late", "early"):
        own = [part for part in parts if part["subject"] == subject]
        if not own:
            continue
        lines = []
        for place, method in enumerate(own[0]["methods"][0]):
            rows = [[each[method]["accuracy"] for each in part["methods"]] for part in own]
            lines.append(band(method, list(spreads), rows, place))
        panels.append(Panel(f"{subject} steps tell the class", Axis("test accuracy", percent=True), tuple(lines)))
    return Panels(
        "made",
        "Made sequences, more and more unequal",
        "Test accuracy on noise with a pattern on its first or its last steps, by half of the range of the sequences' "
        "lengths. Bands are standard errors over seeds.",
        "A kernel of the last state lays sequences over one another by their ends, as padding at the front does; the "
        "reversed one by their beginnings.",
        Axis("half of the range of lengths over their mean"),
        tuple(panels),
    )


def _weights(parts: Sequence[Part]) -> Figure:
    lines = []
    for place, w in enumerate(parts[0]["sigma_w"]):
        rows = [part["shares"][place] for part in parts]
        lines.append(band(f"sigma_w = {w:.4g}", range(1, len(rows[0]) + 1), rows, place, style="line"))
    return Figure(
        "weights",
        "What every time step weighs",
        "Norm of the derivative of K(x, x) by the input at each time, as a share of all, for several sigma_w: mean "
        "over sequences of noise; bands are standard errors over seeds.",
        "This is the kernel's diagonal at sequences of noise; what a classifier makes of it is another matter.",
        Axis("time step"),
        Axis("share of the weight (log scale)", "log"),
        tuple(lines),
    )


def _drawn(parts: Sequence[Part]) -> Figure:
    lines = []
    for place, part in enumerate(parts):
        x = np.array([0.0, *(1 / width for width in reversed(part["widths"]))])
        means = np.array([part["limit"], *reversed(part["means"])]) / part["exact"]
        errors = np.array([part["limit_error"], *reversed(part["errors"])]) / part["exact"]
        lines.append(Series(f"seed {part['seed']}", x, means, "marked", place, low=means - errors, high=means + errors,
                            dash=place))  # fmt: skip
    return Figure(
        "drawn",
        "Finite networks on their way",
        "Mean tangent kernel of drawn networks at a pair of sequences of 4 and 7 steps, over that of infinite width, "
        "by one over the width; at the left what two widths are extrapolated to. Bands are standard errors over "
        "networks.",
        "At any one width the mean is off by more than its error: the kernel is that of the limit alone.",
        Axis("1 / width"),
        Axis("over the kernel of infinite width"),
        tuple(lines),
        reference=1.0,
    )


def _facts(found: Found, claims: Sequence[Claim]) -> list[Fact]:
    known = {claim.id: claim.value for claim in claims}
    facts = []
    for key, label, form in (
        ("limit", "finite networks, extrapolated, off by", "{:.1%}"),
        ("accuracy", "ahead of the best other kernel", "{:+.1%}"),
        ("gru", "ahead of a GRU", "{:+.1%}"),
        ("balance", "early over late steps at sqrt(2)", "{:.2f}"),
    ):
        value = known.get(key)
        if value is not None:
            facts.append(Fact(key, label, value, form.format(value)))
    needed = sets_needed(ahead(found, best_other(found)))
    if not math.isnan(needed):
        facts.append(Fact("sets", "sets to tell two points", needed, f"{math.ceil(needed)}"))
    held = Counter(claim.verdict for claim in claims)["reproduced"]
    facts.append(Fact("reproduced", "claims reproduced", held, f"{held} of {len(claims)}"))
    return facts


def _verdict(found: Found, claims: Sequence[Claim]) -> str:
    place = ranks(found)
    parts = []
    if place:
        first = min(place, key=lambda method: place[method])
        parts.append(
            f"Over {len(accuracies(found))} sets of time series the best rank on average is that of {first} "
            f"({place[first]:.1f}); the recurrent kernel's is {place['RNTK']:.1f}."
        )
        needed = sets_needed(ahead(found, best_other(found)))
        if not math.isnan(needed):
            parts.append(f"It would take about {math.ceil(needed)} sets to tell a difference of two points.")
    verdicts = Counter(claim.verdict for claim in claims)
    parts.append(f"Of the claims: {', '.join(f'{number} {verdict}' for verdict, number in verdicts.most_common())}.")
    return " ".join(parts)
