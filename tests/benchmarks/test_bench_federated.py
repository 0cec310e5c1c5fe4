"""The benchmark of federated averaging runs, and its plain loop learns what the stack learns."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

FILE = Path(__file__).resolve().parents[2] / "benchmarks" / "federated.py"


def test_the_plain_loop_does_what_the_stack_does(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(FILE.parent))
    import federated as bench
    import landform as lf

    torch.manual_seed(0)
    bench.compare("mlp", lambda: bench.mlp(8), 4, 8, 2, 2, 1)
    told = capsys.readouterr().out
    assert "stack" in told
    assert "times as quick" in told
    # With whole batches both are the same numbers.
    x, y = torch.randn(40, 64), torch.randint(0, 10, (40,))
    model = bench.mlp(8)
    rules = lf.Federation(4, 3, 2)
    places = rules.divide(bench._set(x, y))
    theirs = bench.mlp(8)
    theirs.load_state_dict(model.state_dict())
    bench.plain(theirs, x, y, places, 3, 2, 10)
    found = lf.federated(model, (x, y), rules, lf.Recipe(batch_size=10, lr=0.05, momentum=0.0), device="cpu")
    torch.testing.assert_close(found.point, lf.Layout.of(theirs).point(theirs), rtol=1e-4, atol=1e-6)
