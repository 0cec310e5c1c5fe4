"""Probes taken along a whole run, and what they found kept in its atlas."""

from landform.survey._forecast import Forecast
from landform.survey._survey import survey

__all__ = ["Forecast", "survey"]
