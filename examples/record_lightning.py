"""A Lightning run, recorded and measured by a callback; then surveyed. Needs landform[lightning]."""

import lightning.pytorch as pl
import torch

import landform as lf

data = lf.data.digits()
loader = torch.utils.data.DataLoader(
    torch.utils.data.TensorDataset(data.train.inputs, data.train.targets), batch_size=32, shuffle=True
)


class Digits(pl.LightningModule):
    """A small classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.net = torch.nn.Sequential(torch.nn.Linear(64, 32), torch.nn.ReLU(), torch.nn.Linear(32, 10))

    def training_step(self, batch: tuple[torch.Tensor, torch.Tensor], index: int) -> torch.Tensor:
        """Return the loss of a batch."""
        return torch.nn.functional.cross_entropy(self.net(batch[0]), batch[1])

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Plain descent."""
        return torch.optim.SGD(self.parameters(), lr=0.1)


module = Digits()
landscape = lf.Landscape(module.net, data)
probes = lf.probes.live(landscape.subset(300), ["loss", "gradient_norm"])
record = lf.recording.lightning_callback("runs/lightning", model=lambda m: m.net, probes=probes, budget=0.1)
pl.Trainer(max_epochs=3, callbacks=[record], accelerator="cpu", enable_progress_bar=False).fit(module, loader)

atlas = lf.survey("runs/lightning", {"train": landscape, "test": landscape.on(data.test)})
print("loss on train and test:", atlas["loss"].values[:, -1])
