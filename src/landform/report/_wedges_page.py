"""The page about wedges: the toy's laws beside simulation, and what networks have of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from landform.report._bands import told
from landform.report._facts import Fact
from landform.report._gather import one_line
from landform.report._lines import Times
from landform.report._study_page import (
    StudyMaterial,
    Table,
    counted,
    studied,
)
from landform.report._wedges_figures import figures_of
from landform.studies import WEDGES, Claim, fitted

Part = Mapping[str, Any]
Found = Mapping[str, Sequence[Part]]


def gather(place: Path, times: Times = "auto") -> StudyMaterial:
    """Read everything that the page says, see `gather_study`."""
    study = studied(place, WEDGES)
    protocol, found, claims = study.protocol, study.found, study.claims
    seeds = study.seeds
    subject = protocol.subject
    return study.material(
        paper="Fort & Jastrzebski, arXiv 1906.04724",
        title="Wedges",
        sentence=(
            f"A toy of wedges beside its laws, and {counted(protocol.optima, 'network').lower()} ({subject.model} on "
            f"{subject.data}) with {counted(seeds, 'seed').lower()}: connected, cut, scaled, averaged and confined to "
            "planes, with every knob of training turned."
        ),
        verdict=_verdict(claims),
        facts=_facts(found, claims),
        figures=figures_of(found, protocol.threshold),
        settings={
            "study": {
                "scale": study.scale,
                "seeds": seeds,
                "optima": protocol.optima,
                "steps of a connector": protocol.steps,
                "loss of a wall": protocol.threshold,
                "lines of a tunnel": protocol.lines,
                "epochs of a cycle": protocol.period,
            },
            "recipe": {key: one_line(value) for key, value in protocol.recipe.to_json().items() if value is not None},
            "planes": {key: one_line(v) for key, v in protocol.plane_recipe.to_json().items() if v is not None},
            "network": {
                "data": subject.data,
                **{key: one_line(value) for key, value in subject.data_options.items()},
                "model": subject.model,
                **{key: one_line(value) for key, value in subject.model_options.items()},
                "samples looked at": subject.samples,
            },
        },
        notes=(
            "Tunnels are measured on the training samples that are looked at; a network whose loss lies above the wall "
            "has none.",
            "The toy's wedges all hold the origin, where a network's loss is the logarithm of the number of classes.",
        ),
        tables=_tables(found),
    )


def _tables(found: Found) -> list[Table]:
    tables = []
    if found.get("tunnels"):
        rows = []
        parts = found["tunnels"]
        for knob, values in parts[0]["knobs"].items():
            for i, value in enumerate(values):
                each = [part["knobs"][knob][i] for part in parts]
                rows.append(
                    (
                        f"{knob} {value['value']:g}",
                        *(told([one[key] for one in each], digits) for key, digits in
                          (("raw", 2), ("relative", 3), ("filter", 3), ("large", 3), ("largest", 2), ("loss", 3))),
                        told([one["error"] for one in each], 1, percent=True),
                    )
                )  # fmt: skip
        tables.append(
            Table(
                "Tunnels",
                "Median width from wall to wall: raw, over the norm of the weights, filter-normalised; large-scale "
                "curvature; largest eigenvalue; training loss; test error in percent. Mean and standard error over "
                "seeds.",
                ("knob", "raw", "relative", "filter", "large-scale", "largest", "loss", "error"),
                tuple(rows),
            )
        )
    if found.get("cycles"):
        parts = found["cycles"]
        rows = []
        for i, run in enumerate(parts[0]["runs"]):
            each = [part["runs"][i] for part in parts if part["runs"][i]["barriers"] is not None]
            rows.append(
                (
                    f"{run['lr']:g}",
                    told([float(np.mean(one["barriers"])) for one in each], 3),
                    told([float(np.mean(one["apart"])) for one in each], 1, percent=True),
                    told([float(np.mean(one["errors"])) for one in each], 2, percent=True),
                    told([one["mean"] for one in each], 2, percent=True),
                    told([one["ensemble"] for one in each], 2, percent=True),
                )
            )
        tables.append(
            Table(
                "Cyclic runs",
                "By the largest learning rate of the cycle: loss barrier between consecutive snapshots, labels on "
                "which they differ, test error of snapshots, of the mean of their weights, and of their ensemble, in "
                "percent.",
                ("learning rate", "barrier", "differ", "snapshots", "mean", "ensemble"),
                tuple(rows),
            )
        )
    return tables


def _facts(found: Found, claims: Sequence[Claim]) -> list[Fact]:
    known = {claim.id: claim.value for claim in claims}
    facts = []
    for key, label, form in (
        ("pair", "barrier left on a curve", "{:.0%}"),
        ("connector", "loss left on the largest connector", "{:.0%}"),
        ("radial", "length of low loss over its width", "{:.1f}"),
        ("angles", "angle between optima, degrees", "{:.0f}"),
    ):
        value = known.get(key)
        if value is not None:
            facts.append(Fact(key, label, value, form.format(value)))
    if found.get("planes"):
        short = float(np.mean([fitted(part)[0] for part in found["planes"]]))
        total = found["planes"][0]["parameters"]
        facts.append(Fact("short", "short directions of the network's wedge", short, f"{short:.0f} of {total:,}"))
    held = Counter(claim.verdict for claim in claims)["reproduced"]
    facts.append(Fact("reproduced", "claims reproduced", held, f"{held} of {len(claims)}"))
    return facts


def _verdict(claims: Sequence[Claim]) -> str:
    known = {claim.id: claim for claim in claims}
    wider = [claim.statement.partition(" leads")[0] for claim in claims if claim.id.startswith("tunnel-")
             and claim.verdict == "reproduced"]  # fmt: skip
    parts = []
    if "pair" in known and known["pair"].value is not None:
        parts.append(f"On a trained curve {known['pair'].value:.0%} of the barrier between two optima is left.")
    if wider:
        parts.append(f"Tunnels are wider, as a share of the weights, with {', '.join(wider)}.")
    verdicts = Counter(claim.verdict for claim in claims)
    parts.append(f"Of the claims: {', '.join(f'{number} {verdict}' for verdict, number in verdicts.most_common())}.")
    return " ".join(parts)
