"""A run of adapters, as a run of the whole weights."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn

from landform.errors import BadInput
from landform.layout import Layout
from landform.recording._format import RecordData
from landform.recording._state import persistent_buffers
from landform.recording._trajectory import Trajectory
from landform.recording._writer import RunWriter


def merged_run(
    run: str | Path | Trajectory,
    folder: str | Path,
    model: nn.Module,
    *,
    merge: Callable[[nn.Module], nn.Module] | None = None,
    dtype: torch.dtype | None = None,
    overwrite: bool = False,
) -> Trajectory:
    """Put the adapters of every record into the weights they adapt, and keep the whole weights as a run of its own.

    A run whose model has frozen weights (LoRA and the like) is measured in the space of what was trained. This makes
    it measurable in the space of all weights: survey it with a landscape of the plain model. Memory holds the model
    twice, and one record at a time; the new run's disk use is that of whole points.

    Examples:
        >>> whole = merged_run("runs/lora", "runs/whole", peft_model)
        >>> landform.survey(whole, Landscape(plain_model, data))

    Args:
        run: the run of adapters.
        folder: where the new run shall lie.
        model: the model with its adapters, built and frozen as for the run; it is not changed.
        merge: a function of a copy of it, at a record's point, that returns the plain module; by default its own
            ``merge_and_unload``, as PEFT's models have.
        dtype: type in which points are stored; their own by default.
        overwrite: remove the run that lies in the folder.

    Returns:
        The new run, with the same steps and curves.

    Raises:
        BadInput: when nobody says how to merge, or the run is of another model.
    """
    trajectory = run if isinstance(run, Trajectory) else Trajectory(run)
    if not len(trajectory):
        raise BadInput(f"{trajectory.folder} holds no record yet.")
    merged = merge or (lambda adapted: adapted.merge_and_unload())  # type: ignore[operator]
    if merge is None and not callable(getattr(model, "merge_and_unload", None)):
        raise BadInput(
            f"{type(model).__name__} has no merge_and_unload: give merge=, a function of the model that returns the "
            "plain module."
        )
    writer: RunWriter | None = None
    layout: Layout | None = None
    try:
        for record in trajectory.records:
            adapted = copy.deepcopy(model)
            record.restore(adapted)
            whole = merged(adapted)
            if not isinstance(whole, nn.Module):
                raise BadInput(f"merge= returned a {type(whole).__name__}: return the plain module.")
            whole.requires_grad_(True)
            if layout is None or writer is None:
                layout = Layout.of(whole)
                writer = RunWriter(
                    folder,
                    layout=layout,
                    epoch=trajectory.run["epoch"],
                    settings={**trajectory.run["settings"], "merged": {"run": str(trajectory.folder)}},
                    dtype=dtype,
                    point_dtype=layout.point(whole).dtype,
                    overwrite=overwrite,
                )
            curves = {name: (steps.tolist(), values.tolist()) for name, (steps, values) in record.curves.items()}
            writer.write(
                RecordData(
                    record.step,
                    layout.point(whole),
                    record.loss,
                    record.lr,
                    record.seconds,
                    buffers={n: o.get_buffer(k).detach().clone() for n, (o, k) in persistent_buffers(whole).items()},
                    curves=curves,
                    partner=record.partner,
                    gap=record.gap,
                )
            )
    finally:
        if writer is not None:
            writer.close()
    return Trajectory(folder)
