"""Every device gives what the CPU gives."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

import landform as lf
from landform import surface


def _landscapes(device: torch.device) -> tuple[lf.Landscape, lf.Landscape]:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 3))
    data = (torch.randn(20, 2, 5, 5), torch.arange(20) % 3)
    return lf.Landscape(model, data, device="cpu"), lf.Landscape(model, data, device=device)


def test_directions_are_the_same(device: torch.device) -> None:
    plain, there = _landscapes(device)
    points = torch.randn(4, plain.layout.size, generator=torch.Generator().manual_seed(1))
    for make in (
        lambda one: surface.random(one),
        lambda one: surface.random(one, scale="layer", biases="whole", norms="keep", orthogonal="after"),
        lambda one: surface.through(one, *points[:3].to(one.device)),
        lambda one: surface.principal(one, points.to(one.device)),
        lambda one: surface.radial(one, one.here, "0", "4"),
        lambda one: surface.hessian(one, tol=1e-6),
    ):
        ours, theirs = make(plain), make(there)
        assert theirs.vectors.device.type == device.type
        torch.testing.assert_close(theirs.vectors.cpu(), ours.vectors, rtol=1e-3, atol=1e-3)
        torch.testing.assert_close(theirs.norms.cpu(), ours.norms.cpu(), rtol=1e-5, atol=1e-6)


def test_surfaces_and_what_is_read_off_them_are_the_same(device: torch.device, tmp_path: Path) -> None:
    plain, there = _landscapes(device)
    ours, theirs = (surface.plane(one, steps=5, extent=0.5) for one in (plain, there))
    torch.testing.assert_close(theirs.losses, ours.losses, rtol=1e-4, atol=1e-5)
    assert theirs.centre.device.type == device.type
    a, b = surface.quadratic(plain, ours), surface.quadratic(there, theirs)
    torch.testing.assert_close(b.curvature, a.curvature, rtol=1e-3, atol=1e-3)
    level = 2 * ours.centre_loss
    assert torch.equal(surface.region(theirs, level).inside, surface.region(ours, level).inside)
    torch.testing.assert_close(surface.region(theirs, level).widths, surface.region(ours, level).widths)
    points = plain.here + torch.randn(3, plain.layout.size, generator=torch.Generator().manual_seed(1))
    torch.testing.assert_close(
        theirs.project(points.to(device)).coordinates, ours.project(points).coordinates, rtol=1e-4, atol=1e-5
    )
    kept = surface.plane(there, steps=5, extent=0.5, out=tmp_path / "kept")
    assert torch.equal(surface.load(tmp_path / "kept").losses, kept.losses)
    assert torch.equal(surface.plane(there, steps=5, extent=0.5, out=tmp_path / "kept").losses, kept.losses)


def test_cuts_and_tunnels_are_the_same(device: torch.device) -> None:
    plain, there = _landscapes(device)
    settings = {"threshold": 2 * float(plain.loss(plain.here)), "count": 2}
    ours, theirs = (surface.tunnel(one, **settings) for one in (plain, there))
    torch.testing.assert_close(theirs.filter, ours.filter, rtol=1e-2, atol=1e-3)
    torch.testing.assert_close(theirs.raw, ours.raw, rtol=1e-2, atol=1e-3)
    lines = [surface.cuts(one, count=2, steps=3).losses for one in (plain, there)]
    torch.testing.assert_close(lines[1], lines[0], rtol=1e-4, atol=1e-5)
