"""Lines, planes and volumes against plain loops over points."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import landform as lf
from landform import surface


@pytest.fixture(scope="module")
def digits():
    data = lf.data.digits(per_class=8)
    model = lf.models.build("mlp", inputs=(64,), classes=10, width=12, seed=3)
    return lf.Landscape(model, data, device="cpu", dtype=torch.float64), model


def test_a_plane_is_the_landscape_read_at_each_place(digits):
    landscape, _ = digits
    here = landscape.here
    plane = surface.plane(landscape, center=here, extent=1.0, steps=5)
    assert plane.alphas.tolist() == plane.betas.tolist() == [-1.0, -0.5, 0.0, 0.5, 1.0]
    assert plane.losses.shape == plane.errors.shape == (5, 5)
    for i, alpha in enumerate(plane.alphas):
        for j, beta in enumerate(plane.betas):
            point = here + alpha * plane.directions[0] + beta * plane.directions[1]
            assert plane.losses[i, j] == pytest.approx(float(landscape.loss(point)), abs=1e-12)
            assert plane.errors[i, j] == float(landscape.error(point))


def test_its_centre_is_the_centre_bit_by_bit(digits):
    landscape, _ = digits
    plane = surface.plane(landscape, steps=7, extent=0.3)
    assert plane.losses[3, 3] == landscape.loss(landscape.here) == plane.centre_loss
    assert torch.equal(plane.points([0.0, 0.0]), landscape.here)
    even = surface.plane(landscape, steps=2)  # the centre is no place of this grid, and is read all the same
    assert even.centre_loss == plane.centre_loss
    assert even.alphas.tolist() == [-1.0, 1.0]


@settings(max_examples=15)
@given(
    seed=st.integers(0, 10**6), steps=st.tuples(st.integers(2, 5), st.integers(2, 5)), far=st.floats(0.01, 3),
    scale=st.sampled_from(["filter", "layer", "model", "unit"]), tolerance=st.sampled_from([None, 0.05]),
)  # fmt: skip
def test_swapped_and_turned_directions_swap_and_turn_the_plane(digits, seed, steps, far, scale, tolerance):
    landscape, _ = digits
    basis = surface.random(landscape, scale=scale, seed=seed)
    u, v = basis.vectors
    there = surface.plane(landscape, directions=basis, steps=steps, extent=((-far, far), (-0.5, far)))
    swapped = surface.plane(
        landscape, directions=torch.stack([v, -u]), steps=steps[::-1], extent=((-0.5, far), (-far, far))
    )
    assert torch.allclose(swapped.losses, there.losses.T.flip(1), rtol=1e-9)
    assert torch.equal(swapped.errors, there.errors.T.flip(1))
    i, j = int(torch.randint(steps[0], ())), int(torch.randint(steps[1], ()))
    point = landscape.here + there.alphas[i] * u + there.betas[j] * v
    assert there.losses[i, j] == pytest.approx(float(landscape.loss(point)), rel=1e-9)
    coarse = surface.plane(landscape, directions=basis, steps=9, extent=far, tolerance=tolerance)
    full = surface.plane(landscape, directions=basis, steps=9, extent=far, way="plain")
    assert torch.allclose(coarse.losses[coarse.read], full.losses[coarse.read], rtol=1e-9)


def test_a_line_and_a_volume(digits):
    landscape, _ = digits
    line = surface.line(landscape, extent=(-0.5, 1.5), steps=5)
    assert line.losses.shape == (5,)
    assert line.alphas.tolist() == [-0.5, 0.0, 0.5, 1.0, 1.5]
    assert line.losses[3] == pytest.approx(float(landscape.loss(landscape.here + line.directions[0])))
    volume = surface.volume(landscape, extent=(1.0, 2.0, (-0.5, 0.5)), steps=(2, 3, 2))
    assert volume.losses.shape == (2, 3, 2)
    corner = landscape.here + torch.tensor([1.0, -2.0, 0.5]).double() @ volume.directions
    assert volume.losses[1, 0, 1] == pytest.approx(float(landscape.loss(corner)))
    with pytest.raises(lf.BadInput, match="A line has no such coordinates"):
        _ = line.betas


def test_the_plane_through_three_points_holds_them(digits):
    landscape, _ = digits
    points = torch.stack([landscape.here, *(torch.randn(2, landscape.layout.size).double() * 0.1)])
    plane = surface.plane(landscape, directions=surface.through(landscape, *points, names=("a", "b", "c")), steps=9)
    marks = plane.basis.marks
    assert torch.allclose(plane.points(marks), points, atol=1e-12)
    assert torch.allclose(torch.cdist(marks, marks), torch.cdist(points, points))
    assert plane.basis.norms.tolist() == pytest.approx([1.0, 1.0])
    assert plane.basis.angle == pytest.approx(90.0)
    for axis, coordinates in zip((plane.alphas, plane.betas), marks.T, strict=True):
        width = float(coordinates.max() - coordinates.min())
        assert float(axis[0]) == pytest.approx(float(coordinates.min()) - 0.2 * width)
        assert float(axis[-1]) == pytest.approx(float(coordinates.max()) + 0.2 * width)
    middle = surface.plane(landscape, center=points.mean(0), directions=plane.basis, steps=3)
    assert torch.allclose(middle.points(middle.basis.marks), points, atol=1e-12)


def test_nan_stays_nan():
    class Log(torch.nn.Linear):
        def forward(self, x):
            return super().forward(x).log()

    model = Log(3, 2)
    with torch.no_grad():
        model.weight.fill_(1.0)
        model.bias.fill_(0.0)
    landscape = lf.Landscape(model, (torch.rand(6, 3), torch.tensor([0, 1] * 3)), device="cpu")
    line = surface.line(landscape, directions=surface.radial(landscape, landscape.here), extent=2.0, steps=5)
    assert torch.isnan(line.losses).tolist() == [True, True, False, False, False]


def test_the_model_is_left_as_it_was_even_on_error(digits, monkeypatch):
    landscape, model = digits
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    random_state = torch.get_rng_state()
    surface.plane(landscape, steps=3)
    seen = 0

    def stop(done, total):
        nonlocal seen
        seen += 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        surface.plane(landscape, steps=3, progress=stop)
    assert seen == 1
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert torch.equal(random_state, torch.get_rng_state())
    assert torch.equal(landscape.here, surface.plane(landscape, steps=3).centre)


def test_memory_bounds_how_many_points_there_are_at_a_time(digits, monkeypatch):
    landscape, _ = digits
    seen = []
    plain = type(landscape).read

    def watched(self, points, **kwargs):
        if points.dim() == 2:
            seen.append(len(points))
        return plain(self, points, **kwargs)

    at_once = surface.plane(landscape, steps=5).losses
    monkeypatch.setattr(type(landscape), "read", watched)
    bounded = surface.plane(landscape, steps=5, memory=7 * 8 * landscape.layout.size, way="plain").losses
    assert max(seen) == 7
    assert torch.allclose(at_once, bounded, rtol=1e-12)


def test_batch_norm_is_recalibrated_at_each_place():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8), torch.nn.ReLU(), torch.nn.Linear(8, 3))
    data = (torch.randn(40, 6), torch.arange(40) % 3)
    again = lf.Landscape(model, data, device="cpu", dtype=torch.float64)
    kept = lf.Landscape(model, data, device="cpu", dtype=torch.float64, batchnorm="keep")
    shown = {name: surface.plane(one, steps=3) for name, one in (("again", again), ("kept", kept))}
    for name, one in (("again", again), ("kept", kept)):
        point = shown[name].points([1.0, -1.0])
        assert shown[name].losses[2, 0] == pytest.approx(float(one.loss(point)))
    assert not torch.allclose(shown["again"].losses, shown["kept"].losses)


def test_projection_of_points_on_a_plane(digits):
    landscape, _ = digits
    plane = surface.plane(landscape, steps=3)
    inside = plane.points(torch.tensor([[0.2, 0.7], [-1.0, 0.1]]))
    normal = torch.randn(landscape.layout.size).double()
    normal -= torch.linalg.lstsq(plane.directions.T, normal[:, None]).solution[:, 0] @ plane.directions
    found = plane.project(torch.stack([*inside, inside[0] + normal, plane.centre]), names=("a", "b", "c", "d"))
    assert torch.allclose(found.coordinates[:2], torch.tensor([[0.2, 0.7], [-1.0, 0.1]]).double())
    assert torch.allclose(found.coordinates[2], found.coordinates[0])
    assert found.residuals.tolist() == pytest.approx([0, 0, float(normal.norm()), 0], abs=1e-9)
    along = (inside[0] - plane.centre).square().sum()
    assert found.shares.tolist() == pytest.approx([1, 1, float(along / (along + normal.square().sum())), 1])
    off = float(normal.square().sum() / found.distances.square().sum())
    assert found.share == pytest.approx(1 - off)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"center": torch.zeros(3)}, "has 3 numbers"),
        ({"center": "x"}, "got str"),
        ({"steps": 1}, "steps is 1"),
        ({"steps": (3, 3, 3)}, "3 numbers for 2 directions"),
        ({"extent": 0.0}, "extent is 0.0"),
        ({"extent": (1.0, 2.0, 3.0)}, "extent is"),
        ({"extent": float("nan")}, "extent is nan"),
        ({"extent": "far"}, "extent is 'far'"),
        ({"directions": "best"}, "is 'best': give 'filter'"),
        ({"directions": torch.zeros(2, 5)}, "Direction 1 has 5 numbers"),
    ],
)
def test_misuse_is_told_in_one_sentence(digits, arguments, said):
    with pytest.raises(lf.BadInput, match=said):
        surface.plane(digits[0], **arguments)


def test_points_that_are_no_numbers_are_refused(digits):
    landscape, _ = digits
    broken = landscape.here
    broken[70] = float("nan")
    with pytest.raises(lf.BadInput, match=r"The centre holds NaN or infinity, first in dense1\.weight"):
        surface.plane(landscape, center=broken)


def test_a_cut_of_a_volume_is_the_plane_there(digits):
    landscape, _ = digits
    volume = surface.volume(landscape, steps=(3, 5, 4))
    cut = volume.cut(1, 0.4)
    plane = surface.plane(landscape, center=cut.centre, directions=volume.directions[[0, 2]], steps=(3, 4))
    assert torch.allclose(cut.centre, landscape.here + 0.5 * volume.directions[1])
    assert torch.allclose(cut.losses, plane.losses)
    assert torch.equal(cut.errors, plane.errors)
    assert cut.centre_loss != cut.centre_loss  # zero is no place of an axis of four
    assert "number 2 held at 0.5" in str(cut)
    line = volume.cut(-1, -2.0).cut(0)
    assert torch.equal(line.losses, volume.losses[1, :, 0])
    assert line.centre_loss == float(volume.losses[1, 2, 0])
    assert torch.allclose(line.points([1.0]), volume.points([0.0, 1.0, -1.0]))
    with pytest.raises(lf.BadInput, match="no part across direction 0"):
        line.cut(0)
