"""Between points: barriers on straight lines."""

from landform.paths._barrier import Barrier, BarrierMatrix, barrier, barrier_matrix, interpolate

__all__ = ["Barrier", "BarrierMatrix", "barrier", "barrier_matrix", "interpolate"]
