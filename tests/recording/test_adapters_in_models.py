"""Models of which a part is trained: LoRA in the adapter's space and in that of all weights; a timm-like network."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import landform as lf
from landform.errors import BadInput
from landform.recording import merged_run

MADE = torch.Generator().manual_seed(5)
INPUTS, LABELS = torch.randn(40, 4, generator=MADE), torch.randint(0, 3, (40,), generator=MADE)


class Lora(nn.Module):
    """What PEFT puts in the place of a dense layer: the layer, frozen, and a product of low rank."""

    def __init__(self, base: nn.Linear, rank: int = 2) -> None:
        super().__init__()
        self.base_layer = base.requires_grad_(False)
        self.lora_A = nn.ParameterDict({"default": nn.Parameter(torch.randn(rank, base.in_features) / 2)})
        self.lora_B = nn.ParameterDict({"default": nn.Parameter(torch.zeros(base.out_features, rank))})

    def forward(self, x: Tensor) -> Tensor:
        return self.base_layer(x) + x @ self.lora_A["default"].T @ self.lora_B["default"].T

    def plain(self) -> nn.Linear:
        with torch.no_grad():
            self.base_layer.weight += self.lora_B["default"] @ self.lora_A["default"]
        return self.base_layer


def plain() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 6), nn.LayerNorm(6), nn.Tanh(), nn.Linear(6, 3))


def adapted() -> nn.Sequential:
    model = plain().requires_grad_(False)
    torch.manual_seed(1)
    model[0], model[3] = Lora(model[0]), Lora(model[3])  # type: ignore[arg-type]
    return model


def merge(model: nn.Module) -> nn.Module:
    assert isinstance(model, nn.Sequential)
    for place in (0, 3):
        model[place] = model[place].plain()  # type: ignore[operator]
    return model


def train(model: nn.Module, folder: Path, steps: int = 12) -> lf.Trajectory:
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=0.05)
    with lf.Recorder(folder, model, optimizer, epoch=4, at=[0, 3, 12], pairs=0.5, resumable_at=[12]) as recorder:
        for _ in range(steps):
            optimizer.zero_grad()
            loss = F.cross_entropy(model(INPUTS), LABELS)
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    return lf.Trajectory(folder)


def test_adapters_in_their_own_space_and_in_that_of_all_weights(tmp_path: Path) -> None:
    model = adapted()
    run = train(model, tmp_path / "run")
    assert run.layout.size == 2 * (4 + 6) + 2 * (6 + 3)
    assert set(run.layout.frozen) >= {"0.base_layer.weight", "1.weight"}
    inside = lf.Landscape(adapted(), (INPUTS, LABELS), device="cpu")
    here = lf.survey(run, inside, probes=["loss", "gradient_norm"])
    start = copy.deepcopy(model)
    whole = merged_run(run, tmp_path / "whole", start, merge=merge)
    assert isinstance(start[0], Lora)  # what was given is as it was
    assert whole.steps == run.steps
    assert whole.pairs == run.pairs
    assert whole.layout.size == lf.Layout.of(plain()).size
    around = lf.Landscape(plain(), (INPUTS, LABELS), device="cpu")
    there = lf.survey(whole, around, probes=["loss", "gradient_norm"])
    torch.testing.assert_close(torch.tensor(here["loss"].values), torch.tensor(there["loss"].values), rtol=1e-5, atol=0)
    assert whole.curves["loss"][1].tolist()[:11] == run.curves["loss"][1].tolist()[:11]
    # The gradient in the adapters' space is the whole one's, pulled back: for B, dL/dW A^T.
    adapter, full = inside.gradient(run.points[0]), around.gradient(whole.points[0])
    first = run.layout.views(adapter)["0.lora_B.default"]
    weight = whole.layout.views(full)["0.weight"]
    A = run.layout.views(run.points[0])["0.lora_A.default"]
    torch.testing.assert_close(first, weight @ A.T, rtol=1e-4, atol=1e-6)
    # And the curvature too: the operators see the trained parameters alone.
    assert inside.hessian(run.points[-1]).size == run.layout.size


def test_statistics_of_batchnorm_come_along(tmp_path: Path) -> None:
    model = nn.Sequential(Lora(nn.Linear(4, 6)), nn.BatchNorm1d(6), nn.Linear(6, 3))
    run = train(model, tmp_path / "run")

    def own(adapted: nn.Module) -> nn.Module:
        adapted[0] = adapted[0].plain()  # type: ignore[index, operator]
        return adapted

    whole = merged_run(run, tmp_path / "whole", model, merge=own)
    for before, after in zip(run.records, whole.records, strict=True):
        assert before.buffers["1.running_mean"].equal(after.buffers["1.running_mean"])
    assert not whole.records[-1].buffers["1.running_mean"].equal(whole.records[0].buffers["1.running_mean"])


def test_misuse_is_told(tmp_path: Path) -> None:
    run = train(adapted(), tmp_path / "run")
    with pytest.raises(BadInput, match="Sequential has no merge_and_unload: give merge="):
        merged_run(run, tmp_path / "whole", adapted())
    with pytest.raises(BadInput, match="merge= returned a int"):
        merged_run(run, tmp_path / "whole", adapted(), merge=lambda model: 3)  # type: ignore[arg-type, return-value]
    with pytest.raises(BadInput, match="parameters are not those of the run"):
        merged_run(run, tmp_path / "whole", plain(), merge=merge)
    other = adapted()
    with torch.no_grad():
        other[0].base_layer.weight.zero_()  # type: ignore[union-attr]
    with pytest.raises(BadInput, match="frozen parameter"):
        merged_run(run, tmp_path / "whole", other, merge=merge)


class Block(nn.Module):
    """A residual block as timm writes them: depthwise convolution, layer scale, stochastic depth."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm = nn.BatchNorm2d(width)
        self.gamma = nn.Parameter(0.1 * torch.ones(width))

    def forward(self, x: Tensor) -> Tensor:
        keep = torch.rand(len(x), 1, 1, 1) > 0.2 if self.training else torch.ones(1)
        return x + keep * self.gamma[:, None, None] * F.gelu(self.norm(self.conv(x)))


