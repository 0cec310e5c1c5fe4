"""What the page about a study says, whichever study it is."""

from __future__ import annotations

import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypedDict, TypeVar, Unpack

import landform
from landform import store
from landform.errors import BadInput
from landform.report._facts import Fact
from landform.report._lines import Times
from landform.report._material import Drawn
from landform.studies import CLAIMS, Claim, Kept, Made, read_claims

P = TypeVar("P", bound=Kept)
STUDY = "study.json"
# Where the page of each study is put together.
_PAGES = {
    "adversarial-kernel": "_adversarial_kernel_page",
    "adversarial-landscape": "_adversarial_landscape_page",
    "deep-vs-kernel": "_deep_page",
    "emergent-geometry": "_emergent_page",
    "federated-kernel": "_federated_page",
    "merging": "_merging_page",
    "needle": "_needle_page",
    "quantum-patches": "_quantum_page",
    "recurrent-kernel": "_recurrent_page",
    "taxonomy": "_taxonomy_study_page",
    "wedges": "_wedges_page",
}


@dataclass(frozen=True)
class Table:
    """A table of words and numbers.

    Attributes:
        title: what is to be seen.
        caption: how to read it.
        head: what the columns are.
        rows: one cell for each column.
    """

    title: str
    caption: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class StudyMaterial:
    """Everything that the page about a study says.

    Attributes:
        title: the question.
        sentence: what was run.
        verdict: the answer, in a sentence.
        facts: headline numbers.
        claims: the claims with their verdicts.
        controls: the same claims where something was changed, by what that was.
        figures: what is drawn.
        settings: what was trained and how.
        notes: what was not measured and why.
        command: what makes the page again.
        provenance: versions, seeds, dates.
        tables: tables that stand before the figures.
    """

    title: str
    sentence: str
    verdict: str
    facts: tuple[Fact, ...]
    claims: tuple[Claim, ...]
    controls: dict[str, dict[str, Claim]]
    figures: tuple[Drawn, ...]
    settings: dict[str, dict[str, Any]]
    notes: tuple[str, ...]
    command: str
    provenance: dict[str, str]
    tables: tuple[Table, ...] = ()


def is_study(folder: str | Path) -> bool:
    """Whether a folder holds a study, and not a run.

    Args:
        folder: the folder.

    Returns:
        True where it does.
    """
    return (Path(folder) / STUDY).is_file()


def gather_study(folder: str | Path, times: Times = "auto") -> StudyMaterial:
    """Read everything that the page about a study says.

    Args:
        folder: of the study.
        times: how time is drawn.

    Returns:
        The material.

    Raises:
        BadInput: when there is no study, nothing of it was measured yet, or this landform does not know it.
    """
    name = store.read_json(Path(folder) / STUDY).get("study")
    if name not in _PAGES:
        raise BadInput(
            f"{folder} holds a study {name!r}, which this landform does not know: it knows {', '.join(_PAGES)}."
        )
    gather = importlib.import_module(f"landform.report.{_PAGES[name]}").gather
    material: StudyMaterial = gather(Path(folder), times)
    return material


def controls_of(place: Path) -> dict[str, dict[str, Claim]]:
    """The claims of a study's controls, by what was changed.

    Args:
        place: the study's folder.

    Returns:
        Claims by control and id.
    """
    found: dict[str, dict[str, Claim]] = {}
    for folder in sorted((place / "controls").glob("*")):
        if (folder / CLAIMS).is_file():
            found[folder.name.replace("-", " ")] = {claim.id: claim for claim in read_claims(folder)}
    return found


@dataclass(frozen=True)
class Studied(Generic[P]):
    """What lies in the folder of a study that is made of parts.

    Attributes:
        place: the folder.
        described: the content of its ``study.json``.
        protocol: what was to be done.
        found: what the study reads of its results, by kind of part as a rule.
        claims: those that it wrote down, or what can be said of what it measured so far.
    """

    place: Path
    described: Mapping[str, Any]
    protocol: P
    found: Any
    claims: tuple[Claim, ...]

    @property
    def scale(self) -> str:
        """The name of its scale."""
        return str(self.described["scale"])

    @property
    def seeds(self) -> int:
        """How many seeds parts have been measured with."""
        return 1 + max(int(part["seed"]) for parts in self.found.values() for part in parts)

    def material(self, paper: str, tables: Sequence[Table] = (), **told: Unpack[Told]) -> StudyMaterial:
        """What its page says.

        Args:
            paper: authors and number.
            tables: tables that stand before the figures.
            **told: what is said in words and pictures.

        Returns:
            The material.
        """
        return StudyMaterial(
            title=told["title"],
            sentence=told["sentence"],
            verdict=told["verdict"],
            facts=tuple(told["facts"]),
            claims=self.claims,
            controls=controls_of(self.place),
            figures=tuple(told["figures"]),
            settings=told["settings"],
            notes=tuple(told["notes"]),
            command=command_of(self.described),
            provenance=made_of(paper),
            tables=tuple(tables),
        )


class Told(TypedDict):
    """What a page about a study says in words and pictures; see `StudyMaterial`."""

    title: str
    sentence: str
    verdict: str
    facts: Sequence[Fact]
    figures: Sequence[Drawn]
    settings: dict[str, dict[str, Any]]
    notes: Sequence[str]


def studied(place: Path, study: Made[P], enough: Callable[[Any], object] = bool) -> Studied[P]:
    """Read what lies in the folder of a study.

    Args:
        place: the folder.
        study: which it is.
        enough: whether there is something to say of what it found.

    Returns:
        What there is.

    Raises:
        BadInput: when too little was measured yet.
    """
    described = store.read_json(place / STUDY)
    protocol, found = study.read(described["protocol"]), study.results(place)
    if not enough(found):
        raise BadInput(f"{place} holds too few results yet: 'landform reproduce {study.name} --out {place}' goes on.")
    claims = claims_at(place, lambda: study.claims(protocol, found, described["scale"]))
    return Studied(place, described, protocol, found, claims)


def claims_at(place: Path, judged: Callable[[], list[Claim]]) -> tuple[Claim, ...]:
    """The claims that a study wrote down, or what can be said of what it measured so far.

    Args:
        place: the study's folder.
        judged: holds the claims against the numbers there are.

    Returns:
        The claims.
    """
    return tuple(read_claims(place) if (place / CLAIMS).is_file() else judged())


def command_of(described: Mapping[str, Any]) -> str:
    """What makes a study again; empty for one whose protocol was given.

    Args:
        described: the content of its ``study.json``.

    Returns:
        The command.
    """
    own = described["scale"] == "own"
    return "" if own else f"landform reproduce {described['study']} --scale {described['scale']}"


def made_of(paper: str) -> dict[str, str]:
    """When a page was made, by what, and of which paper it is.

    Args:
        paper: authors and number.

    Returns:
        By name.
    """
    now = time.strftime("%Y-%m-%dT%H:%M:%S%z")
    return {"page made": f"{now}, by landform {landform.__version__}", "paper": paper}


def counted(count: int, word: str) -> str:
    """A number of things in words.

    Args:
        count: how many.
        word: of what, one.

    Returns:
        Such as "Three networks".
    """
    words = ("No", "One", "Two", "Three", "Four", "Five", "Six", "Seven", "Eight", "Nine", "Ten")
    return f"{words[count] if count < len(words) else count} {word}{'' if count == 1 else 's'}"
