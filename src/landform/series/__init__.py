"""What several curves over the same time say together: transition times, correlations, intervals.

Plain numbers in, plain numbers out: this room knows neither networks nor runs.
"""

from landform.series._correlation import Correlations, correlations
from landform.series._interval import Interval, interval
from landform.series._transition import Joint, Transition, joint_transition, transition

__all__ = [
    "Correlations",
    "Interval",
    "Joint",
    "Transition",
    "correlations",
    "interval",
    "joint_transition",
    "transition",
]
