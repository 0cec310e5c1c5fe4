"""Attacks against plain loops, and what must hold for every attack."""

from __future__ import annotations

import copy
import math
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

import landform as lf
from landform.attacks import (
    Attack,
    Space,
    against,
    climb,
    input_curvature,
    perturb,
    random_start,
    robustness,
    worst_case,
)
from landform.errors import BadInput

ATTACKS = {
    "fgsm": Attack.fgsm(0.2),
    "fgsm l2": Attack.fgsm(0.7, "l2"),
    "pgd": Attack("linf", 0.2, steps=5, start="centre"),
    "pgd l2": Attack("l2", 0.7, steps=5, start="centre"),
    "step": Attack("linf", 0.2, steps=4, step=0.15, start="centre"),
    "random": Attack("l2", 0.7, steps=3),
}


def samples(count: int = 40, dtype: torch.dtype = torch.float64) -> tuple[torch.Tensor, torch.Tensor]:
    made = torch.Generator().manual_seed(0)
    x = torch.rand(count, 6, generator=made, dtype=dtype)
    return x, (x[:, 0] + x[:, 1] > 1).long() + (x[:, 2] > 0.7).long()


def net(dtype: torch.dtype = torch.float64, activation: type[nn.Module] = nn.Tanh) -> nn.Module:
    torch.manual_seed(0)
    made = nn.Sequential(nn.Linear(6, 12), activation(), nn.Linear(12, 3)).to(dtype)
    x, y = samples(dtype=dtype)
    lf.train(made, (x, y), lf.Recipe(epochs=20, batch_size=20, lr=0.3), device="cpu")
    return made


@pytest.fixture(scope="module")
def landscape() -> lf.Landscape:
    return lf.Landscape(net(), samples(), device="cpu")


def plain(model: nn.Module, x0: torch.Tensor, y: torch.Tensor, attack: Attack, low: float, high: float, start=None):
    """The attack as anyone writes it, one sample at a time."""
    found = []
    for i in range(len(x0)):
        x = x0[i] if start is None else (x0[i] + start[i]).clamp(low, high)
        for _ in range(attack.steps):
            x = x.detach().requires_grad_()
            (g,) = torch.autograd.grad(F.cross_entropy(model(x[None]), y[i : i + 1]), x)
            x = x.detach() + attack.length * (g.sign() if attack.norm == "linf" else g / g.norm())
            moved = x - x0[i]
            if attack.norm == "linf":
                moved = moved.clamp(-attack.eps, attack.eps)
            elif moved.norm() > attack.eps:
                moved = moved * attack.eps / moved.norm()
            x = (x0[i] + moved).clamp(low, high)
        found.append(x)
    return torch.stack(found)


@pytest.mark.parametrize("name", ATTACKS)
def test_a_climb_is_that_of_a_plain_loop(name: str) -> None:
    model, (x, y), attack = net(), samples(), ATTACKS[name]
    start = random_start(x, attack, torch.Generator().manual_seed(1)) if attack.start == "random" else None

    def slope(at: torch.Tensor) -> torch.Tensor:
        leaf = at.detach().requires_grad_()
        return torch.autograd.grad(F.cross_entropy(model(leaf), y), leaf)[0]

    mine = climb(slope, x, attack, Space((1.0,), (0.0,), (1.0,)), start=start)
    torch.testing.assert_close(mine, plain(model, x, y, attack, 0.0, 1.0, start), rtol=0, atol=1e-9)


