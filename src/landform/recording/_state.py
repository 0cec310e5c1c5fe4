"""What a run needs besides its weights to go on exactly: optimiser, scheduler, buffers, random generators.

Optimiser state that has the shape of the parameters is kept as points: a momentum is a direction in the space of
points, and is measured there.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from landform.errors import BadInput
from landform.layout import Layout


def optimizer_state(optimizer: Any, model: nn.Module, layout: Layout) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Take an optimiser's state apart.

    Args:
        optimizer: any torch optimiser.
        model: the model whose parameters it holds.
        layout: the model's layout.

    Returns:
        State shaped like the parameters, as points ``[P]``, and one number a parameter, as ``[slots]``, by key; and
        everything else under ``groups``, ``flat``, ``slots`` and ``rest``.
    """
    names = {id(p): name for name, p in model.named_parameters()}
    by_name = {name: optimizer.state.get(p, {}) for name, p in model.named_parameters()}
    states: list[Mapping[str, Any]] = [by_name[slot.name] for slot in layout.slots]
    arrays: dict[str, Tensor] = {}
    flat: list[str] = []
    slots: list[str] = []
    for key in states[0]:
        found = [state.get(key) for state in states]
        values = [v for v in found if isinstance(v, Tensor) and v.layout is torch.strided]
        if len(values) < len(found) or len({(v.dtype, v.device) for v in values}) > 1:
            continue
        if all(v.dim() == 0 for v in values) and (key == "step" or any(slot.shape for slot in layout.slots)):
            arrays[key] = torch.stack(values)
            slots.append(key)
        elif all(tuple(v.shape) == slot.shape for v, slot in zip(values, layout.slots, strict=True)):
            arrays[key] = torch.cat([v.detach().reshape(-1) for v in values])
            flat.append(key)
    rest = {name: {k: v for k, v in state.items() if k not in arrays} for name, state in by_name.items() if state}
    groups = [
        {k: v for k, v in group.items() if k != "params"} | {"params": [names.get(id(p)) for p in group["params"]]}
        for group in optimizer.param_groups
    ]
    return arrays, {"class": type(optimizer).__name__, "groups": groups, "flat": flat, "slots": slots, "rest": rest}


def restore_optimizer(
    optimizer: Any, model: nn.Module, layout: Layout, arrays: Mapping[str, Tensor], kept: Mapping[str, Any]
) -> None:
    """Put an optimiser's state back.

    Args:
        optimizer: an optimiser of the same class over the same parameters.
        model: the model whose parameters it holds.
        layout: the model's layout.
        arrays: what `optimizer_state` returned first.
        kept: what it returned second.

    Raises:
        BadInput: when the optimiser is of another class or holds other parameters.
    """
    if type(optimizer).__name__ != kept["class"]:
        raise BadInput(
            f"The record holds the state of {kept['class']}, not of {type(optimizer).__name__}: make the optimiser "
            "as it was made for the run."
        )
    names = {id(p): name for name, p in model.named_parameters()}
    held = [[names.get(id(p)) for p in group["params"]] for group in optimizer.param_groups]
    if held != [group["params"] for group in kept["groups"]]:
        raise BadInput(
            "The optimiser holds other parameters, or other groups of them, than the recorded one: make it as it was "
            "made for the run."
        )
    by_name: dict[str, dict[str, Any]] = {name: dict(state) for name, state in kept["rest"].items()}
    for number, slot in enumerate(layout.slots):
        for key in kept["flat"]:
            value = arrays[key][slot.start : slot.stop].clone().view(slot.shape)
            by_name.setdefault(slot.name, {})[key] = value
        for key in kept["slots"]:
            by_name.setdefault(slot.name, {})[key] = arrays[key][number].clone()
    numbers = {name: n for n, name in enumerate(name for group in held for name in group)}
    groups: list[dict[str, Any]] = []
    first = 0
    for group in kept["groups"]:
        groups.append({**group, "params": list(range(first, first + len(group["params"])))})
        first += len(group["params"])
    state = {numbers[name]: found for name, found in by_name.items() if found and name in numbers}
    optimizer.load_state_dict({"state": state, "param_groups": groups})