class Network(nn.Module):
    """Named as timm's: a frozen stem, stages, and a head apart."""

    def __init__(self) -> None:
        super().__init__()
        self.num_classes = 3
        self.stem = nn.Conv2d(1, 4, 2, stride=2).requires_grad_(False)
        self.stages = nn.Sequential(Block(4), Block(4))
        self.head = nn.ModuleDict({"drop": nn.Dropout(0.1), "fc": nn.Linear(4, 3)})

    def forward_features(self, x: Tensor) -> Tensor:
        features: Tensor = self.stages(self.stem(x))
        return features

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.head["fc"](self.head["drop"](self.forward_features(x).mean((2, 3))))
        return found


def test_a_timm_like_network(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Network()
    images = torch.randn(24, 1, 6, 6)
    labels = LABELS[:24]
    landscape = lf.Landscape(model, (images, labels), device="cpu")
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=0.02)
    probes = lf.probes.live(landscape, ["loss", "trace"])
    with lf.Recorder(
        tmp_path / "run", model, optimizer, epoch=3, at=3, pairs=None, probes=probes, budget=None
    ) as recorder:
        for step in range(6):
            rows = slice(8 * (step % 3), 8 * (step % 3) + 8)
            optimizer.zero_grad()
            loss = F.cross_entropy(model(images[rows]), labels[rows])
            loss.backward()
            optimizer.step()
            recorder.step(loss=loss)
    run = lf.Trajectory(tmp_path / "run")
    assert run.layout.frozen == ("stem.weight", "stem.bias")
    atlas = lf.survey(run, landscape, probes=["loss"])
    torch.testing.assert_close(run.curves["train/loss"][1], torch.tensor(atlas["loss"].values), rtol=1e-5, atol=0)
