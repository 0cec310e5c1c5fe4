"""Which records a recorder leaves out to keep its budget."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from torch import Tensor

from landform.errors import BadInput
from landform.recording._live import HELD_BACK

RECORDS = "records"  # under which steps of records that were left out are kept


@dataclass
class Thinned:
    """Which records a recorder leaves out to keep its budget.

    Attributes:
        budget: share of the training's time.
        price: seconds that the last record took the training.
        kept: planned steps that were recorded, whose partners are too.
        skipped: planned steps that were not.
        last: loss and learning rate of the last of those.
    """

    budget: float
    price: float = 0.0
    kept: set[int] = field(default_factory=set)
    skipped: list[int] = field(default_factory=list)
    last: tuple[float | Tensor | None, float | Tensor | None] = (None, None)

    def fits(self, trained: float, own: float, records: int) -> bool:
        """Tell whether records fit into the budget.

        Args:
            trained: seconds of training so far, without the recorder's own.
            own: seconds that the recorder has taken for itself.
            records: how many there would be.

        Returns:
            Whether they do.
        """
        return own + records * self.price <= HELD_BACK * self.budget * trained


def thinned_to(budget: float | None) -> Thinned:
    """Begin with nothing left out.

    Args:
        budget: share of the training's time.

    Returns:
        The account.

    Raises:
        BadInput: when the budget is no share.
    """
    if budget is None:
        raise BadInput("thin=True leaves out records to keep a budget, and budget is None: give a share, such as 0.03.")
    if not (isinstance(budget, int | float) and 0 < budget < math.inf):
        raise BadInput(f"budget is {budget!r}: give a share of the training's time, such as 0.03, or None.")
    return Thinned(float(budget))
