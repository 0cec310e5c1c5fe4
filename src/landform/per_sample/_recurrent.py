"""Recurrent layers of torch, one step after the other.

Torch runs them as one operation, which neither `torch.func` nor a rule for single samples can look into. Step by step
they are dense layers used again and again.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

State = tuple[Tensor, ...]
Across = tuple[Tensor, Tensor | None, Tensor | None]  # weight and bias from state to state, and a projection
Step = Callable[[Tensor, State, Across], State]


def _plain(activation: Callable[[Tensor], Tensor]) -> Step:
    def step(entering: Tensor, state: State, across: Across) -> State:
        return (activation(entering + F.linear(state[0], across[0], across[1])),)

    return step


def _lstm_step(entering: Tensor, state: State, across: Across) -> State:
    gates = entering + F.linear(state[0], across[0], across[1])
    let_in, keep, new, let_out = gates.chunk(4, -1)
    cell = keep.sigmoid() * state[1] + let_in.sigmoid() * new.tanh()
    hidden = let_out.sigmoid() * cell.tanh()
    return hidden if across[2] is None else F.linear(hidden, across[2]), cell


def _gru_step(entering: Tensor, state: State, across: Across) -> State:
    (hidden,) = state
    reset, update, new = entering.chunk(3, -1)
    own_reset, own_update, own_new = F.linear(hidden, across[0], across[1]).chunk(3, -1)
    kept = (update + own_update).sigmoid()
    fresh = (new + (reset + own_reset).sigmoid() * own_new).tanh()
    return (fresh + kept * (hidden - fresh),)


def _run(step: Step, states: int) -> Callable[..., Any]:
    def run(*args: Any) -> Any:
        if len(args) != 9 or not isinstance(args[3], bool):
            raise RuntimeError("packed sequences cannot be gone through sample by sample: give padded ones")
        entering, given, weights, biases, layers, _, _, both_ways, batch_first = args
        start = tuple(given) if isinstance(given, tuple | list) else (given,)
        each = len(weights) // (layers * (2 if both_ways else 1))
        sequence = entering.transpose(0, 1) if batch_first else entering
        last: list[State] = []
        for layer in range(layers):
            ways = []
            for way in range(2 if both_ways else 1):
                number = layer * (2 if both_ways else 1) + way
                own = list(weights[number * each : (number + 1) * each])
                outputs, state = _through(step, sequence, tuple(s[number] for s in start), own, biases, way == 1)
                ways.append(outputs)
                last.append(state)
            sequence = ways[0] if len(ways) == 1 else torch.cat(ways, -1)
        ends = tuple(torch.stack([state[i] for state in last]) for i in range(states))
        return (sequence.transpose(0, 1) if batch_first else sequence, *ends)

    return run


def _through(
    step: Step, sequence: Tensor, state: State, own: list[Tensor], biases: bool, backwards: bool
) -> tuple[Tensor, State]:
    """One layer in one direction: its input weights once for all times, the rest step by step."""
    into, weight, *rest = own
    entering = F.linear(sequence, into, rest[0] if biases else None)
    projection = rest[2 if biases else 0 :]
    across = (weight, rest[1] if biases else None, projection[0] if projection else None)
    steps = entering.unbind(0)
    outputs = []
    for now in reversed(steps) if backwards else steps:
        state = step(now, state, across)
        outputs.append(state[0])
    return torch.stack(outputs[::-1] if backwards else outputs), state


RECURRENT: dict[Any, Callable[..., Any]] = {
    torch.rnn_tanh: _run(_plain(torch.tanh), 1),
    torch.rnn_relu: _run(_plain(torch.relu), 1),
    torch.lstm: _run(_lstm_step, 2),
    torch.gru: _run(_gru_step, 1),
}
