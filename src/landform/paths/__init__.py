"""Between points: barriers on straight lines."""

from landform.paths._barrier import Barrier, barrier, interpolate
from landform.paths._matrix import BarrierMatrix, barrier_matrix

__all__ = ["Barrier", "BarrierMatrix", "barrier", "barrier_matrix", "interpolate"]
