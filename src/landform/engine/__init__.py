"""Where work runs: units that know nothing of one another go in, results come out as they are ready."""

from landform.engine._in_process import InProcess
from landform.engine._ledger import Ledger, Status, duration, failures, status
from landform.engine._missing import run_missing
from landform.engine._named import engine_named
from landform.engine._processes import Processes, cores
from landform.engine._ray import Ray
from landform.engine._unit import Engine, Needs, Progress, Result, Unit, check_units, seed_of, sentence

__all__ = [
    "Engine",
    "InProcess",
    "Ledger",
    "Needs",
    "Processes",
    "Progress",
    "Ray",
    "Result",
    "Status",
    "Unit",
    "check_units",
    "cores",
    "duration",
    "engine_named",
    "failures",
    "run_missing",
    "seed_of",
    "sentence",
    "status",
]
