"""What looks at data gives on every device what it gives on the CPU."""

from __future__ import annotations

import pytest
import torch

import landform as lf
from landform import merging


def setting(device: torch.device | str) -> tuple[lf.Landscape, torch.Tensor]:
    made = torch.Generator().manual_seed(0)
    x, y = torch.randn(40, 3, 8, 8, generator=made), torch.randint(0, 3, (40,), generator=made)
    model = lf.models.small_cnn(inputs=(3, 8, 8), classes=3, width=4, norm="batch")
    where = lf.Landscape(model, (x, y), device=device, batch_size=20)
    draws = torch.randn(2, where.layout.size, generator=made)
    return where, where.here + 0.1 * draws.to(where.device)


@pytest.mark.parametrize("method", ["fisher", "regmean", "greedy_soup", "learned_soup", "aligned", "repair"])
def test_methods(method: str, device: torch.device) -> None:
    (plain, ours), (there, theirs) = setting("cpu"), setting(device)
    options = {"steps": 3} if method == "learned_soup" else {}
    wanted = merging.merge(ours, method=method, data=plain, **options)
    found = merging.merge(theirs, method=method, data=there, **options)
    assert found.point.device.type == device.type
    torch.testing.assert_close(found.point.cpu(), wanted.point, rtol=1e-3, atol=1e-3)
    for name, buffer in wanted.buffers.items():
        torch.testing.assert_close(found.buffers[name].cpu(), buffer, rtol=1e-2, atol=1e-3)


def test_measurements_masks_and_zips(device: torch.device) -> None:
    (plain, ours), (there, theirs) = setting("cpu"), setting(device)
    base = [where.here for where in (plain, there)]
    wanted, found = (
        merging.mergeable(w, *p, base=b).features for w, p, b in zip((plain, there), (ours, theirs), base, strict=True)
    )
    for name, value in wanted.items():
        assert found[name] == pytest.approx(value, rel=1e-2, abs=1e-3), name
    small, large = (
        merging.localise(w, p[i], p[1 - i], scores="magnitude", share=0.9)
        for w, p in ((plain, ours), (there, theirs))
        for i in [0 if float(plain.loss(ours[0])) > float(plain.loss(ours[1])) else 1]
    )
    assert large.density == pytest.approx(small.density, rel=0.05)
    zipped = merging.zip_models(there, *theirs, stop_at="conv3")
    assert {p.device.type for p in zipped.parameters()} == {device.type}
    x = there._data.inputs
    with torch.no_grad():
        heads = merging.zip_models(plain, *ours, stop_at="conv3")(plain._data.inputs)
        for one, other in zip(zipped(x), heads, strict=True):
            torch.testing.assert_close(one.cpu(), other, rtol=1e-2, atol=1e-2)
