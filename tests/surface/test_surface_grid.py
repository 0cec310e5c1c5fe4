"""Lines, planes and volumes against a plain loop over copies of the model."""

import copy

import pytest
import torch
from torch import Tensor, nn

import landform as lf
from landform import surface
from landform.errors import BadInput


@pytest.fixture(scope="module")
def digits() -> lf.Landscape:
    model = lf.models.mlp(inputs=(64,), classes=10, width=12, depth=2, seed=0)
    return lf.Landscape(model, lf.data.digits(per_class=8), device="cpu")


def loop(landscape: lf.Landscape, plane: surface.Surface) -> tuple[Tensor, Tensor]:
    """Loss and error of a plane, as one would write it."""
    data = lf.data.digits(per_class=8).train
    net = copy.deepcopy(landscape._model).double()
    losses, errors = (torch.zeros(len(plane.alphas), len(plane.betas), dtype=torch.float64) for _ in range(2))
    for i, a in enumerate(plane.alphas):
        for j, b in enumerate(plane.betas):
            u, v = plane.directions.double()
            nn.utils.vector_to_parameters(plane.centre.double() + a * u + b * v, net.parameters())
            with torch.no_grad():
                out = net(data.inputs.double())
            losses[i, j] = nn.functional.cross_entropy(out, data.targets)
            errors[i, j] = (out.argmax(1) != data.targets).double().mean()
    return losses, errors


def test_a_plane_is_the_plain_loop_over_copies_of_the_model(digits: lf.Landscape) -> None:
    plane = surface.plane(digits, center=digits.here, extent=(1.0, (-0.5, 2.0)), steps=(5, 6))
    losses, errors = loop(digits, plane)
    torch.testing.assert_close(plane.losses, losses, rtol=1e-5, atol=1e-6)
    assert plane.errors is not None
    torch.testing.assert_close(plane.errors, errors, rtol=0, atol=1.01 / 80)
    assert plane.losses.shape == (5, 6)
    assert plane.directions.shape == (2, digits.layout.size)


def test_it_is_exactly_centred(digits: lf.Landscape) -> None:
    here = digits.here
    plane = surface.plane(digits, center=here, extent=1.0, steps=25)
    assert plane.alphas[12] == plane.betas[12] == 0
    assert torch.equal(plane.alphas, -plane.alphas.flip(0))
    assert torch.equal(plane.points([0.0, 0.0]), here)
    assert float(plane.losses[12, 12]) == pytest.approx(float(digits.loss(here)), abs=1e-6)
    assert plane.centre_loss == pytest.approx(float(digits.loss(here)), abs=1e-6)
    even = surface.plane(digits, center=here, steps=4)  # the centre is no place of it, and its loss is known
    assert even.centre_loss == float(digits.loss(here))


def test_the_model_is_as_it_was_even_where_reading_fails(digits: lf.Landscape) -> None:
    before = copy.deepcopy(digits._model.state_dict())
    calls = 0

    def stop(done: int, total: int) -> None:
        nonlocal calls
        calls += 1
        if calls == 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        surface.plane(digits, steps=9, progress=stop)
    after = digits._model.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert float(digits.loss(digits.here)) == surface.line(digits, steps=2).centre_loss


def test_nan_stays_nan() -> None:
    class Root(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.x = nn.Parameter(torch.ones(2, 1))

        def forward(self, inputs: Tensor) -> Tensor:
            return inputs @ self.x.sqrt()

    landscape = lf.Landscape(Root(), (torch.ones(3, 2), torch.ones(3, 1)), loss="mse", device="cpu")
    line = surface.line(landscape, directions=torch.ones(1, 2), extent=2.0, steps=5)
    assert line.losses.isnan().tolist() == [True, False, False, False, False]
    assert float(line.losses[1]) == pytest.approx(1.0)
    assert line.errors is None


def test_one_two_and_three_directions_agree(digits: lf.Landscape) -> None:
    directions = surface.random(digits, count=3)
    volume = surface.volume(digits, directions=directions, steps=3)
    plane = surface.plane(digits, directions=directions, steps=3)
    line = surface.line(digits, directions=directions, steps=3)
    assert volume.losses.shape == (3, 3, 3)
    torch.testing.assert_close(volume.losses[:, :, 1], plane.losses, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(plane.losses[:, 1], line.losses, rtol=1e-5, atol=1e-6)
    with pytest.raises(BadInput, match="line has no such"):
        line.betas  # noqa: B018


def test_the_same_seed_gives_the_same_plane(digits: lf.Landscape) -> None:
    first, again, other = (surface.plane(digits, steps=3, seed=seed) for seed in (4, 4, 5))
    assert torch.equal(first.losses, again.losses)
    assert torch.equal(first.directions, again.directions)
    assert not torch.equal(first.losses, other.losses)


def test_what_cannot_be_drawn_is_said(digits: lf.Landscape) -> None:
    here = digits.here
    with pytest.raises(BadInput, match=r"numbers, but this landscape's model .*it would end in"):
        surface.plane(digits, center=here[:-20])
    bad = here.clone()
    bad[70] = torch.nan
    with pytest.raises(BadInput, match=r"holds NaN or infinity, first in .*weight"):
        surface.plane(digits, center=bad)
    with pytest.raises(BadInput, match="steps is 1"):
        surface.plane(digits, steps=1)
    with pytest.raises(BadInput, match="extent is"):
        surface.plane(digits, extent=0.0)
    with pytest.raises(BadInput, match="parallel"):
        surface.plane(digits, directions=torch.stack([here, 2 * here]))
    with pytest.raises(BadInput, match="needs 2"):
        surface.plane(digits, directions=here)
    with pytest.raises(BadInput, match="scale of random directions"):
        surface.plane(digits, directions="no such thing")
    with pytest.raises(BadInput, match="to project"):
        surface.plane(digits, steps=2).project(here[:-1])
