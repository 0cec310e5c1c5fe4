"""A Lightning run with the callback and without."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import landform as lf
from landform.errors import BadInput
from landform.recording import Trajectory, lightning_callback

MADE = torch.Generator().manual_seed(5)
INPUTS, LABELS = torch.randn(40, 4, generator=MADE), torch.randint(0, 3, (40,), generator=MADE)
quiet = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def pl() -> Any:
    return pytest.importorskip("lightning.pytorch", reason="lightning is not installed")


def module(pl: Any) -> Any:
    class Module(pl.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            torch.manual_seed(0)
            self.net = nn.Sequential(nn.Linear(4, 6), nn.BatchNorm1d(6), nn.Dropout(0.2), nn.Linear(6, 3))
            self.losses: list[float] = []

        def training_step(self, batch: list[Tensor], index: int) -> Tensor:
            loss = F.cross_entropy(self.net(batch[0]), batch[1])
            self.losses.append(float(loss.detach()))
            return loss

        def configure_optimizers(self) -> Any:
            optimizer = torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)
            scheduler = torch.optim.lr_scheduler.StepLR(optimizer, 4)
            return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    return Module()


def fit(pl: Any, folder: Path, *callbacks: Any, **options: Any) -> tuple[Any, Any]:
    torch.manual_seed(3)
    made = module(pl)
    data = torch.utils.data.TensorDataset(INPUTS, LABELS)
    loader = torch.utils.data.DataLoader(data, batch_size=8, shuffle=True)
    trainer = pl.Trainer(
        **{"max_epochs": 3, "logger": False, **options},
        accelerator="cpu",
        callbacks=list(callbacks),
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        default_root_dir=folder,
    )
    trainer.fit(made, loader)
    return made, trainer


@quiet
def test_recorded_to_the_bit(pl: Any, tmp_path: Path) -> None:
    plain, _ = fit(pl, tmp_path)
    landscape = lf.Landscape(module(pl).net, (INPUTS, LABELS), device="cpu")
    callback = lightning_callback(
        tmp_path / "run", at=5, pairs=None, probes=lf.probes.live(landscape, ["loss", "gradient_norm"]), budget=None
    )
    logger = pytest.importorskip("lightning.pytorch.loggers").CSVLogger(tmp_path / "logs")
    recorded, trainer = fit(pl, tmp_path, callback, logger=logger)
    assert all(map(torch.equal, plain.state_dict().values(), recorded.state_dict().values()))
    run = Trajectory(tmp_path / "run")
    assert run.steps == [0, 5, 10, 15]
    assert run.run["epoch"] == 5
    assert run.run["settings"]["recorder"]["optimizer"]["momentum"] == 0.9
    assert torch.equal(run.points[-1], lf.Layout.of(recorded).point(recorded))
    assert run.curves["loss"][1].tolist() == pytest.approx(recorded.losses)
    assert run.curves["lr"][1].tolist() == pytest.approx([0.1 * 0.1 ** (step // 4) for step in range(15)])
    assert run.curves["train/loss"][0].tolist() == run.steps
    # Of the module's net alone a landscape can be made: its points are the same.
    atlas = lf.survey(run, landscape, probes=["loss"])
    torch.testing.assert_close(torch.tensor(atlas["loss"].values), run.curves["train/loss"][1], rtol=1e-5, atol=0)
    assert "train/gradient_norm" in (Path(trainer.logger.log_dir) / "metrics.csv").read_text(encoding="utf-8")


@quiet
def test_accumulated_batches_are_one_step(pl: Any, tmp_path: Path) -> None:
    callback = lightning_callback(tmp_path / "run", model=lambda made: made.net)
    made, _ = fit(pl, tmp_path, callback, accumulate_grad_batches=2)
    run = Trajectory(tmp_path / "run")
    assert run.run["epoch"] == 3
    assert run.steps == list(range(10))  # fewer than fifty steps: each
    assert run.layout.names[0] == "0.weight"
    last = [1, 3, 4, 6, 8, 9, 11, 13, 14]  # the batch after which each step was taken
    assert run.curves["loss"][1].tolist() == pytest.approx([made.losses[n] for n in last])


@quiet
@pytest.mark.timing
def test_the_budget_is_kept(pl: Any, tmp_path: Path) -> None:
    landscape = lf.Landscape(module(pl).net, (INPUTS, LABELS), device="cpu")
    callback = lightning_callback(
        tmp_path / "run", at=[0, 400], probes=lf.probes.live(landscape, ["loss"]), probes_at=1, budget=0.1
    )
    fit(pl, tmp_path, callback, max_epochs=80)
    assert 0 < callback.recorder.overhead < 0.1
    assert callback.recorder.skipped
    assert callback.recorder.skipped == Trajectory(tmp_path / "run").skipped


@quiet
def test_misuse_is_told(pl: Any, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="model= returned a int"):
        fit(pl, tmp_path, lightning_callback(tmp_path / "run", model=lambda made: 3))  # type: ignore[arg-type, return-value]
    fit(pl, tmp_path, lightning_callback(tmp_path / "run", at=5))
    with pytest.raises(BadInput, match="holds a run already"):
        fit(pl, tmp_path, lightning_callback(tmp_path / "run", at=5))


def test_without_lightning_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name, name=name.partition(".")[0])

    monkeypatch.setattr("importlib.import_module", missing)
    with pytest.raises(BadInput, match=r"pip install 'landform\[lightning\]'"):
        lightning_callback("runs/x")
