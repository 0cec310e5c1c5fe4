"""A callback for the Trainer of Hugging Face's transformers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from torch import nn

from landform.errors import BadInput, try_import
from landform.recording._adapted import begin, numbers_in
from landform.recording._live import Log
from landform.recording._recorder import Recorder

# What a Trainer logs beside measurements of the model.
_LEFT_OUT = (
    "epoch", "learning_rate", "total_flos", "step", "num_input_tokens_seen",
    "train_runtime", "train_samples_per_second", "train_steps_per_second", "train_loss",
    "eval_runtime", "eval_samples_per_second", "eval_steps_per_second",
)  # fmt: skip


def trainer_callback(
    folder: str | Path,
    *,
    model: Callable[[nn.Module], nn.Module] | None = None,
    at: int | Iterable[int] | None = None,
    epoch: int | None = None,
    log: Log | None = None,
    **options: Any,
) -> Any:
    """Make a callback that records a Trainer's run: ``Trainer(..., callbacks=[trainer_callback("runs/mine")])``.

    A step is a step of the optimiser, as ``state.global_step`` counts them. What the Trainer logs becomes curves; its
    ``loss`` is the mean since it logged before, so ``logging_steps=1`` has every step's. The first process records;
    of a model split by ``fully_shard`` each records its shard. With PEFT the points are those of the adapter.

    Args:
        folder: where the run shall lie.
        model: a function of the Trainer's model that returns what is to be recorded; by default all of it.
        at: steps to record, or every how many; by default 50 times, log-spaced until the end of training.
        epoch: steps in an epoch; by default as the Trainer counts.
        log: told what probes measured, as ``log(step, {name: value})``.
        options: the other options of `Recorder`.

    Returns:
        A ``transformers.TrainerCallback``.

    Raises:
        BadInput: when transformers is not installed.
    """
    return _kind()(Path(folder), model, {"at": at, "epoch": epoch, "log": log, **options})


def _kind() -> Any:
    framework = try_import("transformers", "transformers")

    class LandformCallback(framework.TrainerCallback):  # type: ignore[misc, name-defined]
        """Records the points that a run visits."""

        def __init__(
            self, folder: Path, model: Callable[[nn.Module], nn.Module] | None, options: dict[str, Any]
        ) -> None:
            super().__init__()
            self._folder, self._chosen, self._options = folder, model, options
            self.recorder: Recorder | None = None
            self._open, self._rate = False, None

        def on_train_begin(
            self, args: Any, state: Any, control: Any, model: Any = None, optimizer: Any = None,
            train_dataloader: Any = None, **more: Any,
        ) -> None:  # fmt: skip
            chosen = model if self._chosen is None else self._chosen(model)
            if not isinstance(chosen, nn.Module):
                raise BadInput(f"model= returned a {type(chosen).__name__}: return what the Trainer trains.")
            try:
                per_epoch: float | None = max(1, -(-len(train_dataloader) // args.gradient_accumulation_steps))
            except TypeError:  # data without a length
                per_epoch = None
            self.recorder = begin(
                self._folder,
                chosen,
                optimizer,
                self._options,
                per_epoch=per_epoch,
                steps=state.max_steps,
                done=state.global_step,
                first=state.is_world_process_zero,
            )
            self._open = self.recorder is not None

        def on_pre_optimizer_step(
            self, args: Any, state: Any, control: Any, optimizer: Any = None, **more: Any
        ) -> None:
            # The scheduler steps before the step ends: this is the rate of the step itself.
            self._rate = optimizer.param_groups[0].get("lr")

        def on_step_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            if self.recorder is not None and self._open:
                self.recorder.step(lr=self._rate)

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> None:
            if self.recorder is not None and self._open:
                self.recorder.note(**numbers_in(logs or {}, _LEFT_OUT))

        def on_train_end(self, args: Any, state: Any, control: Any, **more: Any) -> None:
            self._open = False
            if self.recorder is not None:
                self.recorder.close()

    return LandformCallback
