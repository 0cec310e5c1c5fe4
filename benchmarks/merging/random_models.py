"""Random weights in the form of a model of the hub."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from safetensors.torch import save_file


def make(
    folder: Path, seed: int, *, width: int, layers: int, dtype: torch.dtype = torch.float32, shards: int = 1
) -> None:
    """A transformer's tensors: 16 rows of words for each of the width, and an inner width of 4.

    Args:
        folder: for them.
        seed: of the numbers, around some that all seeds have in common, as models that began from one are.
        width: of the model; it takes about ``(32 + 16 layers) width^2`` numbers.
        layers: how many.
        dtype: of the tensors.
        shards: files.
    """
    shapes: dict[str, tuple[int, ...]] = {"model.embed_tokens.weight": (16 * width, width)}
    for layer in range(layers):
        one = f"model.layers.{layer}"
        shapes |= {f"{one}.self_attn.{each}_proj.weight": (width, width) for each in "qkvo"}
        shapes |= {f"{one}.mlp.{each}_proj.weight": (4 * width, width) for each in ("gate", "up")}
        shapes |= {f"{one}.mlp.down_proj.weight": (width, 4 * width)}
        shapes |= {f"{one}.{each}_layernorm.weight": (width,) for each in ("input", "post_attention")}
    shapes |= {"model.norm.weight": (width,), "lm_head.weight": (16 * width, width)}
    folder.mkdir(parents=True)
    places: dict[str, str] = {}
    names = list(shapes)
    shared, own = (torch.Generator().manual_seed(one) for one in (99, seed))
    for number in range(shards):
        mine = names[number * len(names) // shards : (number + 1) * len(names) // shards]
        file = f"model-{number + 1:05d}-of-{shards:05d}.safetensors" if shards > 1 else "model.safetensors"
        tensors = {}
        for name in mine:
            common = torch.randn(shapes[name], generator=shared)
            tensors[name] = common.add_(torch.randn(shapes[name], generator=own), alpha=0.3).mul_(0.05).to(dtype)
        save_file(tensors, folder / file, {"format": "pt"})
        places.update(dict.fromkeys(mine, file))
    if shards > 1:
        told = {"metadata": {}, "weight_map": places}
        (folder / "model.safetensors.index.json").write_text(json.dumps(told))
    config = {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": width,
        "intermediate_size": 4 * width,
        "num_attention_heads": 4,
        "num_key_value_heads": 4,
        "num_hidden_layers": layers,
        "vocab_size": 16 * width,
        "max_position_embeddings": 64,
        "rms_norm_eps": 1e-6,
        "tie_word_embeddings": False,
        "torch_dtype": str(dtype).removeprefix("torch."),
    }
    (folder / "config.json").write_text(json.dumps(config))
