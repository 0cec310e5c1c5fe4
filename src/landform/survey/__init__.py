"""Probes taken along a whole run, and what they found kept in its atlas."""

from landform.survey._forecast import Forecast, time_text
from landform.survey._rehearsal import Part, Rehearsal, rehearse
from landform.survey._survey import survey

__all__ = ["Forecast", "Part", "Rehearsal", "rehearse", "survey", "time_text"]
