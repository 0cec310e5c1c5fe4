"""Eigenfeatures against the predictor they make up, and their gradients against finite differences."""

from __future__ import annotations

import pytest
import torch

from landform.errors import BadInput
from landform.kernel._eigenfeatures import eigenfeatures

D = torch.float64


def gaussian(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    square = (a.flatten(1)[:, None] - b.flatten(1)[None]).square().sum(-1)
    return torch.exp(-0.3 * square)


def linear(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    return a.flatten(1) @ b.flatten(1).T


def made(shape: tuple[int, ...] = (3,), kernel=gaussian):  # type: ignore[no-untyped-def]
    drawing = torch.Generator().manual_seed(0)
    x = torch.randn(9, *shape, generator=drawing, dtype=D)
    y = torch.tensor([0, 1, 2, 0, 1, 2, 2, 1, 0])
    return eigenfeatures(kernel, x, y), x, y, torch.randn(4, *shape, generator=drawing, dtype=D)


def test_all_features_together_are_the_ridgeless_predictor() -> None:
    found, x, y, other = made()
    one_hot = torch.nn.functional.one_hot(y).double()
    predictor = gaussian(other, x) @ torch.linalg.solve(gaussian(x, x), one_hot)
    torch.testing.assert_close(found.features(other).sum(1), predictor)
    torch.testing.assert_close(found.predict(other), predictor)
    torch.testing.assert_close(found.predict(x), one_hot)


def test_each_feature_by_its_formula() -> None:
    found, x, y, other = made()
    one_hot = torch.nn.functional.one_hot(y).double()
    values, vectors = torch.linalg.eigh(gaussian(x, x))
    for i in range(9):
        v = vectors[:, -1 - i]
        plain = gaussian(other, x) @ torch.outer(v, v) @ one_hot / values[-1 - i]
        torch.testing.assert_close(found.features(other, i)[:, 0], plain)
    torch.testing.assert_close(found.predict(other, range(3)), found.features(other, [0, 1, 2]).sum(1))
    # At the training inputs a feature is the targets' part along its eigenvector.
    v = vectors[:, -1]
    torch.testing.assert_close(found.features(x, 0)[:, 0], torch.outer(v, v) @ one_hot)


@pytest.mark.parametrize("shape", [(3,), (1, 2, 2)])
def test_gradients_by_the_input(shape: tuple[int, ...]) -> None:
    found, _, _, other = made(shape)
    slopes = found.gradients(other, [0, 2, 5])
    assert slopes.shape == (4, 3, 3, *shape)
    step = 1e-6
    for place in torch.ones(shape).nonzero().tolist():
        move = torch.zeros(shape, dtype=D)
        move[tuple(place)] = step
        plain = (found.features(other + move, [0, 2, 5]) - found.features(other - move, [0, 2, 5])) / (2 * step)
        torch.testing.assert_close(slopes[(slice(None),) * 3 + tuple(place)], plain, rtol=1e-6, atol=1e-7)


def test_a_loss_of_a_feature_can_be_differentiated() -> None:
    """What an attack on one feature needs: its own loss, by the input."""
    found, _, _, other = made()
    leaf = other.clone().requires_grad_()
    loss = torch.nn.functional.cross_entropy(found.features(leaf, 1)[:, 0], torch.tensor([0, 1, 2, 0]))
    (slope,) = torch.autograd.grad(loss, leaf)
    outputs = found.features(other, 1)[:, 0]
    by_output = (outputs.softmax(1) - torch.eye(3, dtype=D)[[0, 1, 2, 0]]) / 4
    torch.testing.assert_close(slope, torch.einsum("mc,mcd->md", by_output, found.gradients(other, 1)[:, 0]))


def test_eigenvalues_below_rounding_have_no_feature() -> None:
    found, x, y, other = made(kernel=linear)
    assert found.rank == 3
    assert found.features(other).shape == (4, 3, 3)
    one_hot = torch.nn.functional.one_hot(y).double()
    torch.testing.assert_close(found.predict(other), other @ torch.linalg.pinv(x) @ one_hot)
    with pytest.raises(BadInput, match=r"numbered 0\.\.2"):
        found.features(other, 3)


def test_misuse_is_said_in_a_sentence() -> None:
    found, x, y, other = made()
    with pytest.raises(BadInput, match=r"shape \[m, 3\]"):
        found.predict(other[:, :2])
    with pytest.raises(BadInput, match="eigenfeatures take a kernel"):
        eigenfeatures(lambda a, b: torch.ones(len(a), len(b), 2, 2), x[:, :2], y)
    with pytest.raises(BadInput, match="no gradient by its first inputs"):
        eigenfeatures(lambda a, b: gaussian(a.detach(), b), x, y).gradients(other)
    with pytest.raises(BadInput, match="not positive"):
        eigenfeatures(lambda a, b: -gaussian(a, b), x, y)
