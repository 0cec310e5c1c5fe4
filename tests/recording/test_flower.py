"""The server's model of a Flower run, recorded: by a strategy of one's own, and by Flower's where it is installed."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import landform as lf
from landform.errors import BadInput
from landform.recording import record_flower


class Arrays:
    """What Flower hands from client to server, as far as the bridge looks at it."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state = state

    def to_torch_state_dict(self) -> dict[str, Tensor]:
        return self.state


class Own:
    """A strategy of one's own: it doubles the server's weights, and fails in the third round."""

    def __init__(self, model: nn.Module) -> None:
        self.state = copy.deepcopy(model.state_dict())

    def aggregate_train(self, server_round: int, replies: Iterable[Any]) -> Any:
        if server_round == 3:
            return None, None
        self.state = {name: 2 * tensor for name, tensor in self.state.items()}
        return Arrays(self.state), {"train_loss": 1.0 / server_round, "accuracy": 0.5, "who": "all", "many": [1, 2]}


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def test_rounds_are_recorded(tmp_path: Path) -> None:
    model = net()
    start = lf.Layout.of(model).point(model)
    given = Own(model)
    with record_flower(given, tmp_path / "run", model) as strategy:
        assert strategy is given
        for number in range(1, 5):
            strategy.aggregate_train(number, [])
    run = lf.Trajectory(tmp_path / "run")
    assert run.steps == [0, 1, 2, 3, 4]
    torch.testing.assert_close(run.points[:], torch.stack([start * 2.0**n for n in (0, 1, 2, 2, 3)]))
    torch.testing.assert_close(lf.Layout.of(model).point(model), run.points[4])
    assert run.curves["loss"][1].tolist() == pytest.approx([1, 0.5, 0.25])
    assert run.curves["accuracy"][0].tolist() == [1, 2, 4]
    assert "aggregate_train" not in vars(given)  # as it was


def test_misuse_is_told(tmp_path: Path) -> None:
    model = net()
    with pytest.raises(BadInput, match="neither aggregate_train nor aggregate_fit"), record_flower(3, tmp_path, model):
        pass
    other = Own(nn.Linear(2, 2))
    with (
        pytest.raises(BadInput, match="other names or shapes"),
        record_flower(other, tmp_path / "x", model) as strategy,
    ):
        strategy.aggregate_train(1, [])


def clients() -> list[tuple[Tensor, Tensor]]:
    made = torch.Generator().manual_seed(1)
    return [(torch.randn(n, 4, generator=made), torch.randint(0, 3, (n,), generator=made)) for n in (6, 10)]


def local(state: dict[str, Tensor], x: Tensor, y: Tensor, steps: int = 3) -> tuple[nn.Module, float]:
    """A client's work: full batches of plain descent."""
    model = net()
    model.load_state_dict(state)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    first = 0.0
    for step in range(steps):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(x), y)
        loss.backward()
        optimizer.step()
        first = first if step else float(loss.detach())
    return model, first


def landforms_own(rounds: int) -> lf.Federated:
    parts = clients()
    data = (torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts]))
    places = [torch.arange(6), torch.arange(6, 16)]
    recipe = lf.Recipe(batch_size=16, lr=0.1, momentum=0.0)
    return lf.federated(net(), data, lf.Federation(2, 3, rounds), recipe, clients=places, device="cpu")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_flowers_rounds_are_landforms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("flwr", reason="flwr is not installed")
    from flwr.app import ArrayRecord, Message, MetricRecord, RecordDict
    from flwr.serverapp.strategy import FedAvg

    identity = pytest.importorskip("flwr.supercore.task_identity", reason="this flwr has no messages").TaskIdentity
    for name in ("task_id", "run_id", "node_id"):  # what Flower's own server sets before it starts a strategy
        monkeypatch.setattr(identity, f"_{name}", 1)

    class Grid:
        """Clients in this process, which answer at once."""

        def get_node_ids(self) -> list[int]:
            return [1, 2]

        def send_and_receive(self, messages: Iterable[Any], timeout: float | None = None) -> list[Any]:
            replies = []
            for message in messages:
                x, y = clients()[message.metadata.dst_node_id - 1]
                found, loss = local(message.content["arrays"].to_torch_state_dict(), x, y)
                metrics = MetricRecord({"train_loss": loss, "num-examples": len(x)})
                content = RecordDict({"arrays": ArrayRecord(found.state_dict()), "metrics": metrics})
                replies.append(Message(content, reply_to=message))
            return replies

    model = net()
    with record_flower(FedAvg(fraction_evaluate=0.0), tmp_path / "run", model) as strategy:
        strategy.start(Grid(), ArrayRecord(model.state_dict()), num_rounds=4)  # type: ignore[arg-type]
    run, own = lf.Trajectory(tmp_path / "run"), landforms_own(4)
    assert run.steps == [0, 1, 2, 3, 4]
    torch.testing.assert_close(run.points[4], own.point, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(run.curves["loss"][1].float(), own.start_losses, rtol=1e-5, atol=1e-6)
    parts = clients()
    landscape = lf.Landscape(model, (torch.cat([x for x, _ in parts]), torch.cat([y for _, y in parts])))
    atlas = lf.survey(run, landscape, probes=["loss"])
    assert atlas["loss"].values[:4].tolist() == pytest.approx(own.start_losses.tolist(), rel=1e-4)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_strategies_of_before(tmp_path: Path) -> None:
    pytest.importorskip("flwr", reason="flwr is not installed")
    from flwr.common import Code, FitRes, Status, ndarrays_to_parameters
    from flwr.server.strategy import FedAvg

    model = net()
    state = model.state_dict()
    with record_flower(FedAvg(), tmp_path / "run", model) as strategy:
        for number in range(1, 4):
            results = []
            for x, y in clients():
                found, loss = local({name: tensor.clone() for name, tensor in state.items()}, x, y)
                arrays = ndarrays_to_parameters([tensor.numpy() for tensor in found.state_dict().values()])
                results.append((None, FitRes(Status(Code.OK, ""), arrays, len(x), {"loss": loss})))
            strategy.aggregate_fit(number, results, [])
            state = model.state_dict()
    torch.testing.assert_close(lf.Trajectory(tmp_path / "run").points[3], landforms_own(3).point, rtol=1e-5, atol=1e-6)
