"""The page about emergent geometry: what a landscape looks like around the points that training visits."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from landform.report._bands import told
from landform.report._emergent_figures import by_subject, figures_of
from landform.report._facts import Fact
from landform.report._gather import one_line
from landform.report._lines import Times
from landform.report._study_page import (
    StudyMaterial,
    Table,
    counted,
    studied,
)
from landform.studies import (
    EMERGENT,
    Claim,
    intrinsic,
)

Part = Mapping[str, Any]
Found = Mapping[str, Sequence[Part]]
_PAPER = "Fort & Ganguli, arXiv 1910.05929; with Fort & Scherlis, arXiv 1807.02581, and Li et al., arXiv 1804.08838"


def gather(place: Path, times: Times = "auto") -> StudyMaterial:
    """Read everything that the page says, see `gather_study`."""
    study = studied(place, EMERGENT)
    protocol, found, claims = study.protocol, study.found, study.claims
    seeds = study.seeds
    return study.material(
        paper=_PAPER,
        title="Emergent geometry",
        sentence=(
            f"{counted(len(protocol.subjects), 'network')} ({', '.join(protocol.subjects)}) with "
            f"{counted(seeds, 'seed').lower()}: followed along training, with several steps and batches, at the edge "
            "of stability, at random points, and in random planes; beside them a model that is no network."
        ),
        verdict=_verdict(found, claims),
        facts=_facts(found, claims),
        figures=figures_of(found),
        settings={
            "study": {
                "scale": study.scale,
                "seeds": seeds,
                "learning rate of runs, of what is stable": protocol.rate,
                "learning rates of the grid": ", ".join(f"{rate:g}" for rate in protocol.rates),
                "batches of the grid": ", ".join(str(batch or "all") for batch in protocol.batches),
                "planes in": protocol.planes_on,
                "edge of stability of": protocol.edge_on,
            },
            **{
                name: {
                    "data": subject.data,
                    **{key: one_line(value) for key, value in subject.data_options.items()},
                    "model": subject.model,
                    **{key: one_line(value) for key, value in subject.model_options.items()},
                    "samples looked at": subject.samples,
                }
                for name, subject in protocol.subjects.items()
            },
            "recipe": {key: one_line(value) for key, value in protocol.recipe.to_json().items() if key != "lr"},
            "planes": {key: one_line(value) for key, value in protocol.plane_recipe.to_json().items()},
        },
        notes=(
            "Eigenvalues are read from the training samples that are looked at, to half a percent; outliers are "
            "counted by the largest gap from C - 3 to C + 2.",
            "Full-batch descent leaves the top eigenvectors because it is quickest along them; noise of small batches "
            "puts the gradient back. The random model has neither, as it takes p - y as independent of the gradients.",
        ),
        tables=_tables(found),
    )


def _tables(found: Found) -> list[Table]:
    tables = []
    along = by_subject(found, "along")
    if along:
        rows = []
        for subject, parts in along.items():
            for name, place in (("start", 0), ("middle", len(parts[0]["looks"]) // 2), ("end", -1)):
                looks = [part["looks"][place] for part in parts]
                values = [each["eigenvalues"] for each in looks]
                c = parts[0]["classes"]
                rows.append(
                    (
                        f"{subject}, {name}",
                        told([v[0] for v in values]),
                        told([v[c - 2] / v[c - 1] for v in values]),
                        told([v[c - 1] / v[c] for v in values]),
                        told([each["outliers"] for each in looks], 1),
                        *(told([each["q"][i] for each in looks]) for i in range(3)),
                        told([each["full"] for each in looks]),
                        told([each["mini"] for each in looks]),
                    )
                )
        tables.append(
            Table(
                "Along training",
                "Largest eigenvalue; gaps behind the (C-1)th and the Cth eigenvalue; outliers by gap; cosines of "
                "logit gradients; share of the full gradient, and of gradients of batches, in the top C eigenvectors. "
                "Mean and standard error over seeds.",
                (
                    "network, time", "largest", "gap at C - 1", "gap at C", "outliers", "q_SLSC", "q_SL", "q_DL",
                    "full", "batch",
                ),
                tuple(rows),
            )
        )  # fmt: skip
    if found.get("planes"):
        planes = found["planes"]
        lines = list(planes[0]["accuracy"])
        rows = [
            (
                line,
                *(
                    told([part["accuracy"][line][i] for part in planes], 1, percent=True)
                    for i in range(len(planes[0]["dimensions"]))
                ),
                told([intrinsic(part, line) for part in planes], 0),
            )
            for line in lines
        ]
        free = told([part["free"]["accuracy"] for part in planes], 1, percent=True)
        tables.append(
            Table(
                "Training in random planes",
                "Test accuracy in percent by the dimension of the plane, and the dimension that reaches nine tenths "
                f"of the free network's ({free}% with {parts[0]['parameters']:,} parameters). Mean and standard error "
                "over seeds; planes not called otherwise are orthonormal and go through Xavier's radius.",
                ("plane", *(f"d = {d}" for d in planes[0]["dimensions"]), "d_int90"),
                tuple(rows),
            )
        )
    return tables


def _facts(found: Found, claims: Sequence[Claim]) -> list[Fact]:
    known = {claim.id: claim for claim in claims}
    facts = []
    for key, label, form in (
        ("confined-full", "gradient in the top, full-batch descent", "{:.2f}"),
        ("confined-noise", "the same, noise and a large step", "{:.2f}"),
        ("goldilocks", "zone, over Xavier's radius", "{:.2f}"),
        ("intrinsic", "d_int90 over the parameters", "{:.1%}"),
        ("edge", "sharpness over the edge of stability", "{:.2f}"),
    ):
        value = known[key].value if key in known else None
        if value is not None and math.isfinite(value):
            facts.append(Fact(key, label, value, form.format(value)))
    held = Counter(claim.verdict for claim in claims)["reproduced"]
    facts.append(Fact("reproduced", "claims reproduced", held, f"{held} of {len(claims)}"))
    return facts


def _verdict(found: Found, claims: Sequence[Claim]) -> str:
    known = {claim.id: claim for claim in claims}
    parts = []
    for key, form in (
        ("classes", "The means of class and logit make {:.0%} of the outliers of the Gauss-Newton matrix."),
        ("confined-full", "Stable full-batch descent keeps {:.0%} of its gradient in the top eigenvectors,"),
        ("confined-noise", "descent with a large step on small batches {:.0%}."),
        ("goldilocks", "Positive curvature is in most excess at {:.2f} of Xavier's radius."),
    ):
        value = known[key].value if key in known else None
        if value is not None:
            parts.append(form.format(value))
    verdicts = Counter(claim.verdict for claim in claims)
    parts.append(f"Of the claims: {', '.join(f'{number} {verdict}' for verdict, number in verdicts.most_common())}.")
    return " ".join(parts)
