"""The finite tangent kernel against the Jacobian recipe in float64."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

import landform as lf
from landform.kernel.finite import Kind, by_layer, explain, ntk, ntk_to_file

KINDS: tuple[Kind, ...] = ("full", "trace", "each", "sum", 1, "loss")
ZOO = {
    "mlp": ({"inputs": (20,), "classes": 3, "width": 12}, (20,)),
    "small_cnn": ({"inputs": (1, 8, 8), "classes": 3, "width": 4}, (1, 8, 8)),
    "lenet": ({"inputs": (1, 16, 16), "classes": 3}, (1, 16, 16)),
    "resnet20": ({"inputs": (3, 8, 8), "classes": 3, "width": 4}, (3, 8, 8)),
    "rnn": ({"inputs": (5, 4), "classes": 3, "width": 6}, (5, 4)),
}


def _plain(model: nn.Module, x: Tensor, targets: Tensor) -> dict[Kind, Tensor]:
    """All kinds from the whole Jacobian."""
    parameters = list(model.parameters())
    rows = [
        torch.stack(
            [torch.cat([g.flatten() for g in torch.autograd.grad(o, parameters, retain_graph=True)]) for o in out]
        )
        for out in (model(one).flatten() for one in torch.split(x, 1))
    ]
    jacobian = torch.stack(rows)
    full = torch.einsum("nkp,mlp->nmkl", jacobian, jacobian)
    outputs = model(x).detach()
    loss = torch.einsum("nkp,nk->np", jacobian, (outputs.softmax(1) - torch.eye(outputs.shape[1])[targets]))
    each = full.diagonal(dim1=2, dim2=3)
    return {
        "full": full,
        "each": each,
        "trace": each.sum(-1),
        "sum": full.sum((2, 3)),
        1: full[:, :, 1, 1],
        "loss": loss @ loss.T,
    }


def _off(found: Tensor, expected: Tensor) -> float:
    return float((found.double() - expected).abs().max() / expected.abs().max())


@pytest.mark.parametrize("name", ZOO)
def test_every_kind_equals_the_jacobian_recipe(name: str) -> None:
    options, shape = ZOO[name]
    torch.manual_seed(1)
    model = lf.models.build(name, **options).double().eval()  # type: ignore[arg-type]
    x, y = torch.randn(6, *shape, dtype=torch.float64), torch.arange(6) % 3
    expected = _plain(model, x, y)
    for dtype, limit in ((torch.float64, 1e-10), (torch.float32, 2e-6)):
        landscape = lf.Landscape(model, (x, y), dtype=dtype, batchnorm="keep" if name == "resnet20" else None)
        here = landscape.here
        for kind in KINDS:
            whole = ntk(landscape, here, kind=kind)
            assert _off(whole, expected[kind]) < limit, (kind, dtype)
            pair = (x[:2], y[:2]) if kind == "loss" else x[:2]
            other = (x[1:], y[1:]) if kind == "loss" else x[1:]
            assert _off(ntk(landscape, here, pair, other, kind=kind), expected[kind][:2, 1:]) < limit, (kind, dtype)
            shares = by_layer(landscape, here, kind=kind)
            assert _off(torch.stack(list(shares.values())).sum(0), expected[kind]) < limit, (kind, dtype)


def test_layers_are_the_kernels_of_their_own_parameters() -> None:
    model = lf.models.mlp(inputs=(6,), classes=2, width=5, depth=2).double()
    x = torch.randn(4, 6, dtype=torch.float64)
    landscape = lf.Landscape(model, (x, torch.zeros(4, dtype=torch.long)))
    shares = by_layer(landscape, landscape.here, kind="trace")
    for name, module in model.named_modules():
        if not isinstance(module, nn.Linear):
            continue
        own = list(module.parameters())
        rows = [
            torch.stack([torch.cat([g.flatten() for g in torch.autograd.grad(o, own, retain_graph=True)]) for o in out])
            for out in (model(one)[0] for one in torch.split(x, 1))
        ]
        jacobian = torch.stack(rows)
        torch.testing.assert_close(shares[name], torch.einsum("nkp,mkp->nm", jacobian, jacobian))


class _Graph(nn.Module):
    """A network drawn by hypothesis: shared, grouped, strided, branching."""

    def __init__(self, draw: st.DrawFn) -> None:
        super().__init__()
        width = draw(st.sampled_from([2, 4]))
        self.stem = nn.Conv2d(1, width, draw(st.integers(1, 3)), stride=draw(st.integers(1, 2)), padding=1)
        self.moves = draw(
            st.lists(st.sampled_from(["conv", "again", "residual", "branch", "norm", "point"]), min_size=1, max_size=4)
        )
        self.shared = nn.Conv2d(width, width, 3, padding=1, bias=draw(st.booleans()))
        groups = draw(st.sampled_from([1, width]))
        dilation = draw(st.integers(1, 2))
        self.grouped = nn.Conv2d(width, width, 3, padding=dilation, dilation=dilation, groups=groups)
        self.norm = nn.GroupNorm(1, width)
        self.point = nn.Linear(width, width)
        self.pooled = draw(st.booleans())
        self.act = draw(st.sampled_from([nn.ReLU(), nn.Tanh(), nn.GELU()]))
        self.readout = nn.LazyLinear(draw(st.integers(1, 3)))

    def forward(self, x: Tensor) -> Tensor:
        h = self.act(self.stem(x))
        for move in self.moves:
            if move == "conv":
                h = self.act(self.shared(h))
            elif move == "again":
                h = self.act(self.shared(self.act(self.shared(h))))
            elif move == "residual":
                h = h + self.act(self.grouped(h))
            elif move == "branch":
                h = self.act(self.shared(h)) * 0.5 + self.act(self.grouped(h))
            elif move == "norm":
                h = self.norm(h)
            else:
                h = self.act(self.point(h.movedim(1, -1))).movedim(-1, 1)
        out: Tensor = self.readout(h.mean((2, 3)) if self.pooled else h.flatten(1))
        return out


@settings(max_examples=25)
@given(st.data())
def test_networks_drawn_at_random_equal_the_recipe(data: st.DataObject) -> None:
    torch.manual_seed(data.draw(st.integers(0, 99)))
    model = data.draw(st.composite(_Graph)()).double()
    x = torch.randn(4, 1, 5, 5, dtype=torch.float64)
    with torch.no_grad():
        outputs = model(x).shape[1]
    parameters = list(model.parameters())
    jacobian = torch.stack(
        [
            torch.stack(
                [
                    torch.cat(
                        [
                            g.flatten()
                            for g in torch.autograd.grad(
                                out, parameters, retain_graph=True, allow_unused=True, materialize_grads=True
                            )
                        ]
                    )
                    for out in model(one)[0]
                ]
            )
            for one in torch.split(x, 1)
        ]
    )
    landscape = lf.Landscape(model, (x, torch.zeros(4, outputs, dtype=torch.float64)), loss="mse")
    expected = torch.einsum("nkp,mlp->nmkl", jacobian, jacobian)
    found = ntk(landscape, landscape.here)
    assert _off(found, expected) < 1e-10
    trace = ntk(landscape, landscape.here, x[:3], x, kind="trace")
    assert _off(trace, expected[:3].diagonal(dim1=2, dim2=3).sum(-1)) < 1e-10


@pytest.fixture(scope="module")
def digits() -> tuple[lf.Landscape, Tensor]:
    torch.manual_seed(0)
    x = torch.randn(37, 1, 8, 8)
    model = lf.models.small_cnn(inputs=(1, 8, 8), classes=4, width=6)
    return lf.Landscape(model, (x, torch.arange(37) % 4)), x


@pytest.mark.parametrize("kind", ["full", "trace", "each"])
def test_little_memory_gives_the_same_kernel_in_more_passes(digits: tuple[lf.Landscape, Tensor], kind: Kind) -> None:
    landscape, x = digits
    whole = ntk(landscape, landscape.here, x, kind=kind)
    across = ntk(landscape, landscape.here, x, x[:11], kind=kind)
    seen = set()
    for memory in (1e6, 6e5, 4e5, 3e5, 2e5, 1.5e5, 1.2e5):
        try:
            plan = explain(landscape, landscape.here, x, kind=kind, memory=memory)
        except lf.BadInput:
            continue
        assert plan.memory <= memory
        seen.add((plan.group, plan.stripe))
        assert _off(ntk(landscape, landscape.here, x, kind=kind, memory=memory), whole.double()) < 2e-6
        assert _off(ntk(landscape, landscape.here, x, x[:11], kind=kind, memory=memory), across.double()) < 2e-6
    assert len(seen) > 1


@pytest.mark.parametrize("kind", ["full", "trace", "each"])
def test_a_kernel_of_one_set_is_symmetric_to_the_bit(digits: tuple[lf.Landscape, Tensor], kind: Kind) -> None:
    landscape, x = digits
    kernel = ntk(landscape, landscape.here, x, kind=kind)
    turned = kernel.permute(1, 0, 3, 2) if kind == "full" else kernel.transpose(0, 1)
    assert torch.equal(kernel, turned)


class _Cut(Exception):
    pass


@pytest.mark.parametrize("kind", ["full", "trace", "each"])
def test_a_kernel_on_disk_is_taken_up_again_where_it_was_cut(
    tmp_path: Path, digits: tuple[lf.Landscape, Tensor], kind: Kind
) -> None:
    landscape, x = digits
    out = tmp_path / "kernel.safetensors"
    expected = ntk(landscape, landscape.here, x, kind=kind)
    memory = {"full": 2.8e5, "trace": 1.2e5, "each": 1.4e5}[str(kind)]
    told: list[int] = []

    def until(done: int, total: int) -> None:
        told.append(done)
        if done > total // 2:
            raise _Cut

    with pytest.raises(_Cut):
        ntk_to_file(out, landscape, landscape.here, x, kind=kind, memory=memory, progress=until)
    assert not out.exists()
    before = len(told)
    told.clear()
    found = ntk_to_file(
        out, landscape, landscape.here, x, kind=kind, memory=memory, progress=lambda done, _: told.append(done)
    )
    assert len(told) < before * 2 - 2  # what was done is not done again
    torch.testing.assert_close(found, expected, rtol=2e-5, atol=2e-6 * float(expected.abs().max()))
    assert [p.name for p in tmp_path.iterdir()] == [out.name]
    again = ntk_to_file(out, landscape, landscape.here, x, kind=kind, progress=lambda *_: pytest.fail("computed anew"))
    assert torch.equal(again, found)
    with pytest.raises(lf.BadInput, match="another kernel"):
        ntk_to_file(out, landscape, landscape.here + 1, x, kind=kind)


def test_where_all_gradients_fit_the_rows_are_kept_in_parts(
    tmp_path: Path, digits: tuple[lf.Landscape, Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    landscape, _ = digits
    x = torch.randn(300, 1, 8, 8)
    out = tmp_path / "kernel.safetensors"
    calls: list[int] = []

    def cut_late(done: int, total: int) -> None:
        calls.append(done)
        if calls.count(total) == 3:  # all gradients taken, two parts of the rows kept
            raise _Cut

    with pytest.raises(_Cut):
        ntk_to_file(out, landscape, landscape.here, x, kind="trace", progress=cut_late)
    kept = sorted(tmp_path.glob("*.stripes/*.safetensors"))
    assert len(kept) == 2
    added: list[slice] = []
    from landform.kernel.finite import _to_disk

    whole = _to_disk.add_rows
    monkeypatch.setattr(_to_disk, "add_rows", lambda *given: (added.append(given[2]), whole(*given)))
    found = ntk_to_file(out, landscape, landscape.here, x, kind="trace")
    assert [rows.start for rows in added] == [256]
    expected = ntk(landscape, landscape.here, x, kind="trace")
    torch.testing.assert_close(found, expected, rtol=2e-5, atol=2e-6 * float(expected.max()))


def test_explain_tells_every_parameter_once(digits: tuple[lf.Landscape, Tensor]) -> None:
    landscape, x = digits
    plan = explain(landscape, landscape.here, x, kind="trace")
    named = [name for layer in plan.layers for name in layer.names]
    assert sorted(named) == sorted(landscape.layout.names)
    assert all(name in str(plan) for name in named)
    assert sum(layer.size for layer in plan.layers) == sum(
        slot.stop - slot.start for slot in landscape.layout.slots if not slot.name.endswith("bias")
    )


def test_a_pooled_readout_makes_the_last_convolution_separable() -> None:
    model = nn.Sequential(
        nn.Conv2d(1, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 8, 3, padding=1), nn.GELU(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(8, 5),
    )  # fmt: skip
    x = torch.randn(12, 1, 12, 12)
    landscape = lf.Landscape(model, (x, torch.zeros(12, dtype=torch.long)))
    forms = {layer.names[0]: layer.form.name for layer in explain(landscape, landscape.here).layers}
    assert forms["2.weight"] == "separable"
    assert forms["0.weight"] != "separable"
    exact = lf.Landscape(model, (x, torch.zeros(12, dtype=torch.long)), dtype=torch.float64)
    expected = _plain(model.double(), x.double(), torch.zeros(12, dtype=torch.long))["full"]
    assert _off(ntk(landscape, landscape.here), expected) < 2e-6
    assert _off(ntk(exact, exact.here), expected) < 1e-10


def test_layers_that_only_seem_separable_are_found_out() -> None:
    """Where the first samples leave one position alive, factors fit them by accident; later samples tell."""
    model = nn.Sequential(nn.Conv1d(1, 2, 1, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)).double()
    x = torch.zeros(6, 1, 8, dtype=torch.float64)
    x[:2, :, 0] = 1.0
    x[2:] = torch.rand(4, 1, 8, dtype=torch.float64)
    torch.nn.init.ones_(model[0].weight)  # type: ignore[arg-type]
    landscape = lf.Landscape(model, (x, torch.zeros(6, dtype=torch.long)))
    expected = _plain(model, x, torch.zeros(6, dtype=torch.long))["full"]
    assert _off(ntk(landscape, landscape.here, x), expected) < 1e-10


def test_bfloat16_products_stay_within_a_percent(digits: tuple[lf.Landscape, Tensor]) -> None:
    landscape, x = digits
    exact = ntk(landscape, landscape.here, x, kind="trace")
    assert _off(ntk(landscape, landscape.here, x, kind="trace", precision="bfloat16"), exact.double()) < 1e-2
    assert torch.equal(ntk(landscape, landscape.here, x, kind="trace"), exact)  # the setting does not stay


def test_misuse_is_told_in_one_sentence(digits: tuple[lf.Landscape, Tensor]) -> None:
    landscape, x = digits
    here = landscape.here
    with pytest.raises(lf.BadInput, match="does not fit into memory=100 kB"):
        ntk(landscape, here, x, memory=1e5)
    with pytest.raises(lf.BadInput, match="asks for output 4"):
        ntk(landscape, here, x, kind=4)
    with pytest.raises(lf.BadInput, match="kind is 'ful'"):
        ntk(landscape, here, x, kind="ful")  # type: ignore[arg-type]
    with pytest.raises(lf.BadInput, match="needs targets"):
        ntk(landscape, here, x, kind="loss")
    with pytest.raises(lf.BadInput, match="NaN"):
        ntk(landscape, here, torch.full_like(x, torch.nan))
    with pytest.raises(lf.BadInput, match="holds no samples"):
        ntk(landscape, here, x[:0])
    with pytest.raises(lf.BadInput, match="precision"):
        ntk(landscape, here, x, precision="half")  # type: ignore[arg-type]
    with pytest.raises(lf.BadInput):
        ntk(landscape, here[:-1], x)


def test_the_conjugate_kernel_is_that_of_the_readout(digits: tuple[lf.Landscape, Tensor]) -> None:
    landscape, x = digits
    found = lf.kernel.activations(landscape, landscape.here, x)
    readout = by_layer(landscape, landscape.here, x, kind=2)["readout"]
    torch.testing.assert_close(found + 1, readout, rtol=1e-5, atol=1e-4)
    other = lf.kernel.activations(landscape, landscape.here, x[:3], x, layer="conv2")
    model = lf.models.small_cnn(inputs=(1, 8, 8), classes=4, width=6)
    caught: list[Tensor] = []
    landscape.layout.load_(model, landscape.here)
    model.get_submodule("conv2").register_forward_hook(lambda _, given, __: caught.append(given[0].flatten(1)))
    with torch.no_grad():
        model(x)
    torch.testing.assert_close(other, caught[0][:3] @ caught[0].T, rtol=1e-5, atol=1e-5)
    with pytest.raises(lf.BadInput, match="There is no layer 'conv9'"):
        lf.kernel.activations(landscape, landscape.here, x, layer="conv9")
