"""One model out of several: means, task vectors, and what they share with their sources.

`merge` takes points or models and gives a point, with a report on each tensor: how far each source has moved, whether
they agree, and how the merge lies to them. `methods` names the ways.
"""

from landform.merging._ask import ask
from landform.merging._average import average
from landform.merging._diagonal import FisherDiagonal, fisher_diagonal
from landform.merging._file_merge import FileMerge
from landform.merging._files import merge_files
from landform.merging._layers import Layer
from landform.merging._merge import Merge, merge
from landform.merging._mergeable import Mergeability, mergeable
from landform.merging._method import Asked, Method, Part, Parts, Per, Setting, Whole
from landform.merging._recipe import MergeRecipe, read_recipe
from landform.merging._registry import get, methods
from landform.merging._saving import save
from landform.merging._tasks import Localised, localise
from landform.merging._units import Merged as UnitsMerged
from landform.merging._varying import Varying
from landform.merging._walk import Step, walk
from landform.merging._zip import zip_models
from landform.merging._zipped import Zipped

__all__ = [
    "Asked",
    "FileMerge",
    "FisherDiagonal",
    "Layer",
    "Localised",
    "Merge",
    "MergeRecipe",
    "Mergeability",
    "Method",
    "Part",
    "Parts",
    "Per",
    "Setting",
    "Step",
    "UnitsMerged",
    "Varying",
    "Whole",
    "Zipped",
    "ask",
    "average",
    "fisher_diagonal",
    "get",
    "localise",
    "merge",
    "merge_files",
    "mergeable",
    "methods",
    "read_recipe",
    "save",
    "walk",
    "zip_models",
]
