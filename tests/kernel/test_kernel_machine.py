"""Kernel machines against direct solves, refitting without a sample, and ODE integration."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_kernels import as_plain_matrix, random_kernel
from scipy.integrate import solve_ivp
from scipy.optimize import minimize

from landform.errors import BadInput
from landform.kernel._classifier import classifier
from landform.kernel._descent import descend
from landform.kernel._dynamics import distances
from landform.kernel._flow import gradient_flow
from landform.kernel._machine import regression, ridge_path
from landform.kernel._nystroem import nystroem
from landform.kernel._spectrum import alignment, effective_rank, label_energy

D = torch.float64
kernels = st.tuples(st.integers(2, 7), st.integers(0, 10_000), st.sampled_from([0, 2, 3]))


def problem(n: int, seed: int, outputs: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """A kernel, targets ``[n, C]``, and initial outputs."""
    drawing = torch.Generator().manual_seed(seed + 1)
    columns = outputs or 2
    values = torch.randn(2, n, columns, generator=drawing, dtype=D)
    return random_kernel(n, seed, outputs=outputs), values[0], values[1]


def solve(kernel: torch.Tensor, y: torch.Tensor, ridge: float) -> torch.Tensor:
    matrix = as_plain_matrix(kernel)
    shifted = matrix + ridge * torch.eye(len(matrix), dtype=D)
    return torch.linalg.solve(shifted, y.reshape(len(matrix), -1)).reshape(y.shape)


@given(kernels, st.lists(st.floats(1e-3, 10), min_size=1, max_size=4))
@settings(max_examples=40)
def test_every_ridge_equals_a_direct_solve(drawn, ridges) -> None:
    kernel, y, start = problem(*drawn)
    found = regression(kernel, y, ridges, initial=start)
    for i, ridge in enumerate(ridges):
        coefficients = solve(kernel, y - start, ridge)
        torch.testing.assert_close(found.coefficients[i], coefficients)
        fitted = start + (as_plain_matrix(kernel) @ coefficients.reshape(len(as_plain_matrix(kernel)), -1)).reshape(
            y.shape
        )
        torch.testing.assert_close(found.fitted[i], fitted)
        torch.testing.assert_close(found.predict(kernel, which=i, initial=start), fitted)
        assert found.training_losses[i].item() == pytest.approx((fitted - y).square().mean().item())
        matrix = as_plain_matrix(kernel)
        trace = torch.linalg.solve(matrix + ridge * torch.eye(len(matrix), dtype=D), matrix).trace().item()
        assert found.freedom[i].item() == pytest.approx(trace)


@given(kernels, st.floats(1e-2, 10))
@settings(max_examples=30)
def test_leaving_one_out_equals_refitting_without_it(drawn, ridge) -> None:
    kernel, y, start = problem(*drawn)
    found = regression(kernel, y, ridge, initial=start)
    for i in range(len(y)):
        others = torch.arange(len(y)) != i
        machine = regression(kernel[others][:, others], y[others], ridge, initial=start[others])
        left_out = machine.predict(kernel[i : i + 1][:, others], initial=start[i : i + 1])
        torch.testing.assert_close(found.left_out[0, i], left_out[0], rtol=1e-6, atol=1e-8)
    assert found.losses[0].item() == pytest.approx((found.left_out[0] - y).square().mean().item())


def test_labels_are_regressed_as_one_hot_rows_and_the_best_ridge_errs_least() -> None:
    drawing = torch.Generator().manual_seed(0)
    x = torch.randn(40, 3, generator=drawing, dtype=D)
    y = (x[:, 0] > 0).long() + (x[:, 1] > 0.5).long()
    kernel = torch.exp(-0.5 * torch.cdist(x, x).square())
    found = regression(kernel, y, ridge_path(kernel, 12))
    one_hot = torch.nn.functional.one_hot(y, 3).double()
    torch.testing.assert_close(found.coefficients[3], solve(kernel, one_hot, found.ridges[3].item()))
    wrong = (found.left_out.argmax(-1) != y).double().mean(-1)
    assert torch.equal(found.errors, wrong)
    assert found.errors[found.best] == wrong.min()
    assert found.ridge == found.ridges[found.best].item()
    signs = torch.where(y > 0, 1.0, -1.0).double()
    two = regression(kernel, signs, 0.1)
    assert two.errors.item() == ((two.left_out[0, :, 0] > 0) != (signs > 0)).double().mean().item()
    assert regression(kernel, x[:, 0], 0.1).errors is None


def test_a_kernel_without_full_rank_and_no_ridge() -> None:
    kernel = random_kernel(6, 0, rank=3)
    y = torch.randn(6, 1, dtype=D, generator=torch.Generator().manual_seed(1))
    found = regression(kernel, y, [0.0, 1.0])
    torch.testing.assert_close(found.coefficients[0], torch.linalg.pinv(kernel, hermitian=True) @ y)
    assert found.rank == 3
    assert found.left_out[0].isnan().all()
    assert found.best == 1


# ------------------------------------------------------------------------------------------------- gradient flow


@given(kernels, st.floats(0.05, 20))
@settings(max_examples=15)
def test_the_flow_is_what_an_integrator_finds(drawn, time) -> None:
    kernel, y, start = problem(*drawn)
    matrix, flow = as_plain_matrix(kernel), gradient_flow(kernel, y, initial=start)
    shape = (len(matrix), -1)

    def slope(_: float, f: np.ndarray) -> np.ndarray:
        # d theta / dt = -grad of the mean over samples and outputs of (f - y)^2
        away = torch.tensor(f).reshape(y.shape) - y
        return -(matrix @ (2 * away / y.numel()).reshape(shape)).reshape(-1).numpy()

    found = solve_ivp(slope, (0, time), start.reshape(-1).numpy(), rtol=1e-10, atol=1e-12).y[:, -1]
    torch.testing.assert_close(flow.fitted(time)[0], torch.tensor(found).reshape(y.shape), rtol=1e-6, atol=1e-8)
    torch.testing.assert_close(flow.predict(kernel, time, initial=start), flow.fitted(time), rtol=1e-7, atol=1e-9)


def test_the_flow_from_zero_to_for_ever() -> None:
    kernel, y, start = problem(5, 3, 2)
    flow = gradient_flow(kernel, y, initial=start)
    ends = flow.fitted([0.0, math.inf])
    torch.testing.assert_close(ends[0], start)
    torch.testing.assert_close(ends[1], y)
    torch.testing.assert_close(flow.coefficients(math.inf)[0], regression(kernel, y, initial=start).coefficients[0])
    losses = flow.losses([0.0, 1.0, 10.0, 100.0])
    assert (losses.diff() < 0).all()
    half = flow.half_lives[2].item()
    along = torch.linalg.eigh(as_plain_matrix(kernel))[1].flip(1)[:, 2]
    apart = [(flow.fitted(t)[0] - y).reshape(-1) @ along for t in (0.0, half)]
    assert (apart[1] / apart[0]).item() == pytest.approx(0.5)
    labels = gradient_flow(random_kernel(5, 1), torch.tensor([0, 1, 2, 1, 0]), rate=1.0)
    assert labels.errors([math.inf]).item() == 0.0
    assert flow.errors(1.0) is None
    flat = gradient_flow(random_kernel(6, 0, rank=2), torch.randn(6, dtype=D), rate=1.0)
    assert torch.isfinite(flat.predict(random_kernel(6, 0, rank=2), [0.0, 1.0, math.inf])).all()


# -------------------------------------------------------------------------------------------------- cross-entropy


@pytest.mark.parametrize("outputs", [0, 3])
@pytest.mark.parametrize("ridge", [1e-3, 0.1])
def test_the_classifier_is_the_minimum_that_scipy_finds(outputs: int, ridge: float) -> None:
    kernel = random_kernel(9, 4, outputs=outputs)
    matrix = as_plain_matrix(kernel)
    y = torch.tensor([0, 1, 2, 0, 1, 2, 2, 1, 0])
    start = 0.3 * torch.randn(9, 3, dtype=D, generator=torch.Generator().manual_seed(2))
    found = classifier(kernel, y, ridge, initial=start)
    assert found.converged
    assert found.gradient <= 1e-8

    def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
        a = torch.tensor(flat, requires_grad=True)
        columns = a.reshape(len(matrix), -1)
        added = matrix @ columns
        loss = torch.nn.functional.cross_entropy(start + added.reshape(9, 3), y) + 0.5 * ridge * (columns * added).sum()
        loss.backward()
        return loss.item(), a.grad.numpy()

    plain = minimize(objective, np.zeros(27), jac=True, method="BFGS", options={"gtol": 1e-9, "maxiter": 5000})
    assert found.loss + found.penalty == pytest.approx(plain.fun, abs=1e-9)
    value, slope = objective(found.coefficients.reshape(-1).numpy())
    assert value == pytest.approx(found.loss + found.penalty)
    assert np.abs(slope).max() < 1e-7
    torch.testing.assert_close(found.predict(kernel, initial=start), found.logits)
    assert found.error == (found.logits.argmax(1) != y).double().mean().item()
    soft = classifier(kernel, torch.nn.functional.one_hot(y, 3).double(), ridge, initial=start)
    torch.testing.assert_close(soft.logits, found.logits)


@given(st.floats(1e-3, 1e3), st.floats(-7, -1))
@settings(max_examples=10)
def test_a_kernel_of_another_scale_with_the_ridge_to_match_is_the_same_classifier(scale, power) -> None:
    kernel, y = random_kernel(7, 2), torch.tensor([0, 1, 0, 1, 1, 0, 2])
    one, other = classifier(kernel, y, 10**power), classifier(scale * kernel, y, scale * 10**power)
    assert one.converged
    assert other.converged
    torch.testing.assert_close(one.logits, other.logits, rtol=1e-2, atol=1e-3)
    assert one.loss == pytest.approx(other.loss, rel=1e-2)


def test_a_classifier_without_a_minimum_says_so() -> None:
    kernel, y = random_kernel(6, 0), torch.tensor([0, 1, 0, 1, 1, 0])
    found = classifier(kernel, y, 0.0)
    assert not found.converged
    assert found.separable
    assert "falls for ever" in found.status
    assert found.loss < 1e-6
    stopped = classifier(kernel, y, 1e-4, max_iterations=2)
    assert not stopped.converged
    assert "raise max_iterations" in stopped.status


def test_descent_with_batches_is_sgd_on_the_features() -> None:
    features = torch.randn(8, 6, dtype=D, generator=torch.Generator().manual_seed(0))
    y = torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])
    drawing = torch.Generator().manual_seed(1)
    batches = [torch.randperm(8, generator=drawing)[:3] for _ in range(20)]
    for nesterov in (False, True):
        w = torch.zeros(6, 3, dtype=D, requires_grad=True)
        sgd = torch.optim.SGD([w], lr=0.3, momentum=0.8, nesterov=nesterov)
        losses = []
        for batch in batches:
            sgd.zero_grad()
            loss = torch.nn.functional.cross_entropy(features[batch] @ w, y[batch])
            loss.backward()
            losses.append(loss.item())
            sgd.step()
        found = descend(
            features @ features.T, y, steps=20, lr=0.3, momentum=0.8, nesterov=nesterov, batches=batches, at=[0, 7, 20]
        )
        assert found.steps == (0, 7, 20)
        torch.testing.assert_close(found.losses, torch.tensor(losses, dtype=D))
        torch.testing.assert_close(found.predict(features @ features.T)[-1], (features @ w).detach())
        assert not found.coefficients[0].any()


def test_on_every_device(device: torch.device) -> None:
    kernel, y = random_kernel(8, 0).float(), torch.tensor([0, 1, 2, 0, 1, 2, 0, 1])

    def numbers(kernel: torch.Tensor, y: torch.Tensor) -> list[torch.Tensor]:
        machine = regression(kernel, y, ridge_path(kernel, 3))
        flow = gradient_flow(kernel, y)
        found = [machine.predict(kernel), machine.losses, machine.errors, flow.predict(kernel, [1.0, math.inf])]
        found += [flow.losses(1.0), classifier(kernel, y, 0.1).predict(kernel)]
        found += [descend(kernel, y, steps=3, lr=0.1).predict(kernel), distances([kernel, kernel.square()])]
        found += [torch.tensor([alignment(kernel, y), effective_rank(kernel)])]
        return [*found, label_energy(kernel, y).cumulative, nystroem(lambda r, c: kernel[r][:, c], 8, 4).factor]

    for here, there in zip(numbers(kernel, y), numbers(kernel.to(device), y.to(device)), strict=True):
        torch.testing.assert_close(there.cpu(), here, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda k, y: regression(k, y[:3]), "6 labels"),
        (lambda k, y: regression(k, y, -1.0), "none negative"),
        (lambda k, y: regression(k[:, :4], y), "samples with themselves"),
        (lambda k, y: regression(k - 5 * torch.eye(6, dtype=D), y), "not positive"),
        (lambda k, y: regression(k + torch.triu(torch.ones(6, 6, dtype=D), 1), y), "not symmetric"),
        (lambda k, y: regression(k.index_fill(0, torch.tensor([2]), torch.nan), y), "first in row 2"),
        (lambda k, y: regression(k.long(), y), "floating-point"),
        (lambda k, y: regression(k[0], y), r"tensor \[n, m\]"),
        (lambda k, y: regression(k, y, classes=1), r"must lie in 0\.\.0"),
        (lambda k, y: regression(k, y, initial=torch.zeros(6, 5)), "shape of the targets"),
        (lambda k, y: regression(k, torch.full((6,), torch.nan)), "targets hold NaN"),
        (lambda k, y: regression(random_kernel(6, 0, outputs=3), torch.zeros(6, 2)), "3 outputs"),
        (lambda k, y: regression(k, y).predict(k[:, :5]), "rows the new samples"),
        (lambda k, y: gradient_flow(k, y, rate=0.0), "positive number"),
        (lambda k, y: gradient_flow(k, y).fitted(-1.0), "none negative"),
        (lambda k, y: classifier(k, torch.zeros(6), 0.1), "two classes"),
        (lambda k, y: classifier(k, y, -0.1), "ridge of 0 or more"),
        (lambda k, y: descend(k, y, steps=3, lr=[0.1, 0.1]), "2 learning rates for 3 steps"),
        (lambda k, y: descend(k, y, steps=3, lr=0.1, batches=[torch.arange(2)]), "1 batches"),
        (lambda k, y: descend(k, y, steps=3, lr=0.1, at=[4]), r"0\.\.3"),
        (lambda k, y: ridge_path(k, 0), "at least one ridge"),
    ],
)
def test_misuse_is_said_in_a_sentence(call, said) -> None:
    with pytest.raises(BadInput, match=said):
        call(random_kernel(6, 0), torch.tensor([0, 1, 2, 0, 1, 2]))
