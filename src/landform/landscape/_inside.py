"""What the rooms above may use of a landscape beside its public face.

Measurements that go sample by sample, or need the graph of a batch, enter a landscape below its methods. They use these
names and no other; a test holds them to it. Users have no business here: the names may change with any release.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol, TypeAlias, runtime_checkable

from torch import Tensor, nn

from landform.landscape._batches import Stream, Tensors
from landform.landscape._terms import Forward
from landform.stacked import Cost, Function

Buffers: TypeAlias = Mapping[str, Tensor]


@runtime_checkable
class Inside(Protocol):
    """The inside of a landscape.

    Attributes:
        _model: the user's own module, to be looked at and never changed.
        _function: the model as a function of parameters by name and buffers; ``_function.net`` is a copy in evaluation
            mode whose parameters hold nothing.
        _data: the data on the landscape's device; ``_data.batches(size)`` goes through them in an order that never
            changes. Samples can be chosen where it is `Tensors` (``inputs``, ``targets``, ``len``).
        _batch_size: samples at a time, for data in memory.
        _forward: (module, batch) to outputs and targets, as the user gave it.
        _loss: (outputs, targets) of a batch to the mean over its samples, without weight decay.
        _loss_name: ``"cross-entropy"``, ``"mse"``, or what a loss of the user's own is called.
    """

    _model: nn.Module
    _function: Function
    _data: Tensors | Stream
    _batch_size: int
    _forward: Forward
    _loss: Callable[[Any, Any], Any]
    _loss_name: str

    @property
    def _cost(self) -> Cost:
        """What a forward pass of one sample costs, as counted: dense and convolutional products, widest layer."""

    @property
    def _stackable(self) -> str | None:
        """Why many points cannot run as one program; None where they can."""

    def _blocks(self, points: Tensor, buffers: Buffers | None) -> Iterator[tuple[Tensor, Buffers]]:
        """Check points, cut them into what is evaluated together, and give each block with its buffers."""

    def _own_buffers(self, block: Tensor, given: Buffers | None) -> Buffers:
        """The buffers to use at a point: those given, or BatchNorm's recomputed where the landscape does so."""

    def _passes(
        self, block: Tensor, buffers: Buffers, leaves: Mapping[str, Tensor] | None = None, start: int = 0
    ) -> Iterator[tuple[Any, Any]]:
        """Run all batches from number ``start`` on; gives outputs, with their graph to ``leaves``, and targets."""

    def _on_batch(self, batch: Any, net: nn.Module) -> tuple[Any, Any]:
        """Run a module on a batch by ``_forward``, with what BatchNorm refuses said in our words."""

    def _first_pass(self) -> tuple[Any, Any]:
        """Outputs and targets of the first batch where the model is, without a graph."""
