"""Gradients of single samples, layer by layer, without forming them where that is cheaper."""

from landform.per_sample._batch import count, cut
from landform.per_sample._gradients import Layer, Pass, Rules
from landform.per_sample._over_data import sample_gradients
from landform.per_sample._parts import Blocks, Direct, Lookup, Outer, Part, Simple, gram

__all__ = [
    "Blocks",
    "Direct",
    "Layer",
    "Lookup",
    "Outer",
    "Part",
    "Pass",
    "Rules",
    "Simple",
    "count",
    "cut",
    "gram",
    "sample_gradients",
]
