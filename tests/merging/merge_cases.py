"""What the tests of merging share: points, models, plain numpy."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

import landform as lf
from landform.layout import Layout

DOUBLE = torch.float64


def points(count: int = 3, size: int = 23, seed: int = 0, dtype: torch.dtype = DOUBLE) -> Tensor:
    return torch.randn(count, size, generator=torch.Generator().manual_seed(seed), dtype=DOUBLE).to(dtype)


def model(seed: int = 0, norm: str = "none") -> torch.nn.Module:
    if norm == "batch":
        return lf.models.build("small_cnn", inputs=(1, 8, 8), classes=3, width=2, norm="batch", seed=seed)
    return lf.models.mlp(inputs=(4,), classes=3, width=5, depth=2, seed=seed)


def layout() -> Layout:
    return Layout.of(model())


def near(count: int = 3, seed: int = 0, dtype: torch.dtype = DOUBLE) -> tuple[Tensor, Tensor]:
    """A base and sources around it, of the model's layout."""
    size = layout().size
    base = points(1, size, seed + 100)[0]
    return base.to(dtype), (base + 0.3 * points(count, size, seed)).to(dtype)


def array(tensor: Tensor) -> np.ndarray:
    return tensor.detach().cpu().double().numpy()
