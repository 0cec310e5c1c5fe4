"""Between points: barriers on straight lines, trained curves."""

from landform.paths._barrier import Barrier, barrier, interpolate
from landform.paths._curve import Curve, Leg, curve
from landform.paths._matrix import BarrierMatrix, barrier_matrix

__all__ = ["Barrier", "BarrierMatrix", "Curve", "Leg", "barrier", "barrier_matrix", "curve", "interpolate"]
