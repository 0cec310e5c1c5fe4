"""What tables of measured networks say: phases of their landscapes, and which knob of a network to turn first."""

from landform.diagnosis._columns import CONFIGURATION, LABELS, MEASURES, TESTED
from landform.diagnosis._failures import answers, failures, room
from landform.diagnosis._findings import Finding, findings
from landform.diagnosis._grid import LOADS, TEMPERATURES, Grid, borders, grid_of
from landform.diagnosis._md_tree import MDTree, md_tree
from landform.diagnosis._phases import MEANING, PHASES, PhaseRow, Thresholds, phase_table, phases
from landform.diagnosis._ranks import CONVERGED, Rank, correlation_matrix, ranks
from landform.diagnosis._table import Table, read_table, table_of

__all__ = [
    "CONFIGURATION",
    "CONVERGED",
    "LABELS",
    "LOADS",
    "MEANING",
    "MEASURES",
    "PHASES",
    "TEMPERATURES",
    "TESTED",
    "Finding",
    "Grid",
    "MDTree",
    "PhaseRow",
    "Rank",
    "Table",
    "Thresholds",
    "answers",
    "borders",
    "correlation_matrix",
    "failures",
    "findings",
    "grid_of",
    "md_tree",
    "phase_table",
    "phases",
    "ranks",
    "read_table",
    "room",
    "table_of",
]
