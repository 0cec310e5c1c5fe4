"""Which labels are predicted wrongly."""

import pytest
import torch

from landform.landscape import wrong


@pytest.mark.parametrize("transposed", [False, True])
def test_errors_are_those_of_the_largest_logit_whatever_its_layout(transposed: bool) -> None:
    rng = torch.Generator().manual_seed(0)
    logits = torch.randn(3, 40, 5, generator=rng)
    if transposed:
        logits = logits.transpose(1, 2).contiguous().transpose(1, 2)
    labels = torch.randint(5, (40,), generator=rng)
    labels[3] = -100
    for given in (logits, logits.round(), logits.where(logits > -1, torch.nan)):  # plain, with ties, with nan
        missed, counted = wrong(given[0], labels)
        expected = [i != 3 and int(given[0, i].argmax()) != int(labels[i]) for i in range(40)]
        assert missed.bool().tolist() == expected
        assert int(counted) == 39
    labels[5] = 7  # no class of these outputs is never right
    assert bool(wrong(logits[0], labels)[0][5])
