"""What the tests of merging files share: small models on disk, in the forms in which they are found."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from landform.layout import Layout, Slot

Tensors = dict[str, Tensor]
WEIGHTS = ("embed.weight", "layers.0.w", "layers.0.b", "layers.1.w", "norm.weight", "scale")
TOKENIZER = '{"tokens": ["a", "b"]}'


def tensors(seed: int, dtype: torch.dtype = torch.float32, plain: bool = False) -> Tensors:
    """Weights, and unless plain also what is no weight."""
    made = torch.Generator().manual_seed(seed)

    def some(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=made).to(dtype)

    found = {
        "embed.weight": some(31, 8),
        "layers.0.w": some(16, 8),
        "layers.0.b": some(16),
        "layers.1.w": some(4, 3, 5),
        "norm.weight": some(8),
        "scale": some(1).reshape(()),
    }
    if not plain:
        found |= {
            "nothing": torch.empty(0, 3, dtype=dtype),
            "norm.running_mean": some(8),
            "norm.running_var": some(8).abs(),
            "norm.num_batches_tracked": torch.tensor(10 + seed),
            "mask": torch.ones(5, dtype=torch.bool),
        }
    return found


def save_folder(folder: Path, found: Mapping[str, Tensor], shards: int = 1, **config: Any) -> Path:
    """A folder as the hub has them."""
    folder.mkdir(parents=True)
    names = list(found)
    told = {"weight_map": {}, "metadata": {}}
    for number in range(shards):
        mine = names[number::shards]
        file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors" if shards > 1 else "model.safetensors"
        save_file({name: found[name] for name in mine}, folder / file, metadata={"format": "pt"})
        told["weight_map"].update(dict.fromkeys(mine, file))
    if shards > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps(told))
    kind = str(next(iter(found.values())).dtype).removeprefix("torch.")
    (folder / "config.json").write_text(json.dumps({"model_type": "tiny", "torch_dtype": kind, **config}))
    (folder / "tokenizer.json").write_text(TOKENIZER)
    (folder / "README.md").write_text("the card of this model")
    return folder


def load_folder(folder: Path) -> Tensors:
    """Everything in the safetensors files of a folder, as the safetensors package reads it."""
    found: Tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        found |= load_file(file)
    return found


def layout(found: Mapping[str, Tensor], names: Sequence[str] = WEIGHTS) -> Layout:
    slots, at = [], 0
    for name in names:
        slots.append(Slot(name, tuple(found[name].shape), at, at + found[name].numel()))
        at += found[name].numel()
    return Layout(tuple(slots))
