"""A plain PyTorch loop, recorded; then everything measured along it, children by the same loop included."""

import torch

import landform as lf
from landform.studies import deep_survey

data = lf.data.digit_sums(train_size=1000, test_size=400)
inputs, targets = data.train.inputs, data.train.targets
model = torch.nn.Sequential(torch.nn.Linear(128, 48), torch.nn.ReLU(), torch.nn.Linear(48, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.2)
EPOCHS, BATCH = 8, 20
PER_EPOCH = len(inputs) // BATCH


def train(seed: int, start: int = 0, recorder: lf.Recorder | None = None) -> None:
    """Train from a step to the end; the seed decides the order of the data."""
    order = torch.Generator().manual_seed(seed)
    for _ in range(start, EPOCHS * PER_EPOCH):
        batch = torch.randint(len(inputs), (BATCH,), generator=order)
        optimizer.zero_grad()
        loss = torch.nn.functional.cross_entropy(model(inputs[batch]), targets[batch])
        loss.backward()
        optimizer.step()
        if recorder is not None:
            recorder.step(loss=loss)


times = lf.log_spaced(16, until=EPOCHS * PER_EPOCH)
with lf.Recorder("runs/own-loop", model, optimizer, epoch=PER_EPOCH, at=times, resumable_at=times) as recorder:
    train(seed=0, recorder=recorder)


def continue_from(record: lf.recording.Record, seed: int) -> torch.nn.Module:
    """Train a child."""
    record.restore(model, optimizer)
    train(seed, start=record.step)
    return model


landscape = lf.Landscape(model, (inputs, targets))
sets = {"train": landscape, "test": landscape.on((data.test.inputs, data.test.targets))}
deep_survey("runs/own-loop", sets, continue_from=continue_from, say=print, forecast=print)
print("The page is", lf.report("runs/own-loop"))
