"""Federated training: rounds of local steps of clients, which are a stack that starts at the server's weights."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from landform.errors import BadInput
from landform.landscape import Loss
from landform.layout import Layout
from landform.recording import Trajectory
from landform.stacked import Choice
from landform.training._books import Books
from landform.training._clients import Averaging, ClientBatches, Grouped, LocalMoment
from landform.training._federation import Federation
from landform.training._gradients import Plain
from landform.training._loop import Moment, Start, run
from landform.training._noise import seed_of
from landform.training._recipe import Recipe
from landform.training._rows import Rows
from landform.training._stack import Progress, Task, as_dataset, decide, own_generators
from landform.training._train import How, Recording, describe, resumed


@dataclass(frozen=True)
class Federated:
    """What came of a federated training.

    Attributes:
        point: where the server ended, ``[P]``, on the CPU.
        buffers: its buffers, by name.
        losses: mean loss of each client's batch before each local step, ``[rounds, K, M]``.
        members: which clients these are, ``[rounds, M]``.
        spread: how far the clients of each round had come apart at its end: root mean square distance from their mean,
            over the length of the mean's way, ``[rounds]``.
        clients: places of each client's samples.
        federation: how they trained together.
        recipe: how each trained.
        how: whether they ran in a stack, and why.
        first: the round it went on from; those before are not in the above.
        trajectory: the recorded run of the server's model, a step a round; None where it was not recorded.
    """

    point: Tensor
    buffers: Mapping[str, Tensor]
    losses: Tensor
    members: Tensor
    spread: Tensor
    clients: tuple[Tensor, ...]
    federation: Federation
    recipe: Recipe
    how: Choice
    first: int = 0
    trajectory: Trajectory | None = None

    @property
    def start_losses(self) -> Tensor:
        """Loss of the server's model at the start of each round, ``[rounds]``.

        The weighted mean over the clients' first batches: exact where a batch is all that a client has, and all take
        part.
        """
        counts = [[len(self.clients[c]) for c in row] for row in self.members.tolist()]
        weights = torch.stack([self.federation.weights(row) for row in counts]).to(self.losses)
        return (weights * self.losses[:, 0]).sum(1)

    @property
    def sent(self) -> int:
        """Numbers that go to and fro between server and clients in a round."""
        return 2 * self.federation.present * len(self.point)

    @property
    def diverged(self) -> bool:
        """Whether the loss or the weights ended as NaN or infinity."""
        return not bool(torch.isfinite(self.point).all() and torch.isfinite(self.losses[-1:]).all())


def federated(
    model: nn.Module,
    data: Any,
    federation: Federation | None = None,
    recipe: Recipe | None = None,
    *,
    clients: Sequence[Tensor] | None = None,
    out: str | Path | None = None,
    recording: Recording | None = None,
    loss: str | Loss = "cross-entropy",
    device: str | torch.device = "auto",
    dtype: torch.dtype | None = None,
    how: How = "auto",
    resume: bool = False,
    overwrite: bool = False,
    settings: Mapping[str, Any] | None = None,
    watch: Callable[[LocalMoment], object] | None = None,
    progress: Progress | None = None,
) -> Federated:
    """Train one model by federated averaging, in place.

    Each round the clients start at the server's weights with an optimiser of no memory, take their local steps on
    batches of their own samples, and the server moves by the weighted mean of what they moved by; BatchNorm's running
    statistics are averaged alike. A recorded run has a step a round, and an epoch is a round.

    Args:
        model: any module; it ends up as the server's model.
        data: one of ``lf.data``, or a pair of tensors (inputs, targets); the training split is divided.
        federation: how clients train together.
        recipe: how each trains: ``epochs`` becomes the rounds, over which the schedule goes; a ``batch_size`` as large
            as a client's set takes all of it at each step.
        clients: places of each client's samples, instead of a division.
        out: folder to record the server's run in; None records nothing.
        recording: which rounds are recorded; by default 50 log-spaced ones, without partners.
        loss: a name, or a function of (outputs, targets) that returns the mean over the batch.
        device: where to train; the model stays where it is.
        dtype: the floating-point type to train in; None keeps the model's own.
        how: ``"stack"`` runs the clients as one program, ``"loop"`` one by one; ``"auto"`` decides by counting.
        resume: go on with the run that lies in ``out``, to the bit on a CPU.
        overwrite: replace the run that lies in ``out``.
        settings: more to be kept in ``run.json``, as JSON.
        watch: shown the clients at the start of every round and after each local step, before they meet.
        progress: called with (rounds done, rounds in all).

    Returns:
        What came of it.

    Raises:
        BadInput: when model, data, federation and recipe do not fit together; the message says which.
    """
    rules = federation or Federation()
    recipe = replace(recipe or Recipe(batch_size=32, momentum=0.0), epochs=float(rules.rounds))
    if recipe.adversary is not None:
        raise BadInput("Clients train on inputs as they are: leave the recipe's adversary out.")
    dataset = as_dataset(data)
    places = _divided(clients, rules, len(dataset.train.inputs)) if clients is not None else rules.divide(dataset)
    rules = replace(rules, clients=len(places))
    layout = Layout.of(model)
    start = Start(layout.point(model), buffers=dict(model.named_buffers()))
    task = _task(Task.of(model, data, [recipe], loss=loss, device=device, dtype=dtype), places, rules, recipe)
    folder = None if out is None else Path(out)
    choice: Choice | None = None
    described: dict[str, Any] = {}
    there = None
    if folder is not None:
        described = describe(model, data, recipe, loss, settings or {})
        described["federation"] = {
            **rules.to_json(),
            "samples": [len(part) for part in places],
            "places": _hash(places),
        }
        there = Trajectory(folder) if resume and (folder / "run.json").exists() else None
    if there is not None:
        if there.run["settings"].get("federation") != json.loads(json.dumps(described["federation"])):
            raise BadInput(
                f"The run in {folder} was made with another federation: resume it with the same one, or give "
                "overwrite=True or another folder."
            )
        (start,), choice = resumed([there], [start], [described], task.dtype)
    choice = choice or decide(how, task, [start] * rules.present)
    described["how"] = {"stack": choice.stack, "why": choice.why, "size": 1, "place": 0}
    with ExitStack() as open_books:
        books = None
        if folder is not None:
            books = open_books.enter_context(
                Books(
                    [folder],
                    [described],
                    [None],
                    layout=layout,
                    plan=(recording or Recording(pairs=None)).plan(rules.rounds, 1),
                    starts=[start.step],
                    epoch=1,
                    dtype=task.dtype,
                    persistent=task.function.persistent,
                    before=there.at(step=start.step).seconds if there is not None and len(there) else 0.0,
                    resume=resume,
                    overwrite=overwrite,
                )
            )
        server, losses = _follow(task, task.place(start), choice, books, watch, progress)
    point, buffers = server.server.cpu(), {name: buffer.cpu() for name, buffer in server.buffers.items()}
    layout.load_(model, point)
    for name, own in model.named_buffers():
        own.copy_(buffers[name])
    batches = task.batches
    assert isinstance(batches, ClientBatches)
    members = [batches.members(number) for number in range(start.step, rules.rounds)]
    return Federated(
        point,
        buffers,
        losses.view(-1, rules.local_steps, rules.present),
        torch.tensor(members, dtype=torch.long).view(-1, rules.present),
        torch.stack(server.spread).cpu() if server.spread else torch.empty(0),
        tuple(part.cpu() for part in places),
        rules,
        recipe,
        choice,
        start.step,
        None if folder is None else Trajectory(folder),
    )


def _task(task: Task, places: Sequence[Tensor], rules: Federation, recipe: Recipe) -> Task:
    """The task of all clients of a round."""
    whole = task.batches
    targets = whole.targets[0] if whole.own_targets else whole.targets
    size = min(recipe.batch_size, max(len(part) for part in places))
    own = [
        replace(recipe, batch_size=size, label_noise=0.0, seed=seed_of(recipe.seed, "client", place))
        for place in range(rules.present)
    ]
    where = [part.to(whole.inputs.device) for part in places]
    batches = ClientBatches(whole.inputs, targets, whole.data, own, federation=rules, places=where)
    return replace(task, batches=batches, until=rules.rounds * rules.local_steps)


def _follow(
    task: Task,
    start: Start,
    choice: Choice,
    books: Books | None,
    watch: Callable[[LocalMoment], object] | None,
    progress: Progress | None,
) -> tuple[Averaging, Tensor]:
    """Train from a round to the end; losses are ``[steps, M]``."""
    batches, steps = task.batches, task.batches.per_epoch
    assert isinstance(batches, ClientBatches)
    recipe, seeds = batches.recipes[0], [one.seed for one in batches.recipes]

    def make(group: range) -> Plain:
        return Plain(
            task.function,
            task.loss,
            stacked=choice.stack and len(group) > 1,
            seeds=seeds[group.start : group.stop],
            smoothing=recipe.label_smoothing,
            precision=recipe.precision,
        )

    given = {**task.function.buffers, **(start.buffers or {})}
    buffers = {name: given[name].to(own) for name, own in task.function.buffers.items()}
    server = Averaging(batches, start.point, buffers, watch)
    rows = Rows(len(seeds))
    begun: list[tuple[Tensor, float]] = []

    def see(moment: Moment) -> None:
        number, local = divmod(moment.step, steps)
        if moment.losses is not None:
            rows.add(moment.losses)
            if local == 1 % steps:
                weights = server.weights((moment.step - 1) // steps)
                begun[:] = [((weights * moment.losses).sum(), moment.rates[0])]
        if local:
            return
        if books is not None:
            first = begun[0] if begun else None
            books.see(
                Moment(
                    number,
                    1,
                    server.server[None],
                    {},
                    {name: buffer[None] for name, buffer in server.buffers.items()},
                    None if first is None else first[0][None],
                    () if first is None else (first[1],),
                )
            )
        if progress is not None:
            progress(number - start.step, batches.federation.rounds - start.step)
        if number < batches.federation.rounds:
            server.show(number, 0, moment.points)

    begins = [replace(start, step=start.step * steps, state=None)] * len(seeds)
    with own_generators(task.batches.inputs.device), torch.enable_grad():
        run(
            begins,
            batches,
            Grouped(make, batches.groups),
            buffers=task.function.buffers,
            until=task.until,
            watch=see,
            meeting=server,
        )
    return server, rows.table().cpu()


def _divided(clients: Sequence[Tensor], rules: Federation, samples: int) -> tuple[Tensor, ...]:
    """Clients that are given, checked."""
    found = tuple(torch.as_tensor(places, dtype=torch.long).cpu().flatten() for places in clients)
    for client, places in enumerate(found):
        if not len(places) or int(places.min()) < 0 or int(places.max()) >= samples:
            raise BadInput(
                f"Client {client} has places outside 0..{samples - 1}, or none: give it samples of the data."
            )
    if len(found) != rules.clients and rules.clients != Federation().clients:
        raise BadInput(f"The federation has {rules.clients} clients and {len(found)} are given: leave one of them out.")
    return found


def _hash(places: Sequence[Tensor]) -> str:
    """A short name of a division."""
    return f"{seed_of([part.tolist() for part in places]):016x}"
