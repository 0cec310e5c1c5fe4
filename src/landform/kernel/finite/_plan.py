"""How a kernel is going to be computed: which form each layer takes, and what is held at a time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor

from landform.errors import BadInput
from landform.kernel.finite._held import Cost, Held, Reduce, costs
from landform.per_sample import Rules
from landform.store import size_text


@dataclass(frozen=True)
class Choice:
    """One layer's part in a plan.

    Attributes:
        names: its parameters.
        rule: how its gradients are found.
        form: how they are held.
        cost: of the form.
        size: numbers in one gradient.
    """

    names: tuple[str, ...]
    rule: str
    form: type[Held]
    cost: Cost
    size: int


@dataclass(frozen=True)
class Plan:
    """How a kernel is computed.

    Attributes:
        samples: rows of the kernel.
        against: its columns.
        outputs: gradients of each sample.
        reduce: what it is reduced to.
        layers: the choice for each layer.
        group: how many of the outputs are gone through at a time.
        stripe: how many rows are held at a time.
        piece: how many samples of the columns are held at a time, beside the rows.
        chunk: how many samples run through the model together.
        memory: bytes of the kernel (or of a stripe of it) and of all that is held.
    """

    samples: int
    against: int
    outputs: int
    reduce: Reduce
    layers: tuple[Choice, ...]
    group: int
    stripe: int
    piece: int
    chunk: int
    memory: int

    @property
    def side(self) -> int:
        """Samples to a side of the blocks that are added to at a time."""
        return _side(self.reduce, self.outputs)

    @property
    def flops(self) -> float:
        """Floating-point operations in forms and Grams, without the passes through the model."""
        return sum(layer.cost.flops for layer in self.layers)

    def __str__(self) -> str:
        wide = max(10, *(len(" + ".join(layer.names)) for layer in self.layers))
        lines = [
            f"{self.samples:,} x {self.against:,} samples, {self.outputs} gradients each, {self.reduce}: "
            f"{self.chunk:,} samples run together, {self.group} outputs at a time, {self.stripe:,} rows held, "
            f"{size_text(self.memory)}",
            f"{'parameters':{wide}}  {'rule':20}{'form':22}{'numbers':>10}{'GFLOP':>10}{'share':>8}",
        ]
        lines.extend(
            f"{' + '.join(layer.names):{wide}}  {layer.rule:20}{layer.form.name:22}{layer.size:>10,}"
            f"{layer.cost.flops / 1e9:>10.3f}{layer.cost.flops / max(self.flops, 1.0):>8.1%}"
            for layer in self.layers
        )
        return "\n".join(lines)


def plan(
    rules: Rules,
    two: Any,
    cotangents: Tensor,
    samples: int,
    against: int,
    reduce: Reduce,
    *,
    symmetric: bool,
    memory: float,
    whole: bool,
    without: frozenset[type[Held]] = frozenset(),
) -> Plan:
    """Choose the form of every layer by counting, and how much is held at a time by the memory there is.

    Args:
        rules: how the gradients are found.
        two: two samples to look at.
        cotangents: of their outputs, ``[K', 2, K]``.
        samples: rows of the kernel.
        against: its columns.
        reduce: what it is reduced to.
        symmetric: whether rows and columns are the same samples.
        memory: bytes.
        whole: whether the whole kernel is held in memory, or one stripe of its rows.
        without: forms that do not fit this model.

    Returns:
        The plan.

    Raises:
        BadInput: when not even one sample fits.
    """
    passed = rules(two)
    layers = list(passed.pull_layers(cotangents, last=True))
    k = len(cotangents)
    choices, running = [], rules.running(k)
    for layer in layers:
        found = costs(layer.part, layer.bias is not None, samples, against, reduce)
        found = {form: cost for form, cost in found.items() if form not in without}
        form = min(found, key=lambda f: (found[f].flops, found[f].fixed + found[f].each))
        names = (layer.weight,) if layer.bias is None else (layer.weight, layer.bias)
        choices.append(Choice(names, rules.kinds[layer.weight.split("[")[0]], form, found[form], layer.part.size))
    bytes_each = passed.outputs.element_size()
    column = {"full": k * k, "trace": 1, "each": k}[reduce]
    tiles = 2 * min(_side(reduce, k), samples) ** 2 * column
    room = memory / bytes_each - tiles
    kernel = samples * against * column if whole else 0
    chunk = int(min(samples, rules.together(k), max(1.0, (room - kernel) / 4 // max(running, 1))))
    room -= kernel + chunk * running
    fixed, each = sum(c.cost.fixed for c in choices), sum(c.cost.each for c in choices)
    row = 0 if whole else against * column
    aside = 0 if symmetric else 1  # columns that are other samples are held beside all rows
    group, stripe, piece = k, samples, min(against, max(chunk, samples // 4)) * aside
    if reduce != "full":
        while group > 1 and (samples + piece) * (fixed + group * each) + samples * row > room:
            group = -(-group // 2)
    held = fixed + group * each
    if (samples + piece) * held + samples * row > room:
        stripe = int(room / (1.25 * held + row))
        piece = max(1, stripe // 4)
        chunk = min(chunk, stripe)
    if stripe < 1:
        least = (2.25 * held + row + kernel + running + tiles) * bytes_each
        own = f", {size_text(kernel * bytes_each)} of it for the kernel itself" if kernel else ""
        raise BadInput(
            f"A kernel of {samples:,} x {against:,} samples does not fit into memory={size_text(memory)}: it takes at "
            f"least {size_text(least)}{own}. Give more memory=, a file to write it to (lf.kernel.ntk_to_file), fewer "
            "samples, or kind='trace' instead of 'full'."
        )
    numbers = kernel + stripe * (held + row) + piece * held + chunk * running + tiles
    return Plan(samples, against, k, reduce, tuple(choices), group, stripe, piece, chunk, int(numbers * bytes_each))


def _side(reduce: Reduce, outputs: int) -> int:
    """Large enough for quick products, small enough that nearly half of a symmetric kernel is spared."""
    return max(16, 480 // outputs) if reduce == "full" else 128
