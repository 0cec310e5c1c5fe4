"""What can be measured along a run: each probe is a function, its settings, and the times at which it looks."""

from landform.probes._live import live
from landform.probes._moment import NEEDS, Moment
from landform.probes._probe import Measured, Probe, Times, Value
from landform.probes._registry import DEFAULT, get, names

__all__ = ["DEFAULT", "NEEDS", "Measured", "Moment", "Probe", "Times", "Value", "get", "live", "names"]
