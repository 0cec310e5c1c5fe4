"""What was measured along a run: arrays with named dimensions, on disk."""

from landform.atlas._atlas import Atlas
from landform.atlas._files import Stored
from landform.atlas._labelled import Labelled

__all__ = ["Atlas", "Labelled", "Stored"]
