"""The studies there are: one is added by its import and its place in the list."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from landform.studies import _adversarial_kernel as examples
from landform.studies import _adversarial_landscape as robust
from landform.studies import _deep_vs_kernel as deep
from landform.studies import _emergent as emergent
from landform.studies import _federated as federated
from landform.studies import _merging as merging
from landform.studies import _needle as needle
from landform.studies import _quantum as quantum
from landform.studies import _recurrent as recurrent
from landform.studies import _taxonomy as taxonomy
from landform.studies import _taxonomy_protocol
from landform.studies import _wedges as wedges
from landform.studies._claim import Claim


@dataclass(frozen=True)
class Study:
    """A study that can be run by name.

    Attributes:
        name: what users call it.
        question: what it answers, and whose question that is.
        scales: names of its scales.
        run: runs it in a folder; see its docstring for what else it takes.
    """

    name: str
    question: str
    scales: tuple[str, ...]
    run: Callable[..., list[Claim]]


STUDIES: dict[str, Study] = {
    examples.NAME: Study(examples.NAME, examples.QUESTION, tuple(examples.SCALES), examples.adversarial_kernel),
    robust.NAME: Study(robust.NAME, robust.QUESTION, tuple(robust.SCALES), robust.adversarial_landscape),
    deep.NAME: Study(deep.NAME, deep.QUESTION, tuple(deep.SCALES), deep.deep_vs_kernel),
    emergent.NAME: Study(emergent.NAME, emergent.QUESTION, tuple(emergent.SCALES), emergent.emergent_geometry),
    federated.NAME: Study(federated.NAME, federated.QUESTION, tuple(federated.SCALES), federated.federated_study),
    merging.NAME: Study(merging.NAME, merging.QUESTION, tuple(merging.SCALES), merging.merging_study),
    needle.NAME: Study(needle.NAME, needle.QUESTION, tuple(needle.SCALES), needle.needle_study),
    quantum.NAME: Study(quantum.NAME, quantum.QUESTION, tuple(quantum.SCALES), quantum.quantum_study),
    recurrent.NAME: Study(recurrent.NAME, recurrent.QUESTION, tuple(recurrent.SCALES), recurrent.recurrent_study),
    taxonomy.NAME: Study(taxonomy.NAME, taxonomy.QUESTION, tuple(_taxonomy_protocol.SCALES), taxonomy.taxonomy_study),
    wedges.NAME: Study(wedges.NAME, wedges.QUESTION, tuple(wedges.SCALES), wedges.wedges_study),
}
