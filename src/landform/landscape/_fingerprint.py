"""The name of a landscape: a hash of everything that its numbers depend on."""

from __future__ import annotations

import hashlib
import json
import re
from typing import TYPE_CHECKING

import torch

from landform.landscape._batches import digest, digest_of

if TYPE_CHECKING:
    from landform.landscape._landscape import Landscape


def fingerprint(self: Landscape) -> str:
    """Name what this landscape measures by a short hash: data, loss, forward, layout, BatchNorm and type.

    Args:
        self: the landscape.

    Returns:
        The hash; two landscapes with the same one measure the same function, up to the loss's own code.
    """
    settings = [self._loss_name, getattr(self._forward, "__qualname__", ""), self.batchnorm, self.weight_decay]
    structure = re.sub(" at 0x[0-9a-f]+", "", str(self._function.net))  # where a function lies says nothing
    described = json.dumps([settings, str(self.dtype), self.layout.to_json(), structure])
    parts = [described, _state_digest(self), digest_of(self._data, self._batch_size)]
    if self.batchnorm == "recompute" and self._calibration is not self._data:
        parts.append(digest_of(self._calibration, self._batch_size))
    return hashlib.blake2b("|".join(parts).encode(), digest_size=10).hexdigest()


def _state_digest(landscape: Landscape) -> str:
    """Name what a point leaves out and the function depends on: frozen parameters, and the buffers it uses."""
    changing = landscape._statistics if landscape.batchnorm in ("recompute", "batch") else ()
    frozen = [p for p in landscape._function.net.parameters() if not p.is_meta]
    kept = [buffer for name, buffer in landscape._function.buffers.items() if name not in changing]
    return digest([*frozen, *kept, torch.tensor(landscape._batch_size if changing else 0)])
