"""Clients as a stack: their batches, their gradients, and the meeting that ends a round."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch
from torch import Tensor

from landform.training._batches import Batches
from landform.training._federation import Federation
from landform.training._gradients import Gradients
from landform.training._loop import Moment
from landform.training._noise import order


@dataclass(frozen=True)
class LocalMoment:
    """Clients within a round; the tensors are the loop's own and change with the next step.

    Attributes:
        round: which, from 0.
        step: how many local steps have been taken; after the last one the clients have not met yet.
        server: the server's weights at the start of the round, ``[P]``.
        points: the clients', ``[M, P]``.
        members: which clients these are, ``[M]``.
    """

    round: int
    step: int
    server: Tensor
    points: Tensor
    members: Sequence[int]


@dataclass
class ClientBatches(Batches):
    """Batches of the clients of a round, each from its own samples, in an order of its own.

    A client with fewer samples than a batch takes them all at each step. What fills no batch at the end of an epoch
    waits for the next one's order. Clients with equally large batches stand side by side.

    Attributes:
        federation: how they train together.
        places: of each client's samples, on the device.
    """

    federation: Federation = field(default_factory=Federation)
    places: Sequence[Tensor] = ()
    _known: tuple[int, list[int], list[tuple[range, int]]] = (-1, [], [])
    _round: int = -1
    _at: Tensor = field(default_factory=lambda: torch.empty(0))
    _shuffled: dict[tuple[int, int], Tensor] = field(default_factory=dict)
    _kept: tuple[list[int], tuple[Tensor, Tensor]] | None = None

    @property
    def per_epoch(self) -> int:
        """A round is an epoch."""
        return self.federation.local_steps

    def size(self, client: int) -> int:
        """How many samples a client takes at a step."""
        return min(self.recipes[0].batch_size, len(self.places[client]))

    def members(self, number: int) -> list[int]:
        """Clients of a round, those of equal batches together."""
        return self._of_round(number)[0]

    def groups(self, step: int) -> list[tuple[range, int]]:
        """Which places in the stack have equally large batches at a step, and how large these are."""
        return self._of_round(step // self.per_epoch)[1]

    def _of_round(self, number: int) -> tuple[list[int], list[tuple[range, int]]]:
        everyone = self.federation.present == self.federation.clients
        if self._known[0] < 0 or not (everyone or self._known[0] == number):
            members = sorted(self.federation.members(number), key=self.size, reverse=True)
            groups, start = list[tuple[range, int]](), 0
            for size, group in groupby(map(self.size, members)):
                count = len(list(group))
                groups.append((range(start, start + count), size))
                start += count
            self._known = (number, members, groups)
        return self._known[1], self._known[2]

    def at(self, step: int, active: int) -> tuple[Tensor, Tensor]:
        """The batches of one local step.

        Args:
            step: the step, from 0, over all rounds.
            active: how many of the clients, from the first.

        Returns:
            Inputs ``[active, B, ...]`` and targets ``[active, B, ...]``; a smaller batch is filled up with what is not
            looked at.
        """
        number, local = divmod(step, self.per_epoch)
        members = self.members(number)
        plain = self.data.augment is None and not (self.data.mixup if self.recipes[0].mixup is None
                                                   else self.recipes[0].mixup)  # fmt: skip
        whole = plain and all(self.size(client) == len(self.places[client]) for client in members)
        if whole and self._kept is not None and self._kept[0] == members[:active]:
            return self._kept[1]
        if number != self._round:
            self._at, self._round = self._indices(number, members), number
        at = self._at[local, :active]
        flat = at.reshape(-1)
        inputs = self.inputs.index_select(0, flat).view(*at.shape, *self.inputs.shape[1:])
        targets = self.targets.index_select(0, flat).view(*at.shape, *self.targets.shape[1:])
        found = self._augmented(inputs, targets, step)
        self._kept = (members[:active], found) if whole else None
        return found

    def _indices(self, number: int, members: Sequence[int]) -> Tensor:
        """Samples of every step of a round, ``[K, M, B]``."""
        steps = range(number * self.per_epoch, (number + 1) * self.per_epoch)
        most = max(map(self.size, members))
        columns: list[Tensor] = []
        for client in members:
            size, places = self.size(client), self.places[client]
            per = len(places) // size
            if per == 1 and size == len(places):
                rows = places.expand(len(steps), -1)
            else:
                first, last = steps[0] // per, steps[-1] // per
                epochs = torch.cat([self._epoch_of(client, epoch, size) for epoch in range(first, last + 1)])
                rows = epochs[steps[0] - first * per :][: len(steps)]
            columns.append(torch.cat([rows, rows[:, :1].expand(-1, most - size)], 1) if size < most else rows)
        return torch.stack(columns, 1)

    def _epoch_of(self, client: int, epoch: int, size: int) -> Tensor:
        """A client's batches of one of its epochs, ``[steps, B]``."""
        places = self.places[client]
        if (client, epoch) not in self._shuffled:
            for key in [key for key in self._shuffled if key[0] == client and key[1] < epoch - 1]:
                del self._shuffled[key]
            steps = len(places) // size
            drawn = order(len(places), self.recipes[0].seed, _named(client, epoch))[: steps * size]
            self._shuffled[client, epoch] = places[drawn.to(places.device)].view(steps, size)
        return self._shuffled[client, epoch]