@pytest.mark.parametrize("name", ATTACKS)
def test_the_worst_of_the_way_is_found_within_ball_and_bounds(landscape: lf.Landscape, name: str) -> None:
    (x, y), attack = samples(), ATTACKS[name]
    found = perturb(landscape, landscape.here, attack, within=x)
    order = math.inf if attack.norm == "linf" else 2
    distances = torch.linalg.vector_norm(found.inputs - x, ord=order, dim=1)
    torch.testing.assert_close(found.distances, distances)
    assert float(distances.max()) <= attack.eps * (1 + 1e-9)
    assert float(found.inputs.min()) >= float(x.min()) - 1e-12
    assert float(found.inputs.max()) <= float(x.max()) + 1e-12
    each = F.cross_entropy(landscape._model(found.inputs), y, reduction="none")
    torch.testing.assert_close(found.losses, each.detach())
    assert bool((found.losses >= found.clean_losses - 1e-12)[~found.fooled].all())
    last = landscape.on((plain(landscape._model, x, y, attack, float(x.min()), float(x.max())), y))
    if attack.start == "centre":
        assert found.loss >= float(last.loss(landscape.here)) - 0.02
    missed = landscape._model(found.inputs).argmax(1) != y
    assert missed.equal(found.fooled)
    assert found.accuracy == pytest.approx(float((~missed).double().mean()))
    assert found.clean_accuracy == pytest.approx(1 - float(landscape.error(landscape.here)))


def test_the_largest_loss_of_a_linear_model_is_known() -> None:
    """In a linear model the worst input is ``x - eps sign(w_right - w_wrong)``: one step, or any number of them."""
    torch.manual_seed(0)
    model = nn.Linear(6, 2).double()
    x, y = samples()
    y = y.clamp_max(1)
    landscape = lf.Landscape(model, (x, y), device="cpu")
    w = (model.weight[1] - model.weight[0]).detach()
    sign = (1 - 2 * y)[:, None].double()
    exact = {"linf": x + 0.1 * sign * w.sign(), "l2": x + 0.1 * sign * w / w.norm()}
    for norm, worst in exact.items():
        losses = F.cross_entropy(model(worst), y, reduction="none").detach()
        for attack in (Attack.fgsm(0.1, norm), Attack(norm, 0.1, steps=30, restarts=2)):
            found = against(model, x, y, attack)
            torch.testing.assert_close(found.losses, losses, rtol=1e-3 if attack.steps > 1 else 1e-9, atol=1e-9)
        assert robustness(landscape, landscape.here, Attack(norm, 0.1), within=Space()).masked is None


def test_units_and_bounds_are_those_before_normalisation() -> None:
    data = lf.data.digits(per_class=5)
    space = Space.of(data)
    told = data.transform["normalise"]
    assert space.unit == (1 / told["std"][0],)
    model = lf.models.mlp(inputs=(64,), classes=10, width=16, depth=1)
    landscape = lf.Landscape(model, data, device="cpu")
    found = perturb(landscape, landscape.here, Attack("linf", 0.1, 3), within=data)

    def raw(x: torch.Tensor) -> torch.Tensor:
        return x * told["std"][0] + told["mean"][0]

    before, after = raw(data.train.inputs), raw(found.inputs)
    assert float((after - before).abs().max()) == pytest.approx(0.1, abs=1e-5)
    assert float(after.min()) >= -1e-5
    assert float(after.max()) <= 1 + 1e-5


def test_channels_have_their_own_units() -> None:
    x = torch.rand(5, 3, 4, 4)
    space = Space((1.0, 2.0, 4.0), (0.0, 0.0, 0.0), (9.0, 9.0, 9.0))
    moved = climb(torch.ones_like, x, Attack.fgsm(0.1), space) - x
    for channel, unit in enumerate(space.unit):
        assert torch.allclose(moved[:, channel], torch.tensor(0.1 * unit))
    with pytest.raises(BadInput, match="3 channels"):
        space.tensors(torch.rand(2, 5))


