"""Training confined to planes: the loop's points are coordinates z, the model sees ``theta = theta_0 + M z``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from landform.errors import BadInput
from landform.layout import Layout
from landform.store import checksum
from landform.training._batches import Batches
from landform.training._gradients import Gradients
from landform.training._loop import Moment, Start
from landform.training._plane import Plane
from landform.training._recipe import Recipe

# What a record keeps of the optimiser: its tensors are no points, and are named so that nobody takes them for such.
PREFIX = "plane."
COORDINATES = "coordinates"


@dataclass(frozen=True)
class Within:
    """The planes that runs are confined to.

    Attributes:
        planes: one for each run.
        origins: where each begins, ``[P]``: theta_0.
    """

    planes: Sequence[Plane]
    origins: Sequence[Tensor]

    @classmethod
    def of(
        cls, planes: Plane | Sequence[Plane], starts: Sequence[Start], recipes: Sequence[Recipe], layout: Layout
    ) -> Within:
        """Check planes against the runs.

        Args:
            planes: one for each run, or one for all.
            starts: where the runs start.
            recipes: how they are trained.
            layout: of their points.

        Returns:
            The planes with their origins.

        Raises:
            BadInput: when they do not fit.
        """
        each = [planes] * len(starts) if isinstance(planes, Plane) else list(planes)
        if len(each) != len(starts):
            raise BadInput(f"There are {len(each)} planes for {len(starts)} models: give one for each, or one for all.")
        for one in each:
            if not isinstance(one, Plane) or one.size != layout.size:
                what = f"one in {one.size:,}" if isinstance(one, Plane) else f"a {type(one).__name__}"
                raise BadInput(
                    f"The model has {layout.size:,} parameters, and its plane is {what}: make it by "
                    "lf.training.plane(model, dimension)."
                )
        if any(recipe.optimizer == "adamw" and recipe.weight_decay for recipe in recipes):
            raise BadInput(
                "AdamW decays weights apart from the gradient, and those in a plane cannot go to zero by themselves: "
                "give optimizer='adam', or weight_decay=0."
            )
        return cls(each, [start.point for start in starts])

    def describe(self, run: int) -> dict[str, Any]:
        """What ``run.json`` says of a run's plane.

        Args:
            run: which run.

        Returns:
            Plain values.
        """
        return {**self.planes[run].describe(), "origin": f"{checksum(self.origins[run].cpu()):08x}"}

    def of_runs(self, group: range, inside: Gradients, recipes: Sequence[Recipe], like: Tensor) -> Confined:
        """Take the planes of some of the runs.

        Args:
            group: which runs.
            inside: gives losses and gradients at points.
            recipes: of these runs.
            like: a point where they are trained, for its device and type.

        Returns:
            Gradients by coordinates.
        """
        members: dict[tuple[object, ...], list[int]] = {}
        for place, k in enumerate(group):
            members.setdefault(self.planes[k].alike, []).append(place)
        planes = [self.planes[k] for k in group]
        bundles = [
            (places, type(planes[places[0]]).side_by_side([planes[place] for place in places]))
            for places in members.values()
        ]
        decays = [recipe.weight_decay for recipe in recipes]
        origins = torch.stack([self.origins[k].to(like) for k in group])
        return Confined(inside, bundles, origins, decays)


class Confined:
    """Losses at ``theta_0 + M z`` and their gradients by z: ``M.T g``.

    Weight decay is that of the weights, as everywhere, and goes into g; coordinates that a run's plane has not, where
    another's in the stack has more, stay zero.
    """

    def __init__(
        self, inside: Gradients, bundles: Sequence[tuple[list[int], Plane]], origins: Tensor, decays: Sequence[float]
    ) -> None:
        """Take what is differentiated, and where.

        Args:
            inside: gives losses and gradients at points.
            bundles: planes that are multiplied together, each with the runs that it is of.
            origins: ``[K, P]``.
            decays: weight decay of each run.
        """
        self.inside = inside
        self._origins = origins
        self._bundles = [(places, plane.to(origins.device, origins.dtype)) for places, plane in bundles]
        self._decays = None
        if any(decays):
            self._decays = torch.tensor(decays, dtype=origins.dtype, device=origins.device).unsqueeze(1)
        self._whole, self._slopes = torch.empty_like(origins), torch.empty_like(origins)
        self.dimension = max(plane.dimension for _, plane in bundles)

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
        """Write gradients into ``out`` and return the losses; see `Gradients`. Points are coordinates ``[K, d]``."""
        whole = self.whole(points)
        losses = self.inside(whole, buffers, inputs, targets, step, self._slopes)
        if self._decays is not None:
            self._slopes.addcmul_(whole, self._decays)
        if not add:
            out.zero_()
        for places, plane in self._bundles:
            if len(places) == len(out):
                out[:, : plane.dimension] += plane.pull(self._slopes)
            else:
                out[places, : plane.dimension] += plane.pull(self._slopes[places])
        return losses

    def whole(self, coordinates: Tensor) -> Tensor:
        """The points of coordinates.

        Args:
            coordinates: ``[K, d]``.

        Returns:
            ``[K, P]``, in memory that the next call writes over.
        """
        for places, plane in self._bundles:
            if len(places) == len(coordinates):
                torch.add(self._origins, plane.lift(coordinates[:, : plane.dimension]), out=self._whole)
            else:
                self._whole[places] = self._origins[places] + plane.lift(coordinates[places, : plane.dimension])
        return self._whole

    def starts(self, starts: Sequence[Start]) -> list[Start]:
        """Starts in coordinates: at zero, or where a resumed run was.

        Args:
            starts: where the runs start, as points.

        Returns:
            The same as coordinates.
        """
        found = []
        for start in starts:
            kept = {name.removeprefix(PREFIX): t for name, t in (start.state or {}).items() if name.startswith(PREFIX)}
            zero = torch.zeros(self.dimension, dtype=self._origins.dtype, device=self._origins.device)
            found.append(Start(kept.pop(COORDINATES, zero), start.step, kept, start.buffers))
        return found

    def seen(self, moment: Moment) -> Moment:
        """The same moment with points in place of coordinates.

        Args:
            moment: as the loop has it.

        Returns:
            What is recorded.
        """
        state = {PREFIX + name: tensor for name, tensor in moment.state.items()}
        state[PREFIX + COORDINATES] = moment.points
        return replace(moment, points=self.whole(moment.points), state=state)


def undecayed(batches: Batches) -> Batches:
    """The same batches for an optimiser that leaves weight decay to the gradient.

    Args:
        batches: of some runs.

    Returns:
        Batches with recipes without weight decay.
    """
    return replace(batches, recipes=[replace(recipe, weight_decay=0.0) for recipe in batches.recipes])
