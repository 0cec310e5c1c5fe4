"""``landform diagnose``."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from landform.cli._show import answer, say, table
from landform.errors import BadInput

if TYPE_CHECKING:
    from landform.diagnosis import Answers, Diagnosis, Table, Validation

Question = Literal["temperature", "width-or-batch", "data-or-batch"]
Method = Literal["ensemble", "md-tree"]
# How few networks the paper learns from.
_FEW = {"temperature": 96, "width-or-batch": 167, "data-or-batch": 167}


def diagnose(
    *,
    measure: list[str] | None = None,
    from_table: Path | None = None,
    fit_on: Path | None = None,
    predict: Question | None = None,
    out: Path | None = None,
    method: Method = "ensemble",
    validate: bool = False,
    seed: int = 0,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Say what is wrong with a network, or with each network of a table, from what was measured on training data.

    For example:

        landform diagnose --measure train_loss=0.4 --measure train_error=14 --measure mc=-8 --measure log_trace=7.2
        landform diagnose --from-table mine.csv --fit-on reference.csv --predict temperature --out predictions.csv
        landform diagnose --validate --fit-on reference.csv --predict width-or-batch --out runs/validation

    Args:
        measure: a measurement of one network, as name=value: train_loss, train_error (percent), mc (percent),
            curve_error (percent), log_trace, log_eigenvalue, cka. May be given several times.
        from_table: a CSV file with measurements of a network in each row.
        fit_on: a CSV file of networks whose failure is known, to learn from; by default the reference of LANDFORM_DATA.
        predict: which question to answer for each row: is the temperature too small or too large, would a larger width
            or another batch size help more, would more data or another batch size.
        out: a CSV file for the answers, one row for each row of the table and in its order, with columns prediction and
            probability (that the prediction is right); with --validate a folder for figures.
        method: ensemble, or md-tree for the published baseline, which knows no probabilities.
        validate: say how far the answers can be trusted: whole levels of the grid left out, and few to learn from.
        seed: of what is random in the model.
        json: print what was found as JSON.
    """
    ways = [bool(measure), from_table is not None, validate]
    if sum(ways) != 1:
        raise BadInput(
            "landform diagnose takes one of --measure (one network), --from-table (a table of them) and --validate."
        )
    if measure:
        _one(measure, fit_on, seed, json)
        return
    if predict is None:
        raise BadInput("--predict is missing: say temperature, width-or-batch or data-or-batch.")
    from landform.diagnosis import reference_table

    if from_table is not None:
        if out is None:
            raise BadInput("--out is missing: give a CSV file for the predictions.")
        _rows(from_table, reference_table(fit_on), predict, out, method, seed, json)
        return
    _trust(reference_table(fit_on), predict, out, method, seed, json)


def _one(measure: list[str], fit_on: Path | None, seed: int, json: bool) -> None:
    from landform.diagnosis import diagnose as judge

    measured: dict[str, float | None] = {}
    for each in measure:
        name, equals, value = each.partition("=")
        try:
            if not equals:
                raise ValueError
            measured[name.strip()] = float(value)
        except ValueError:
            raise BadInput(f"--measure is {each!r}: give a name and a number, such as train_loss=0.4.") from None
    found = judge(measured, fit_on, seed=seed)
    if json:
        answer(asdict(found))
        return
    show(found)


def show(found: Diagnosis) -> None:
    """Print a diagnosis: the advice first."""
    say(found.advice)
    for sentence in found.evidence:
        say(f"  {sentence}")
    names = list(found.nearest[0].configuration)
    table(
        [
            (
                each.row, f"{each.distance:.2f}", *(f"{each.configuration[name]:g}" for name in names), each.phase,
                ", ".join(each.answers.values()),
            )
            for each in found.nearest
        ],
        heads=("row", "distance", *(name.replace("_", " ") for name in names), "phase", "what was wrong"),
        title="nearest networks of the reference",
    )  # fmt: skip


def _rows(from_table: Path, reference: Table, question: str, out: Path, method: Method, seed: int, json: bool) -> None:
    from landform import store
    from landform.diagnosis import answer_table, read_table

    asked = read_table(from_table)
    found = answer_table(reference, asked, question, method=method, seed=seed)
    if out.parent != Path():
        store.make_folder(out.parent)
    store.write_text(out, _as_csv(found))
    count = {str(name): int((found.prediction == name).sum()) for name in sorted(set(found.prediction.tolist()))}
    if json:
        answer({"out": str(out), "question": question, "rows": len(asked), "predictions": count})
        return
    table(list(count.items()), heads=(question, "networks"))
    say(f"Learned from {reference.source}; the {len(asked)} answers are in {out}.")


def _as_csv(found: Answers) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["prediction", "probability"])
    for prediction, probability in zip(found.prediction, found.probability, strict=True):
        writer.writerow([prediction, f"{probability:.6f}"])
    return text.getvalue()


def _trust(reference: Table, question: str, out: Path | None, method: Method, seed: int, json: bool) -> None:
    from landform.diagnosis import few_shot, leave_out

    found: list[Validation] = []
    for knob in ("width", "batch_size", "data"):
        if knob in reference.columns:
            try:
                found.append(leave_out(reference, question, knob, method=method, seed=seed))
            except BadInput as why:
                say(f"landform: {why}")
    try:
        found.append(few_shot(reference, question, _FEW[question], method=method, seed=seed))
    except BadInput as why:
        say(f"landform: {why}")
    if not found:
        raise BadInput(f"{reference.source} has no knob with several levels, and too few networks to draw some.")
    drawn = [] if out is None or method == "md-tree" else _figures(found[:-1] or found, out)
    if json:
        answer([_told(one) for one in found])
        return
    table(
        [
            (one.held_out, f"{one.accuracy:.1%}", "" if one.standard_error != one.standard_error else
             f"{one.standard_error:.1%}", "" if method == "md-tree" else f"{one.calibration_error:.3f}", len(one.first))
            for one in found
        ],
        heads=("left out", "right", "standard error", "calibration error", "answers"),
    )  # fmt: skip
    for file in drawn:
        say(f"Drawn: {file}")


def _told(one: Validation) -> dict[str, Any]:
    return {
        "question": one.question,
        "method": one.method,
        "held_out": one.held_out,
        "accuracy": one.accuracy,
        "standard_error": one.standard_error,
        "parts": list(one.parts),
        "calibration_error": None if one.method == "md-tree" else one.calibration_error,
        "confusion": one.confusion.tolist(),
    }


def _figures(found: list[Validation], out: Path) -> list[Path]:
    from landform import store
    from landform.report import calibration_curve, confusion_map, draw

    place = store.make_folder(out)
    drawn = []
    for figure in (calibration_curve(found), confusion_map(found)):
        store.write_bytes(place / f"{figure.name}.png", draw(figure))
        drawn.append(place / f"{figure.name}.png")
    return drawn
