"""How much slower is training that is recorded and measured while it goes on, and is it the same training?

The same training with the recorder and probes, and without, in turn, on one thread: a plain loop, Lightning, a Hugging
Face Trainer; those that are not installed are named and passed over. Printed are the ratio of the medians of the clock
from the first step to the last (and of their minima, which bear a busy machine better), what the recorder says that it
took, how often the probes were taken, and whether the weights are the same to the bit.

    python benchmarks/adapter_overhead.py [--seconds 10] [--repeats 3] [--budget 0.03] [--ways loop lightning trainer]
"""

from __future__ import annotations

import argparse
import importlib.util
import os
import statistics
import tempfile
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import landform as lf

BATCH, EPOCH = 128, 40
INPUTS = torch.randn(BATCH * EPOCH, 196, generator=torch.Generator().manual_seed(0))
LABELS = INPUTS[:, :10].argmax(1)


def net() -> nn.Module:
    torch.manual_seed(0)
    layers = [nn.Linear(196, 256), nn.ReLU(), nn.Dropout(0.1), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 10)]
    return nn.Sequential(*layers)


def how(steps: int, budget: float) -> dict[str, Any]:
    landscape = lf.Landscape(net(), (INPUTS[:1000], LABELS[:1000]), device="cpu")
    probes = lf.probes.live(landscape, ["loss", "gradient_norm", "sharpness"])
    return {"at": lf.log_spaced(50, until=steps), "probes": probes, "probes_at": 5, "budget": budget, "thin": True}


def loop(epochs: int, folder: Path | None, budget: float) -> tuple[float, nn.Module, lf.Recorder | None]:
    model = net()
    optimizer = torch.optim.SGD(model.parameters(), 0.05, momentum=0.9)
    recorder = None
    if folder is not None:
        recorder = lf.Recorder(folder, model, optimizer, epoch=EPOCH, **how(epochs * EPOCH, budget))
    start = time.perf_counter()
    for step in range(epochs * EPOCH):
        rows = slice(BATCH * (step % EPOCH), BATCH * (step % EPOCH + 1))
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(INPUTS[rows]), LABELS[rows])
        loss.backward()
        optimizer.step()
        if recorder is not None:
            recorder.step(loss=loss)
    seconds = time.perf_counter() - start
    if recorder is not None:
        recorder.close()
    return seconds, model, recorder


def lightning(epochs: int, folder: Path | None, budget: float) -> tuple[float, nn.Module, lf.Recorder | None]:
    import lightning.pytorch as pl

    class Module(pl.LightningModule):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.net = net()

        def training_step(self, batch: list[Tensor], index: int) -> Tensor:
            return nn.functional.cross_entropy(self.net(batch[0]), batch[1])

        def configure_optimizers(self) -> Any:
            return torch.optim.SGD(self.parameters(), 0.05, momentum=0.9)

    clock = _clock(pl.Callback, "on_train_batch_start", "on_train_batch_end")
    callbacks: list[Any] = [clock]
    if folder is not None:
        options = how(epochs * EPOCH, budget)
        callbacks.insert(0, lf.recording.lightning_callback(folder, model=lambda made: made.net, **options))
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(INPUTS, LABELS), BATCH)
    quiet = dict.fromkeys(("logger", "enable_progress_bar", "enable_model_summary", "enable_checkpointing"), False)
    module = Module()
    pl.Trainer(max_epochs=epochs, accelerator="cpu", callbacks=callbacks, **quiet).fit(module, loader)
    return clock.seconds, module.net, callbacks[0].recorder if folder is not None else None


class Classifier(nn.Module):
    """As a Trainer wants it: a loss, when labels are given."""

    def __init__(self) -> None:
        super().__init__()
        self.net = net()

    def forward(self, inputs: Tensor, labels: Tensor) -> dict[str, Tensor]:
        """The loss and the outputs."""
        outputs = self.net(inputs)
        return {"loss": nn.functional.cross_entropy(outputs, labels), "logits": outputs}


