"""Gradients of single samples, layer by layer, without forming them where that is cheaper."""

from landform.per_sample._gradients import Layer, Pass, Rules
from landform.per_sample._parts import Blocks, Direct, Lookup, Outer, Part, Simple

__all__ = ["Blocks", "Direct", "Layer", "Lookup", "Outer", "Part", "Pass", "Rules", "Simple"]
