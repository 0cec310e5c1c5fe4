"""Weights that any training loop left on disk, opened one file at a time and read one tensor at a time."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from landform import store
from landform.errors import BadInput

# What a folder in the form of the Hugging Face hub holds its weights in; first what is safe to read.
WEIGHTS = (
    "model.safetensors.index.json",
    "model.safetensors",
    "adapter_model.safetensors",
    "pytorch_model.bin.index.json",
    "pytorch_model.bin",
    "adapter_model.bin",
)
SUFFIXES = (".safetensors", ".pt", ".pth", ".bin", ".ckpt", ".tar")
_LAST = 2**53  # beyond which a number in a file is no step any more
# Under which of these a checkpoint keeps the step and the epoch it was written at.
_STEPS, _EPOCHS = ("global_step", "step", "iteration", "iter", "num_updates"), ("epoch", "epochs")


@dataclass
class Checkpoint:
    """The weights that lie in one place, and what lies beside them.

    Attributes:
        path: the file or folder as it was given.
        files: the file that each tensor lies in, by name.
        opened: safetensors files, of which nothing is held.
        states: state dicts of ``torch.save``, mapped into memory.
        told: numbers that lie in the same file, such as ``global_step`` and ``epoch``.
    """

    path: Path
    files: dict[str, Path] = field(default_factory=dict)
    opened: dict[Path, Any] = field(default_factory=dict)
    states: dict[Path, Mapping[str, Any]] = field(default_factory=dict)
    told: dict[str, float] = field(default_factory=dict)

    def read(self, name: str) -> Tensor:
        """Read one tensor.

        Args:
            name: one of ``files``.

        Returns:
            The tensor, on the CPU; of a file of ``torch.save`` a view of the mapped file.

        Raises:
            BadInput: when it cannot be read.
        """
        path = self.files[name]
        if path in self.states:
            found: Tensor = self.states[path][name].detach()
            return found
        try:
            tensor: Tensor = self.opened[path].get_tensor(name)
            return tensor
        except Exception as why:  # safetensors has errors of its own
            raise BadInput(f"{path} cannot be read ({_short(why)}).") from None


def open_checkpoint(path: Path, *, trusted: bool) -> Checkpoint:
    """Open the weights in a file or a folder; no more of them is held than the map of a file.

    Args:
        path: a .safetensors file, a file of ``torch.save`` (a state dict, or a dict that holds one), or a folder in the
            form of the Hugging Face hub, whole or in shards.
        trusted: unpickle whatever a file of ``torch.save`` holds, which can run any code.

    Returns:
        The opened checkpoint.

    Raises:
        BadInput: when there are no weights in it, or reading them would run code and nobody said it may.
    """
    if not path.exists():
        raise BadInput(f"There is no checkpoint {path}.")
    if path.is_file():
        return _join(path, [path], trusted)
    for name in WEIGHTS:
        place = path / name
        if place.is_file():
            return _join(path, _shards(place) if name.endswith(".json") else [place], trusted)
    if any(path.glob("*.distcp")):
        raise BadInput(
            f"{path} was saved by torch.distributed.checkpoint: make a file of it first, by dcp_to_torch_save(folder, "
            "file) of torch.distributed.checkpoint.format_utils."
        )
    held = [file for file in sorted(path.iterdir()) if file.suffix in (".safetensors", ".pt", ".pth", ".ckpt")]
    if len(held) == 1:
        return _join(path, held, trusted)
    raise BadInput(
        f"{path} holds no weights that could be told apart: there should be model.safetensors or pytorch_model.bin (or "
        f"their index), or one file of weights; {len(held)} are there."
    )


def _shards(index: Path) -> list[Path]:
    try:
        table = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted({str(name) for name in table.values()})
    except (OSError, ValueError, KeyError, AttributeError, TypeError):
        raise BadInput(f"{index} is not an index of weights: there should be a weight_map in it.") from None
    missing = [name for name in names if Path(name).name != name or not (index.parent / name).is_file()]
    if missing:
        raise BadInput(f"{index} names {missing[0]}, which is not beside it: put all shards into one folder.")
    return [index.parent / name for name in names]


def _join(path: Path, files: Iterable[Path], trusted: bool) -> Checkpoint:
    found = Checkpoint(path)
    for file in files:
        if file.suffix == ".safetensors":
            found.opened[file] = opened = _safetensors(file)
            found.files |= dict.fromkeys(opened.keys(), file)
        else:
            state, told = _unpickled(file, trusted)
            found.states[file] = state
            found.told |= told
            found.files |= dict.fromkeys(state, file)
    if not found.files:
        raise BadInput(f"{path} holds no tensor.")
    return found


def _safetensors(file: Path) -> Any:
    from safetensors import SafetensorError, safe_open

    try:
        return safe_open(str(file), framework="pt")
    except (SafetensorError, OSError) as why:
        raise BadInput(f"{file} is not a whole safetensors file ({_short(why)}).") from None


def _unpickled(file: Path, trusted: bool) -> tuple[dict[str, Any], dict[str, float]]:
    """The state dict in a file of ``torch.save``, and the numbers beside it."""
    content, _ = store.load_pickle(file, trusted=trusted)
    within, state = store.state_in(file, content)
    told = {str(k): float(v) for k, v in content.items() if isinstance(v, int | float)} if within else {}
    return {name: value for name, value in state.items() if isinstance(value, Tensor)}, told


@dataclass(frozen=True)
class Told:
    """What lies beside a checkpoint's weights.

    Attributes:
        step: the step it was written at; None where nothing says.
        epoch: the same in epochs, counted from 0 or from 1; None where nothing says.
        logs: the numbers that the loop logged until then, each with its step.
    """

    step: int | None
    epoch: float | None
    logs: tuple[Mapping[str, Any], ...] = ()


def told_of(checkpoint: Checkpoint) -> Told:
    """Find out when a checkpoint was written.

    A ``trainer_state.json`` beside it says best; then numbers in its own file (``global_step``, ``step``, ...); then
    its name: a number behind ``step``, or the last number there is.

    Args:
        checkpoint: the opened checkpoint.

    Returns:
        What is known.

    Raises:
        BadInput: when a trainer_state.json cannot be read.
    """
    path = checkpoint.path
    trainer = (path if path.is_dir() else path.parent) / "trainer_state.json"
    if path.is_dir() and trainer.is_file():
        try:
            state = json.loads(trainer.read_text(encoding="utf-8"))
            logs = tuple(entry for entry in state.get("log_history", ()) if isinstance(entry.get("step"), int))
            step, epoch = state["global_step"], state.get("epoch")
            if not (_is_time(step) and (epoch is None or _is_time(epoch))):
                raise ValueError
            return Told(int(step), epoch, logs)
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            raise BadInput(f"{trainer} is not what a Trainer writes: put back a good copy, or give steps=.") from None
    numbers = checkpoint.told
    epoch = next((numbers[key] for key in _EPOCHS if _is_time(numbers.get(key))), None)
    step = next((numbers[key] for key in _STEPS if _is_time(numbers.get(key))), None)
    if step is not None:
        return Told(int(step), epoch)
    name = path.name if path.is_dir() else path.stem
    named = re.search(r"step\D?(\d+)", name) or re.search(r"(\d+)\D*$", name)
    if named is not None:
        return Told(int(named[1]), None)
    return Told(None if epoch is None else int(epoch), None)


def _is_time(value: Any) -> bool:
    """Whether a value that was read can be a step or an epoch."""
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value < _LAST


def _short(why: Exception) -> str:
    return " ".join(str(why).split()).partition(". ")[0][:120]
