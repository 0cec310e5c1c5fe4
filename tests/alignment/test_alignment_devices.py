"""Every device gives what the CPU gives."""

from __future__ import annotations

import pytest
import torch
from shapes_of_models import OTHERS, zoo

import landform as lf
from landform import alignment
from landform.alignment._products import PRODUCTS
from landform.alignment._rules import Call
from landform.alignment._terms import find, fixed, free, leaves

ZOO = zoo()


@pytest.mark.parametrize(
    "name", ["mlp", "resnet20 batch", "transformer", "lstm", "gru", "attention", "grouped", "vision"]
)
def test_the_same_symmetries_and_the_same_alignment(name: str, device: torch.device) -> None:
    torch.manual_seed(0)
    model, inputs = ZOO[name]() if name in ZOO else (OTHERS[name][0](), OTHERS[name][1]())
    with torch.no_grad():
        outputs = model.eval()(inputs)
    targets = torch.zeros(outputs.shape[:-1], dtype=torch.long)
    plain, there = (lf.Landscape(model, (inputs, targets), device=d) for d in ("cpu", device))
    ours, theirs = (alignment.symmetries(where) for where in (plain, there))
    assert ours.groups == theirs.groups
    assert ours.blocks == theirs.blocks
    a = there.here + 0.1 * torch.randn(there.layout.size, generator=torch.Generator().manual_seed(0)).to(device)
    b = theirs.apply(a, theirs.random(1))
    for method in ("weights", "activations"):
        result = alignment.align(there, a, b, method=method, symmetries=theirs)
        assert result.point.device.type == device.type
        if method == "weights" or name in ("mlp", "transformer"):
            assert torch.equal(result.point, a)
    settings = alignment.Sinkhorn(steps=2, checks=1)
    assert alignment.align(there, a, b, method="sinkhorn", symmetries=theirs, sinkhorn=settings).after >= 0
    assert alignment.repair(there, a, b, symmetries=theirs).point.device.type == device.type
    assert alignment.balance(there, a, symmetries=theirs).after <= float(a.norm()) * (1 + 1e-6)
    universe = alignment.align_many(there, torch.stack((a, b)), symmetries=theirs)
    assert torch.equal(universe.points[0], universe.points[1])


@pytest.mark.parametrize(("name", "gates"), [("_thnn_fused_lstm_cell", 4), ("_thnn_fused_gru_cell", 3)])
def test_fused_steps_of_recurrent_layers_tie_their_gates_to_the_state(name: str, gates: int) -> None:
    """Only CUDA has these operations: the rule is held to what it must say of one call."""
    state, wide = torch.zeros(2, 5), torch.zeros(2, 5 * gates)
    args = {"input_gates": wide, "hidden_gates": wide.clone(), "cx" if gates == 4 else "hx": state,
            "input_bias": torch.zeros(5 * gates), "hidden_bias": None}  # fmt: skip
    given = [tensor for tensor in args.values() if tensor is not None]
    axes = {id(tensor): [free(size) if size != 2 else fixed(2) for size in tensor.shape] for tensor in given}
    outs = [torch.zeros(2, 5), torch.zeros(2, 5), torch.zeros(2, 5 * gates + 1)][4 - gates :]
    call = Call(name, args, outs, lambda tensor: axes[id(tensor)], lambda tensor, axis: None)
    found = PRODUCTS[name](call)
    unit = find(axes[id(state)][1])
    for key in ("input_gates", "hidden_gates", "input_bias"):
        assert [find(leaf) for leaf in leaves(axes[id(args[key])][-1])] == [unit] * gates
    assert find(found[0][1]) is unit
    assert len(found) == len(outs)
