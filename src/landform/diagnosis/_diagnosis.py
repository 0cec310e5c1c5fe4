"""What is wrong with one network, and what to do about it first."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from landform.diagnosis._columns import CONFIGURATION, LABELS, MEASURES
from landform.diagnosis._failures import labelled
from landform.diagnosis._features import features, shared
from landform.diagnosis._judge import Answers, learn
from landform.diagnosis._measure import Measured
from landform.diagnosis._phases import MEANING, Thresholds, phases
from landform.diagnosis._table import Table, read_table, table_of
from landform.errors import BadInput

Numbers = NDArray[np.float64]

REFERENCE = "reference/model_diagnosis_clean.csv"
OWN_REFERENCE = "reference_digits.csv"
# Below this a probability is called a close call.
_CLOSE = 0.65
_COLD = "lower the temperature: a larger batch, a smaller learning rate or more training"
_HOT = "raise the temperature: a smaller batch or a larger learning rate, or stop earlier"


@dataclass(frozen=True)
class Neighbour:
    """A network of the reference that is like the one that is diagnosed.

    Attributes:
        row: its row in the reference, from 1.
        distance: root mean square difference of the features, in standard deviations over the reference.
        configuration: how it was trained, as far as the reference says.
        measures: what was measured of it.
        answers: what was wrong with it, by question.
        phase: its phase; "" where that cannot be told.
    """

    row: int
    distance: float
    configuration: Mapping[str, float]
    measures: Mapping[str, float]
    answers: Mapping[str, str]
    phase: str


@dataclass(frozen=True)
class Diagnosis:
    """What is wrong with a network.

    Attributes:
        phase: one of `PHASES`; "" where loss or connectivity is missing.
        temperature: ``"small"`` or ``"large"``: too low or too high.
        temperature_probability: that this is right.
        first: what to change first: ``"temperature"``, ``"width"`` or ``"data"``.
        first_probability: that this is right, of the knobs that the reference knows.
        knobs: probability of each knob.
        advice: one sentence to act on.
        evidence: sentences, one for each thing that was looked at.
        nearest: the networks of the reference that are most like it.
        familiar: whether the reference has networks like it; where not, probabilities are not to be trusted.
        measures: what was looked at.
        reference: what it was learned from.
    """

    phase: str
    temperature: str
    temperature_probability: float
    first: str
    first_probability: float
    knobs: Mapping[str, float]
    advice: str
    evidence: tuple[str, ...]
    nearest: tuple[Neighbour, ...]
    familiar: bool
    measures: tuple[str, ...]
    reference: str

    def __str__(self) -> str:
        return self.advice


def reference_table(path: str | Path | None = None) -> Table:
    """The table that diagnoses are learned from.

    Args:
        path: of a table with answers; by default the published one that ``LANDFORM_DATA`` has under ``reference``
            (ResNet18 on CIFAR-10), or else the one that comes with landform (dense networks on digits, from the study
            ``taxonomy``).

    Returns:
        The table.

    Raises:
        BadInput: when it cannot be read.
    """
    if path is not None:
        return read_table(path)
    root = os.environ.get("LANDFORM_DATA")
    if root and (Path(root) / REFERENCE).is_file():
        return read_table(Path(root) / REFERENCE)
    return read_table(Path(__file__).with_name(OWN_REFERENCE))


def diagnose(
    measured: Measured | Mapping[str, float | None],
    reference: Table | str | Path | None = None,
    *,
    thresholds: Thresholds | None = None,
    neighbours: int = 5,
    seed: int = 0,
) -> Diagnosis:
    """Say what is wrong with one network, from what was measured on training data.

    Args:
        measured: what `measure` found, or measurements by name, as a table may call them: ``train_loss``,
            ``train_error`` (percent), ``connectivity`` (percent), ``curve_error`` (percent), ``log_trace``,
            ``log_eigenvalue``, ``similarity``.
        reference: networks whose failure is known, a table or its file; by default as `reference_table` has it.
        thresholds: where phases end.
        neighbours: how many networks of the reference to show.
        seed: of what is random in the models.

    Returns:
        The diagnosis.

    Raises:
        BadInput: when too little was measured, or the reference does not say what was wrong.
    """
    known = reference if isinstance(reference, Table) else reference_table(reference)
    values = measured.values if isinstance(measured, Measured) else measured
    return diagnose_all(table_of([values]), known, thresholds=thresholds, neighbours=neighbours, seed=seed)[0]


def diagnose_all(
    table: Table,
    reference: Table,
    *,
    thresholds: Thresholds | None = None,
    neighbours: int = 5,
    seed: int = 0,
) -> list[Diagnosis]:
    """Diagnose each network of a table; what is learned from the reference is learned once.

    Args:
        table: measured networks.
        reference: networks whose failure is known.
        thresholds: where phases end.
        neighbours: how many networks of the reference to show for each.
        seed: of what is random in the models.

    Returns:
        The diagnoses, in the order of the rows.

    Raises:
        BadInput: when the tables share too few measures, or the reference has no answers.
    """
    at = thresholds or Thresholds()
    measures = shared(table, reference)
    known = labelled(reference, "temperature")
    told: dict[str, Answers] = {}
    for question in LABELS:
        try:
            known = labelled(known, question)
        except BadInput:  # a reference that never varied width, say, cannot tell when it is to blame
            continue
        told[question] = learn(known, question, measures=measures, seed=seed).answer(table)
    near = _Near.of(known, measures)
    states = phases(table, at) if {"train_loss", "connectivity"} <= set(table.columns) else [""] * len(table)
    found = []
    for row in range(len(table)):
        here = table.where(np.array([row]))
        nearest, familiar = near.to(here, known, list(told), neighbours)
        knobs = _knobs({question: float(each.first[row]) for question, each in told.items()})
        first = max(knobs, key=lambda name: knobs[name])
        heat = told["temperature"]
        temperature, sure = str(heat.prediction[row]), float(heat.probability[row])
        phase = str(states[row])
        found.append(
            Diagnosis(
                phase=phase,
                temperature=temperature,
                temperature_probability=sure,
                first=first,
                first_probability=knobs[first],
                knobs=knobs,
                advice=_advice(phase, temperature, sure, first, knobs[first], familiar),
                evidence=tuple(_evidence(here, known, measures, at, nearest)),
                nearest=nearest,
                familiar=familiar,
                measures=measures,
                reference=f"{reference.source}, {len(reference):,} networks",
            )
        )
    return found


def _knobs(first: Mapping[str, float]) -> dict[str, float]:
    """Shares of the knobs from the odds of each against the temperature (Bradley and Terry)."""
    odds = {"temperature": 1.0}
    for name in ("width", "data"):
        if f"{name}-or-batch" in first:
            share = first[f"{name}-or-batch"]
            odds[name] = share / max(1 - share, 1e-9)
    whole = sum(odds.values())
    return {name: value / whole for name, value in odds.items()}


@dataclass(frozen=True)
class _Near:
    """The features of a reference, in standard deviations, and how near its networks are to one another."""

    measures: tuple[str, ...]
    mean: Numbers
    spread: Numbers
    places: Numbers
    phases: NDArray[np.str_]
    usual: float

    @classmethod
    def of(cls, known: Table, measures: tuple[str, ...]) -> _Near:
        rows = features(known, measures)[1]
        mean, spread = np.nanmean(rows, 0), np.nanstd(rows, 0)
        spread = np.where(spread > 0, spread, 1.0)
        places = np.nan_to_num((rows - mean) / spread)
        # Distances to the nearest other network; those that have hardly any like them make up the last percent.
        sample = places[np.random.default_rng(0).permutation(len(places))[:400]]
        apart = np.sqrt(((sample[:, None] - places[None]) ** 2).mean(2))
        usual = float(np.quantile(np.partition(apart, 1, axis=1)[:, 1], 0.99))
        told = phases(known) if {"train_loss", "connectivity"} <= set(known.columns) else np.full(len(known), "")
        return cls(measures, mean, spread, places, told, usual)

    def to(self, here: Table, known: Table, questions: list[str], count: int) -> tuple[tuple[Neighbour, ...], bool]:
        """Networks most like one, and whether they are as near to it as those of the reference are to one another."""
        place = np.nan_to_num((features(here, self.measures)[1][0] - self.mean) / self.spread)
        distance = np.sqrt(((self.places - place) ** 2).mean(1))
        order = np.argsort(distance, kind="stable")[:count]
        found = tuple(
            Neighbour(
                int(row) + 1,
                float(distance[row]),
                {name: float(known[name][row]) for name in CONFIGURATION if name in known.columns},
                {name: float(known[name][row]) for name in self.measures},
                {question: str(known.labels[question][row]) for question in questions},
                str(self.phases[row]),
            )
            for row in order
        )
        return found, bool(distance[order[0]] <= self.usual)


def _advice(phase: str, temperature: str, sure: float, first: str, first_sure: float, familiar: bool) -> str:
    turn = _HOT if temperature == "small" else _COLD
    side = "low" if temperature == "small" else "high"
    close = "" if first_sure >= _CLOSE else ", though it is a close call"
    if first == "temperature":
        what = f"turn the temperature first ({first_sure:.0%}{close}); it is too {side} ({sure:.0%}), so {turn}."
    else:
        knob = "make the network wider" if first == "width" else "train on more data"
        otherwise = f"if that cannot be, the temperature is too {side} ({sure:.0%}), so {turn}."
        what = f"{knob} first ({first_sure:.0%}{close}); {otherwise}"
    state = f"Phase {phase}, {MEANING[phase]}: {what}" if phase else what[0].upper() + what[1:]
    doubt = "" if familiar else " The reference has no network like this one, so take it as a guess."
    return state + doubt


def _evidence(
    here: Table, known: Table, measures: tuple[str, ...], at: Thresholds, nearest: tuple[Neighbour, ...]
) -> list[str]:
    found = []
    for name in measures:
        value = float(here[name][0])
        if not np.isfinite(value):
            continue
        among = known[name][np.isfinite(known[name])]
        share = float((among < value).mean())
        said = {
            "train_loss": f"{'trained to zero loss' if value < at.flat else 'not trained to zero loss'}"
            f" (the threshold is {at.flat:g})",
            "connectivity": f"{'poorly connected' if value < at.poor else 'well connected'} (from {at.poor:g}% on)",
            "similarity": f"{'alike' if value >= at.alike else 'unlike one another'} (from {at.alike:g} on)",
        }.get(name, "")
        above = f"above {share:.0%} of the reference"
        found.append(f"{MEASURES[name]}: {value:.4g}; {said + ', ' if said else ''}{above}.")
    for question, (one, other) in LABELS.items():
        told = [each.answers[question] for each in nearest if question in each.answers]
        if told:
            count = f"{told.count(one)} {one}, {told.count(other)} {other}"
            found.append(f"{question} among the {len(told)} nearest networks of the reference: {count}.")
    return found
