"""What it takes to differentiate twice, in one place."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from landform.errors import BadInput


@contextmanager
def second_order_safe() -> Iterator[None]:
    """Run what is inside with operations that can be differentiated twice.

    Fused attention has no second derivative, so attention runs by plain products; the recurrent layers of cuDNN and
    oneDNN have none in some modes, so recurrent layers run by plain operations. Products are to be taken reverse over
    reverse: forward over reverse is silently wrong on LayerNorm and InstanceNorm in torch 2.13.

    Yields:
        Nothing.

    Raises:
        BadInput: when an operation inside still has no second derivative; the message names it.
    """
    with ExitStack() as inside:
        inside.enter_context(sdpa_kernel(SDPBackend.MATH))
        inside.enter_context(_without(torch.backends.mkldnn))
        inside.enter_context(_without(torch.backends.cudnn))
        try:
            yield
        except (RuntimeError, NotImplementedError) as why:
            said = str(why)
            if "derivative for" in said or "not implemented" in said or "double backward" in said.lower():
                raise BadInput(
                    f"This model cannot be differentiated twice: {said.splitlines()[0]} Replace that operation by "
                    "plain ones, or measure a quantity of first order."
                ) from why
            raise


@contextmanager
def _without(backend: Any) -> Iterator[None]:
    """Switch a backend off; its own ``flags`` would touch settings that warn on machines without the hardware."""
    before = backend.enabled
    backend.enabled = False
    try:
        yield
    finally:
        backend.enabled = before
