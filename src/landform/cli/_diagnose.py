"""``landform diagnose``."""

from __future__ import annotations

import csv
import io
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import Parameter

from landform.cli._choose import Choice, load_data, options
from landform.cli._paths import landscape_of
from landform.cli._show import answer, progress, say, table
from landform.cli._threads import threads as use
from landform.cli._told import settled
from landform.cli._train import train_and_record
from landform.errors import BadInput

if TYPE_CHECKING:
    from landform.diagnosis import Answers, Diagnosis, Measured, Table, Validation

Question = Literal["temperature", "width-or-batch", "data-or-batch"]
Method = Literal["ensemble", "md-tree"]
# How few networks the paper learns from.
_FEW = {"temperature": 96, "width-or-batch": 167, "data-or-batch": 167}


def diagnose(
    *runs: Path,
    twin: bool = False,
    steps: int = 1000,
    measure: list[str] | None = None,
    from_table: Path | None = None,
    fit_on: Path | None = None,
    predict: Question | None = None,
    out: Path | None = None,
    method: Method = "ensemble",
    validate: bool = False,
    seed: int = 0,
    model: str | None = None,
    data: str | None = None,
    model_option: list[str] | None = None,
    data_option: list[str] | None = None,
    batch_size: int = 512,
    device: str = "auto",
    threads: int | None = None,
    json: Annotated[bool, Parameter(name="--json")] = False,
) -> None:
    """Say what is wrong with a network and which knob to turn first, from what was measured on training data.

    Of a run its last point is measured; with a second run that was trained alike from another beginning, how well the
    two are connected and how alike they are, which tells most.

    For example:

        landform diagnose runs/a runs/b
        landform diagnose runs/a --twin
        landform diagnose --measure train_loss=0.4 --measure train_error=14 --measure mc=-8 --measure log_trace=7.2
        landform diagnose --from-table mine.csv --fit-on reference.csv --predict temperature --out predictions.csv
        landform diagnose --validate --fit-on reference.csv --predict width-or-batch --out runs/validation

    Args:
        runs: folders of a run, or of two that differ in the seed only.
        twin: train the second run too, where the first was made by landform train; it is kept in RUN/twin.
        steps: how many steps the curve between the two is trained for, and as many again to see whether it settled.
        measure: a measurement of one network, as name=value: train_loss, train_error (percent), mc (percent),
            curve_error (percent), log_trace, log_eigenvalue, cka. May be given several times.
        from_table: a CSV file with measurements of a network in each row.
        fit_on: a CSV file of networks whose failure is known, to learn from; by default the published grid
            under LANDFORM_DATA, or else the digits networks that come with landform.
        predict: which question to answer for each row: is the temperature too small or too large, would a larger width
            or another batch size help more, would more data or another batch size.
        out: a CSV file for the answers, one row for each row of the table and in its order, with columns prediction and
            probability (that the prediction is right); with --validate a folder for figures.
        method: ensemble, or md-tree for the published baseline, which knows no probabilities.
        validate: say how far the answers can be trusted: whole levels of the grid left out, and few to learn from.
        seed: of what is random in the measurements and in the model.
        model: a model of 'landform list models', or a function of your own that builds it, as module:function.
        data: a data set of 'landform list data', or a function of your own that returns one.
        model_option: an option of the model, as name=value; may be given several times.
        data_option: an option of the data set, as name=value; may be given several times.
        batch_size: samples at a time.
        device: auto, cpu, cuda or mps.
        threads: on how many threads torch runs; small models are quickest on 1.
        json: print what was found as JSON.
    """
    from landform.diagnosis import diagnose as judge
    from landform.diagnosis import reference_table

    ways = [bool(runs), bool(measure), from_table is not None, validate]
    if sum(ways) != 1:
        raise BadInput(
            "landform diagnose takes one of RUN (a recorded run), --measure (one network), --from-table (a table of "
            "them) and --validate."
        )
    if twin and len(runs) != 1:
        raise BadInput("--twin trains a second run beside a first: give the folder of one run.")
    if runs:
        if len(runs) > 2:
            raise BadInput(f"A diagnosis compares two runs at most, and there are {len(runs)}: give one or two.")
        reference_table(fit_on)  # its absence is said before anything is trained
        with use(threads):
            found = _measured(
                list(runs), twin, steps, seed, batch_size, device,
                None if model is None else Choice(model, options(model_option or [], "--model-option")),
                None if data is None else Choice(data, options(data_option or [], "--data-option")),
            )  # fmt: skip
        told = judge(found, fit_on, seed=seed)
        if json:
            answer({**asdict(told), "measured": asdict(found)})
            return
        show(told)
        for note in found.notes:
            say(f"note: {note}")
        return
    if measure:
        _one(measure, fit_on, seed, json)
        return
    if predict is None:
        raise BadInput("--predict is missing: say temperature, width-or-batch or data-or-batch.")

    if from_table is not None:
        if out is None:
            raise BadInput("--out is missing: give a CSV file for the predictions.")
        _rows(from_table, reference_table(fit_on), predict, out, method, seed, json)
        return
    _trust(reference_table(fit_on), predict, out, method, seed, json)


def _measured(
    runs: list[Path],
    twin: bool,
    steps: int,
    seed: int,
    batch_size: int,
    device: str,
    model: Choice | None,
    data: Choice | None,
) -> Measured:
    from landform.diagnosis import measure
    from landform.paths._contract import one_layout
    from landform.recording import Trajectory

    chosen = settled(runs[0], model, data)
    if twin:
        runs.append(_twin(runs[0], *chosen, device))
    trajectories = [Trajectory(run) for run in runs]
    for run, trajectory in zip(runs, trajectories, strict=True):
        if not len(trajectory):
            raise BadInput(f"{run} holds no record yet: record a run first.")
        one_layout(trajectories[0].layout, trajectory.layout, (str(runs[0]), str(run)))
    landscape = landscape_of(*chosen, load_data(chosen[1]), loss="cross-entropy", batch_size=batch_size, device=device)
    with progress("training the curve") as bar:
        return measure(landscape, *(each.points[-1] for each in trajectories), steps=steps, seed=seed, progress=bar)


def _twin(run: Path, model: Choice, data: Choice, device: str) -> Path:
    """The same run again from another beginning: with the next seed, of the weights and of the batches."""
    from landform.recording import Trajectory
    from landform.training import Recipe

    out = run / "twin"
    told = Trajectory(run).run["settings"]
    if "recipe" not in told:
        raise BadInput(f"{run} does not say how it was trained, so no twin can be: train one and give both folders.")
    recipe = Recipe.from_json(told["recipe"])
    begun = (out / "run.json").exists()
    say(f"Training the twin in {out} ..." if not begun else f"The twin in {out} is there, or goes on.")
    train_and_record(
        out,
        replace(model, options={**model.options, "seed": int(model.options.get("seed", 0)) + 1}),
        data,
        replace(
            recipe, seed=recipe.seed + 1, label_seed=recipe.seed if recipe.label_seed is None else recipe.label_seed
        ),
        device=device,
        records=2,
        resume=begun,
        again=f"The same command goes on from the last record in {out}.",
    )
    return out


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
    names, questions = list(found.nearest[0].configuration), list(found.nearest[0].answers)
    table(
        [
            (
                each.row, f"{each.distance:.2f}", *(f"{each.configuration[name]:g}" for name in names), each.phase,
                *(each.answers.get(question, "") for question in questions),
            )
            for each in found.nearest
        ],
        heads=("row", "distance", *(name.replace("_", " ") for name in names), "phase", *questions),
        title=f"nearest networks of {found.reference}",
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