@settings(max_examples=15)
@given(norm=st.sampled_from(["linf", "l2"]), eps=st.floats(0, 2), lead=st.sampled_from([1, 2]), seed=st.integers(0, 99))
def test_every_climb_stays_in_the_ball(norm: str, eps: float, lead: int, seed: int) -> None:
    made = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 3, 5, generator=made, dtype=torch.float64)
    attack = Attack(norm, eps, steps=3)  # type: ignore[arg-type]
    start = random_start(x, attack, made, lead)
    end = climb(
        lambda at: torch.randn(at.shape, generator=made, dtype=at.dtype), x, attack, Space(), start=start, lead=lead
    )
    order = math.inf if norm == "linf" else 2
    for moved in (start, end - x):
        assert float(torch.linalg.vector_norm(moved.flatten(lead), ord=order, dim=-1).max()) <= eps * (1 + 1e-9) + 1e-12
    still = climb(torch.zeros_like, x, replace(attack, steps=1), Space(), lead=lead)
    assert still.equal(x)


def test_more_steps_and_restarts_never_leave_more_right(landscape: lf.Landscape) -> None:
    found = []
    for steps in (1, 2, 4, 8, 16):
        attack = Attack("linf", 0.15, steps=steps, step=0.03, restarts=3)
        each = robustness(landscape, landscape.here, attack, within=samples()[0])
        assert (each.by_restart.diff() <= 0).all()
        assert each.accuracy == float(each.by_restart[-1])
        found.append(each.accuracy)
    assert found == sorted(found, reverse=True)
    assert found[-1] < each.clean
    assert each.random >= each.accuracy
    assert each.masked is None
    more = robustness(landscape, landscape.here, replace(attack, restarts=5), within=samples()[0])
    assert more.by_restart[:3].equal(each.by_restart)


def test_leaving_the_lost_alone_changes_no_accuracy(landscape: lf.Landscape) -> None:
    attack = Attack.strong(0.12, steps=6, restarts=4)
    whole, quick = (perturb(landscape, landscape.here, attack, within=Space(), stop=stop) for stop in (False, True))
    assert whole.by_restart.equal(quick.by_restart)
    assert quick.gradients < whole.gradients == 40 * 6 * 4


def test_masked_gradients_are_told() -> None:
    """A network of steps has no gradient: random changes find what the attack does not."""

    class Steps(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w = nn.Parameter(torch.ones(2, 6))

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            coarse = x + ((4 * x).round() / 4 - x).detach() - (x - x.detach())
            right = (coarse[:, :3].sum(1) - coarse[:, 3:].sum(1)).unsqueeze(1)
            return torch.cat([right, -right], 1) * self.w.mean()

    x, _ = samples(200)
    landscape = lf.Landscape(Steps().double(), (x, torch.zeros(200, dtype=torch.long)), device="cpu")
    with torch.no_grad():
        y = landscape.outputs(landscape.here).argmax(1)
    told = robustness(landscape.on((x, y)), landscape.here, Attack("linf", 0.2, 5, start="centre"), within=Space())
    assert told.masked is not None
    assert "left right" in told.masked


def test_kernel_predictors_are_attacked_in_closed_form() -> None:
    x, _ = samples()
    y = torch.where(x[:, :1] > x[:, 1:2], 1.0, -1.0).double()
    features = lf.kernel.eigenfeatures(lambda a, b: lf.kernel.infinite.dense(a, b, sigma_b=0.1).ntk, x[:25], y[:25])
    tested, labels = x[25:], y[25:]
    found = against(features.predict, tested, labels, Attack.fgsm(0.1), loss="logistic")
    leaf = tested.clone().requires_grad_()
    (slope,) = torch.autograd.grad(features.predict(leaf).sum(), leaf)
    worst = tested - 0.1 * labels * slope.sign()
    margin = (features.predict(worst) * labels).detach()
    torch.testing.assert_close(found.losses, F.softplus(-torch.minimum(margin, margin))[:, 0], rtol=1e-6, atol=1e-9)
    assert found.accuracy <= found.clean_accuracy
    assert found.clean_accuracy == pytest.approx(float(((features.predict(tested) * labels) > 0).double().mean()))


def test_the_linear_expansion_of_a_network_is_attacked() -> None:
    model, (x, y) = net(), samples()
    linear = lf.kernel.linearise(model)
    with torch.no_grad():
        for parameter in linear.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    found = against(linear, x, y, Attack.fgsm(0.05))
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(linear(leaf), y), leaf)
    worst = F.cross_entropy(linear(x + 0.05 * slope.sign()), y, reduction="none").detach()
    clean = F.cross_entropy(linear(x), y, reduction="none").detach()
    torch.testing.assert_close(found.losses, torch.maximum(worst, clean))


