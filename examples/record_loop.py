"""A plain PyTorch loop, recorded and measured while it trains; then surveyed."""

import torch

import landform as lf

data = lf.data.digits()
loader = torch.utils.data.DataLoader(
    torch.utils.data.TensorDataset(data.train.inputs, data.train.targets), batch_size=32, shuffle=True
)
model = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))
optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
landscape = lf.Landscape(model, data)
EPOCHS = 3

with lf.Recorder(
    "runs/loop",
    model,
    optimizer,
    epoch=len(loader),
    at=lf.log_spaced(10, until=EPOCHS * len(loader)),
    probes=lf.probes.live(landscape.subset(300), ["loss", "gradient_norm"]),
    budget=0.1,
) as recorder:
    for _ in range(EPOCHS):
        for inputs, targets in loader:
            optimizer.zero_grad()
            loss = torch.nn.functional.cross_entropy(model(inputs), targets)
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)

print(f"Recording and measuring took {recorder.overhead:.1%} of the training's time.")
atlas = lf.survey("runs/loop", {"train": landscape, "test": landscape.on(data.test)})
print("loss on train and test:", atlas["loss"].values[:, -1])
