"""Recording a training run, and reading it back.

`Recorder` is a line in anyone's training loop; `Trajectory` reads what it wrote. `RunWriter` writes the same files
for loops that hold their models as points, such as landform's own.
"""

from landform.recording._background import Background
from landform.recording._checkpoints import find_checkpoints, from_checkpoints, holds_checkpoints
from landform.recording._flower import record_flower
from landform.recording._format import RecordData
from landform.recording._live import LiveProbe, Log, Now
from landform.recording._record import Record
from landform.recording._recorder import Recorder
from landform.recording._times import Plan, Times, every, log_spaced, partner_gap
from landform.recording._trajectory import Points, Records, Trajectory
from landform.recording._writer import RunWriter

__all__ = [
    "Background",
    "LiveProbe",
    "Log",
    "Now",
    "Plan",
    "Points",
    "Record",
    "RecordData",
    "Recorder",
    "Records",
    "RunWriter",
    "Times",
    "Trajectory",
    "every",
    "find_checkpoints",
    "from_checkpoints",
    "holds_checkpoints",
    "log_spaced",
    "partner_gap",
    "record_flower",
]
