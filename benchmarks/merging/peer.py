"""What landform and mergekit make of the same recipes, on small random models in the form of the hub."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import tempfile
import time
from pathlib import Path

import torch
from random_models import make
from safetensors.torch import load_file

from landform.merging import read_recipe

LAYERS = 3
OFFLINE = {**os.environ, "HF_HUB_OFFLINE": "1"}
PLAIN = {"models": [{"model": "a"}, {"model": "b"}]}
PAIR = {
    "models": [
        {"model": "a", "parameters": {"weight": 0.3, "density": 0.6}},
        {"model": "b", "parameters": {"weight": 0.9, "density": 0.4}},
    ]
}
RANGES = [{"model": name, "layer_range": [0, LAYERS]} for name in "ab"]
BY_NAME = [{"filter": "self_attn", "value": [0, 0.5, 0.3, 1]}, {"filter": "mlp", "value": [1, 0]}, {"value": 0.5}]
ON_BASE = {"base_model": "base"}
# JSON is YAML.
RECIPES: dict[str, dict[str, object]] = {
    "linear": {"merge_method": "linear", **PAIR},
    "linear, not normalised": {"merge_method": "linear", "parameters": {"normalize": False, "weight": 0.4}, **PLAIN},
    "slerp": {"merge_method": "slerp", "base_model": "a", "parameters": {"t": 0.3}, **PLAIN},
    "slerp, by name and depth": {"merge_method": "slerp", "base_model": "b", "parameters": {"t": BY_NAME}, **PLAIN},
    "slerp, slices": {
        "merge_method": "slerp",
        "base_model": "a",
        "parameters": {"t": 0.7},
        "slices": [{"sources": RANGES}],
    },
    "task_arithmetic": {"merge_method": "task_arithmetic", **ON_BASE, "parameters": {"lambda": 0.8}, **PAIR},
    "ties": {"merge_method": "ties", **ON_BASE, **PAIR},
    "ties, not normalised": {
        "merge_method": "ties",
        **ON_BASE,
        "parameters": {"normalize": False, "lambda": 0.7},
        **PAIR,
    },
    "breadcrumbs": {"merge_method": "breadcrumbs", **ON_BASE, "parameters": {"gamma": 0.05}, **PAIR},
    "breadcrumbs_ties": {"merge_method": "breadcrumbs_ties", **ON_BASE, **PAIR},
    "model_stock": {"merge_method": "model_stock", **ON_BASE, **PLAIN},
    "karcher": {"merge_method": "karcher", **PLAIN},
}


def compare(python: Path) -> None:
    """Merge by both and print how far they lie apart.

    Args:
        python: of an environment with mergekit.
    """
    tell = [python, "-c", "import importlib.metadata as m; print(m.version('mergekit'))"]
    version = subprocess.run(tell, capture_output=True, text=True, check=False)
    if version.returncode:
        print(f"\nmergekit is left out: {python} does not have it.")
        return
    print(f"\nmergekit {version.stdout.strip()}, on models of {LAYERS} layers, float32")
    print(f"{'':30}{'largest difference':>20}{'same bits':>12}")
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        for seed, name in enumerate(("a", "b", "base")):
            make(folder / name, seed, width=32, layers=LAYERS)
        for name, asked in RECIPES.items():
            recipe = folder / "recipe.yml"
            recipe.write_text(json.dumps({"dtype": "float32", **asked}))
            ours, theirs = folder / name / "ours", folder / name / "theirs"
            read_recipe(recipe).merge(ours)
            command = [str(python.parent / "mergekit-yaml"), "recipe.yml", str(theirs)]
            command += ["--no-copy-tokenizer", "--no-write-model-card"]
            ran = subprocess.run(command, capture_output=True, text=True, check=False, cwd=folder, env=OFFLINE)
            if ran.returncode:
                print(f"{name:30} mergekit failed: {ran.stderr.strip().splitlines()[-1]}")
                continue
            one, other = load(ours), load(theirs)
            if one.keys() != other.keys():
                print(f"{name:30} the tensors differ: {sorted(one.keys() ^ other.keys())}")
                continue
            apart = max(float((one[key].double() - other[key].double()).abs().max()) for key in one)
            same = sum(int((one[key] == other[key]).sum()) for key in one) / sum(one[key].numel() for key in one)
            print(f"{name:30}{apart:20.2e}{same:12.1%}")


def ran(python: Path, folder: Path, method: str, out: Path, threads: int) -> tuple[float, int]:
    """Merge the folders a and b, with c as the base, by mergekit.

    Args:
        python: of an environment with mergekit.
        folder: where the three lie.
        method: ``"linear"`` or ``"ties"``.
        out: for what comes of it.
        threads: for torch.

    Returns:
        Seconds, with the start of its process, and the most memory it held, in bytes.
    """
    asked: dict[str, object] = {"merge_method": method, "parameters": {"weight": 0.5}, **PLAIN}
    if method == "ties":
        asked |= {"base_model": "c", "parameters": {"weight": 0.5, "density": 0.2}}
    (folder / "recipe.yml").write_text(json.dumps(asked))
    command = [python.parent / "mergekit-yaml", "recipe.yml", out, "--no-copy-tokenizer", "--no-write-model-card"]
    command += ["--num-threads", str(threads)]
    start = time.perf_counter()
    process = subprocess.Popen(list(map(str, command)), cwd=folder, env=OFFLINE, stderr=subprocess.DEVNULL)
    peak = 0
    while process.poll() is None:
        with contextlib.suppress(OSError, StopIteration):
            told = Path(f"/proc/{process.pid}/status").read_text()
            peak = 1024 * int(next(line for line in told.splitlines() if line.startswith("VmHWM")).split()[1])
        time.sleep(0.01)
    if process.returncode:
        raise RuntimeError(f"mergekit failed: {command}")
    return time.perf_counter() - start, peak


def load(folder: Path) -> dict[str, torch.Tensor]:
    """Every tensor in a folder.

    Args:
        folder: of a model.

    Returns:
        The tensors by name.
    """
    found: dict[str, torch.Tensor] = {}
    for file in folder.glob("*.safetensors"):
        found |= load_file(file)
    return found
