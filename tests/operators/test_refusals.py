"""A refusal in one sentence rather than a wrong number; everything of the user's left as it was."""

from __future__ import annotations

import copy

import pytest
import torch
import torch.nn.functional as F
from operator_cases import make
from torch import Tensor, nn

from landform.errors import BadInput
from landform.landscape import Landscape

X, Y = torch.randn(9, 4, generator=torch.Generator().manual_seed(0)), torch.arange(9) % 3


class Fused(nn.Module):
    """Calls fused attention by name, so that nothing can put plain products in its place."""

    def __init__(self) -> None:
        super().__init__()
        self.inside, self.head = nn.Linear(4, 8), nn.Linear(8, 3)

    def forward(self, x: Tensor) -> Tensor:
        z = self.inside(x)[None, None]
        return self.head(torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(z, z, z)[0][0, 0])


class Skewed(torch.autograd.Function):
    """Its gradient is that of no function: the derivative of what it gives back is not symmetric."""

    @staticmethod
    def forward(ctx, a):
        ctx.save_for_backward(a)
        return (a.square()).sum()

    @staticmethod
    def backward(ctx, g):
        (a,) = ctx.saved_tensors
        return g * (2 * a + 3 * a.roll(1, -1).square())


class Once(torch.autograd.Function):
    """Squares, and is marked to be differentiated once only."""

    @staticmethod
    def forward(ctx, a):
        ctx.save_for_backward(a)
        return a.square()

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, g):
        (a,) = ctx.saved_tensors
        return 2 * a * g


class Wrapped(nn.Module):
    """A custom function between two layers."""

    def __init__(self, function: type[torch.autograd.Function]) -> None:
        super().__init__()
        self.function, self.first, self.last = function, nn.Linear(4, 3), nn.Linear(3, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.function.apply(self.first(x)))


class Square(torch.autograd.Function):
    """Squares, by a backward that can be differentiated again."""

    @staticmethod
    def forward(ctx, a):
        ctx.save_for_backward(a)
        return a.square()

    @staticmethod
    def backward(ctx, g):
        (a,) = ctx.saved_tensors
        return 2 * a * g


class Many(nn.Linear):
    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return {"logits": super().forward(x)}


def landscape(model: nn.Module | None = None, **options) -> Landscape:
    torch.manual_seed(0)
    return Landscape(nn.Linear(4, 3) if model is None else model, (X, Y), device="cpu", **options)


def at(place: Landscape, what: str = "hessian", point: Tensor | None = None, **options):
    return getattr(place, what)(place.here if point is None else point, **options)


def nan_point() -> Tensor:
    point = torch.zeros(15)
    point[13] = torch.nan
    return point


def dict_loss(z: dict[str, Tensor], y: Tensor) -> Tensor:
    return F.cross_entropy(z["logits"], y)