def check_optimizer(optimizer: Any, model: nn.Module, layout: Layout, *, resumable: bool) -> None:
    """Refuse an optimiser that does not train the model.

    Args:
        optimizer: what was given as one.
        model: the model.
        layout: the model's layout.
        resumable: whether its state shall be kept.

    Raises:
        BadInput: when it is no optimiser, holds none of the model's trainable parameters, or, where its state is to
            be kept, holds parameters of something else as well.
    """
    if not hasattr(optimizer, "param_groups") or not hasattr(optimizer, "state"):
        raise BadInput(f"optimizer must be a torch optimiser or None; got {type(optimizer).__name__}.")
    held = {id(p) for group in optimizer.param_groups for p in group["params"]}
    own = {id(p): name for name, p in model.named_parameters()}
    if not any(name in set(layout.names) for key, name in own.items() if key in held):
        raise BadInput(
            f"The optimiser holds no trainable parameter of this {type(model).__name__}: make it from "
            "model.parameters() of this very model, after moving or wrapping it."
        )
    foreign = len(held - own.keys())
    if resumable and foreign:
        raise BadInput(
            f"The optimiser also holds {foreign} parameters that are not the model's, so the run could not be resumed "
            "exactly: record one module that owns them all, or give no resumable_at."
        )


def persistent_buffers(model: nn.Module) -> dict[str, tuple[nn.Module, str]]:
    """Find the buffers that belong to a model's state.

    Args:
        model: any module.

    Returns:
        For each name the module that owns the buffer, and the buffer's name there.
    """
    found: dict[str, tuple[nn.Module, str]] = {}
    for owner_name, owner in model.named_modules():
        for key, buffer in owner._buffers.items():
            if buffer is not None and key not in owner._non_persistent_buffers_set:
                found[f"{owner_name}.{key}" if owner_name else key] = (owner, key)
    return found


def check_buffers(model: nn.Module, buffers: Mapping[str, Tensor]) -> None:
    """Refuse a model that cannot take recorded buffers.

    Args:
        model: the model.
        buffers: the recorded buffers by name.

    Raises:
        BadInput: when the model has no such buffer, or one of another shape.
    """
    owners = persistent_buffers(model)
    for name, value in buffers.items():
        if name not in owners or model.get_buffer(name).shape != value.shape:
            raise BadInput(
                f"The record holds a buffer {name} of shape {tuple(value.shape)}, which the model has not: build the "
                "model as it was built for the run."
            )


def restore_buffers(model: nn.Module, buffers: Mapping[str, Tensor]) -> None:
    """Put buffers back, in place.

    Args:
        model: the model to change, found fit by `check_buffers`.
        buffers: the recorded buffers by name.
    """
    with torch.no_grad():
        for name, value in buffers.items():
            model.get_buffer(name).copy_(value)


def generator_state(devices: set[torch.device]) -> dict[str, Any]:
    """Take the state of the random generators a training loop may draw from.

    Args:
        devices: the devices the model lies on.

    Returns:
        The states of torch (on the CPU and on those devices), NumPy's and Python's.
    """
    state: dict[str, Any] = {"torch": torch.get_rng_state()}
    for device in devices:
        if device.type == "cuda":
            state[str(device)] = torch.cuda.get_rng_state(device)
        elif device.type == "mps":
            state["mps"] = torch.mps.get_rng_state()
    return {**state, "python": random.getstate(), "numpy": np.random.get_state(legacy=False)}  # noqa: NPY002 (what loops use)


def restore_generators(state: Mapping[str, Any]) -> None:
    """Put the random generators back; those of devices that are not here are left alone.

    Args:
        state: what `generator_state` returned.
    """
    for name, value in state.items():
        if name == "torch":
            torch.set_rng_state(value)
        elif name == "python":
            random.setstate(value)
        elif name == "numpy":
            np.random.set_state(value)  # noqa: NPY002
        elif name == "mps" and torch.backends.mps.is_available():
            torch.mps.set_rng_state(value)
        elif name.startswith("cuda") and torch.cuda.is_available():
            torch.cuda.set_rng_state(value, torch.device(name))
