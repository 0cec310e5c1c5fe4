"""The quick reading of surfaces against the landscape's own, for models of every kind."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import landform as lf
from landform import surface
from landform.surface import _program
from landform.surface._layers import reading_data
from landform.surface._reading import Reader, plainly


class Twice(nn.Module):
    """One layer reads two halves of the data, and a second one what came of them."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.tanh(self.first(x[:, :4]) * self.first(x[:, 4:])))


class Looked(nn.Module):
    """The first layer's weight is looked at once more, so that it has to be there."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 5), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(x))) * (1 + self.first.weight.square().mean())


class Tied(nn.Module):
    """The layer that reads the data reads what came of them too."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(8, 8), nn.Linear(8, 3, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(torch.relu(self.first(x)))))


class Named(nn.Module):
    """Functions called with names, data made anew first, and a view that needs the usual order in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.last = nn.Conv2d(2, 3, 3), nn.Linear(27, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = (x - 0.1) / 0.7
        x = F.conv2d(x, self.conv.weight, bias=self.conv.bias, padding=1)
        x = F.max_pool2d(torch.relu_(x), 2)
        return self.last(x.view(len(x), -1))


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.rnn, self.last = nn.LSTM(4, 5, batch_first=True), nn.Linear(5, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.rnn(x.unflatten(1, (2, 4)))[0][:, -1])


def flat(*layers: nn.Module) -> nn.Module:
    return nn.Sequential(*layers)


def frozen() -> nn.Module:
    net = flat(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 5), nn.ReLU(), nn.Linear(5, 3))
    net[0].requires_grad_(False)
    return net


def images(*shape: int) -> Callable[[int], Tensor]:
    return lambda n: torch.randn(n, *shape, generator=torch.Generator().manual_seed(1))


VECTORS = images(8)
# A model, its inputs, and the parameters whose layers read the data alone.
CASES: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Tensor], set[str]]] = {
    "dense": (lambda: flat(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3)), VECTORS, {"0.weight", "0.bias"}),
    "in place": (
        lambda: flat(nn.Linear(8, 6, bias=False), nn.ReLU(inplace=True), nn.Linear(6, 3)), VECTORS, {"0.weight"}
    ),
    "linear": (lambda: flat(nn.Linear(8, 3)), VECTORS, {"0.weight", "0.bias"}),
    "twice": (Twice, VECTORS, {"first.weight", "first.bias"}),
    "looked at": (Looked, VECTORS, set()),
    "tied": (Tied, VECTORS, set()),
    "frozen first": (frozen, VECTORS, {"2.weight", "2.bias"}),
    "weight norm": (
        lambda: flat(nn.utils.parametrizations.weight_norm(nn.Linear(8, 6)), nn.ReLU(), nn.Linear(6, 3)), VECTORS, set()
    ),
    "norm first": (lambda: flat(nn.LayerNorm(8), nn.Linear(8, 3)), VECTORS, set()),
    "positions": (
        lambda: flat(nn.Linear(4, 6), nn.ReLU(), nn.Flatten(), nn.Linear(12, 3)), images(2, 4), {"0.weight", "0.bias"}
    ),
    "recurrent": (Recurrent, VECTORS, set()),
    "convolutions": (
        lambda: flat(
            nn.Conv2d(2, 4, 3, stride=2), nn.ReLU(), nn.Conv2d(4, 4, 2), nn.GroupNorm(2, 4), nn.ReLU(), nn.Flatten(),
            nn.Linear(4, 3),
        ),
        images(2, 6, 6),
        {"0.weight", "0.bias"},
    ),
    "grouped": (
        lambda: flat(nn.Conv2d(2, 4, 3, groups=2), nn.Tanh(), nn.Flatten(), nn.Linear(64, 3)),
        images(2, 6, 6),
        {"0.weight", "0.bias"},
    ),
    "one dimension": (
        lambda: flat(nn.Conv1d(2, 4, 3, padding=1, padding_mode="circular"), nn.ReLU(), nn.Flatten(), nn.Linear(24, 3)),
        images(2, 6),
        {"0.weight", "0.bias"},
    ),
    "view": (Named, images(2, 6, 6), {"conv.weight", "conv.bias"}),
    "embedding": (
        lambda: flat(nn.Embedding(9, 4), nn.Flatten(), nn.Linear(8, 3)),
        lambda n: torch.randint(0, 9, (n, 2), generator=torch.Generator().manual_seed(1)),
        set(),
    ),
}  # fmt: skip


def landscape_of(case: str, *, n: int = 41, **settings: object) -> lf.Landscape:
    make, inputs, _ = CASES[case]
    torch.manual_seed(0)
    labels = torch.randint(0, 3, (n,), generator=torch.Generator().manual_seed(2))
    return lf.Landscape(make(), (inputs(n), labels), device="cpu", **settings)  # type: ignore[arg-type]


def grid(count: int = 4) -> Tensor:
    line = torch.linspace(-1, 1, count, dtype=torch.float64)
    return torch.cartesian_prod(line, 1.5 * line)


def agree(landscape: lf.Landscape, *, coordinates: Tensor | None = None, **how: object) -> Reader:
    """A surface read quickly is the surface read plainly; gives the reader."""
    at = grid() if coordinates is None else coordinates
    centre, vectors = landscape.here, surface.random(landscape, count=2, scale="unit").vectors
    reader = Reader(landscape, centre, vectors, **how)  # type: ignore[arg-type]
    found = reader.read(at)
    plain = plainly(landscape, centre, vectors, at)
    tight = landscape.dtype == torch.float64
    torch.testing.assert_close(found.losses, plain.losses, rtol=1e-12 if tight else 2e-6, atol=1e-12 if tight else 1e-6)
    assert (found.errors is None) == (plain.errors is None)
    if found.errors is not None and plain.errors is not None:
        torch.testing.assert_close(found.errors, plain.errors, rtol=0, atol=1e-12 if tight else 0.03)
    assert "off by" not in reader.how
    return reader


@pytest.mark.parametrize("stack", [True, False], ids=["one program", "one by one"])
@pytest.mark.parametrize("case", CASES)
def test_the_quick_reading_is_the_plain_one(case: str, stack: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    landscape = landscape_of(case, dtype=torch.float64, batch_size=16)
    names = CASES[case][2]
    assert reading_data(landscape) == names
    if stack and landscape._stackable is not None:
        pytest.skip(f"many models cannot run as one: {landscape._stackable}")
    plan = replace(_program.plan_of(landscape), stack=stack, samples=8, points=3)
    monkeypatch.setitem(_program._PLANS, landscape, plan)
    reader = agree(landscape)
    assert plan.tall == (case in ("convolutions", "grouped"))
    assert ("worked out for the directions alone" in reader.how) == bool(names)
    assert ("in one program" in reader.how) == stack


@pytest.mark.parametrize("setting", ["recompute", "keep", "batch"])
@pytest.mark.parametrize("stack", [True, False], ids=["one program", "one by one"])
def test_batchnorm_is_what_the_landscape_says(setting: str, stack: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3))
    data = (images(2, 6, 6)(40), torch.arange(40) % 3)
    landscape = lf.Landscape(net, data, device="cpu", batch_size=16, dtype=torch.float64, batchnorm=setting)  # type: ignore[arg-type]
    plan = replace(_program.plan_of(landscape), stack=stack, samples=8, points=3)
    monkeypatch.setitem(_program._PLANS, landscape, plan)
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    agree(landscape)
    assert all(torch.equal(before[name], buffer) for name, buffer in net.named_buffers())


@pytest.mark.parametrize("stack", [True, False], ids=["one program", "one by one"])
def test_weight_decay_streams_and_targets_that_are_no_labels(stack: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 6), nn.Tanh(), nn.Linear(6, 2))
    x, y = VECTORS(40), torch.randn(40, 2)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, y), batch_size=9)
    for data in ((x, y), loader):
        landscape = lf.Landscape(net, data, loss="mse", device="cpu", weight_decay=0.3, dtype=torch.float64)
        plan = replace(_program.plan_of(landscape), stack=stack, samples=8, points=3)
        monkeypatch.setitem(_program._PLANS, landscape, plan)
        agree(landscape)


def test_little_memory_gives_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    for case in ("dense", "convolutions"):
        for stack in (True, False):
            landscape = landscape_of(case, dtype=torch.float64)
            plan = replace(_program.plan_of(landscape), stack=stack, samples=8, points=3)
            monkeypatch.setitem(_program._PLANS, landscape, plan)
            agree(landscape, memory=1.0)


def test_labels_that_do_not_count_and_single_precision() -> None:
    landscape = landscape_of("dense")
    agree(landscape)
    labels = torch.arange(41) % 3
    labels[::5] = -100
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 3))
    agree(lf.Landscape(net, (VECTORS(41), labels), device="cpu", batch_size=41))


def test_a_model_that_looks_at_its_numbers_is_read_plainly(monkeypatch: pytest.MonkeyPatch) -> None:
    class Hidden(nn.Module):
        """What decides about the output is a number that left torch: no marked tensor shows it."""

        def __init__(self) -> None:
            super().__init__()
            self.first, self.last = nn.Linear(8, 6), nn.Linear(6, 3)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(torch.relu(self.first(x))) * (1.0 + float(self.last.weight.detach().sum()))

    torch.manual_seed(0)
    landscape = lf.Landscape(Hidden(), (VECTORS(20), torch.arange(20) % 3), device="cpu", dtype=torch.float64)
    agree(landscape)  # it runs one by one, and rightly

    # A program that is wrong by what is no rounding is noticed, said, and not used.
    right = _program.Program.run
    monkeypatch.setattr(_program.Program, "run", lambda *a, **k: (right(*a, **k)[0] * 1.01, right(*a, **k)[1]))
    centre, vectors = landscape.here, surface.random(landscape, count=2).vectors
    reader = Reader(landscape, centre, vectors)
    assert torch.equal(reader.read(grid()).losses, plainly(landscape, centre, vectors, grid()).losses)
    assert "a quicker way was tried and was off by" in reader.how


def test_a_second_reading_and_any_order_give_the_same() -> None:
    landscape = landscape_of("dense", dtype=torch.float64)
    centre, vectors = landscape.here, surface.random(landscape, count=2).vectors
    reader = Reader(landscape, centre, vectors)
    whole = reader.read(grid(5)).losses
    mixed = torch.randperm(25, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(reader.read(grid(5)[mixed]).losses, whole[mixed], rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(reader.read(grid(5)[:2]).losses, whole[:2], rtol=1e-12, atol=1e-13)
    told: list[tuple[int, int]] = []
    reader.read(grid(5), progress=lambda done, total: told.append((done, total)))
    assert told[-1] == (25, 25)
