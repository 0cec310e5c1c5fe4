"""What a paper says, what was measured here, and whether the one bears out the other."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

from landform import store
from landform.errors import BadInput, Damaged

Verdict: TypeAlias = Literal["reproduced", "in part", "not at this scale", "contradicted", "not measured"]

CLAIMS = "claims.json"


@dataclass(frozen=True)
class Claim:
    """One claim of a paper, held against measurement.

    Attributes:
        id: short name.
        paper: which paper, and where in it.
        statement: what it says.
        definition: how that was made a number here.
        expected: what the number should be for the claim to hold.
        value: what it is, mean over seeds; None where it could not be measured.
        interval: 95% interval over seeds; None with fewer than two.
        seeds: how many seeds it is the mean of.
        settings: what it was measured with, plain JSON.
        verdict: *reproduced*, *in part*, *not at this scale* (what the claim is about does not happen in this run),
            *contradicted*, or *not measured*.
        why: what led to the verdict, in a sentence.
    """

    id: str
    paper: str
    statement: str
    definition: str
    expected: str
    value: float | None
    interval: tuple[float, float] | None
    seeds: int
    verdict: Verdict
    why: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; what is not finite is null."""
        plain = asdict(self)
        plain["value"] = _finite(self.value)
        bounds = None if self.interval is None else [_finite(bound) for bound in self.interval]
        plain["interval"] = None if bounds is None or None in bounds else bounds
        return plain


def write_claims(folder: str | Path, claims: Sequence[Claim]) -> Path:
    """Write ``claims.json``: a list of claims.

    Args:
        folder: where.
        claims: the claims.

    Returns:
        The file.
    """
    path = Path(folder) / CLAIMS
    store.write_text(path, json.dumps([claim.to_json() for claim in claims], indent=1, ensure_ascii=False) + "\n")
    return path


def read_claims(folder: str | Path) -> list[Claim]:
    """Read ``claims.json``.

    Args:
        folder: where it lies.

    Returns:
        The claims.

    Raises:
        BadInput: when there is none.
        Damaged: when it is not what `write_claims` writes.
    """
    path = Path(folder) / CLAIMS
    if not path.is_file():
        raise BadInput(f"There is no {CLAIMS} in {folder}: 'landform reproduce' writes one.")
    try:
        found = json.loads(store.read_text(path))
        return [Claim(**{**each, "interval": each["interval"] and tuple(each["interval"])}) for each in found]
    except (ValueError, TypeError, KeyError) as why:
        raise Damaged(f"{path} is damaged ({why}): run the study again, which keeps what it has measured.") from None


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
