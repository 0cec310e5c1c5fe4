"""A loop of Hugging Face Accelerate on several processes, recorded by the first; then surveyed. Needs accelerate.

accelerate launch --num-processes 2 examples/record_accelerate.py
"""

import torch
from accelerate import Accelerator

import landform as lf

accelerator = Accelerator()
data = lf.data.digits()
model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
landscape = lf.Landscape(model, data, device="cpu")
loader = torch.utils.data.DataLoader(
    torch.utils.data.TensorDataset(data.train.inputs, data.train.targets), batch_size=32, shuffle=True
)
model, optimizer, loader = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.1), loader)

with lf.Recorder(
    "runs/accelerate",
    model,
    optimizer,
    epoch=len(loader),
    at=lf.log_spaced(12, until=3 * len(loader)),
    probes=lf.probes.live(landscape.subset(300), ["loss"]),
    budget=0.1,
) as recorder:
    for _ in range(3):
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(inputs), targets)
            accelerator.backward(loss)
            optimizer.step()
            recorder.step(loss=loss)

if accelerator.is_main_process:
    print("loss:", lf.survey("runs/accelerate", landscape, probes=["loss"])["loss"].values)
accelerator.end_training()