def trainer(epochs: int, folder: Path | None, budget: float) -> tuple[float, nn.Module, lf.Recorder | None]:
    import transformers

    clock = _clock(transformers.TrainerCallback, "on_step_begin", "on_step_end")
    callbacks: list[Any] = [clock]
    if folder is not None:
        options = how(epochs * EPOCH, budget)
        callbacks.insert(0, lf.recording.trainer_callback(folder, model=lambda made: made.net, **options))
    rows = [{"inputs": x, "labels": y} for x, y in zip(INPUTS, LABELS, strict=True)]
    with tempfile.TemporaryDirectory() as out:
        arguments = transformers.TrainingArguments(
            out, num_train_epochs=epochs, per_device_train_batch_size=BATCH, save_strategy="no", report_to="none",
            logging_steps=100, use_cpu=True, disable_tqdm=True, seed=0,
        )  # fmt: skip
        model = Classifier()
        transformers.Trainer(model, arguments, train_dataset=rows, callbacks=callbacks).train()
    return clock.seconds, model.net, callbacks[0].recorder if folder is not None else None


def _clock(base: type, first: str, last: str) -> Any:
    """A callback that knows when the first step began and the last one ended."""

    def begin(self: Any, *given: Any, **named: Any) -> None:
        self.start = self.start or time.perf_counter()

    def end(self: Any, *given: Any, **named: Any) -> None:
        self.seconds = time.perf_counter() - self.start

    return type("Clock", (base,), {"start": 0.0, "seconds": 0.0, first: begin, last: end})()


Way = Callable[[int, Path | None, float], tuple[float, nn.Module, lf.Recorder | None]]
WAYS: dict[str, tuple[Way, str]] = {
    "loop": (loop, "torch"),
    "lightning": (lightning, "lightning"),
    "trainer": (trainer, "transformers"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=10.0, help="of each training")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--budget", type=float, default=0.03)
    parser.add_argument("--ways", nargs="+", choices=tuple(WAYS), default=tuple(WAYS))
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    print(f"load {os.getloadavg()[0]:.2f}, {os.cpu_count()} cores, {given.repeats} repeats, budget {given.budget:.1%}")
    for name in given.ways:
        run, framework = WAYS[name]
        if importlib.util.find_spec(framework) is None:
            print(f"{name}: {framework} is not installed.")
            continue
        epochs = max(1, round(given.seconds / max(run(2, None, given.budget)[0] / 2, 1e-3)))
        plain, recorded, shares, taken, same = [], [], [], [], True
        for _ in range(given.repeats):
            seconds, model, _ = run(epochs, None, given.budget)
            plain.append(seconds)
            with tempfile.TemporaryDirectory() as folder:
                seconds, other, recorder = run(epochs, Path(folder) / "run", given.budget)
                curves = lf.Trajectory(Path(folder) / "run").curves
            recorded.append(seconds)
            assert recorder is not None
            shares.append(recorder.overhead)
            found = ((n, curves.get(f"train/{n}", ([],))[0]) for n in ("loss", "gradient_norm", "sharpness"))
            taken.append({n: len(steps) for n, steps in found})
            same &= all(map(torch.equal, model.state_dict().values(), other.state_dict().values()))
        ratio = statistics.median(recorded) / statistics.median(plain)
        spread = max(plain) / min(plain) - 1
        print(
            f"{name}: {epochs * EPOCH} steps in {statistics.median(plain):.1f} s (again: up to {spread:.1%} longer); "
            f"recorded {ratio:.4f} of it, at the least {min(recorded) / min(plain):.4f}"
        )
        print(f"  the recorder's own seconds: {statistics.median(shares):.2%} of training; weights to the bit: {same}")
        print(f"  taken, of {epochs * EPOCH // 5 + 1} times: {taken[-1]}")


if __name__ == "__main__":
    main()
