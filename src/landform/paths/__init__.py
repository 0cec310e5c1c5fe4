"""Between points: barriers, trained curves, connectors of many points, minimum-energy paths, lengths.

What is measured on a path stands beside the same on the straight line, with the steps it took and where it began: both
change the number greatly.
"""

from landform.paths._barrier import Barrier, barrier, interpolate
from landform.paths._connector import Connector, Reading, Spread, connector
from landform.paths._curve import Curve, Leg, curve
from landform.paths._length import Length, Lengths, lengths
from landform.paths._matrix import BarrierMatrix, barrier_matrix
from landform.paths._monotone import Monotonicity, monotonicity
from landform.paths._string import MinimumEnergyPath, minimum_energy_path

__all__ = [
    "Barrier",
    "BarrierMatrix",
    "Connector",
    "Curve",
    "Leg",
    "Length",
    "Lengths",
    "MinimumEnergyPath",
    "Monotonicity",
    "Reading",
    "Spread",
    "barrier",
    "barrier_matrix",
    "connector",
    "curve",
    "interpolate",
    "lengths",
    "minimum_energy_path",
    "monotonicity",
]
