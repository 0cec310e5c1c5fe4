"""Sweeps: one function over a grid of settings and seeds, a file for each unit, a table at the end."""

from landform.sweeps._grid import Cell, cells_of
from landform.sweeps._networks import Networks
from landform.sweeps._shelf import Row
from landform.sweeps._sweep import Sweep, Together, Train, open_sweep, sweep

__all__ = ["Cell", "Networks", "Row", "Sweep", "Together", "Train", "cells_of", "open_sweep", "sweep"]