def test_losses_of_each_sample() -> None:
    from landform.attacks._judge import loss_of_each, lost, margins

    outputs, labels = torch.randn(7, 3), torch.randint(0, 3, (7,))
    for name, mean in (
        ("cross-entropy", F.cross_entropy),
        ("mse", lambda o, t: F.mse_loss(o, F.one_hot(t, 3).float())),
    ):
        torch.testing.assert_close(loss_of_each(name)(outputs, labels).mean(), mean(outputs, labels))
    own = loss_of_each(lambda o, t: (o - t).abs().mean())
    torch.testing.assert_close(own(outputs, outputs + 2), torch.full((7,), 2.0))
    signs = torch.tensor([1.0, -1, 1])
    assert lost(torch.tensor([[2.0], [2.0], [0.0]]), signs).tolist() == [False, True, True]
    assert lost(outputs, outputs) is None
    assert ((margins(outputs, labels) > 0) == (outputs.argmax(1) != labels)).all()


def test_the_worst_case_landscape_is_attacked_where_it_is_read(landscape: lf.Landscape) -> None:
    (x, y), attack = samples(), Attack("linf", 0.1, steps=3)
    low, high = float(x.min()), float(x.max())
    worst = worst_case(landscape, attack, within=x)
    start = random_start(x, attack, torch.Generator().manual_seed(0))
    points = landscape.here + 0.1 * torch.randn(4, landscape.layout.size, dtype=torch.float64)
    expected = []
    for point in points:
        model = copy.deepcopy(landscape._model)
        nn.utils.vector_to_parameters(point, model.parameters())
        moved = plain(model, x, y, attack, low, high, start)
        expected.append(F.cross_entropy(model(moved), y).detach())
    torch.testing.assert_close(worst.loss(points), torch.stack(expected), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(torch.stack([worst.loss(p) for p in points]), torch.stack(expected))
    assert (worst.loss(points) > landscape.loss(points)).all()
    moved = plain(landscape._model, x, y, attack, low, high, start)
    torch.testing.assert_close(worst.gradient(landscape.here), landscape.on((moved, y)).gradient(landscape.here))
    plane = lf.surface.plane(worst, steps=3, extent=0.5)
    direct = worst.loss(plane.points(plane.coordinates)).reshape(3, 3)
    torch.testing.assert_close(plane.losses, direct, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("activation", [nn.Tanh, nn.ReLU])
def test_input_curvature_is_that_of_the_whole_hessian(activation: type[nn.Module]) -> None:
    model, (x, y) = net(activation=activation), samples()
    landscape = lf.Landscape(model, (x, y), device="cpu")
    found = input_curvature(landscape, landscape.here, within=Space((2.0,)))
    for i in range(5):
        hessian = torch.autograd.functional.hessian(lambda a, i=i: F.cross_entropy(model(a[None]), y[i : i + 1]), x[i])
        assert float(found.values[i]) == pytest.approx(
            4 * float(torch.linalg.eigvalsh(hessian)[-1]), rel=1e-6, abs=1e-9
        )
    assert found.converged == 1.0
    assert found.standard_error > 0
    leaf = x.clone().requires_grad_()
    (slope,) = torch.autograd.grad(F.cross_entropy(model(leaf), y, reduction="sum"), leaf)
    torch.testing.assert_close(found.slopes, 2 * slope.norm(dim=1))
    linear = lf.Landscape(nn.Linear(6, 3).double(), (x, y), loss=lambda o, t: o.mean(), device="cpu")
    assert input_curvature(linear, linear.here, within=Space(), steps=3).mean == 0.0


def test_batch_norm_and_other_types(device: torch.device) -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3), nn.ReLU(), nn.Flatten(), nn.Linear(48, 3))
    x, y = torch.rand(12, 1, 6, 6), torch.arange(12) % 3
    landscape = lf.Landscape(model, (x, y), device=device)
    found = perturb(landscape, landscape.here, Attack("l2", 0.3, 2), within=x)
    assert found.inputs.device.type == device.type
    assert found.inputs.dtype == torch.float32
    worst = worst_case(landscape, Attack.fgsm(0.05), within=x)
    for mine, theirs in zip(
        worst.calibrate(worst.here).values(), landscape.calibrate(worst.here).values(), strict=True
    ):
        assert mine.equal(theirs)
    assert float(worst.loss(worst.here)) > float(landscape.loss(worst.here))


