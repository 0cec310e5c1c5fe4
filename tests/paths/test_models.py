"""Every kind of model that there is, along lines and curves: sequences, normalisation, residuals, tied weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

import landform as lf
from landform.paths import barrier, connector, curve, interpolate, lengths, minimum_energy_path

MADE = torch.Generator().manual_seed(0)


def images(channels: int, side: int) -> tuple[Tensor, Tensor]:
    return torch.randn(20, channels, side, side, generator=MADE), torch.randint(0, 10, (20,), generator=MADE)


def rows() -> tuple[Tensor, Tensor]:
    return torch.randn(20, 64, generator=MADE), torch.randint(0, 10, (20,), generator=MADE)


def symbols() -> tuple[Tensor, Tensor]:
    targets = torch.randint(0, 10, (20, 6), generator=MADE)
    targets[::4, 4:] = -100
    return torch.randint(0, 10, (20, 6), generator=MADE), targets


CASES = {
    "mlp": ("mlp", (64,), rows, {}),
    "cnn": ("small_cnn", (1, 8, 8), lambda: images(1, 8), {}),
    "batchnorm": ("small_cnn", (1, 8, 8), lambda: images(1, 8), {"norm": "batch"}),
    "groupnorm": ("small_cnn", (1, 8, 8), lambda: images(1, 8), {"norm": "group", "downsample": "max"}),
    "resnet": ("resnet20", (3, 8, 8), lambda: images(3, 8), {"width": 2}),
    "rnn": ("rnn", (6, 3), lambda: (torch.randn(20, 6, 3, generator=MADE), torch.arange(20) % 10), {"width": 8}),
    "transformer": (
        "transformer",
        (6,),
        symbols,
        {"width": 8, "depth": 1, "heads": 2, "tied": True, "dropout": 0.5},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_all_of_it_runs_and_reads_what_the_landscape_reads(name: str) -> None:
    kind, inputs, data, options = CASES[name]
    net = lf.models.build(kind, inputs=inputs, classes=10, **options)
    landscape = lf.Landscape(net, data(), device="cpu", batch_size=8)
    a = landscape.here
    b = a + 0.05 * torch.randn(landscape.layout.size, generator=MADE)
    found = barrier(landscape, a, b, steps=5, refine=2)
    line = interpolate(a, b, found.alphas)
    plain = [landscape.read(point) for point in line]
    assert found.losses.tolist() == pytest.approx([float(one.loss) for one in plain], rel=1e-4)
    assert found.errors is not None
    assert found.errors.tolist() == pytest.approx([float(one.error) for one in plain if one.error is not None])
    bent = curve(landscape, a, b, steps=4, positions=5, refine=0)
    middle = bent.points(torch.tensor([0.25]))
    assert float(bent.barrier.losses[1]) == pytest.approx(float(landscape.loss(middle)), rel=1e-4)
    assert not torch.equal(bent.nodes[1], (a + b) / 2)
    joined = connector(landscape, torch.stack([a, b, (a + b) / 2 + 0.01]), steps=3, samples=4)
    assert joined.trained.inside.losses.tolist() == pytest.approx(
        landscape.loss(joined.points(joined.trained.inside.shares)).tolist(), rel=1e-4
    )
    string = minimum_energy_path(landscape, a, b, nodes=4, rounds=1, steps=2, lr=0.01, positions=5, refine=0)
    assert string.losses.tolist() == pytest.approx(landscape.loss(string.nodes).tolist(), rel=1e-4)
    assert lengths(landscape, line).parameters.detour == pytest.approx(1, rel=1e-4)


def test_it_runs_on_every_device(device: torch.device) -> None:
    data = lf.data.digits(per_class=5)
    landscape = lf.Landscape(lf.models.build("mlp", inputs=(64,), classes=10, width=8, depth=1), data, device=device)
    plain = lf.Landscape(lf.models.build("mlp", inputs=(64,), classes=10, width=8, depth=1), data, device="cpu")
    a = plain.here
    b = a + 0.3 * torch.randn(len(a), generator=MADE)
    there, here = (curve(one, a, b, steps=20, on={"test": data.test}) for one in (landscape, plain))
    torch.testing.assert_close(there.nodes.cpu(), here.nodes, rtol=1e-3, atol=1e-4)
    assert there.barrier.losses.tolist() == pytest.approx(here.barrier.losses.tolist(), rel=1e-3)
    joined = connector(landscape, torch.stack([a, b]), steps=5, samples=8, kind="star", method="midpoint")
    assert joined.nodes.device.type == device.type
    string = minimum_energy_path(landscape, a, b, nodes=4, rounds=2, steps=2)
    assert lengths(landscape, string.nodes).fisher is not None
