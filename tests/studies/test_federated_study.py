"""The study of federated averaging in seconds: its numbers beside plain reckoning, its page, and that it goes on."""

from __future__ import annotations

import json
import math
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch

import landform as lf
from landform import store
from landform.errors import BadInput
from landform.report import write_gallery
from landform.studies import (
    FEDERATED,
    claims_of_federated,
    federated_study,
    read_claims,
    run_of,
    zoo_cell,
)
from landform.studies._federated import SCALES
from landform.studies._federated_claims import _ranked
from landform.studies._federated_kernel import contraction, digits_in_two, exponent
from landform.studies._federated_protocol import reached, summed, two_layer
from landform.theory import federated as theory

TINY = replace(
    SCALES["tiny"],
    rounds=8,
    widths=(64, 1024),
    scaled_steps=(1, 3),
    gap_samples=24,
    gap_rounds=4,
    zoo_budget=8,
    seeds=1,
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("federated") / "here"
    federated_study(folder, protocol=TINY, device="cpu")
    return folder


def test_every_part_is_measured(study: Path) -> None:
    found = FEDERATED.results(study)
    assert {kind: len(parts) for kind, parts in found.items()} == dict.fromkeys(("gap", "lazy", "scaling", "zoo"), 1)
    claims = read_claims(study)
    assert len({claim.id for claim in claims}) == len(claims)
    assert [c.to_json() for c in claims_of_federated(TINY, found, "own")] == [c.to_json() for c in claims]
    assert FEDERATED.read(store.read_json(study / "study.json")["protocol"]) == TINY
    (part,) = found["zoo"]
    cell = zoo_cell(part, "dirichlet", 4, 4)
    assert cell["rounds"][-1] == TINY.zoo_rounds(4)
    assert len(cell["rounds"]) == len(cell["losses"])
    assert cell["losses"][-1] < cell["losses"][0]


def test_a_run_beside_a_plain_loop(study: Path) -> None:
    """Rounds of full-batch descent written out, and the asymmetry of the clients' blocks."""
    (part,) = FEDERATED.results(study)["lazy"]
    run = run_of(part, 64, 3)
    x, y = TINY.drawn(0)
    places = lf.data.partition(y, TINY.clients, "labels", seed=0)
    net = two_layer(TINY.inputs, 64, 0)
    head, server = net[2].weight.detach(), net[0].weight.detach().clone()
    losses, apart = [], []
    for number in range(3):
        losses.append(float(summed(torch.relu(x @ server.T) @ head.T, y)))
        ends = []
        for at in places:
            own = server.clone()
            for step in range(3):
                if step == 2 and number == 0:
                    apart.append(theory.asymmetry(theory.gram(x[at].double(), server.double(), own.double())))
                hidden = x[at] @ own.T
                off = torch.relu(hidden) @ head.T - y[at]
                own = own - TINY.rate * ((off * head) * (hidden > 0)).T @ x[at]
            ends.append(own - server)
        server = server + torch.stack(ends).mean(0)
    assert run["losses"][:3] == pytest.approx(losses, rel=1e-4)
    assert run["asymmetry"][0][1] == pytest.approx(max(apart), rel=1e-6)
    assert run_of(part, 64, 1)["asymmetry"][0][1] == 0
    assert run["observed"] == pytest.approx((run["losses"][-1] / run["losses"][0]) ** (1 / TINY.rounds))


def test_training_follows_its_kernel(study: Path) -> None:
    (part,) = FEDERATED.results(study)["lazy"]
    for steps in TINY.steps:
        wide, narrow = run_of(part, 1024, steps), run_of(part, 64, steps)
        assert wide["observed"] == pytest.approx(wide["limit"]["contraction"], abs=0.01)
        assert abs(narrow["observed"] - narrow["limit"]["contraction"]) < 0.05
        assert wide["observed"] < wide["bound"]
        assert len(wide["losses"]) == len(wide["own"]["losses"]) == TINY.rounds + 1
    (scaling,) = FEDERATED.results(study)["scaling"]
    cells = [cell for cell in scaling["cells"] if cell["trained"] is not None]
    assert len(cells) == len(scaling["cells"]) == 2 * 2 * 3
    same = [cell for cell in cells if cell["clients"] == TINY.clients and cell["steps"] == 3]
    by_mean = {(cell["division"], cell["mean"]): cell["trained"] for cell in same}
    for division in ("iid", "labels"):  # means and sums take the same steps with this many clients
        assert by_mean[division, True] == pytest.approx(by_mean[division, False], rel=1e-3)


def test_numbers_of_the_study() -> None:
    assert reached([4.0, 2.0, 0.5], 1.0) == pytest.approx(1.5)
    assert reached([4.0, 2.0], 1.0) is None
    assert reached([4.0, None, 0.5], 1.0) is None
    assert reached([0.5], 1.0) == 0
    assert exponent([1.0, 2.0, 4.0], [8.0, 4.0, 2.0]) == pytest.approx(-1)
    assert math.isnan(exponent([1.0, 2.0], [1.0, None]))
    assert contraction(torch.tensor([8.0, 3.0, 2.0])) == pytest.approx(0.5)
    assert contraction(torch.tensor([8.0, math.nan])) is None
    assert _ranked([1.0, 2.0, 3.0], [4.0, 5.0, 9.0]) == 1
    assert _ranked([1.0, 2.0, 3.0], [9.0, 5.0, 4.0]) == -1
    x, y, far, signs = digits_in_two(50, 0.0, 0)
    assert x.shape == (50, 64)
    assert far.shape[1:] == (64,)
    torch.testing.assert_close(x.norm(dim=1), torch.ones(50))
    assert set(y.flatten().tolist()) == set(signs.flatten().tolist()) == {-1.0, 1.0}
    noisy = digits_in_two(1000, 1.0, 0)[3]
    assert 0.4 < float((noisy != digits_in_two(1000, 0.0, 0)[3]).double().mean()) < 0.6


def test_the_page_and_the_gallery(study: Path, tmp_path: Path) -> None:
    page = lf.report(study, tmp_path / "page.html").read_text(encoding="utf-8")
    for words in (
        "Rounds, trained and predicted",
        "The Gram matrix and its transpose",
        "Rounds by clients",
        "from memory",
    ):
        assert words in page
    place = write_gallery(study, tmp_path / "gallery", commit="abc")
    assert "| dirichlet | 4 | 4 |" in (place / "index.md").read_text(encoding="utf-8")
    assert len(list((place / "figures").glob("*.png"))) == 9
    assert json.loads((place / "claims.json").read_text()) == [c.to_json() for c in read_claims(study)]


def test_it_goes_on_where_it_stopped(study: Path, tmp_path: Path) -> None:
    folder = tmp_path / "again"
    shutil.copytree(study, folder)
    gone = folder / "results" / "scaling-0.json"
    before = store.read_json(gone)
    gone.unlink()
    kept = (folder / "results" / "gap-0.json").stat().st_mtime_ns
    federated_study(folder, protocol=TINY, device="cpu")
    assert store.read_json(gone) == before
    assert (folder / "results" / "gap-0.json").stat().st_mtime_ns == kept


def test_misuse_is_told(study: Path, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="no scale 'large' of federated-kernel"):
        federated_study(tmp_path, scale="large")
    with pytest.raises(BadInput, match="another rate: go on with"):
        federated_study(study, protocol=replace(TINY, rate=0.2))
    with pytest.raises(BadInput, match="a loss to reach for each network"):
        replace(TINY, levels={})
    with pytest.raises(BadInput, match="begin with 1"):
        replace(TINY, steps=(2, 3))
    with pytest.raises(BadInput, match="divides the 40 samples"):
        replace(TINY, scaled_clients=(2, 7))
    with pytest.raises(BadInput, match="two widths"):
        replace(TINY, widths=(64,))
    with pytest.raises(BadInput, match="ask for no more"):
        digits_in_two(5000, 0.0, 0)
    empty = store.make_folder(tmp_path / "empty")
    store.write_json(empty / "study.json", {"schema": 1, "study": "federated-kernel", "scale": "own",
                                            "protocol": TINY.to_json()})  # fmt: skip
    with pytest.raises(BadInput, match="holds too few results yet"):
        lf.report(empty)
