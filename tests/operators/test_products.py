"""Hessian, Gauss-Newton, Fisher and Jacobian against dense references, over one list of cases."""

from __future__ import annotations

import pytest
import torch
from operator_cases import CASES, dense_hessian, explicit_jacobian, loss_hessian, make, relative

TIGHT = 1e-10


@pytest.mark.parametrize("name", CASES)
def test_hessian_equals_double_backward(name: str) -> None:
    made = make(name)
    expected = dense_hessian(made)
    H = made.landscape.hessian(made.point)
    assert H.kept == H.batches == 4
    assert relative(H.dense(), expected) < TIGHT
    assert relative(make(name, torch.float32).landscape.hessian(made.point.float()).dense(), expected) < 1e-5


@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.smooth])
def test_hessian_equals_differences_of_the_gradient(name: str) -> None:
    made = make(name)
    H, gradient, w = made.landscape.hessian(made.point), made.landscape.gradient, made.point
    v = torch.randn(H.size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    v /= v.norm()
    near, far = ((gradient(w + e * v) - gradient(w - e * v)) / (2 * e) for e in (1e-3, 2e-3))
    assert relative(H @ v, (4 * near - far) / 3) < 1e-8  # Richardson: the error goes with the fourth power of the step


@pytest.mark.parametrize("name", CASES)
def test_gauss_newton_and_functional_hessian_equal_explicit_jacobians(name: str) -> None:
    made = make(name)
    J, decay = explicit_jacobian(made), made.case.decay * torch.eye(made.point.numel(), dtype=torch.float64)
    expected = J.T @ loss_hessian(made) @ J
    G = made.landscape.gauss_newton(made.point)
    assert relative(G.dense(), expected + decay) < TIGHT
    single = make(name, torch.float32).landscape.gauss_newton(made.point.float())
    assert relative(single.dense(), expected + decay) < 1e-5
    beyond = made.landscape.functional_hessian(made.point)
    torch.testing.assert_close(beyond.dense(), dense_hessian(made) - expected - decay, rtol=0, atol=1e-11)
    assert beyond.name == "functional Hessian"
    assert beyond.gradients > 0


@pytest.mark.parametrize("name", CASES)
def test_jacobian_and_its_adjoint(name: str) -> None:
    made = make(name)
    expected = explicit_jacobian(made)
    for memory in (0, 1e9):
        J = made.landscape.jacobian(made.point, memory=memory)
        assert J.shape == expected.shape
        torch.testing.assert_close(J.dense(), expected, rtol=TIGHT, atol=1e-13)
        torch.testing.assert_close(J.T.dense(), expected.T, rtol=TIGHT, atol=1e-13)
        assert J.T.T is J
    if made.case.loss == "cross-entropy":
        S = made.landscape.jacobian(made.point, root=True)
        assert relative((S.T.dense() @ S.dense()), expected.T @ loss_hessian(made) @ expected) < TIGHT


@pytest.mark.parametrize("name", CASES)
def test_empirical_fisher_equals_outer_products_of_sample_gradients(name: str) -> None:
    made = make(name)
    one = make(name, batch_size=1)
    grads = torch.stack([
        one.landscape.subset(torch.tensor([i])).gradient(made.point) - made.case.decay * made.point
        for i in range(len(made.x))
    ])  # fmt: skip
    F = made.landscape.fisher(made.point, kind="empirical")
    assert relative(F.dense(), grads.T @ grads / len(grads)) < TIGHT


@pytest.mark.parametrize("name", ["tanh", "tanh, mse", "residual", "residual, mse", "attention"])
def test_true_fisher_is_the_mean_over_what_the_model_would_draw(name: str) -> None:
    made = make(name)
    J = explicit_jacobian(made).reshape(len(made.x), 3, -1)
    if "mse" in name:  # normal, mean of squares over 3 outputs: variance 3 / 2 each
        expected = torch.einsum("nkp,nkq->pq", J, J) / 1.5 / len(J)
    else:  # every class, weighted by its probability
        p = made.landscape.outputs(made.point).softmax(-1)
        slopes = p[:, None] - torch.eye(3, dtype=torch.float64)
        g = torch.einsum("nck,nkp->ncp", slopes, J)
        expected = torch.einsum("nc,ncp,ncq->pq", p, g, g) / len(J)
    assert relative(made.landscape.fisher(made.point).dense(), expected) < TIGHT
    v = torch.randn(J.shape[-1], dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    exact = float(v @ expected @ v)
    errors = []
    for seed in range(20):
        S = made.landscape.fisher(made.point, kind="sampled", seed=seed, draws=30)
        estimate = S.quadratic(v)
        assert estimate.value == pytest.approx(float(v @ (S @ v)), rel=1e-10)
        errors.append((estimate.value - exact) / estimate.standard_error)
    spread = torch.tensor(errors)
    assert abs(float(spread.mean())) < 3.5 / 20**0.5
    assert 0.5 < float(spread.std()) < 1.7


def test_sampled_fisher_is_repeatable_and_takes_a_sampler() -> None:
    made = make("tanh, custom")

    def draw(outputs: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
        return torch.randint(0, 3, (len(outputs),), generator=generator)

    take = made.landscape.fisher
    first = take(made.point, kind="sampled", sampler=draw, seed=3).dense()
    again = take(made.point, kind="sampled", sampler=draw, seed=3, memory=0).dense()
    torch.testing.assert_close(first, again, rtol=1e-12, atol=1e-14)
    assert relative(take(made.point, kind="sampled", sampler=draw, seed=4).dense(), first) > 1e-3
    assert not torch.isfinite(torch.tensor(
        take(made.point, kind="sampled", sampler=draw, draws=1).quadratic(made.point).standard_error))  # fmt: skip


def test_recomputed_batchnorm_counts_as_a_constant() -> None:
    made = make("batch norm, kept", batchnorm="recompute")
    buffers = made.landscape.calibrate(made.point)
    H = made.landscape.hessian(made.point).dense()
    kept = make("batch norm, kept")
    torch.testing.assert_close(H, kept.landscape.hessian(made.point, buffers=buffers).dense(), rtol=1e-12, atol=1e-14)
    assert relative(H, kept.landscape.hessian(made.point).dense()) > 1e-3


def test_statistics_of_each_batch_are_differentiated() -> None:
    made = make("batch norm, kept", batchnorm="batch", batch_size=17)
    H, w = made.landscape.hessian(made.point), made.point
    v = torch.randn(H.size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    v /= v.norm()
    e = 1e-6
    differences = (made.landscape.gradient(w + e * v) - made.landscape.gradient(w - e * v)) / (2 * e)
    assert relative(H @ v, differences) < 1e-6


def test_loaders_dicts_and_sequences_of_labels() -> None:
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Embedding(9, 4), torch.nn.Linear(4, 9)).double()
    tokens = torch.randint(0, 9, (7, 5))
    from landform.landscape import Landscape

    batches = [{"x": t, "y": t.roll(1, 1)} for t in tokens.split(3)]
    landscape = Landscape(model, batches, device="cpu", forward=lambda net, b: (net(b["x"]), b["y"]))
    H = landscape.hessian(landscape.here)
    whole = torch.nn.functional.cross_entropy(model(tokens).flatten(0, 1), tokens.roll(1, 1).flatten())
    grads = torch.autograd.grad(whole, list(model.parameters()), create_graph=True)
    v = torch.randn(H.size, dtype=torch.float64)
    dot = torch.cat([g.reshape(-1) for g in grads]) @ v
    expected = torch.cat([g.reshape(-1) for g in torch.autograd.grad(dot, list(model.parameters()))])
    torch.testing.assert_close(H @ v, expected, rtol=1e-12, atol=1e-14)
    G, F = landscape.gauss_newton(landscape.here), landscape.fisher(landscape.here)
    torch.testing.assert_close(G @ v, F @ v)
    torch.testing.assert_close(landscape.hessian(landscape.here, memory=0) @ v, expected, rtol=1e-12, atol=1e-14)


def test_dict_targets_weigh_by_samples_and_not_by_keys() -> None:
    from landform.landscape import Landscape

    made = make("tanh")
    batches = [{"x": x, "y": y} for x, y in zip(made.x.split(5), made.y.split(5), strict=True)]  # the last has 2 of 17

    def loss(outputs: torch.Tensor, targets: dict[str, torch.Tensor]) -> torch.Tensor:
        return torch.nn.functional.cross_entropy(outputs, targets["labels"])

    def forward(net: torch.nn.Module, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        return net(batch["x"]), {"labels": batch["y"], "twice": 2 * batch["y"], "thrice": 3 * batch["y"]}

    landscape = Landscape(made.model, batches, device="cpu", loss=loss, forward=forward)
    for memory in (0, 2**30):
        H = landscape.hessian(made.point, memory=memory).dense()
        G = landscape.gauss_newton(made.point, memory=memory).dense()
        assert relative(H, dense_hessian(made)) < 1e-10
        J = explicit_jacobian(made)
        assert relative(G, J.T @ loss_hessian(made) @ J) < 1e-10
