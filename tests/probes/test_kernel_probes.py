"""The tangent kernel along a run against kernels of plain Jacobians taken record by record."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

import landform as lf
from landform import kernel
from landform.probes import _kernel as probes
from landform.report import _kernel_figures as figures
from landform.report import draw, gather


def pair() -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(0)
    return torch.randn(30, 5, generator=made, dtype=torch.float64), torch.arange(30) % 3


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(5, 8), nn.Tanh(), nn.Linear(8, 3)).double()


def run_of(folder: Path, **recipe) -> lf.Trajectory:
    settings = {"epochs": 4, "batch_size": 10, "lr": 0.2, "schedule": "cosine", **recipe}
    lf.train(net(), pair(), lf.Recipe(**settings), out=folder, device="cpu", recording=lf.Recording(at=4))
    return lf.Trajectory(folder)


def plain(point: torch.Tensor, count: int) -> torch.Tensor:
    """Full kernel ``[n, n, K, K]`` of the first samples, sorted by class, by reverse passes one after another."""
    x, y = pair()
    chosen = torch.argsort(y[:count], stable=True)
    layout = lf.Layout.of(net())
    rows = []
    for sample in x[chosen]:
        views = {k: v.clone().requires_grad_() for k, v in layout.views(point).items()}
        outputs = torch.func.functional_call(net(), views, (sample[None],))[0]
        for out in outputs:
            grads = torch.autograd.grad(out, list(views.values()), retain_graph=True)
            rows.append(torch.cat([g.reshape(-1) for g in grads]))
    J = torch.stack(rows).reshape(count, 3, -1)
    return torch.einsum("nkp,mlp->nmkl", J, J)


def test_every_number_is_that_of_the_plain_kernels(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")
    landscape = lf.Landscape(net(), pair(), device="cpu")
    few = [
        probe.using(samples=12)
        for probe in (probes.kernel_velocity, probes.kernel_distance, probes.kernel_alignment, probes.kernel_map)
    ]
    few += [probes.kernel_spectrum.using(samples=12, k=5), probes.kernel_distances.using(samples=12, times=3)]
    atlas = lf.survey(run, landscape, probes=few)
    labels = torch.sort(pair()[1][:12]).values
    velocity = atlas["kernel_velocity"]
    assert len(velocity.coords["step"]) >= 3
    for i, step in enumerate(velocity.coords["step"]):
        record = run.at(step=int(step))
        after = run.records[dict(run.pairs)[run.steps.index(int(step))]]
        far = kernel.distance(plain(record.point, 12), plain(after.point, 12))
        assert velocity.values[i] == pytest.approx(far / (after.epoch - record.epoch))
        rates = lf.Recipe(epochs=4, batch_size=10, lr=0.2, schedule="cosine").rates(range(record.step, after.step), 3)
        assert atlas["kernel_velocity_per_lr"].values[i] == pytest.approx(velocity.values[i] / float(rates.mean()))
    first = plain(run.points[0], 12)
    for i, step in enumerate(atlas["kernel_distance"].coords["step"]):
        now = plain(run.at(step=int(step)).point, 12)
        assert atlas["kernel_distance"].values[i] == pytest.approx(kernel.distance(first, now), abs=1e-14)
        assert atlas["kernel_scale"].values[i] == pytest.approx((now.norm() / first.norm()).item())
    for i, step in enumerate(atlas["kernel_alignment"].coords["step"]):
        trace = torch.einsum("nmkk->nm", plain(run.at(step=int(step)).point, 12))
        for name, centred in (("kernel_alignment", True), ("kernel_alignment_uncentred", False)):
            assert atlas[name].values[i] == pytest.approx(kernel.alignment(trace, labels, centred=centred))
    for i, step in enumerate(atlas["kernel_eigenvalues"].coords["step"]):
        trace = torch.einsum("nmkk->nm", plain(run.at(step=int(step)).point, 12))
        assert atlas["kernel_eigenvalues"].values[i] == pytest.approx(torch.linalg.eigvalsh(trace).flip(0)[:5].numpy())
        energy = kernel.label_energy(trace, labels, centred=True).cumulative[:5]
        assert atlas["kernel_label_energy"].values[i] == pytest.approx(energy.numpy())
        assert atlas["kernel_effective_rank"].values[i] == pytest.approx(kernel.effective_rank(trace))
    seen = atlas["kernel_map"]
    last = torch.einsum("nmkk->nm", plain(run.at(step=int(seen.coords["step"][-1])).point, 12))
    np.testing.assert_allclose(seen.values[-1], last, rtol=1e-10)
    np.testing.assert_array_equal(atlas["kernel_map_classes"].values[-1], labels)
    table = atlas["kernel_distances"].values[0]
    epochs = atlas["kernel_distances_epochs"].values[0]
    kernels = [plain(run.at(epoch=float(epoch)).point, 12) for epoch in epochs]
    np.testing.assert_allclose(table, kernel.distances(kernels), rtol=1e-8, atol=1e-14)
    assert epochs[0] == 0.0
    assert epochs[-1] == 4.0

    material = gather(atlas)
    made = [
        figures.velocity(material), figures.velocity_per_lr(material), figures.distance(material),
        figures.alignment(material), figures.effective_rank(material), figures.eigenvalues(material),
        figures.decay(material), figures.label_energy(material),
    ]  # fmt: skip
    for figure in made:
        assert figure is not None
        assert draw(figure).startswith(b"\x89PNG")
    maps = figures.heat_maps(atlas)
    assert [one.name for one in maps] == ["kernel-distances", "kernel-map-1", "kernel-map-2"]
    np.testing.assert_allclose(maps[0].values, table)
    assert maps[0].x.names[-1] == "4"
    assert maps[2].x.groups == (("0", 4), ("1", 4), ("2", 4))
    lengths = last.diagonal().sqrt()
    np.testing.assert_allclose(maps[2].values, last / torch.outer(lengths, lengths), rtol=1e-10)
    assert "epoch 4" in maps[2].title


def test_samples_are_balanced_over_classes_and_few_are_taken_as_they_are(tmp_path: Path) -> None:
    x = torch.randn(40, 5, dtype=torch.float64)
    y = torch.tensor([0] * 30 + [1] * 8 + [2] * 2)
    landscape = lf.Landscape(net(), (x, y), device="cpu")
    part, labels = probes.few(landscape, 12)
    assert labels.bincount().tolist() == [5, 5, 2]
    assert (labels.diff() >= 0).all()
    torch.testing.assert_close(part.outputs(part.here), net()(x[[0, 1, 2, 3, 4, 30, 31, 32, 33, 34, 38, 39]]).detach())
    assert len(probes.few(landscape, 1000)[1]) == 40
    numbers = lf.Landscape(net(), (x, torch.randn(40, 3, dtype=torch.float64)), loss="mse", device="cpu")
    part, labels = probes.few(numbers, 4)
    assert labels is None
    torch.testing.assert_close(part.outputs(part.here), net()(x[[0, 13, 26, 39]]).detach())


def test_a_diverged_run_leaves_gaps(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run", lr=1e200, weight_decay=1.0)
    landscape = lf.Landscape(net(), pair(), device="cpu")
    few = [p.using(samples=6) for p in (probes.kernel_velocity, probes.kernel_distance, probes.kernel_alignment)]
    few += [probes.kernel_spectrum.using(samples=6, k=3), probes.kernel_distances.using(samples=6, times=3)]
    atlas = lf.survey(run, landscape, probes=few)
    assert math.isnan(atlas["kernel_distance"].values[-1])
    assert atlas["kernel_distance"].values[0] == 0.0
    assert np.isnan(atlas["kernel_eigenvalues"].values[-1]).all()
    assert math.isnan(atlas["kernel_distances"].values[0][0, -1])
    assert len(figures.heat_maps(atlas)) == 1


def test_a_stream_has_no_samples_to_choose() -> None:
    stream = lf.Landscape(net(), [pair()], device="cpu")
    assert "stream" in probes.kernel_velocity.applies(stream)
    numbers = lf.Landscape(net(), (pair()[0], torch.zeros(30, 3, dtype=torch.float64)), loss="mse", device="cpu")
    assert "not labels" in probes.kernel_alignment.applies(numbers)
    assert probes.kernel_spectrum.applies(numbers) is None


def test_a_sketch_is_the_kernel_within_its_error(tmp_path: Path) -> None:
    run = run_of(tmp_path / "run")
    landscape = lf.Landscape(net(), pair(), device="cpu")
    # As many mixes as outputs, and room enough that hardly any two parameters share a sum.
    sketch = lf.probes.get("kernel_sketch").using(samples=12, size=4096, draws=3, k=4).at((0.0, 4.0))
    atlas = lf.survey(run, landscape, probes=[sketch])
    exact = [plain(run.at(epoch=epoch).point, 12).diagonal(dim1=2, dim2=3).sum(-1) for epoch in (0, 4)]
    for at, K in enumerate(exact):
        told = float(atlas["sketch_error"].values[at])
        assert 0 < told < 0.05
        values = torch.linalg.eigvalsh(K).flip(0)[:4]
        found = torch.tensor(atlas["sketch_eigenvalues"].values[at].copy())
        assert float((found - values).norm()) < 2 * told * float(K.norm())
    distance = kernel.distance(exact[0], exact[1])
    assert float(atlas["sketch_distance"].values[0]) == pytest.approx(0, abs=1e-12)
    assert float(atlas["sketch_distance"].values[1]) == pytest.approx(distance, abs=0.01)
    names = [
        figure.name for figure in (figures.sketch_distance(gather(run.folder)), figures.eigenvalues(gather(run.folder)))
    ]
    assert names == ["sketch-distance", "kernel-eigenvalues"]


def test_a_text_model_has_a_sketch(tmp_path: Path) -> None:
    torch.manual_seed(0)
    x = torch.randint(0, 9, (24, 6))
    model = lf.models.transformer(inputs=(6,), classes=9, width=8, depth=1, heads=2)
    run = lf.train(model, (x, x), lf.Recipe(epochs=1, batch_size=8, lr=0.1), out=tmp_path / "run", device="cpu")
    landscape = lf.Landscape(model, (x, x), device="cpu")
    assert run.trajectory is not None
    atlas = lf.survey(run.trajectory, landscape, probes=[lf.probes.get("kernel_sketch").using(samples=8, k=4).at(2)])
    assert np.isfinite(atlas["sketch_eigenvalues"].values).all()
    assert not atlas.notes
