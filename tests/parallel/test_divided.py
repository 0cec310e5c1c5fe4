"""Several processes measure what one does: means, products, spectra, kernels."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from among import landscape, measured

import landform as lf

WORKER = Path(__file__).with_name("among.py")


@pytest.fixture(scope="module", params=[2, pytest.param(3, marks=pytest.mark.slow)])
def found(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    if not torch.distributed.is_available() or not torch.distributed.is_gloo_available():
        pytest.skip("this torch has no gloo")
    folder = tmp_path_factory.mktemp("among")
    count = request.param
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    done = subprocess.run(
        [*command, str(WORKER), str(folder)], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.returncode == 0, done.stderr
    return [torch.load(folder / f"found-{rank}.pt", weights_only=True) for rank in range(count)]


def test_they_measure_what_one_does(found: list[dict[str, Any]]) -> None:
    whole = landscape()
    ntk, sketch = (partial(one, whole) for one in (lf.kernel.ntk, lf.kernel.sketch))
    for name, alone in measured(whole, whole, ntk, sketch).items():
        torch.testing.assert_close(found[0][name], alone, rtol=1e-7, atol=1e-9, msg=lambda m, name=name: f"{name}: {m}")


def test_all_of_them_find_the_same(found: list[dict[str, Any]]) -> None:
    for other in found[1:]:
        for name, value in found[0].items():
            if isinstance(value, torch.Tensor):
                assert torch.equal(value, other[name]), name


def test_the_samples_are_shared_out(found: list[dict[str, Any]]) -> None:
    assert sum(each["share"] for each in found) == pytest.approx(1)
    assert max(each["share"] for each in found) - min(each["share"] for each in found) <= 1 / 37 + 1e-9


def test_statistics_are_those_of_all_samples(found: list[dict[str, Any]]) -> None:
    normed = landscape(norm=True)
    torch.testing.assert_close(found[0]["normed"], normed.gradient(normed.here), rtol=1e-8, atol=1e-10)


def test_whatever_is_a_mean_over_samples_can_be_averaged(found: list[dict[str, Any]]) -> None:
    whole = landscape()
    alone = lf.paths.barrier(whole, whole.here, 0.5 * whole.here).losses
    torch.testing.assert_close(found[0]["line"], alone, rtol=1e-9, atol=1e-12)


def test_misuse_is_told_in_every_process(found: list[dict[str, Any]]) -> None:
    for each in found:
        told = each["refusals"]
        assert "finite point" in told["one alone"]
        assert "'true' or 'empirical'" in told["sampled"]
        assert "stream" in told["stream"]
        assert "cannot be divided among" in told["few"]
        assert "share statistics" in told["batch"]


def test_without_processes_it_says_how_to_start_them() -> None:
    with pytest.raises(lf.BadInput, match="torchrun"):
        lf.parallel.divide(landscape())
