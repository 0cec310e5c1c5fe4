"""The page about quantum networks over patches: how sharp their minima are, and what makes them so."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from landform.report._bands import told
from landform.report._facts import Fact
from landform.report._gather import one_line
from landform.report._lines import Times
from landform.report._quantum_figures import figures_of_quantum, lined
from landform.report._study_page import StudyMaterial, Table, studied
from landform.studies import (
    QUANTUM,
    Claim,
    QuantumProtocol,
    QuantumVariant,
    over_loss,
    plateau_slope,
    sharpness,
)

Part = Mapping[str, Any]
Found = Mapping[str, Sequence[Part]]
_PAPER = "Kawase, arXiv 2504.19239; with McClean et al., arXiv 1803.11173, on plateaus"


def gather(place: Path, times: Times = "auto") -> StudyMaterial:
    """Read everything that the page says, see `gather_study`."""
    study = studied(place, QUANTUM)
    protocol, found, claims = study.protocol, study.found, study.claims
    networks = len(found.get("network", ()))
    qubits = protocol.model_options.get("qubits", 8)
    return study.material(
        paper=_PAPER,
        title="Quantum networks over patches",
        sentence=(
            f"{networks} networks of circuits of {qubits} qubits over {', '.join(map(str, protocol.patches))} patches "
            f"of {protocol.data}, and classical ones over the same patches, with {protocol.seeds} seeds; and random "
            f"circuits of {protocol.qubits[0]} to {protocol.qubits[-1]} qubits. All are simulated exactly."
        ),
        verdict=_verdict(claims),
        facts=_facts(claims),
        figures=figures_of_quantum(protocol, found),
        settings={
            "study": {
                "scale": study.scale,
                "seeds": protocol.seeds,
                "classes": protocol.classes,
                "side of the images": protocol.side or "as they are",
                "powers fitted from P": protocol.fitted,
                "learning rates that fall": ", ".join(f"{rate:g}" for rate in protocol.falling),
                "random circuits a seed": protocol.draws,
            },
            "data": {"name": protocol.data, **{k: one_line(v) for k, v in protocol.data_options.items()}},
            "model": {"name": "quantum_patches", **{k: one_line(v) for k, v in protocol.model_options.items()}},
            "recipe": {k: one_line(v) for k, v in protocol.recipe.to_json().items() if v is not None},
        },
        notes=(
            f"The checkpoint is the epoch of least training loss over the whole training set, of the "
            f"{protocol.closely} epochs of least running loss and the last (of the network that is looked at closely, "
            "of all).",
            "Eigenvalues are those of the Hessian of the whole training set, by Lanczos to a hundredth (of the network "
            "that is looked at closely, two hundredths).",
            "Angles are those of the paper: a white pixel is 2 pi / 8, whatever the data set's mean and deviation.",
        ),
        tables=_tables(protocol, found),
    )


def _tables(protocol: QuantumProtocol, found: Found) -> list[Table]:
    rows = []
    usual = protocol.usual
    for variant in sorted(protocol.variants(), key=lambda v: _order(v, usual)):
        parts = [each[0] for each in lined(protocol, found, [variant])]
        if not parts:
            continue
        rows.append(
            (
                "classical" if variant.classical else f"quantum, {variant.aggregation}",
                str(variant.patches),
                "" if variant.classical else str(variant.depth),
                f"{variant.rate:g}",
                f"{parts[0]['parameters']:,}",
                told([sharpness(part) for part in parts]),
                told([over_loss(part) for part in parts], 1),
                told([part["loss"] for part in parts], 4),
                told([part["test_error"] for part in parts], 1, percent=True),
            )
        )
    tables = []
    if rows:
        tables.append(
            Table(
                "Every network",
                "At the epoch of least training loss: the largest eigenvalue, the same over the loss, the loss, and "
                "the share of wrong test labels in percent. Mean and standard error over seeds.",
                ("network", "patches", "layers", "rate", "parameters", "largest", "over loss", "loss", "test error"),
                tuple(rows),
            )
        )
    plateaus = found.get("plateau", ())
    if plateaus:
        tables.append(
            Table(
                "Barren plateaus",
                "Change of log2 of the variance of a derivative with each further qubit, of random circuits and of "
                "random dense networks with as many parameters. Mean and standard error over seeds.",
                ("layers of a block", "quantum", "classical"),
                tuple(
                    (
                        str(depth),
                        *(
                            told([plateau_slope(part, kind, i) for part in plateaus])
                            for kind in ("variance", "classical")
                        ),
                    )
                    for i, depth in enumerate(plateaus[0]["layers"])
                ),
            )
        )
    return tables


def _order(variant: QuantumVariant, usual: QuantumVariant) -> tuple[Any, ...]:
    varied = replace(variant, patches=usual.patches) != usual
    return (variant.classical, variant.aggregation, varied, variant.depth, -variant.rate, variant.patches)


def _facts(claims: Sequence[Claim]) -> list[Fact]:
    known = {claim.id: claim for claim in claims}
    facts = []
    for key, label, form in (
        ("flatter", "exponent of the largest eigenvalue in P", "{:.2f}"),
        ("flatter-by-loss", "the same over the loss", "{:.2f}"),
        ("sum", "the same of sums", "{:.2f}"),
        ("classical", "the same of classical networks", "{:.2f}"),
        ("plateau", "log2 of a gradient's variance, each qubit", "{:.2f}"),
    ):
        value = known[key].value if key in known else None
        if value is not None and math.isfinite(value):
            facts.append(Fact(key, label, value, form.format(value)))
    held = Counter(claim.verdict for claim in claims)["reproduced"]
    facts.append(Fact("reproduced", "claims reproduced", held, f"{held} of {len(claims)}"))
    return facts


def _verdict(claims: Sequence[Claim]) -> str:
    known = {claim.id: claim for claim in claims}
    parts = []
    for key, form in (
        ("flatter", "With the number P of patches the largest eigenvalue goes as P^{:.2f},"),
        ("flatter-by-loss", "over the loss that is left as P^{:.2f};"),
        ("sum", "where read-outs are summed it goes as P^{:.2f},"),
        ("classical", "and in classical networks over the same patches as P^{:.2f}."),
        ("sharper-fixed", "At one learning rate it goes with depth as d^{:.2f}."),
    ):
        value = known[key].value if key in known else None
        if value is not None:
            parts.append(form.format(value))
    verdicts = Counter(claim.verdict for claim in claims)
    parts.append(f"Of the claims: {', '.join(f'{number} {verdict}' for verdict, number in verdicts.most_common())}.")
    return " ".join(parts)
