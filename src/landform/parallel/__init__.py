"""One landscape measured by several processes, each with its share of the samples."""

from landform.parallel._divided import Divided, divide

__all__ = ["Divided", "divide"]