REFUSED = {
    "NaN": (lambda: at(landscape(), point=nan_point()), "in 1 of its 15 numbers, first in bias"),
    "points": (lambda: at(landscape(), point=torch.zeros(2, 15)), "taken at one point"),
    "shape": (lambda: at(landscape(), point=torch.zeros(4)), "A point of this model is"),
    "no tensor": (lambda: at(landscape(), point=[1.0]), "got list"),
    "vector loss": (lambda: landscape(loss=lambda z, t: z.sum(1)), "not one number"),
    "no second derivative": (lambda: at(landscape(Fused())), "flash_attention"),
    "not symmetric": (lambda: at(landscape(loss=lambda z, t: Skewed.apply(z) / len(z))), "Hessian is not symmetric"),
    "once, in the loss": (lambda: at(landscape(loss=lambda z, t: Once.apply(z).mean())), "function Once cannot"),
    "once, in the loss, unchecked": (lambda: at(landscape(loss=lambda z, t: Once.apply(z).mean()), check=False),
                                     "function Once cannot"),
    "once, in the model": (lambda: at(landscape(Wrapped(Once)), "gauss_newton"), "function Once cannot"),
    "once, functional": (lambda: at(landscape(Wrapped(Once)), "functional_hessian"), "function Once cannot"),
    "not convex": (lambda: at(landscape(loss=lambda z, t: -z.square().mean()), "gauss_newton"), "not convex"),
    "not finite": (lambda: at(landscape(loss=lambda z, t: (z * 0).abs().pow(1.5).mean())), "not finite"),
    "dict": (lambda: at(landscape(Many(4, 3), loss=dict_loss), "gauss_newton"), "outputs are a dict"),
    "kind": (lambda: at(landscape(), "fisher", kind="exact"), "no Fisher of kind 'exact'"),
    "true of custom": (lambda: at(landscape(loss=lambda z, t: z.square().mean()), "fisher"), "distribution behind"),
    "sampled of custom": (lambda: at(landscape(loss=lambda z, t: z.square().mean()), "fisher", kind="sampled"),
                          "give sampler="),
    "draws": (lambda: at(landscape(), "fisher", kind="sampled", draws=0), "draws is 0"),
    "not a mean": (lambda: at(landscape(loss=lambda z, t: z.logsumexp(0).sum()), "fisher", kind="empirical"),
                   "not the mean of its samples"),
    "coupled": (lambda: at(landscape(nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3)), batchnorm="batch"), "fisher",
                           kind="empirical"), "batchnorm='batch'"),
    "root": (lambda: at(landscape(loss="mse"), "jacobian", root=True), "known for cross-entropy"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_in_one_sentence(name: str) -> None:
    act, says = REFUSED[name]
    with pytest.raises(BadInput, match=says) as caught:
        act()
    assert "\n" not in str(caught.value)


def test_the_check_can_be_left_out() -> None:
    skewed = landscape(loss=lambda z, t: Skewed.apply(z) / len(z))
    H = skewed.hessian(skewed.here, check=False).dense()
    assert float((H - H.T).norm() / H.norm()) > 0.01
    bent = landscape(loss=lambda z, t: z.sin().mean())
    assert float(torch.linalg.eigvalsh(bent.gauss_newton(bent.here, check=False).dense())[0]) < 0


def test_a_custom_function_that_can_be_differentiated_twice_is_taken() -> None:
    custom, (x, y) = Wrapped(Square), (X, Y)
    place = Landscape(custom, (x, y), device="cpu")

    def loss(point: Tensor) -> Tensor:
        p = place.layout.views(point)
        hidden = F.linear(x, p["first.weight"], p["first.bias"]).square()
        return F.cross_entropy(F.linear(hidden, p["last.weight"], p["last.bias"]), y)

    expected = torch.autograd.functional.hessian(loss, place.here)
    torch.testing.assert_close(place.hessian(place.here).dense(), expected, rtol=1e-4, atol=1e-5)


def test_losses_without_curvature_give_zero() -> None:
    flat = landscape(loss=lambda z, t: z.mean(), weight_decay=0.5)
    for make_one in (flat.hessian, flat.gauss_newton):
        torch.testing.assert_close(make_one(flat.here).dense(), 0.5 * torch.eye(15))
    constant = landscape(loss=lambda z, t: torch.zeros(()))
    assert not constant.hessian(constant.here).dense().any()
    assert not constant.fisher(constant.here, kind="empirical").dense().any()


@pytest.mark.parametrize("name", ["batch norm, kept", "attention", "lstm"])
def test_the_user_is_left_alone(name: str) -> None:
    made = make(name)
    made.model.train()
    for parameter in made.model.parameters():
        parameter.grad = torch.ones_like(parameter)
    before, rng = copy.deepcopy(made.model.state_dict()), torch.get_rng_state()
    flags = torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled, torch.backends.cuda.flash_sdp_enabled()
    point = made.point.clone()
    H = made.landscape.hessian(made.point)
    first = H @ point
    with torch.no_grad():
        torch.testing.assert_close(H @ point, first, rtol=0, atol=0)
        torch.testing.assert_close(made.landscape.hessian(made.point) @ point, first, rtol=0, atol=0)
    made.landscape.fisher(made.point, kind="sampled") @ point
    made.landscape.jacobian(made.point).T @ torch.ones(17 * 3, dtype=torch.float64)
    assert torch.equal(torch.get_rng_state(), rng)
    assert flags == (torch.backends.mkldnn.enabled, torch.backends.cudnn.enabled,
                     torch.backends.cuda.flash_sdp_enabled())  # fmt: skip
    assert made.model.training
    assert all(bool((p.grad == 1).all()) for p in made.model.parameters())
    assert all(torch.equal(v, before[k]) for k, v in made.model.state_dict().items())
    made.point.zero_()  # the operator has a point of its own
    with torch.no_grad():
        for parameter in made.model.parameters():
            parameter.zero_()
    torch.testing.assert_close(H @ point, first, rtol=0, atol=0)


def test_a_loss_of_nearly_nothing_is_no_wrong_derivative() -> None:
    # In float32 hardly a digit of a product is right there, as probabilities are 1 but for rounding.
    for seed in range(4):
        torch.manual_seed(seed)
        net = torch.nn.Sequential(
            torch.nn.Linear(16, 64), torch.nn.ReLU(), torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10)
        )
        with torch.no_grad():
            inputs = torch.randn(200, 16)
            first, second = net(inputs).topk(2, 1).values.T
            sure = (first - second).topk(40).indices
            for parameter in net[-1].parameters():
                parameter *= 12 / (first - second)[sure[-1]]
            labels = net(inputs[sure]).argmax(1)
        landscape = Landscape(net, (inputs[sure], labels), device="cpu")
        assert float(landscape.loss(landscape.here)) < 1e-5
        landscape.hessian(landscape.here)