class Grouped:
    """Gradients of clients whose batches are not all of one size: a stack for each size."""

    def __init__(
        self, make: Callable[[range], Gradients], groups: Callable[[int], Sequence[tuple[range, int]]]
    ) -> None:
        """Take what gives gradients.

        Args:
            make: gives the gradients of a group of places in the stack.
            groups: which groups there are at a step, and how large their batches are.
        """
        self._make, self._groups = make, groups
        self._made: dict[range, Gradients] = {}

    def __call__(
        self,
        points: Tensor,
        buffers: Mapping[str, Tensor],
        inputs: Tensor,
        targets: Tensor,
        step: int,
        out: Tensor,
        *,
        add: bool = False,
    ) -> Tensor:
        """Write gradients into ``out`` and return the losses; see `Gradients`."""
        found: list[Tensor] = []
        for group, size in self._groups(step):
            if group not in self._made:
                self._made[group] = self._make(group)
            part = slice(group.start, group.stop)
            own = {name: buffer[part] for name, buffer in buffers.items()}
            x, y = inputs[part, :size], targets[part, :size]
            found.append(self._made[group](points[part], own, x, y, step, out[part], add=add))
        return found[0] if len(found) == 1 else torch.cat(found)


class Averaging:
    """The server: it moves by the weighted mean of what the clients moved by, and they begin anew from there."""

    def __init__(
        self,
        batches: ClientBatches,
        start: Tensor,
        buffers: Mapping[str, Tensor],
        watch: Callable[[LocalMoment], object] | None,
    ) -> None:
        """Take where the server is.

        Args:
            batches: the clients'.
            start: the server's weights, ``[P]``.
            buffers: its buffers.
            watch: shown the clients before and after every local step.
        """
        self.every = batches.federation.local_steps
        self.server = start.clone()
        self.buffers = {name: buffer.clone() for name, buffer in buffers.items()}
        self.spread: list[Tensor] = []
        self._batches, self._watch = batches, watch

    def weights(self, number: int) -> Tensor:
        """What each client of a round counts, ``[M]``, in the stack's order."""
        batches = self._batches
        counts = [len(batches.places[client]) for client in batches.members(number)]
        return batches.federation.weights(counts).to(self.server)

    def show(self, number: int, step: int, points: Tensor) -> None:
        """Show the clients to whoever watches."""
        if self._watch is not None:
            self._watch(LocalMoment(number, step, self.server, points, self._batches.members(number)))

    def __call__(self, moment: Moment) -> None:
        """See a local step, and end the round if it was the last."""
        number, step = divmod(moment.step - 1, self.every)
        self.show(number, step + 1, moment.points)
        if step + 1 < self.every:
            return
        weights = self.weights(number)
        moved = moment.points.sub_(self.server)  # they begin anew in any case
        mean = weights @ moved
        ratio = (weights @ moved.square().sum(1)) / mean.square().sum()
        self.spread.append((ratio - 1).clamp_min(0).sqrt())
        self.server.add_(mean, alpha=self._batches.federation.server_lr)
        moment.points.copy_(self.server.expand_as(moment.points))
        for tensor in moment.state.values():
            tensor.zero_()
        for name, buffer in moment.buffers.items():
            own = self.buffers[name]
            if own.is_floating_point():
                own.copy_(torch.tensordot(weights.to(buffer), buffer, 1))
            else:  # a count of batches: what the first says
                own.copy_(buffer[0])
            buffer.copy_(own.expand_as(buffer))


def _named(client: int, epoch: int) -> int:
    """One number for a client's epoch, as `order` takes it."""
    return (client << 40) + epoch
