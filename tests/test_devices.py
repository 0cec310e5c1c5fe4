"""The same numbers on every device this machine has, in float32, and in float64 where the device has it."""

from __future__ import annotations

import pytest
import torch

import landform as lf

MODELS = {
    "mlp": lambda: lf.models.mlp(inputs=(64,), classes=10, width=16, depth=2),
    "cnn": lambda: lf.models.small_cnn(inputs=(1, 8, 8), classes=10, width=6, norm="batch"),
    "transformer": lambda: lf.models.transformer(inputs=(8,), classes=10, width=16, heads=2),
}


def pair(name: str) -> tuple[torch.Tensor, torch.Tensor]:
    digits = lf.data.digits(per_class=6).train
    if name == "cnn":
        return digits.inputs.view(-1, 1, 8, 8), digits.targets
    if name == "transformer":
        tokens = torch.arange(480).view(60, 8) * 7 % 10
        return tokens, tokens.roll(1, 1)
    return digits.inputs, digits.targets


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_landscapes_agree_with_the_cpu(device: torch.device, name: str, dtype: torch.dtype) -> None:
    if device.type == "mps" and dtype == torch.float64:
        pytest.skip("MPS has no float64")
    model, data = MODELS[name](), pair(name)
    here = lf.Landscape(model, data, device=device, dtype=dtype)
    judge = lf.Landscape(model, data, device="cpu", dtype=torch.float64)
    points = judge.here + 0.05 * torch.randn(4, judge.layout.size, dtype=torch.float64)
    close = {"rtol": 1e-4, "atol": 1e-5} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-11}
    torch.testing.assert_close(here.loss(points), judge.loss(points), **close)
    torch.testing.assert_close(here.gradient(points).double().cpu(), judge.gradient(points), **close)
    torch.testing.assert_close(here.gradient(points[0]).double().cpu(), judge.gradient(points[0]), **close)
    torch.testing.assert_close(here.outputs(points[0]).double().cpu(), judge.outputs(points[0]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("how", ["stack", "loop"])
@pytest.mark.parametrize("name", ["mlp", "cnn"])
def test_training_agrees_with_the_cpu(device: torch.device, how: str, name: str, tmp_path) -> None:
    recipe = lf.Recipe(epochs=2, batch_size=16, lr=0.05)
    ends = [
        lf.train_many([MODELS[name]() for _ in range(3)], pair(name), recipe, device=place, how=how,
                      outs=[tmp_path / f"{i}-{k}" for k in range(3)])
        for i, place in enumerate(("cpu", device))
    ]  # fmt: skip
    for cpu, other in zip(*ends, strict=True):
        torch.testing.assert_close(cpu.losses, other.losses, rtol=1e-3, atol=1e-4)
    child = lf.spawn(tmp_path / "1-0", MODELS[name](), pair(name), at=1, children=1, device=device)[0]
    assert child.trajectory is not None
    assert not child.diverged


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device on this machine")
def test_auto_takes_the_gpu() -> None:
    assert lf.Landscape(MODELS["mlp"](), pair("mlp")).device.type == "cuda"
