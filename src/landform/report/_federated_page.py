"""The page about federated averaging: rounds beside their kernel, the bounds, and networks of the zoo."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from landform.report._bands import told
from landform.report._facts import Fact
from landform.report._federated_figures import figures_of_federated
from landform.report._gather import one_line
from landform.report._lines import Times
from landform.report._study_page import (
    StudyMaterial,
    Table,
    counted,
    studied,
)
from landform.studies import (
    FEDERATED,
    Claim,
    FederatedProtocol,
    run_of,
    zoo_cell,
)

Part = Mapping[str, Any]
Found = Mapping[str, Sequence[Part]]


def gather(place: Path, times: Times = "auto") -> StudyMaterial:
    """Read everything that the page says, see `gather_study`."""
    study = studied(place, FEDERATED)
    protocol, found, claims = study.protocol, study.found, study.claims
    seeds = study.seeds
    networks = ", ".join(f"{subject.model} on {subject.data}" for subject in protocol.zoo.values())
    return study.material(
        paper="Huang, Li, Song & Yang, arXiv 2105.05001",
        title="Federated averaging and its kernel",
        sentence=(
            f"Two-layer ReLU networks of {protocol.widths[0]:,} to {protocol.widths[-1]:,} units on {protocol.samples} "
            f"samples with {protocol.clients} clients, beside what their kernel predicts; and {networks}; "
            f"{counted(seeds, 'seed').lower()}."
        ),
        verdict=_verdict(protocol, claims),
        facts=_facts(claims),
        figures=figures_of_federated(protocol, found),
        settings={
            "study": {
                "scale": study.scale,
                "seeds": seeds,
                "samples": protocol.samples,
                "dimension": protocol.inputs,
                "clients": protocol.clients,
                "rate of a client": protocol.rate,
                "rounds": protocol.rounds,
                "local steps": ", ".join(map(str, protocol.steps)),
                "share of the loss to reach": protocol.share,
            },
            "generalisation": {
                "samples": protocol.gap_samples,
                "units": protocol.gap_width,
                "deviation of the first weights": protocol.gap_spread,
                "rounds": protocol.gap_rounds,
            },
            "recipe of the zoo": {k: one_line(v) for k, v in _told(protocol)},
            **{
                f"network {name}": {
                    "data": subject.data,
                    **{key: one_line(value) for key, value in subject.data_options.items()},
                    "model": subject.model,
                    **{key: one_line(value) for key, value in subject.model_options.items()},
                    "loss to reach": protocol.levels[name],
                    "parameter of the Dirichlet division": protocol.zoo_alpha,
                }
                for name, subject in protocol.zoo.items()
            },
        },
        notes=(
            "Formulas of the theorems are from memory: the authors have published no code, and none of their numbers "
            "is given here.",
            "Two-layer networks are trained by full batches on the sum of squares over a client's samples, halved; the "
            "server takes the plain mean over clients. The zoo trains on means, and weighs clients by their samples.",
            "Targets are signs of a random plane; clients are sorted by them.",
        ),
        tables=_tables(protocol, found),
    )


def _tables(protocol: FederatedProtocol, found: Found) -> list[Table]:
    tables = []
    if found.get("lazy"):
        rows = []
        for width in protocol.widths:
            for steps in protocol.steps:
                runs = [run_of(part, width, steps) for part in found["lazy"]]
                apart = [max((value for _, value in run["asymmetry"]), default=None) for run in runs]
                rows.append(
                    (
                        f"{width:,}",
                        str(steps),
                        told([run["observed"] for run in runs], 4),
                        told([run["limit"]["contraction"] for run in runs], 4),
                        told([run["own"]["contraction"] for run in runs], 4),
                        _mean([run["limit"]["radius"] for run in runs]),
                        _mean([run["bound"] for run in runs]),
                        told(apart, 4),
                    )
                )
        tables.append(
            Table(
                "Contraction",
                f"Mean factor of the loss over {protocol.rounds} rounds: observed, by the operator of the lazy round "
                "on the limit kernel and on the network's own at its start, in the long run (square of the operator's "
                "spectral radius), and by the theorem's bound; asymmetry of the Gram matrix. Mean and standard error "
                "over seeds.",
                ("units", "K", "observed", "limit", "own", "long run", "bound", "asymmetry"),
                tuple(rows),
            )
        )
    for name in protocol.zoo:
        parts = [part for part in found.get("zoo", ()) if part["subject"] == name]
        lines = []
        for division in ("iid", "dirichlet") if parts else ():
            for clients in protocol.zoo_clients:
                for steps in protocol.zoo_steps:
                    cells = [zoo_cell(part, division, clients, steps) for part in parts]
                    lines.append(
                        (
                            division,
                            str(clients),
                            str(steps),
                            told([cell["reached"] for cell in cells], 1),
                            told([cell["losses"][-1] for cell in cells], 3),
                            told([cell["error"] for cell in cells], 1, percent=True),
                            told([cell["spread"] for cell in cells], 2),
                        )
                    )
        if lines:
            tables.append(
                Table(
                    f"The zoo: {name}",
                    f"Rounds to a training loss of {protocol.levels[name]:g}; at the end the training loss and the "
                    "share of wrong test labels in percent; distance of clients from their mean over the mean's way. "
                    "Mean and standard error over seeds.",
                    ("clients are", "N", "K", "rounds", "loss", "test error", "apart"),
                    tuple(lines),
                )
            )
    return tables


def _told(protocol: FederatedProtocol) -> list[tuple[str, Any]]:
    """The recipe, but for the epochs, which become rounds."""
    return [(k, v) for k, v in protocol.zoo_recipe.to_json().items() if v is not None and k != "epochs"]


def _mean(values: Sequence[float]) -> str:
    return f"{sum(values) / len(values):.4f}"


def _facts(claims: Sequence[Claim]) -> list[Fact]:
    known = {claim.id: claim.value for claim in claims}
    last = [claim.id for claim in claims if claim.id.startswith("contraction-")][-1:]
    facts = []
    for key, label, form in (
        *((key, f"contraction off by, K = {key.partition('-')[2]}", "{:.4f}") for key in last),
        ("asymmetry-width", "exponent of the width in the asymmetry", "{:.2f}"),
        ("rate-steps", "exponent of K in the rounds", "{:.2f}"),
        ("rate-clients", "exponent of N in the rounds", "{:.2f}"),
        ("zoo-division", "rounds with Dirichlet over iid clients", "{:.2f}"),
    ):
        value = known.get(key)
        if value is not None:
            facts.append(Fact(key, label, value, form.format(value)))
    held = Counter(claim.verdict for claim in claims)["reproduced"]
    facts.append(Fact("reproduced", "claims reproduced", held, f"{held} of {len(claims)}"))
    return facts


def _verdict(protocol: FederatedProtocol, claims: Sequence[Claim]) -> str:
    known = {claim.id: claim.value for claim in claims}
    off = [known[f"contraction-{steps}"] for steps in protocol.steps]
    parts = []
    if all(value is not None for value in off):
        most = max(value for value in off if value is not None)
        parts.append(
            f"With {protocol.widths[-1]:,} units, rounds shrink the loss as the limit kernel says to {most:.4f}."
        )
    if known.get("sharper") is not None:
        parts.append(f"The theorem's bound is {known['sharper']:.0f} times as far off.")
    if known.get("rate-clients") is not None and known.get("rate-clients-mean") is not None:
        parts.append(
            f"Rounds go as N to the power {known['rate-clients']:.2f} where losses are sums; with means the power is "
            f"{known['rate-clients-mean']:.2f} less."
        )
    verdicts = Counter(claim.verdict for claim in claims)
    parts.append(f"Of the claims: {', '.join(f'{number} {verdict}' for verdict, number in verdicts.most_common())}.")
    return " ".join(parts)
