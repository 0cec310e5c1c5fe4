"""The linearised network against finite differences, Jacobian products and the kernel machine that it is."""

from __future__ import annotations

import copy
import pickle
import warnings
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from plain_kernels import as_plain_matrix, full_kernel, rows
from torch import nn

import landform as lf
from landform.errors import BadInput
from landform.kernel._classifier import classifier
from landform.kernel._descent import descend
from landform.kernel._flow import gradient_flow
from landform.kernel._linearised import linearise
from landform.kernel._machine import regression
from landform.kernel._operator import operator
from landform.kernel.finite import ntk

D = torch.float64


class Attention(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.mix, self.out = nn.Linear(8, 24), nn.Linear(8, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        q, k, v = self.mix(x).view(len(x), 5, 3, 2, 4).permute(2, 0, 3, 1, 4)
        seen = F.scaled_dot_product_attention(q, k, v, is_causal=True).transpose(1, 2)
        return self.out(seen.reshape(len(x), 5, 8)).mean(1)


class Recurrent(nn.Module):
    def __init__(self, kind: type[nn.RNNBase]) -> None:
        super().__init__()
        self.core, self.out = kind(4, 6, num_layers=2, dropout=0.5, batch_first=True), nn.Linear(6, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.out(self.core(x)[0][:, -1])


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.embed, self.read = nn.Embedding(11, 4), nn.Linear(4, 11, bias=False)
        self.read.weight = self.embed.weight
        self.frozen = nn.Parameter(torch.randn(4), requires_grad=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.read((self.embed(x) * self.frozen).tanh().mean(1))


def conv(*middle: nn.Module) -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 4, 3), *middle, nn.GELU(), nn.Flatten(), nn.LazyLinear(3))


CASES = {
    "dense": (lambda: nn.Sequential(nn.Linear(6, 7), nn.Tanh(), nn.Dropout(0.5), nn.Linear(7, 3)), (6,)),
    "layer norm": (lambda: nn.Sequential(nn.Linear(6, 7), nn.LayerNorm(7), nn.Tanh(), nn.Linear(7, 3)), (6,)),
    "instance norm": (lambda: conv(nn.InstanceNorm2d(4, affine=True)), (2, 7, 7)),
    "group norm": (lambda: conv(nn.GroupNorm(2, 4)), (2, 7, 7)),
    "batch norm": (lambda: conv(nn.BatchNorm2d(4)), (2, 7, 7)),
    "max pool": (lambda: conv(nn.MaxPool2d(2)), (2, 7, 7)),
    "attention": (Attention, (5, 8)),
    "encoder": (
        lambda: nn.Sequential(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True, activation="gelu"), nn.Flatten(),
                              nn.Linear(40, 3)), (5, 8)),
    "lstm": (lambda: Recurrent(nn.LSTM), (5, 4)),
    "gru": (lambda: Recurrent(nn.GRU), (5, 4)),
    "tied": (Tied, None),
}  # fmt: skip


def case(name: str, dtype: torch.dtype = D) -> tuple[nn.Module, torch.Tensor]:
    torch.manual_seed(0)
    make, shape = CASES[name]
    x = torch.randint(0, 11, (6, 5)) if shape is None else torch.randn(6, *shape, dtype=dtype)
    model = make().to(dtype)
    model.eval()
    model(x)  # lazy layers find their shape
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.running_mean.normal_()
            module.running_var.uniform_(0.5, 2.0)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(0.1 * torch.randn_like(p))
    return model, x


def at(model: nn.Module, point: torch.Tensor) -> nn.Module:
    net = copy.deepcopy(model).eval()
    lf.Layout.of(net).load_(net, point)
    return net


@pytest.mark.parametrize("name", CASES)
def test_outputs_and_gradients_are_the_taylor_expansions(name: str) -> None:
    model, x = case(name)
    layout = lf.Layout.of(model)
    here = layout.point(model)
    move, u = torch.randn_like(here), None
    lin = linearise(model)
    with torch.no_grad():
        assert torch.allclose(lin(x), model(x), rtol=1e-12, atol=1e-12)
        step = 1e-5
        slope = (at(model, here + step * move)(x) - at(model, here - step * move)(x)) / (2 * step)
        layout.load_(lin, here + 0.7 * move)
        expected = model(x) + 0.7 * slope
        torch.testing.assert_close(lin(x), expected, rtol=1e-6, atol=1e-7)
    # The gradient is J' u wherever the linearised network stands.
    u = torch.randn_like(expected)
    found = torch.autograd.grad(lin.train()(x), list(lin.parameters())[: len(layout.slots)] if name != "tied" else
                                [lin.embed.weight], u)  # fmt: skip
    known = torch.autograd.grad(model(x), [p for p in model.parameters() if p.requires_grad], u)
    for a, b in zip(found, known, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-10, atol=1e-12)


ZOO = {
    "mlp": ((1, 2, 4), {"width": (8, 6), "activation": "gelu", "norm": "layer"}),
    "small_cnn": ((3, 9, 11), {"width": 4, "norm": "batch", "downsample": "max"}),
    "lenet": ((1, 16, 20), {"width": 3}),
    "vgg11": ((1, 32, 32), {"width": 2}),
    "resnet20": ((3, 8, 8), {"width": 4}),
    "wide_resnet": ((3, 8, 8), {"width": 4, "depth": 10, "widen": 1, "dropout": 0.2}),
    "transformer": ((6,), {"width": 8, "heads": 4, "depth": 1, "tied": True, "dropout": 0.1}),
    "rnn": ((5, 2), {"width": 6}),
}


@pytest.mark.parametrize("parametrisation", ["standard", "ntk"])
@pytest.mark.parametrize("name", ZOO)
def test_every_network_of_the_zoo(name: str, parametrisation: str) -> None:
    """By the adjoint, which kinks do not blur: <u, J d> = <J' u, d>."""
    shape, options = ZOO[name]
    model = lf.models.build(name, inputs=shape, classes=5, parametrisation=parametrisation, **options).double()
    drawing = torch.Generator().manual_seed(0)
    x = torch.randn(3, *shape, generator=drawing, dtype=D)
    if name == "transformer":
        x = torch.randint(5, (3, *shape), generator=drawing)
    lin, layout = linearise(model).train(), lf.Layout.of(model)
    assert lf.Layout.of(lin) == layout
    move = torch.randn(layout.size, generator=drawing, dtype=D)
    layout.load_(lin, layout.point(model) + move)
    outputs = model.eval()(x)
    u = torch.randn(outputs.shape, generator=drawing, dtype=D)
    pulled = torch.autograd.grad(outputs, [p for p in model.parameters() if p.requires_grad], u)
    expected = (layout.join(dict(zip(layout.names, pulled, strict=True))) * move).sum()
    found = ((lin(x) - outputs) * u).sum()
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", ["dense", "layer norm", "instance norm", "attention"])
def test_gradients_by_the_inputs_are_right_too(name: str) -> None:
    model, x = case(name)
    lin = linearise(model)
    layout = lf.Layout.of(model)
    layout.load_(lin, layout.point(model) + 0.3 * torch.randn(layout.size, dtype=D))
    leaf = x.clone().requires_grad_()
    slope, *own = torch.autograd.grad(lin(leaf).square().sum(), [leaf, *lin.parameters()])
    for a, b in zip(own, torch.autograd.grad(lin(x).square().sum(), list(lin.parameters())), strict=True):
        torch.testing.assert_close(a, b)
    move, step = torch.randn_like(x), 1e-5
    with torch.no_grad():
        plain = (lin(x + step * move).square().sum() - lin(x - step * move).square().sum()) / (2 * step)
    assert (slope * move).sum().item() == pytest.approx(plain.item(), rel=1e-6)


def test_an_operation_without_forward_mode_is_expanded_in_reverse() -> None:
    class Cube(torch.autograd.Function):
        @staticmethod
        def forward(x):  # type: ignore[no-untyped-def]
            return x**3

        @staticmethod
        def setup_context(ctx, inputs, output):  # type: ignore[no-untyped-def]
            ctx.save_for_backward(*inputs)

        @staticmethod
        def backward(ctx, grad):  # type: ignore[no-untyped-def]
            (x,) = ctx.saved_tensors
            return 3 * x**2 * grad

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Linear(3, 2)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return Cube.apply(self.first(x))

    model, x = Net().double(), torch.randn(5, 3, dtype=D)
    lin = linearise(model)
    here = lf.Layout.of(model).point(model)
    move = torch.randn_like(here)
    lf.Layout.of(model).load_(lin, here + move)
    plain = rows(nn.Sequential(model.first, _Power()), x) @ move
    torch.testing.assert_close(lin(x), model(x) + plain)


class _Power(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x**3


def test_single_precision_lstm_runs_by_plain_operations() -> None:
    model, x = case("lstm", torch.float32)
    torch.testing.assert_close(linearise(model)(x), model.eval()(x), rtol=1e-5, atol=1e-6)


def test_it_is_a_module_like_its_model() -> None:
    model, x = case("batch norm")
    lin = linearise(model)
    assert lf.Layout.of(lin) == lf.Layout.of(model)
    assert {k: v.shape for k, v in lin.state_dict().items()} == {k: v.shape for k, v in model.state_dict().items()}
    lin.load_state_dict(model.state_dict())
    assert isinstance(lin, type(model))
    for twin in (copy.deepcopy(lin), pickle.loads(pickle.dumps(lin))):
        assert type(twin) is type(lin)
        assert torch.equal(twin(x), lin(x))
        with torch.no_grad():
            next(twin.parameters()).add_(1.0)
        assert not torch.equal(twin(x), lin(x))
    assert not lin.train().training
    before = {k: v.clone() for k, v in lin.named_buffers()}
    lin.train()(x + 3)
    assert all(torch.equal(v, before[k]) for k, v in lin.named_buffers())
    assert lin.float()(x.float()).dtype == torch.float32
    moved = linearise(model, lf.Layout.of(model).point(model) + 1)
    assert torch.equal(moved.linearised_at, lf.Layout.of(model).point(moved))


def test_its_landscape_is_convex_with_the_gauss_newton_matrix_as_hessian() -> None:
    model, x = case("layer norm")
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    plain, lin = (lf.Landscape(m, (x, y), device="cpu") for m in (model, linearise(model)))
    here = plain.here
    torch.testing.assert_close(lin.gradient(here), plain.gradient(here))
    torch.testing.assert_close(lin.hessian(here).dense(), plain.gauss_newton(here).dense())
    assert lin.loss(torch.stack([here, here + 1])).shape == (2,)
    elsewhere = lf.Landscape(linearise(model, here + 1), (x, y), device="cpu")
    assert len({plain.fingerprint(), lin.fingerprint(), elsewhere.fingerprint()}) == 3


@pytest.mark.parametrize("name", ["dense", "layer norm", "batch norm", "attention"])
@pytest.mark.filterwarnings("ignore:There is a performance drop")
def test_its_kernel_is_that_of_the_network_wherever_it_stands(name: str) -> None:
    model, x = case(name)
    plain, lin = full_kernel(model, x), linearise(model)
    layout = lf.Layout.of(model)
    layout.load_(lin, layout.point(model) + 1.0)
    torch.testing.assert_close(full_kernel(lin, x), plain)
    landscape = lf.Landscape(lin, (x, torch.arange(6) % 3), device="cpu")
    torch.testing.assert_close(operator(landscape, landscape.here).dense(), as_plain_matrix(plain))
    torch.testing.assert_close(ntk(landscape, landscape.here), plain)


def test_outputs_of_several_tensors_are_expanded_one_and_all() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(3, 4), nn.Linear(4, 2)

        def forward(self, x: torch.Tensor, scale: float = 1.0) -> dict[str, object]:
            hidden = self.first(x).tanh()
            return {"logits": self.last(hidden) * scale, "hidden": (hidden,)}

    model, x = Net().double(), torch.randn(5, 3, dtype=D)
    layout, lin = lf.Layout.of(model), linearise(model)
    move, step = torch.randn(layout.size, dtype=D), 1e-5
    layout.load_(lin, layout.point(model) + move)
    found = lin(x, scale=2.0)
    ends = [at(model, layout.point(model) + sign * step * move)(x, scale=2.0) for sign in (1, -1)]
    known = model(x, scale=2.0)
    for pick in (lambda o: o["logits"], lambda o: o["hidden"][0]):
        slope = (pick(ends[0]) - pick(ends[1])) / (2 * step)
        torch.testing.assert_close(pick(found), pick(known) + slope, rtol=1e-6, atol=1e-7)
    leaf = x.clone().requires_grad_()
    torch.testing.assert_close(lin(leaf, scale=2.0)["logits"], found["logits"])
    assert torch.autograd.grad(lin(leaf)["hidden"][0].sum(), leaf)[0].any()


def test_batchnorm_statistics_stay_those_of_theta_0_in_landscape_and_training() -> None:
    model, x = case("batch norm")
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    lin = linearise(model)
    landscape = lf.Landscape(lin, (x, y), device="cpu")
    torch.testing.assert_close(landscape.outputs(landscape.here), model.eval()(x).detach())
    before = {k: v.clone() for k, v in lin.named_buffers()}
    trained = lf.train(lin, (x, y), lf.Recipe(epochs=3, batch_size=3, lr=0.01), device="cpu")
    assert all(torch.equal(v, before[k]) for k, v in lin.named_buffers())
    J = rows(model, x)
    torch.testing.assert_close(lin(x), model(x) + J @ (trained.point - before["linearised_at"]))


def test_on_every_device(device: torch.device) -> None:
    for name in ("layer norm", "batch norm", "lstm"):
        model, x = case(name, torch.float32)
        lin, layout = linearise(model), lf.Layout.of(model)
        layout.load_(lin, layout.point(model) + 0.1)
        leaf = x.to(device).requires_grad_()
        moved = lin.to(device)(leaf)
        torch.testing.assert_close(moved.cpu(), lin.cpu()(x), rtol=1e-4, atol=1e-5)
        assert torch.autograd.grad(moved.sum(), leaf)[0].isfinite().all()
        trained = lf.train(linearise(model), (x, torch.arange(6) % 3), lf.Recipe(epochs=2, lr=0.01), device=device)
        alone = lf.train(linearise(model), (x, torch.arange(6) % 3), lf.Recipe(epochs=2, lr=0.01), device="cpu")
        torch.testing.assert_close(trained.losses.cpu(), alone.losses, rtol=1e-4, atol=1e-5)


def test_recording_and_going_on_with_a_linearised_run(tmp_path: Path) -> None:
    model, x = case("dense")
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    recipe = lf.Recipe(epochs=4, batch_size=3, lr=0.05, momentum=0.9)
    whole = lf.train(linearise(model), (x, y), recipe, out=tmp_path / "run", device="cpu")
    run = lf.Trajectory(tmp_path / "run")
    fresh = linearise(model)
    run.at(step=3).restore(fresh)
    assert torch.equal(lf.Layout.of(fresh).point(fresh), run.at(step=3).point)
    assert torch.equal(fresh.linearised_at, lf.Layout.of(model).point(model))
    again = lf.train(linearise(model), (x, y), recipe, out=tmp_path / "run", resume=True, device="cpu")
    assert torch.equal(again.point, whole.point)
    with lf.Recorder(tmp_path / "own", fresh, epoch=1, at=1) as recorder:
        recorder.step()
    many = lf.train_many([linearise(model) for _ in range(3)], (x, y), recipe, device="cpu")
    assert "one point at a time" in many[0].how.why
    torch.testing.assert_close(many[0].point, whole.point)


# ------------------------------------------------------------------------------- one training, seen from both sides


def small(classes: int) -> tuple[nn.Module, torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    model = nn.Sequential(nn.Linear(8, 24), nn.LayerNorm(24), nn.Tanh(), nn.Linear(24, classes)).double()
    return model, torch.randn(12, 8, dtype=D), torch.randn(5, 8, dtype=D), torch.randint(0, classes, (12,))


def test_descent_in_parameters_is_descent_on_the_kernel() -> None:
    model, x, other, y = small(3)
    K, cross = full_kernel(model, x), full_kernel(model, other, x)
    with torch.no_grad():
        start, start_other = model(x), model(other)
    for loss in ("cross-entropy", "mse"):
        lin = linearise(model)
        recipe = lf.Recipe(epochs=30, batch_size=12, lr=0.05, momentum=0.9, schedule="cosine")
        trained = lf.train(lin, (x, y), recipe, loss=loss, device="cpu")
        rates = recipe.rates(range(30), 1).tolist()
        found = descend(K, y, steps=30, lr=rates, momentum=0.9, loss=loss, initial=start, at=(0, 30), classes=3)
        torch.testing.assert_close(found.losses, trained.losses, rtol=1e-9, atol=1e-12)
        outputs = found.predict(cross, initial=start_other)
        torch.testing.assert_close(outputs[0], start_other)
        torch.testing.assert_close(outputs[1], lin(other).detach(), rtol=1e-8, atol=1e-9)


def test_long_training_on_squared_loss_ends_in_the_closed_form() -> None:
    """Full-batch gradient descent on the linearised network against kernel regression, and at every time before."""
    model, x, other, y = small(2)
    K, cross = full_kernel(model, x), full_kernel(model, other, x)
    with torch.no_grad():
        start, start_other = model(x), model(other)
    flow = gradient_flow(K, y, initial=start, classes=2)
    fastest = flow.half_lives[0].item()
    slow = flow.half_lives[flow.values > 0][-1].item()
    # Steps of a hundredth of the fastest half life follow the flow; steps of half of it reach its end sooner.
    lin, lr, steps = linearise(model), fastest / 100, 400
    lf.train(lin, (x, y), lf.Recipe(epochs=steps, batch_size=12, lr=lr, momentum=0.0), loss="mse", device="cpu")
    now = flow.predict(cross, lr * steps, initial=start_other)[0]
    assert (lin(other) - now).abs().max().item() < 1e-2 * (now - start_other).abs().max().item()
    lin, lr = linearise(model), fastest / 2
    steps = min(int(4 * slow / lr), 2000)
    lf.train(lin, (x, y), lf.Recipe(epochs=steps, batch_size=12, lr=lr, momentum=0.9), loss="mse", device="cpu")
    exact = regression(K, y, initial=start, classes=2)
    torch.testing.assert_close(lin(x).detach(), exact.fitted[0], rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(lin(other).detach(), exact.predict(cross, initial=start_other), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(
        flow.predict(cross, torch.inf, initial=start_other)[0], exact.predict(cross, initial=start_other)
    )


def test_long_training_on_cross_entropy_ends_in_the_kernel_classifier() -> None:
    """Samples alike with other labels cannot be told apart: then the loss has a minimum without a ridge."""
    torch.manual_seed(3)
    model = nn.Sequential(nn.Linear(5, 24), nn.Tanh(), nn.Linear(24, 3)).double()
    x, other = torch.randn(4, 5, dtype=D).repeat(10, 1), torch.randn(7, 5, dtype=D)
    y = torch.randint(0, 3, (40,))
    with torch.no_grad():
        start, start_other = model(x), model(other)
    found = classifier(full_kernel(model, x), y, 0.0, initial=start)
    assert found.converged, found.status
    assert not found.separable
    lin = linearise(model)
    trained = lf.train(lin, (x, y), lf.Recipe(epochs=1000, batch_size=40, lr=1.0, momentum=0.9), device="cpu")
    assert trained.losses[-1].item() == pytest.approx(found.loss, abs=1e-6)
    spread = start_other - start_other.mean(1, keepdim=True)
    outputs = found.predict(full_kernel(model, other, x), initial=start_other)
    assert outputs.shape == spread.shape
    torch.testing.assert_close(lin(other).softmax(1).detach(), outputs.softmax(1), rtol=1e-3, atol=1e-4)


def test_what_cannot_be_linearised_is_said() -> None:
    model, _ = case("dense")
    with pytest.raises(BadInput, match="linearised already"):
        linearise(linearise(model))
    with pytest.raises(BadInput, match="running statistics"):
        linearise(conv_without_statistics())
    with pytest.raises(BadInput, match="A point of this model"):
        linearise(model, torch.zeros(3))
    with pytest.raises(BadInput, match="one finite point"):
        linearise(model, torch.full((lf.Layout.of(model).size,), torch.nan, dtype=D))
    with pytest.raises(BadInput, match="scripted"):
        linearise(scripted())


def conv_without_statistics() -> nn.Module:
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4, track_running_stats=False))


def scripted() -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        return torch.jit.script(nn.Linear(2, 2))
