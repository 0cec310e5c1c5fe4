"""Estimated kernels: exact where nothing is left to chance, within their standard errors elsewhere."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import landform as lf


@pytest.fixture(scope="module")
def setting() -> tuple[lf.Landscape, Tensor, Tensor]:
    torch.manual_seed(0)
    x = torch.randn(24, 1, 8, 8)
    model = lf.models.small_cnn(inputs=(1, 8, 8), classes=8, width=6)
    landscape = lf.Landscape(model, (x, torch.arange(24) % 8))
    return landscape, x, lf.kernel.ntk(landscape, landscape.here, x, kind="trace")


def test_as_many_mixes_as_outputs_give_the_kernel(setting: tuple[lf.Landscape, Tensor, Tensor]) -> None:
    landscape, x, exact = setting
    found = lf.kernel.estimate_outputs(landscape, landscape.here, x, draws=8)
    torch.testing.assert_close(found.kernel, exact, rtol=1e-4, atol=1e-5 * float(exact.max()))
    assert found.standard_error == 0.0


def sketched(landscape: lf.Landscape, x: Tensor, **how: int) -> lf.kernel.Estimate:
    return lf.kernel.sketch(landscape, landscape.here, x, **how).kernel()


def _calibrated(errors: list[float], stated: list[float]) -> None:
    """The root mean square of the errors made, against that of the errors stated."""
    made = torch.tensor(errors).square().mean().sqrt()
    told = torch.tensor(stated).square().mean().sqrt()
    assert 0.6 < float(made / told) < 1.5, (made, told)


@pytest.mark.parametrize("draws", [2, 5])
def test_mixes_of_outputs_err_as_they_say(setting: tuple[lf.Landscape, Tensor, Tensor], draws: int) -> None:
    landscape, x, exact = setting
    found = [lf.kernel.estimate_outputs(landscape, landscape.here, x, draws=draws, seed=s) for s in range(40)]
    _calibrated([float((f.kernel - exact).norm() / exact.norm()) for f in found], [f.standard_error for f in found])
    mean = torch.stack([f.kernel for f in found]).mean(0)
    assert float((mean - exact).norm() / exact.norm()) < 4 * found[0].standard_error / 40**0.5 + 0.02


@pytest.mark.parametrize("size", [256, 2048])
def test_shortened_gradients_err_at_most_as_they_say(setting: tuple[lf.Landscape, Tensor, Tensor], size: int) -> None:
    landscape, x, exact = setting
    found = [sketched(landscape, x, size=size, seed=s) for s in range(10)]
    errors = torch.tensor([float((f.kernel - exact).norm() / exact.norm()) for f in found])
    stated = torch.tensor([f.standard_error for f in found])
    assert float(errors.square().mean().sqrt()) < 1.2 * float(stated.mean())
    mean = torch.stack([f.kernel for f in found]).mean(0)
    assert float((mean - exact).norm() / exact.norm()) < 2 * float(stated.mean()) / 10**0.5


def test_shortened_gradients_of_two_sets(setting: tuple[lf.Landscape, Tensor, Tensor]) -> None:
    landscape, x, _ = setting
    whole = sketched(landscape, x, size=512).kernel
    first, second = (lf.kernel.sketch(landscape, landscape.here, some, size=512) for some in (x[:3], x[5:]))
    torch.testing.assert_close(first.kernel(second).kernel, whole[:3, 5:], rtol=1e-4, atol=1e-4 * float(whole.max()))
    with pytest.raises(lf.BadInput, match="not drawn alike"):
        first.kernel(lf.kernel.sketch(landscape, landscape.here, x[5:], size=512, seed=1))


def test_mixes_shortened_err_at_most_as_they_say(setting: tuple[lf.Landscape, Tensor, Tensor]) -> None:
    landscape, x, exact = setting
    found = [sketched(landscape, x, size=512, draws=3, seed=s) for s in range(20)]
    errors = torch.tensor([float((f.kernel - exact).norm() / exact.norm()) for f in found])
    stated = torch.tensor([f.standard_error for f in found])
    assert 0.5 * float(stated.mean()) < float(errors.square().mean().sqrt()) < 1.2 * float(stated.mean())
    mean = torch.stack([f.kernel for f in found]).mean(0)
    assert float((mean - exact).norm() / exact.norm()) < 2 * float(stated.mean()) / 20**0.5


def test_as_many_mixes_as_outputs_shorten_like_the_outputs(setting: tuple[lf.Landscape, Tensor, Tensor]) -> None:
    landscape, x, _ = setting
    outputs = sketched(landscape, x, size=512)
    mixes = sketched(landscape, x, size=512, draws=8)
    torch.testing.assert_close(mixes.kernel, outputs.kernel, rtol=1e-4, atol=1e-4 * float(outputs.kernel.max()))
    assert mixes.standard_error == pytest.approx(outputs.standard_error, rel=1e-3)


def test_a_text_model_of_many_outputs() -> None:
    torch.manual_seed(0)
    x = torch.randint(0, 20, (6, 16))
    model = lf.models.transformer(inputs=(16,), classes=20, width=16, depth=1, heads=2)
    landscape = lf.Landscape(model, (x, x), dtype=torch.float64)
    exact = lf.kernel.ntk(landscape, landscape.here, x, kind="trace")
    found = [sketched(landscape, x, size=2048, draws=8, seed=s) for s in range(6)]
    mean = torch.stack([f.kernel for f in found]).mean(0)
    assert float((mean - exact).norm() / exact.norm()) < 3 * found[0].standard_error / 6**0.5


def test_precision_error_is_small_and_not_nothing(setting: tuple[lf.Landscape, Tensor, Tensor]) -> None:
    landscape, x, _ = setting
    assert 0 <= lf.kernel.precision_error(landscape, landscape.here, x) < 1e-2


def test_misuse_is_told(setting: tuple[lf.Landscape, Tensor, Tensor]) -> None:
    landscape, x, _ = setting
    with pytest.raises(lf.BadInput, match="at least 2"):
        lf.kernel.estimate_outputs(landscape, landscape.here, x, draws=1)
    with pytest.raises(lf.BadInput, match="at most the model's 8"):
        lf.kernel.estimate_outputs(landscape, landscape.here, x, draws=9)
    with pytest.raises(lf.BadInput, match=r"shortened to .* draws="):
        lf.kernel.sketch(landscape, landscape.here, x, size=10**6, memory=1e6)
    with pytest.raises(lf.BadInput, match="at least 2"):
        lf.kernel.sketch(landscape, landscape.here, x, draws=1)
