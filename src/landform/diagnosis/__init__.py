"""What tables of measured networks say: phases of their landscapes, and which knob of a network to turn first."""

from landform.diagnosis._columns import CONFIGURATION, LABELS, MEASURES, TESTED
from landform.diagnosis._failures import answers, failures, room
from landform.diagnosis._phases import MEANING, PHASES, PhaseRow, Thresholds, phase_table, phases
from landform.diagnosis._ranks import CONVERGED, Rank, ranks
from landform.diagnosis._table import Table, read_table, table_of

__all__ = [
    "CONFIGURATION",
    "CONVERGED",
    "LABELS",
    "MEANING",
    "MEASURES",
    "PHASES",
    "TESTED",
    "PhaseRow",
    "Rank",
    "Table",
    "Thresholds",
    "answers",
    "failures",
    "phase_table",
    "phases",
    "ranks",
    "read_table",
    "room",
    "table_of",
]
