"""The page about networks freed of convolution."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from landform.report._bands import told
from landform.report._facts import Fact
from landform.report._gather import one_line
from landform.report._lines import Times
from landform.report._needle_figures import figures_of, gain
from landform.report._study_page import (
    StudyMaterial,
    Table,
    counted,
    studied,
)
from landform.studies import NEEDLE, Claim, NeedleProtocol, accuracy

Part = Mapping[str, Any]


def gather(place: Path, times: Times = "auto") -> StudyMaterial:
    """Read everything that the page says, see `gather_study`."""
    study = studied(place, NEEDLE, lambda found: found.get("relaxed"))
    protocol, found, claims = study.protocol, study.found, study.claims
    parts = found.get("relaxed", [])
    subject, sizes = protocol.subject, parts[0]["parameters"]
    return study.material(
        paper="d'Ascoli, Sagun, Biroli & Bruna, arXiv 1906.06766",
        title="Freed of convolution",
        sentence=(
            f"A {subject.model} of {sizes['cnn']:,} parameters on {subject.data}, written out as a fully-connected "
            f"network of {sizes['efcn']:,} at {len(protocol.relax)} times of its training and trained on; "
            f"{counted(len(parts), 'seed').lower()}."
        ),
        verdict=_verdict(claims),
        facts=_facts(claims, sizes),
        figures=figures_of(protocol, parts),
        settings={
            "study": {
                "scale": study.scale,
                "seeds": len(parts),
                "relax times (epochs)": one_line(list(protocol.relax)),
                "epochs after": protocol.after,
                "epochs between looks": protocol.every,
                "training samples": protocol.train,
                "validation samples": f"{protocol.validation}, from the {protocol.held} split",
                "test samples": protocol.test,
            },
            "recipe": {
                key: one_line(value)
                for key, value in protocol.recipe.to_json().items()
                if value is not None and key not in ("epochs", "seed")
            },
            "network": {
                "data": subject.data,
                **{key: one_line(value) for key, value in subject.data_options.items()},
                "pixels averaged to one": protocol.pooled**2,
                "model": subject.model,
                **{key: one_line(value) for key, value in subject.model_options.items()},
                "training samples looked at": subject.samples,
            },
        },
        notes=(
            "The epoch and the relax time are chosen on validation samples; test samples only say how good the choice "
            "is.",
            *(
                ("Validation samples are drawn from the same handwriting as test samples, which no training image is "
                 "from.",) if protocol.held == "test" and subject.data == "moved_digits" else ()
            ),
            "Accuracies of the paper stand in its figures only, and are not repeated here.",
        ),
        tables=_tables(protocol, parts),
    )  # fmt: skip


def _tables(protocol: NeedleProtocol, parts: Sequence[Part]) -> list[Table]:
    rows = []
    for i, relax in enumerate(protocol.relax):
        runs = [part["efcn"][i] for part in parts]
        rows.append(
            (
                f"freed after {relax:g}",
                told([accuracy(run, "best") for run in runs], 1, percent=True),
                told([accuracy(run, "last") for run in runs], 1, percent=True),
                told(gain(protocol, parts, i, "cnn"), 1, percent=True),
                told(gain(protocol, parts, i, "fcn"), 1, percent=True),
                told([1 - _number(run["train"][-1]) for run in runs], 1, percent=True),
                told([run["deviation"][-1] for run in runs], 3),
            )
        )
    last = protocol.relax[-1]
    for name, key, until in (
        (f"convolutional, {last:g} epochs", "cnn", last),
        (f"convolutional, {protocol.total:g} epochs", "cnn", protocol.total),
        (f"fully connected, {protocol.total:g} epochs", "fcn", protocol.total),
    ):
        runs = [part[key] for part in parts]
        place = parts[0][key]["epochs"].index(until)
        deviation = [run["deviation"][place] for run in runs] if key == "fcn" else [0.0]
        rows.append(
            (
                name,
                told([accuracy(run, "best", until) for run in runs], 1, percent=True),
                told([accuracy(run, "last", until) for run in runs], 1, percent=True),
                "–",
                "–",
                told([1 - _number(run["train"][place]) for run in runs], 1, percent=True),
                told(deviation, 3),
            )
        )
    return [
        Table(
            "Accuracy",
            "Test accuracy in percent, at the epoch that is best on validation samples and at the last one; the first, "
            "less that of the convolutional and of the fully-connected network trained for as many epochs in all; "
            "accuracy on training samples and deviation at the end. Mean and standard error over seeds.",
            ("network", "best", "last", "over CNN", "over FCN", "training", "deviation"),
            tuple(rows),
        )
    ]


def _number(value: float | None) -> float:
    return float("nan") if value is None else value


def _facts(claims: Sequence[Claim], sizes: Mapping[str, int]) -> list[Fact]:
    known = {claim.id: claim.value for claim in claims}
    grown = sizes["efcn"] / sizes["cnn"]
    facts = [Fact("grown", "parameters of the freed network over the first's", grown, f"{grown:.0f} times")]
    for key, label, form in (
        ("over-cnn", "points of accuracy over the convolutional network", "{:+.1f}"),
        ("over-cnn-as-long", "over the same trained as long", "{:+.1f}"),
        ("rare", "over a fully-connected network", "{:+.1f}"),
        ("deviation", "largest share of the norm off the filters", "{:.2f}"),
    ):
        value = known.get(key)
        if value is not None:
            facts.append(Fact(key, label, value, form.format(value)))
    held = Counter(claim.verdict for claim in claims)["reproduced"]
    facts.append(Fact("reproduced", "claims reproduced", held, f"{held} of {len(claims)}"))
    return facts


def _verdict(claims: Sequence[Claim]) -> str:
    known = {claim.id: claim for claim in claims}
    parts = []
    stem, control = known["over-cnn"], known["over-cnn-as-long"]
    if stem.value is not None and control.value is not None:
        parts.append(
            f"Freed at an intermediate time, the network's test accuracy is {_points(stem.value)} that of the "
            f"convolutional one it stems from, and {_points(control.value)} that of the same trained as long."
        )
    worst = known["over-fcn-best"]
    if worst.value is not None:
        parts.append(f"At its worst relax time it is {_points(worst.value)} that of a plain fully-connected network.")
    verdicts = Counter(claim.verdict for claim in claims)
    parts.append(f"Of the claims: {', '.join(f'{number} {verdict}' for verdict, number in verdicts.most_common())}.")
    return " ".join(parts)


def _points(difference: float) -> str:
    """A difference of accuracies in words."""
    return f"{abs(difference):.1f} points {'above' if difference >= 0 else 'below'}"
