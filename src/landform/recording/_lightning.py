"""A callback for Lightning."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from landform.errors import BadInput, try_import
from landform.recording._adapted import begin
from landform.recording._live import Log
from landform.recording._recorder import Recorder


def lightning_callback(
    folder: str | Path,
    *,
    model: Callable[[Any], nn.Module] | None = None,
    at: int | Iterable[int] | None = None,
    epoch: int | None = None,
    log: Log | None = None,
    **options: Any,
) -> Any:
    """Make a callback that records a Lightning run: ``Trainer(callbacks=[lightning_callback("runs/mine")])``.

    A step is a batch after which an optimiser stepped. Under DDP the first process records; of a model split by
    ``fully_shard`` each records its shard. What probes measure is also given to the trainer's loggers.

    Args:
        folder: where the run shall lie.
        model: a function of the LightningModule that returns what is to be recorded, such as ``lambda m: m.net``; by
            default the module itself.
        at: steps to record, or every how many; by default 50 times, log-spaced until the end of training.
        epoch: steps in an epoch; by default as the trainer counts.
        log: told what probes measured, as ``log(step, {name: value})``; by default the trainer's loggers are.
        options: the other options of `Recorder`.

    Returns:
        A ``lightning.pytorch.Callback`` (of ``pytorch_lightning``, where that is what is in use).

    Raises:
        BadInput: when neither is installed.
    """
    return _kind()(Path(folder), model, log, {"at": at, "epoch": epoch, **options})


def _kind() -> Any:
    """The callback's class, of whichever Lightning is in use."""
    older = "pytorch_lightning" in sys.modules and "lightning.pytorch" not in sys.modules
    framework = try_import("pytorch_lightning" if older else "lightning.pytorch", "lightning")

    class LandformCallback(framework.Callback):  # type: ignore[misc, name-defined]
        """Records the points that a run visits."""

        def __init__(
            self, folder: Path, model: Callable[[Any], nn.Module] | None, told: Log | None, options: dict[str, Any]
        ) -> None:
            super().__init__()
            self._folder, self._chosen, self._told, self._options = folder, model, told, options
            self.recorder: Recorder | None = None
            self._seen, self._rate = 0, None

        def on_train_start(self, trainer: Any, pl_module: Any) -> None:
            chosen = pl_module if self._chosen is None else self._chosen(pl_module)
            if not isinstance(chosen, nn.Module):
                raise BadInput(f"model= returned a {type(chosen).__name__}: return what the module trains.")
            optimizers = trainer.optimizers
            options = dict(self._options)
            if options.get("probes") is not None:
                options["log"] = self._told or (lambda step, values: _to_loggers(trainer, step, values))
            elif self._told is not None:
                options["log"] = self._told
            self.recorder = begin(
                self._folder,
                chosen,
                optimizers[0] if len(optimizers) == 1 else None,
                options,
                per_epoch=-(-trainer.num_training_batches // trainer.accumulate_grad_batches),
                steps=trainer.estimated_stepping_batches if options["at"] is None else None,
                done=trainer.global_step,
                first=trainer.is_global_zero,
            )
            self._seen = trainer.global_step

        def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None:
            # Schedulers step before the batch ends: this is the rate of the step itself.
            self._rate = optimizer.param_groups[0].get("lr")

        def on_train_batch_end(self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
            if self.recorder is None or trainer.global_step == self._seen:
                return
            self._seen = trainer.global_step
            loss = outputs.get("loss") if isinstance(outputs, dict) else outputs
            if isinstance(loss, Tensor):  # Lightning divides it by the number of batches that make a step
                loss = loss.detach() * trainer.accumulate_grad_batches
            self.recorder.step(loss=loss if isinstance(loss, Tensor | float) else None, lr=self._rate)

        def on_train_end(self, trainer: Any, pl_module: Any) -> None:
            self._close()

        def on_exception(self, trainer: Any, pl_module: Any, exception: BaseException) -> None:
            self._close()

        def _close(self) -> None:
            if self.recorder is not None:
                self.recorder.close()

    return LandformCallback


def _to_loggers(trainer: Any, step: int, values: dict[str, float]) -> None:
    for logger in trainer.loggers:
        logger.log_metrics(values, step=step)
