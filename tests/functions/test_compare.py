"""Two points compared in one pass against plain measures of whole outputs and activations."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import landform as lf
from landform import functions as fn
from landform.errors import BadInput
from landform.functions._hsic import centre, gram

N = 90


def data() -> tuple[Tensor, Tensor]:
    made = torch.Generator().manual_seed(0)
    return torch.randn(N, 1, 6, 6, generator=made, dtype=torch.float64), torch.randint(0, 4, (N,), generator=made)


def net(norm: bool = False) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 5, 3),
        nn.BatchNorm2d(5) if norm else nn.Identity(),
        nn.ReLU(inplace=True),
        nn.Flatten(),
        nn.Linear(80, 12),
        nn.LeakyReLU(),
        nn.Linear(12, 4),
    ).double()


def points(landscape: lf.Landscape, n: int = 2) -> Tensor:
    made = torch.Generator().manual_seed(3)
    here = landscape.here
    return here + 0.15 * torch.randn(n, len(here), generator=made, dtype=here.dtype)


@pytest.fixture(params=[False, True], ids=["plain", "batchnorm"])
def landscape(request: pytest.FixtureRequest) -> lf.Landscape:
    return lf.Landscape(net(request.param), data(), device="cpu", batch_size=32)


def test_one_pass_equals_measures_of_whole_outputs(landscape: lf.Landscape) -> None:
    a, b = points(landscape)
    outputs, true = landscape.outputs(torch.stack((a, b))), data()[1]
    found = fn.compare(landscape, a, b)
    for name in ("disagreement", "softmax_distance", "symmetric_kl", "output_distance", "logit_cosine"):
        assert getattr(found, name) == pytest.approx(float(getattr(fn, name)(*outputs)), rel=1e-9), name
    overlap, together = fn.error_overlap(outputs, true), fn.ensemble(outputs, true)
    for name in ("errors", "both", "jaccard", "consistency", "same"):
        torch.testing.assert_close(getattr(found.overlap, name), getattr(overlap, name), equal_nan=True)
    for name in ("members", "accuracy", "pairs"):
        torch.testing.assert_close(getattr(found.ensemble, name), getattr(together, name))
    torch.testing.assert_close(found.overlap.errors, landscape.error(torch.stack((a, b))))
    assert found.cka == pytest.approx(fn.cka(*outputs), rel=1e-9)
    assert found.procrustes == pytest.approx(fn.procrustes(*outputs), rel=1e-9)
    assert found.canonical.svcca == pytest.approx(fn.canonical(*outputs).svcca, rel=1e-9)
    assert found.samples == N
    assert found.batchnorm == landscape.batchnorm
    assert found.layers is None


def test_many_points_equal_pairs(landscape: lf.Landscape) -> None:
    three = points(landscape, 3)
    found = fn.compare_all(landscape, three, patterns=True, average="logits")
    for i in range(3):
        for j in range(3):
            pair = fn.compare(landscape, three[i], three[j], average="logits")
            for name in ("disagreement", "softmax_distance", "symmetric_kl", "output_distance", "logit_cosine", "cka"):
                value = float(getattr(found, name)[i, j])
                assert value == pytest.approx(getattr(pair, name), rel=1e-9, abs=1e-9), name
            torch.testing.assert_close(found.patterns.total[i, j], pair.patterns.total)
            torch.testing.assert_close(found.overlap.jaccard[i, j], pair.overlap.jaccard[0, 1])
            if i != j:
                assert float(found.ensemble.pairs[i, j]) == pytest.approx(pair.ensemble.gain)


def test_the_same_point_is_no_distance(landscape: lf.Landscape) -> None:
    a, _ = points(landscape)
    found = fn.compare(landscape, a, a, layers="all")
    assert (found.disagreement, found.softmax_distance, found.symmetric_kl, found.output_distance) == (0, 0, 0, 0)
    assert found.patterns.total == 0
    assert found.ensemble.gain == 0
    assert found.cka == pytest.approx(1)
    assert found.procrustes == pytest.approx(0, abs=1e-7)
    torch.testing.assert_close(found.layers.same, torch.ones(7, dtype=torch.float64))


def test_kept_activations_are_those_of_a_plain_forward_pass() -> None:
    landscape = lf.Landscape(net(), data(), device="cpu", batch_size=32)
    a, _ = points(landscape)
    views = landscape.layout.views(a)
    before = F.conv2d(data()[0], views["0.weight"], views["0.bias"])
    kept = fn.activations(landscape, a, ["0", "2", "5"])
    torch.testing.assert_close(kept["0"], before)  # the unit behind it works in place
    torch.testing.assert_close(kept["2"], before.relu())
    linear = F.linear(before.relu().flatten(1), views["4.weight"], views["4.bias"])
    torch.testing.assert_close(kept["5"], F.leaky_relu(linear))
    mean = fn.activations(landscape, a, "2", features=lambda h: h.mean((2, 3)))
    torch.testing.assert_close(mean["2"], before.relu().mean((2, 3)))


@pytest.mark.parametrize("kernel", ["linear", "rbf"])
def test_cka_of_layers_equals_that_of_kept_activations(landscape: lf.Landscape, kernel: str) -> None:
    a, b = points(landscape)
    names = ("0", "2", "4", "6")
    kept = [fn.activations(landscape, point, names) for point in (a, b)]

    whole = lf.Landscape(landscape._model, data(), device="cpu", batch_size=N, batchnorm="keep")
    own = [landscape._own_buffers(point, None) for point in (a, b)]
    once = fn.layer_cka(whole, a, b, layers=names, kernel=kernel, tile=N, buffers=own)
    assert once.layers == names
    for i, x in enumerate(names):
        for j, y in enumerate(names):
            expected = fn.cka(kept[0][x], kept[1][y], kernel=kernel, unbiased=True)
            assert float(once.values[i, j]) == pytest.approx(expected, rel=1e-9)

    # In mini-batches: HSIC averaged over them, each weighted by its samples, and only then divided.
    found = fn.compare(landscape, a, b, layers=names, kernel=kernel, tile=16).layers
    sizes = [16, 16, 16, 16, 13, 13]
    for i, x in enumerate(names):
        for j, y in enumerate(names):
            sums = torch.zeros(3, dtype=torch.float64)
            for left, right in zip(kept[0][x].split(sizes), kept[1][y].split(sizes), strict=True):
                n = len(left)
                k, m = (centre(gram(t.flatten(1), kernel), unbiased=True) for t in (left, right))
                sums += n * torch.stack([(k * m).sum(), (k * k).sum(), (m * m).sum()]) / (n * (n - 3))
            assert float(found.values[i, j]) == pytest.approx(float(sums[0] / (sums[1] * sums[2]).sqrt()), rel=1e-9)
    assert found.samples == N
    assert found.same.tolist() == found.values.diagonal().tolist()


def test_streamed_distances_of_layers_equal_those_of_kept_activations(landscape: lf.Landscape) -> None:
    a, b = points(landscape)
    found = fn.layer_distances(landscape, a, b, layers=["4", "5", "6"], keep=0.95)
    kept = [fn.activations(landscape, point, ["4", "5", "6"]) for point in (a, b)]
    assert found.features == (12, 12, 4)
    for i, name in enumerate(found.layers):
        x, y = kept[0][name], kept[1][name]
        assert float(found.cka[i]) == pytest.approx(fn.cka(x, y), rel=1e-9)
        assert float(found.procrustes[i]) == pytest.approx(fn.procrustes(x, y), rel=1e-9)
        assert float(found.svcca[i]) == pytest.approx(fn.canonical(x, y, keep=0.95).svcca, rel=1e-8)
        assert float(found.pwcca[i]) == pytest.approx(fn.canonical(x, y, keep=0.95).pwcca, rel=1e-8)


def test_statistics_of_batchnorm_belong_to_each_point() -> None:
    landscape = lf.Landscape(net(norm=True), data(), device="cpu", batch_size=32)
    a, b = points(landscape)
    own = [landscape.calibrate(point) for point in (a, b)]
    assert fn.compare(landscape, a, b).output_distance == fn.compare(landscape, a, b, buffers=own).output_distance
    kept = lf.Landscape(net(norm=True), data(), device="cpu", batch_size=32, batchnorm="keep")
    assert fn.compare(kept, a, b).output_distance != fn.compare(landscape, a, b).output_distance
    assert fn.compare(kept, a, b, buffers=own).output_distance == fn.compare(landscape, a, b).output_distance


def test_a_loader_gives_what_tensors_give() -> None:
    x, y = data()
    loader = DataLoader(TensorDataset(x, y), batch_size=32)
    plain, streamed = (lf.Landscape(net(), given, device="cpu", batch_size=32) for given in ((x, y), loader))
    a, b = points(plain)
    one, other = (fn.compare(each, a, b, layers="all") for each in (plain, streamed))
    assert one.symmetric_kl == pytest.approx(other.symmetric_kl)
    torch.testing.assert_close(one.layers.values, other.layers.values)
    assert float(fn.compare_all(streamed, torch.stack((a, b))).disagreement[0, 1]) == one.disagreement


def test_without_classes_only_outputs_are_compared() -> None:
    x, _ = data()
    model = nn.Sequential(nn.Flatten(), nn.Linear(36, 5), nn.ReLU(), nn.Linear(5, 1)).double()
    landscape = lf.Landscape(model, (x, x.mean((1, 2, 3))[:, None]), loss="mse", device="cpu")
    a, b = points(landscape)
    found, every = fn.compare(landscape, a, b), fn.compare_all(landscape, torch.stack((a, b)))
    expected = (landscape.outputs(a) - landscape.outputs(b)).square().mean().sqrt()
    assert found.output_distance == pytest.approx(float(expected))
    assert every.output_distance[0, 1].item() == pytest.approx(float(expected))
    assert (found.disagreement, found.softmax_distance, found.overlap, found.ensemble) == (None,) * 4
    assert (every.disagreement, every.overlap, every.ensemble) == (None,) * 3


def test_sequences_count_each_position_and_pass_over_what_has_no_label() -> None:
    made = torch.Generator().manual_seed(1)
    tokens, next_ = (torch.randint(0, 7, (12, 5), generator=made) for _ in range(2))
    next_[:, 3:] = -100
    model = nn.Sequential(nn.Embedding(7, 6), nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 7)).double()
    landscape = lf.Landscape(model, (tokens, next_), device="cpu", batch_size=5)
    a, b = points(landscape)
    found = fn.compare(landscape, a, b)
    outputs = landscape.outputs(torch.stack((a, b)))
    assert found.samples == 12
    assert found.disagreement == pytest.approx(float((outputs[0].argmax(-1) != outputs[1].argmax(-1)).double().mean()))
    assert found.overlap.samples == 36
    torch.testing.assert_close(found.overlap.both, fn.error_overlap(outputs, next_).both)


def test_single_precision_is_enough_for_the_measures() -> None:
    a, b = points(lf.Landscape(net(), data(), device="cpu"))
    exact, single = (lf.Landscape(net(), data(), device="cpu", dtype=d) for d in (torch.float64, torch.float32))
    one, other = (fn.compare(each, a, b, layers="all") for each in (exact, single))
    assert other.softmax_distance == pytest.approx(one.softmax_distance, rel=1e-5)
    assert other.cka == pytest.approx(one.cka, rel=1e-5)
    torch.testing.assert_close(other.layers.values, one.layers.values, rtol=1e-4, atol=1e-5)


def test_what_is_asked_for_together_does_not_mix(landscape: lf.Landscape) -> None:
    a, b = points(landscape)
    alone = fn.compare(landscape, a, b)
    for kernel in ("linear", "rbf"):
        found = fn.compare(landscape, a, b, layers="all", kernel=kernel, features=lambda h: h.abs().clamp(min=0.1))
        assert found.patterns.layers == alone.patterns.layers == ("2", "5")
        torch.testing.assert_close(found.patterns.shares, alone.patterns.shares)
        assert found.symmetric_kl == alone.symmetric_kl
    assert fn.compare(landscape, a, b, patterns=False).patterns is None


def test_every_device_gives_the_same(device: torch.device) -> None:
    plain = lf.Landscape(net(norm=True), data(), device="cpu", dtype=torch.float32)
    there = lf.Landscape(net(norm=True), data(), device=device, dtype=torch.float32)
    a, b = points(plain)
    one, other = (fn.compare(each, a, b, layers="all", pooling=True) for each in (plain, there))
    assert other.softmax_distance == pytest.approx(one.softmax_distance, rel=1e-4)
    assert other.procrustes == pytest.approx(one.procrustes, rel=1e-3)
    torch.testing.assert_close(other.layers.values, one.layers.values, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(other.patterns.shares, one.patterns.shares, rtol=0, atol=2e-3)
    torch.testing.assert_close(other.overlap.both, one.overlap.both)
    pairs = fn.compare_all(there, torch.stack((a, b)), patterns=True)
    assert float(pairs.cka[0, 1]) == pytest.approx(one.cka, rel=1e-3)
    assert float(pairs.patterns.total[0, 1]) == pytest.approx(float(one.patterns.total), abs=2e-3)


def test_large_batches_are_cut_for_the_kernels_and_change_nothing() -> None:
    a, b = points(lf.Landscape(net(), data(), device="cpu"))
    one, other = (
        fn.layer_cka(lf.Landscape(net(), data(), device="cpu", batch_size=size), a, b, tile=15) for size in (30, 90)
    )
    torch.testing.assert_close(one.values, other.values)


def test_misuse_is_told_in_a_sentence() -> None:
    landscape = lf.Landscape(net(), data(), device="cpu")
    a, b = points(landscape)
    size = landscape.layout.size
    with pytest.raises(BadInput, match=f"Point b has {size - 3} numbers, but this landscape's model {size} "
                       r"\(it would end in 6.bias \[4\]\)"):  # fmt: skip
        fn.compare(landscape, a, b[:-3])
    with pytest.raises(BadInput, match="Point a has to be a 1-D tensor of"):
        fn.compare(landscape, torch.stack((a, b)), b)
    broken = b.clone()
    broken[landscape.layout.slots[2].start] = math.nan
    with pytest.raises(BadInput, match=r"Point b holds NaN or infinity, first in 4\.weight"):
        fn.compare(landscape, a, broken)
    with pytest.raises(BadInput, match="The point holds NaN"):
        fn.patterns(landscape, broken)
    with pytest.raises(BadInput, match="Point 0 holds NaN"):
        fn.compare_all(landscape, torch.stack((broken, a)))
    with pytest.raises(BadInput, match="Give a set of 2 points or more"):
        fn.compare_all(landscape, a[None])
    with pytest.raises(BadInput, match="outputs of number 1 hold NaN or infinity"):
        fn.compare(landscape, a, 1e200 * b)
    named = nn.Sequential()
    named.add_module("features", nn.Flatten())
    named.add_module("classifier", nn.Linear(36, 4))
    other = lf.Landscape(named.double(), data(), device="cpu")
    with pytest.raises(BadInput, match="no layer 'clasifier': near ones are classifier"):
        fn.layer_cka(other, other.here, other.here, layers=["clasifier"])
    with pytest.raises(BadInput, match="No layer is named"):
        fn.layer_cka(other, other.here, other.here, layers=[])
    with pytest.raises(BadInput, match="tile is 3"):
        fn.layer_cka(landscape, a, b, tile=3)
    with pytest.raises(BadInput, match="batches of 4 samples or more"):
        fn.layer_cka(lf.Landscape(net(), data(), device="cpu", batch_size=2), a, b)
    with pytest.raises(
        BadInput, match=r"covariances of these layers take \d\.\d MiB \(\w has 80 features\), and 0\.1 are"
    ):
        fn.layer_distances(landscape, a, b, memory=100_000)
    with pytest.raises(BadInput, match="no average 'vote'"):
        fn.compare(landscape, a, b, average="vote")


def test_layers_that_cannot_be_compared_are_named() -> None:
    class Odd(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.unused, self.turned, self.last = nn.Linear(2, 2), nn.Identity(), nn.Linear(36, 4)

        def forward(self, x: Tensor) -> Tensor:
            return self.last(self.turned(x.flatten(1).T).T)

    landscape = lf.Landscape(Odd().double(), data(), device="cpu")
    a, b = points(landscape)
    assert fn.layer_cka(landscape, a, b).layers == ("last",)  # 'all' passes over the others
    with pytest.raises(BadInput, match="Layer turned puts out 36 rows for 90 samples"):
        fn.layer_cka(landscape, a, b, layers=["turned", "last"])
    with pytest.raises(BadInput, match="Layer unused is not called"):
        fn.layer_cka(landscape, a, b, layers=["last", "unused"])
    with pytest.raises(BadInput, match="None of these layers is called"):
        fn.layer_cka(landscape, a, b, layers="un*")
    assert fn.layer_cka(landscape, a, b, layers="*s*").layers == ("last",)
    x, y = data()
    single = lf.Landscape(nn.Linear(36, 4).double(), (x.flatten(1), y), device="cpu")  # a model that is one layer
    assert fn.layer_cka(single, *points(single)).layers == ("",)
