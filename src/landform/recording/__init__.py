"""Recording a training run, and reading it back.

`Recorder` is a line in anyone's training loop; `Trajectory` reads what it wrote. `RunWriter` writes the same files
for loops that hold their models as points, such as landform's own. Callbacks bring it into training frameworks, and
checkpoints that are there already become a run.
"""

from typing import TYPE_CHECKING

from landform._later import later
from landform.recording._background import Background
from landform.recording._format import RecordData
from landform.recording._live import LiveProbe, Log, Now
from landform.recording._record import Record
from landform.recording._recorder import Recorder
from landform.recording._times import Plan, Times, every, log_spaced, partner_gap
from landform.recording._trajectory import Points, Records, Trajectory
from landform.recording._writer import RunWriter

if TYPE_CHECKING:
    from landform.recording._checkpoints import find_checkpoints, from_checkpoints, holds_checkpoints
    from landform.recording._distributed import join_shards
    from landform.recording._flower import record_flower
    from landform.recording._lightning import lightning_callback
    from landform.recording._merged import merged_run
    from landform.recording._trackers import to_mlflow, to_tensorboard, to_wandb
    from landform.recording._trainer import trainer_callback

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
    "join_shards",
    "lightning_callback",
    "log_spaced",
    "merged_run",
    "partner_gap",
    "record_flower",
    "to_mlflow",
    "to_tensorboard",
    "to_wandb",
    "trainer_callback",
]

# What few need is loaded when it is first used: importing landform stays quick.
_LATER = {
    "find_checkpoints": "_checkpoints",
    "from_checkpoints": "_checkpoints",
    "holds_checkpoints": "_checkpoints",
    "join_shards": "_distributed",
    "lightning_callback": "_lightning",
    "merged_run": "_merged",
    "record_flower": "_flower",
    "to_mlflow": "_trackers",
    "to_tensorboard": "_trackers",
    "to_wandb": "_trackers",
    "trainer_callback": "_trainer",
}
__getattr__ = later(__name__, _LATER)
