"""Checkpoints that some loop left on disk, made into a run and surveyed; nothing of the loop is needed.

On the command line: landform survey saved --model my_module:build --data digits --into runs/saved
"""

from pathlib import Path

import torch

import landform as lf

data = lf.data.digits()


def build() -> torch.nn.Module:
    """The model that was trained."""
    return torch.nn.Sequential(
        torch.nn.Linear(64, 32), torch.nn.BatchNorm1d(32), torch.nn.ReLU(), torch.nn.Linear(32, 10)
    )


Path("saved").mkdir()
model = build()
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
for step in range(1, 101):  # the loop, which knows nothing of landform
    batch = torch.randint(len(data.train.inputs), (32,))
    optimizer.zero_grad()
    torch.nn.functional.cross_entropy(model(data.train.inputs[batch]), data.train.targets[batch]).backward()
    optimizer.step()
    if step % 20 == 0:
        torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict(), "step": step}, f"saved/{step}.pt")

run = lf.recording.from_checkpoints("saved", "runs/saved", build(), epoch=45)
atlas = lf.survey(run, lf.Landscape(build(), data), probes=["loss", "error", "distance"])
print(run, "errors:", atlas["error"].values)
