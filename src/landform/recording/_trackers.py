"""Hooks for a recorder's ``log=``: what was measured during training, told to an experiment tracker."""

from __future__ import annotations

from typing import Any

from landform.errors import BadInput, try_import
from landform.recording._live import Log


def to_tensorboard(writer: Any) -> Log:
    """Tell TensorBoard: ``Recorder(..., log=to_tensorboard(SummaryWriter("runs/tb")))``.

    Args:
        writer: a ``SummaryWriter``, of torch or tensorboardX.

    Returns:
        The hook.

    Raises:
        BadInput: when it cannot take scalars.
    """
    if not callable(getattr(writer, "add_scalar", None)):
        raise BadInput(f"writer is a {type(writer).__name__}: give a SummaryWriter of torch.utils.tensorboard.")

    def tell(step: int, values: dict[str, float]) -> None:
        for name, value in values.items():
            writer.add_scalar(f"landform/{name}", value, step)

    return tell


def to_wandb(run: Any) -> Log:
    """Tell Weights & Biases: ``Recorder(..., log=to_wandb(wandb.init(mode="offline")))``.

    The run's own step counter is left alone: values are drawn over ``landform/step``.

    Args:
        run: what ``wandb.init`` returned.

    Returns:
        The hook.

    Raises:
        BadInput: when it is no such run.
    """
    if not callable(getattr(run, "define_metric", None)):
        raise BadInput(f"run is a {type(run).__name__}: give what wandb.init() returned.")
    run.define_metric("landform/step", hidden=True)
    run.define_metric("landform/*", step_metric="landform/step")

    def tell(step: int, values: dict[str, float]) -> None:
        run.log({"landform/step": step, **{f"landform/{name}": value for name, value in values.items()}})

    return tell


def to_mlflow(run_id: str | None = None) -> Log:
    """Tell MLflow: ``Recorder(..., log=to_mlflow())`` within ``with mlflow.start_run():``.

    Args:
        run_id: of the MLflow run; the active one by default.

    Returns:
        The hook.

    Raises:
        BadInput: when mlflow is not installed.
    """
    mlflow = try_import("mlflow", "track")

    def tell(step: int, values: dict[str, float]) -> None:
        metrics = {f"landform/{name}": value for name, value in values.items()}
        mlflow.log_metrics(metrics, step=step, run_id=run_id)

    return tell
