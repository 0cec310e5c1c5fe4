"""Networks of the zoo under federated averaging: rounds to a loss by local steps, clients and division."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from landform.data import Dataset
from landform.studies._emergent_protocol import Subject, finite, seen
from landform.studies._federated_protocol import FederatedProtocol, reached
from landform.studies._parts import write_part
from landform.training import Federation, LocalMoment, federated

# Points of a run whose loss is measured, at most.
_POINTS = 40


def zoo(folder: Path, protocol: FederatedProtocol, device: str, name: str, subject: str, seed: int) -> None:
    """Train one network with every number of local steps and of clients, samples alike or not.

    Args:
        folder: of the study.
        protocol: the study's.
        device: where to train and to measure.
        name: of the part.
        subject: which network.
        seed: of weights, division and order.
    """
    one = protocol.zoo[subject]
    data = one.dataset()
    divisions: tuple[Literal["iid", "dirichlet"], ...] = ("iid", "dirichlet")
    level = protocol.levels[subject]
    cells = [
        _cell(protocol, one, data, device, division, clients, steps, seed, level)
        for division, clients, steps in itertools.product(divisions, protocol.zoo_clients, protocol.zoo_steps)
    ]
    write_part(folder, name, {"kind": "zoo", "subject": subject, "seed": seed, "cells": cells})


def _cell(
    protocol: FederatedProtocol,
    subject: Subject,
    data: Dataset,
    device: str,
    division: Literal["iid", "dirichlet"],
    clients: int,
    steps: int,
    seed: int,
    level: float,
) -> dict[str, Any]:
    net = subject.net(data, seed)
    landscape = seen(subject, data, net, device)
    rounds = protocol.zoo_rounds(steps)
    # Densely at the start, where losses fall the most.
    times = sorted({round((rounds - 1) * (i / (_POINTS - 1)) ** 1.5) for i in range(_POINTS)})
    points: list[Tensor] = []

    def watch(moment: LocalMoment) -> None:
        if not moment.step and moment.round in times:
            points.append(moment.server.clone())

    rules = Federation(clients, steps, rounds, division=division, alpha=protocol.zoo_alpha, equal=True, seed=seed)
    recipe = protocol.zoo_recipe
    found = federated(net, data, rules, recipe, device=device, watch=watch)
    points.append(found.point.to(landscape.device))
    losses = finite(landscape.loss(torch.stack(points).to(landscape.device)))
    whole = _between([*times, rounds], losses)
    test = landscape.on(data.test)
    return {
        "division": division,
        "clients": clients,
        "steps": steps,
        "rounds": [*times, rounds],
        "losses": losses,
        "reached": reached(whole, level),
        "error": float(test.error(found.point.to(landscape.device))),
        "spread": float(found.spread[: max(1, rounds // 4)].double().mean()),
        "stacked": found.how.stack,
    }


def _between(times: list[int], losses: list[float | None]) -> list[float | None]:
    """Losses of every round, in lines between those that were measured."""
    found: list[float | None] = []
    for i in range(len(times) - 1):
        a, b = losses[i], losses[i + 1]
        for t in range(times[i], times[i + 1]):
            share = (t - times[i]) / (times[i + 1] - times[i])
            found.append(None if a is None or b is None else a + share * (b - a))
    return [*found, losses[-1]]
