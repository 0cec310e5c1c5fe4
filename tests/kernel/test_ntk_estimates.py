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
    found = [lf.kernel.estimate_parameters(landscape, landscape.here, x, size=size, seed=s) for s in range(10)]
    errors = torch.tensor([float((f.kernel - exact).norm() / exact.norm()) for f in found])
    stated = torch.tensor([f.standard_error for f in found])
    assert float(errors.square().mean().sqrt()) < 1.2 * float(stated.mean())
    mean = torch.stack([f.kernel for f in found]).mean(0)
    assert float((mean - exact).norm() / exact.norm()) < 2 * float(stated.mean()) / 10**0.5


def test_shortened_gradients_of_two_sets(setting: tuple[lf.Landscape, Tensor, Tensor]) -> None:
    landscape, x, _ = setting
    whole = lf.kernel.estimate_parameters(landscape, landscape.here, x, size=512).kernel
    part = lf.kernel.estimate_parameters(landscape, landscape.here, x[:3], x[5:], size=512).kernel
    torch.testing.assert_close(part, whole[:3, 5:], rtol=1e-4, atol=1e-4 * float(whole.max()))


def test_precision_error_is_small_and_not_nothing(setting: tuple[lf.Landscape, Tensor, Tensor]) -> None:
    landscape, x, _ = setting
    assert 0 <= lf.kernel.precision_error(landscape, landscape.here, x) < 1e-2


def test_misuse_is_told(setting: tuple[lf.Landscape, Tensor, Tensor]) -> None:
    landscape, x, _ = setting
    with pytest.raises(lf.BadInput, match="at least 2"):
        lf.kernel.estimate_outputs(landscape, landscape.here, x, draws=1)
    with pytest.raises(lf.BadInput, match="at most the model's 8"):
        lf.kernel.estimate_outputs(landscape, landscape.here, x, draws=9)
    with pytest.raises(lf.BadInput, match="shortened to"):
        lf.kernel.estimate_parameters(landscape, landscape.here, x, size=10**6, memory=1e6)
