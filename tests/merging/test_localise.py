"""Where a task lives: planted tasks found again, the search against reading every density."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import landform as lf
from landform import merging
from landform.errors import BadInput


def draw(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def quadratic(count: int = 400) -> tuple[lf.Landscape, Tensor, Tensor]:
    """A linear model whose optimum is known: nearly all of the gain comes from five weights of thirty."""
    model, x = nn.Linear(10, 3, bias=False).double(), draw(count, 10)
    base = torch.zeros(30, dtype=torch.float64)
    tuned = 0.02 * draw(30, seed=2)
    tuned[torch.tensor([1, 7, 12, 22, 29])] += torch.tensor([2.0, -3.0, 2.5, -2.0, 4.0]).double()
    y = x @ tuned.view(3, 10).T
    return lf.Landscape(model, (x, y), loss="mse", device="cpu"), base, tuned


@pytest.mark.parametrize("scores", ["slope", "magnitude"])
def test_a_planted_task_is_found(scores: str) -> None:
    where, base, tuned = quadratic()
    found = merging.localise(where, base, tuned, share=0.99, scores=scores)
    assert found.mask.nonzero().flatten().tolist() == [1, 7, 12, 22, 29]
    assert found.density == pytest.approx(5 / 30)
    assert found.layers == {"weight": pytest.approx(5 / 30)}
    torch.testing.assert_close(found.point, torch.where(found.mask, tuned, base))
    gain = float(where.loss(base) - where.loss(tuned))
    assert found.gain == pytest.approx(gain)
    assert found.kept == pytest.approx(float(where.loss(base) - where.loss(found.point)) / gain)
    assert found.kept >= 0.99


def test_slopes_add_up_to_the_gain() -> None:
    where, base, tuned = quadratic()
    vector = tuned - base
    # The loss is quadratic, so that the gradient half way times the step is the difference exactly.
    worth = -where.gradient(base + vector / 2) * vector
    assert float(worth.sum()) == pytest.approx(float(where.loss(base) - where.loss(tuned)))
    one, other = (merging.localise(where, base, tuned, scores=s, points=1) for s in ("slope", worth))
    assert torch.equal(one.mask, other.mask)
    assert torch.equal(one.shares, other.shares)


def test_the_search_finds_what_reading_every_density_finds() -> None:
    where, base, tuned = quadratic()
    order = tuned.abs().argsort(descending=True)
    gain = float(where.loss(base) - where.loss(tuned))
    for share in (0.3, 0.6, 0.9, 0.999, 1.0):
        smallest = 30
        for count in range(30, -1, -1):
            mask = torch.zeros(30, dtype=torch.bool)
            mask[order[:count]] = True
            if float(where.loss(base) - where.loss(torch.where(mask, tuned, base))) / gain < share:
                break
            smallest = count
        found = merging.localise(where, base, tuned, share=share, scores="magnitude", readings=60)
        assert int(found.mask.sum()) == smallest
        assert (found.densities.diff() > 0).all()
        assert found.shares[0] == 0
        assert found.shares[-1] == 1


def test_weights_that_did_not_change_are_never_kept() -> None:
    where, base, tuned = quadratic()
    tuned = tuned.clone()
    tuned[13:] = base[13:]
    found = merging.localise(where, base, tuned, share=1.0, scores=draw(30, seed=8))
    assert not found.mask[13:].any()
    assert torch.equal(found.point, torch.where(found.mask, tuned, base))


def test_errors_layers_and_models_with_batchnorm() -> None:
    data = lf.data.digits(per_class=12)
    model = lf.models.small_cnn(inputs=(1, 8, 8), classes=10, width=4, norm="batch")
    where = lf.Landscape(model, (data.train.inputs.view(-1, 1, 8, 8), data.train.targets), device="cpu")
    base = where.here
    split = lf.data.Split(data.train.inputs.view(-1, 1, 8, 8), data.train.targets)
    own = lf.data.Dataset("own", split, split, 10, {})
    tuned = lf.train(model, own, lf.Recipe(epochs=6, batch_size=20, optimizer="adam", lr=0.01), device="cpu").point
    found = merging.localise(where, base, tuned, by="error", share=0.9)
    assert found.by == "error"
    assert set(found.layers) == set(where.layout.names)
    gain = float(where.error(base) - where.error(tuned))
    assert float(where.error(base) - where.error(found.point)) >= 0.9 * gain - 1e-9
    assert 0 < found.density <= 1
    assert found.overlap(found) == 1
    assert found.cost > 5
    magnitude = merging.localise(where, base, tuned, by="error", share=0.9, scores="magnitude")
    both = found.mask & magnitude.mask
    assert found.overlap(magnitude) == pytest.approx(int(both.sum()) / int((found.mask | magnitude.mask).sum()))


def test_what_is_wrong_is_said() -> None:
    where, base, tuned = quadratic()
    for arguments, options, said in (
        ((where, tuned, base), {}, "no gain to keep"),
        ((where, base, tuned), {"share": 0.0}, "share is 0.0"),
        ((where, base, tuned), {"by": "accuracy"}, "by is 'accuracy'"),
        ((where, base, tuned), {"scores": "weights"}, "no scores 'weights'"),
        ((where, base, tuned), {"scores": tuned[:4]}, r"scores are \[4\]"),
        ((where, base, tuned), {"readings": 1}, "readings 1"),
        ((where, base, tuned * torch.inf), {}, "tuned holds NaN or infinity"),
    ):
        with pytest.raises(BadInput, match=said):
            merging.localise(*arguments, **options)
