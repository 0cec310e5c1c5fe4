"""Where work runs: units that know nothing of one another go in, results come out as they are ready."""

from landform.engine._in_process import InProcess
from landform.engine._processes import Processes, cores
from landform.engine._unit import Engine, Progress, Result, Unit, check_units, seed_of, sentence

__all__ = [
    "Engine",
    "InProcess",
    "Processes",
    "Progress",
    "Result",
    "Unit",
    "check_units",
    "cores",
    "seed_of",
    "sentence",
]
