"""Losses on lines, planes and volumes through the space of points.

`plane` reads a landscape on a grid; `random`, `through`, `radial`, `hessian` and `principal` make the directions that
it is spanned by.
"""

from landform.surface._components import hessian, principal
from landform.surface._cuts import Cuts, Tunnel, Unit, cuts, tunnel
from landform.surface._directions import Directions, along, join, radial, through
from landform.surface._grid import line, plane, volume
from landform.surface._projection import Projection
from landform.surface._quadratic import Quadratic, quadratic
from landform.surface._random import filter_deviation, random
from landform.surface._region import Region, region
from landform.surface._stored import load, save
from landform.surface._surface import Surface
from landform.surface._topology import Basin, MergeTree, merge_tree

__all__ = [
    "Basin",
    "Cuts",
    "Directions",
    "MergeTree",
    "Projection",
    "Quadratic",
    "Region",
    "Surface",
    "Tunnel",
    "Unit",
    "along",
    "cuts",
    "filter_deviation",
    "hessian",
    "join",
    "line",
    "load",
    "merge_tree",
    "plane",
    "principal",
    "quadratic",
    "radial",
    "random",
    "region",
    "save",
    "through",
    "tunnel",
    "volume",
]
