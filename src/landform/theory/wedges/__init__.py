"""The toy landscape of wedges (Fort & Jastrzebski 2019), what can be measured in it, and the laws it follows.

The set of low loss is a union of n-wedges in D dimensions: each is long in n directions and short in the other
``s = D - n``, and the loss is the distance to it. Points are Gaussian: D independent normal numbers of one spread.
"""

from landform.theory.wedges._descent import Descent, descend
from landform.theory.wedges._fit import FittedWedge, fit_wedge
from landform.theory.wedges._laws import (
    angle_law,
    angular_width_law,
    arc_law,
    barrier_law,
    cosine_density,
    midpoint_law,
    plane_law,
    threshold_law,
    tunnel_law,
)
from landform.theory.wedges._measure import InPlane, barrier, best_in_plane, common, connect, connector, tunnel
from landform.theory.wedges._sets import common_law, most_connected
from landform.theory.wedges._toy import Wedges

__all__ = [
    "Descent",
    "FittedWedge",
    "InPlane",
    "Wedges",
    "angle_law",
    "angular_width_law",
    "arc_law",
    "barrier",
    "barrier_law",
    "best_in_plane",
    "common",
    "common_law",
    "connect",
    "connector",
    "cosine_density",
    "descend",
    "fit_wedge",
    "midpoint_law",
    "most_connected",
    "plane_law",
    "threshold_law",
    "tunnel",
    "tunnel_law",
]
