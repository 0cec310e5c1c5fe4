"""How clients train together: who takes part in a round, and what the server makes of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from landform.data import Dataset, Division, partition
from landform.training._noise import generator
from landform.training._settings import COUNT, PART, POSITIVE, Fits, check, one_of

_FITS: Mapping[str, Fits] = {
    "clients": COUNT,
    "local_steps": COUNT,
    "rounds": COUNT,
    "division": one_of("iid", "labels", "dirichlet"),
    "alpha": POSITIVE,
    "server_lr": POSITIVE,
    "weighting": one_of("samples", "equal"),
    "participation": PART,
}


@dataclass(frozen=True)
class Federation:
    """Federated averaging (McMahan et al. 2017), but for what a client's own training is.

    Attributes:
        clients: how many there are.
        local_steps: steps that each takes in a round, from the server's weights.
        rounds: how many.
        division: ``"iid"``, ``"labels"`` or ``"dirichlet"``; see `lf.data.partition`.
        alpha: of a Dirichlet division.
        equal: clients of a Dirichlet division have equally many samples.
        server_lr: by which the server multiplies the mean of what the clients moved by.
        weighting: that mean goes by ``"samples"``, or all clients are ``"equal"``.
        participation: share of the clients that takes part in each round, drawn anew.
        seed: decides the division and who takes part.
    """

    clients: int = 8
    local_steps: int = 5
    rounds: int = 50
    division: Division = "iid"
    alpha: float = 0.5
    equal: bool = False
    server_lr: float = 1.0
    weighting: Literal["samples", "equal"] = "samples"
    participation: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse settings that cannot be, by name."""
        check("federation", self, _FITS)

    @property
    def present(self) -> int:
        """How many clients take part in a round."""
        return max(1, round(self.participation * self.clients))

    def members(self, number: int) -> list[int]:
        """Who takes part in a round.

        Args:
            number: of the round, from 0.

        Returns:
            Clients, ascending.
        """
        if self.present == self.clients:
            return list(range(self.clients))
        drawn = torch.randperm(self.clients, generator=generator(self.seed, "participants", number))
        return sorted(drawn[: self.present].tolist())

    def weights(self, samples: Sequence[int]) -> Tensor:
        """What each counts in the server's mean.

        Args:
            samples: how many samples each client of the round has.

        Returns:
            ``[clients of the round]``, summing to 1.
        """
        counts = torch.tensor(samples if self.weighting == "samples" else [1] * len(samples), dtype=torch.float64)
        return counts / counts.sum()

    def divide(self, data: Dataset) -> tuple[Tensor, ...]:
        """Places of each client's training samples."""
        return partition(
            data.train.targets, self.clients, self.division, alpha=self.alpha, equal=self.equal, seed=self.seed
        )

    def to_json(self) -> dict[str, Any]:
        """Plain values, for ``run.json``."""
        return asdict(self)
