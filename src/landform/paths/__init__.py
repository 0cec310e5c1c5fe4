"""Between points: barriers on straight lines, trained curves, connectors of many points."""

from landform.paths._barrier import Barrier, barrier, interpolate
from landform.paths._connector import Connector, Reading, Spread, connector
from landform.paths._curve import Curve, Leg, curve
from landform.paths._matrix import BarrierMatrix, barrier_matrix

__all__ = [
    "Barrier",
    "BarrierMatrix",
    "Connector",
    "Curve",
    "Leg",
    "Reading",
    "Spread",
    "barrier",
    "barrier_matrix",
    "connector",
    "curve",
    "interpolate",
]