def test_attacks_are_described() -> None:
    for attack in (*ATTACKS.values(), Attack.strong(0.1, "l2")):
        assert Attack.from_json(attack.to_json()) == attack
    assert str(Attack.fgsm(0.1)) == "FGSM within Linf 0.1"
    assert str(Attack.strong(0.1, "l2")) == "PGD of 40 steps within L2 0.1, 6 restarts"
    with pytest.raises(BadInput, match="not the description"):
        Attack.from_json({"norm": "l2"})


def test_misuse_is_told(landscape: lf.Landscape) -> None:
    x, y = samples()
    for wrong in ({"norm": "l1"}, {"eps": -1.0}, {"steps": 0}, {"restarts": 0}, {"objective": "hope"}, {"step": -1.0}):
        with pytest.raises(BadInput, match=f"The {next(iter(wrong))} of an attack cannot be"):
            Attack(**wrong)
    with pytest.raises(BadInput, match="would all be the same"):
        Attack(start="centre", restarts=2)
    with pytest.raises(BadInput, match="floating-point"):
        against(lambda a: a, torch.arange(3), torch.arange(3), Attack())
    with pytest.raises(BadInput, match="one target for each"):
        against(lambda a: a, x, y[:3], Attack())
    with pytest.raises(BadInput, match="by autograd"):
        against(lambda a: a.detach(), x, y.clamp_max(1), Attack())
    with pytest.raises(BadInput, match="one point"):
        perturb(landscape, torch.stack([landscape.here] * 2), Attack(), within=x)
    with pytest.raises(BadInput, match="positive number"):
        Space((0.0,))
    with pytest.raises(BadInput, match="low must be below high"):
        Space((1.0,), (1.0,), (0.0,))
    with pytest.raises(BadInput, match="floating-point"):
        Space.of(torch.arange(3))
    with pytest.raises(BadInput, match="one climb"):
        worst_case(landscape, Attack(restarts=2), within=x)
    regression = lf.Landscape(nn.Linear(6, 1).double(), (x, torch.rand(40, 1).double()), loss="mse", device="cpu")
    with pytest.raises(BadInput, match="no labels"):
        robustness(regression, regression.here, Attack(), within=x)
    assert math.isnan(perturb(regression, regression.here, Attack(), within=x).accuracy)
    with pytest.raises(BadInput, match="no labels"):
        perturb(regression, regression.here, Attack(objective="margin"), within=x)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=10)
    stream = lf.Landscape(landscape._model, loader, device="cpu")
    with pytest.raises(BadInput, match="in memory"):
        perturb(stream, stream.here, Attack(), within=x)
    with pytest.raises(BadInput, match="in memory"):
        worst_case(stream, Attack(), within=x)
    with pytest.raises(BadInput, match="at least 1"):
        input_curvature(landscape, landscape.here, within=x, steps=0)
