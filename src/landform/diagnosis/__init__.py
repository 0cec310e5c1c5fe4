"""What tables of measured networks say: phases of their landscapes, and which knob of a network to turn first."""

from landform.diagnosis._columns import CONFIGURATION, LABELS, MEASURES, TESTED
from landform.diagnosis._diagnosis import Diagnosis, Neighbour, diagnose, diagnose_all, reference_table
from landform.diagnosis._failures import answers, failures, labelled, room
from landform.diagnosis._features import FEATURES, USED, Feature, features, shared
from landform.diagnosis._findings import Finding, findings
from landform.diagnosis._grid import LOADS, TEMPERATURES, Grid, borders, grid_of
from landform.diagnosis._judge import Answers, Judge, answer_table, learn
from landform.diagnosis._md_tree import MDTree, md_tree
from landform.diagnosis._measure import Measured, measure
from landform.diagnosis._phases import MEANING, PHASES, PhaseRow, Thresholds, phase_table, phases
from landform.diagnosis._ranks import CONVERGED, Rank, correlation_matrix, ranks
from landform.diagnosis._table import Table, read_table, table_of
from landform.diagnosis._validate import Validation, few_shot, leave_out, transfer

__all__ = [
    "CONFIGURATION",
    "CONVERGED",
    "FEATURES",
    "LABELS",
    "LOADS",
    "MEANING",
    "MEASURES",
    "PHASES",
    "TEMPERATURES",
    "TESTED",
    "USED",
    "Answers",
    "Diagnosis",
    "Feature",
    "Finding",
    "Grid",
    "Judge",
    "MDTree",
    "Measured",
    "Neighbour",
    "PhaseRow",
    "Rank",
    "Table",
    "Thresholds",
    "Validation",
    "answer_table",
    "answers",
    "borders",
    "correlation_matrix",
    "diagnose",
    "diagnose_all",
    "failures",
    "features",
    "few_shot",
    "findings",
    "grid_of",
    "labelled",
    "learn",
    "leave_out",
    "md_tree",
    "measure",
    "phase_table",
    "phases",
    "ranks",
    "read_table",
    "reference_table",
    "room",
    "shared",
    "table_of",
    "transfer",
]
