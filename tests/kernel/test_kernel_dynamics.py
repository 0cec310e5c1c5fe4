"""How kernels move: properties of the distance, and plain formulas."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from plain_kernels import as_plain_matrix, random_kernel

from landform.errors import BadInput
from landform.kernel._dynamics import changes, distance, distances, polar, velocity
from landform.kernel._spectrum import LabelEnergy, alignment, effective_rank, label_energy, spectrum

D = torch.float64
drawn = st.tuples(st.integers(2, 6), st.integers(0, 10_000), st.sampled_from([0, 2]))


def plain_distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Entry by entry in Python's own arithmetic."""
    x, y = a.reshape(-1).tolist(), b.reshape(-1).tolist()
    inner = math.fsum(p * q for p, q in zip(x, y, strict=True))
    return 1 - inner / math.sqrt(math.fsum(p * p for p in x) * math.fsum(q * q for q in y))


def pair(n: int, seed: int, outputs: int) -> tuple[torch.Tensor, torch.Tensor]:
    return random_kernel(n, seed, outputs=outputs), random_kernel(n, seed + 1, outputs=outputs)


@given(drawn, st.floats(1e-3, 1e3))
@settings(max_examples=40)
def test_the_distance_is_a_cosine_that_scale_and_rotation_leave_alone(case, factor) -> None:
    a, b = pair(*case)
    s = distance(a, b)
    assert s == pytest.approx(plain_distance(a, b), abs=1e-12)
    assert 0 <= s <= 1
    assert distance(b, a) == pytest.approx(s, abs=1e-15)
    assert distance(factor * a, b) == pytest.approx(s, abs=1e-12)
    assert distance(a, a.clone()) == 0.0
    assert distance(a, factor * a) < 1e-28
    Q, _ = torch.linalg.qr(torch.randn(len(a), len(a), dtype=D, generator=torch.Generator().manual_seed(case[1])))
    turned = [torch.einsum("ij,jk...,lk->il...", Q, k, Q) for k in (a, b)]
    assert distance(*turned) == pytest.approx(s, abs=1e-12)
    order = torch.randperm(len(a), generator=torch.Generator().manual_seed(case[1]))
    assert distance(a[order][:, order], b[order][:, order]) == pytest.approx(s, abs=1e-12)


def test_a_tiny_distance_keeps_its_digits() -> None:
    """Turning a unit vector by an angle of 1e-9 makes S = 5e-19, of which 1 - cosine sees nothing."""
    a = torch.zeros(40, 40, dtype=D)
    a[0, 0] = 1.0
    b = a.clone()
    b[1, 1] = 1e-9
    assert plain_distance(a, b) == 0.0
    assert distance(a, b) == pytest.approx(5e-19, rel=1e-6)


def test_a_large_kernel_in_pieces_and_in_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    a, b = pair(30, 0, 2)
    whole = distance(a, b)
    monkeypatch.setattr("landform.kernel._dynamics._PIECE", 7)
    assert distance(a, b) == pytest.approx(whole, rel=1e-12)
    low = a.bfloat16(), b.bfloat16()
    assert distance(*low) == pytest.approx(plain_distance(*(k.double() for k in low)), abs=1e-12)


class Read:
    """Kernels that are made when asked for, as if read from disk."""

    def __init__(self, kernels: list[torch.Tensor]) -> None:
        self.kernels, self.reads = kernels, 0

    def __len__(self) -> int:
        return len(self.kernels)

    def __getitem__(self, i: int) -> torch.Tensor:
        self.reads += 1
        return self.kernels[i]


def test_distances_of_all_pairs_in_one_block_or_many() -> None:
    kernels = [random_kernel(5, seed, outputs=2) for seed in range(7)]
    kernels[4] = 3.0 * kernels[1]
    kernels[5] = kernels[2] * (1 + 1e-7 * torch.randn_like(kernels[2]))
    plain = torch.tensor([[distance(a, b) for b in kernels] for a in kernels], dtype=D)
    for memory in (2**30, 2 * 8 * 100 * 2, 1):
        found = distances(kernels, memory=memory)
        torch.testing.assert_close(found, plain, rtol=1e-9, atol=1e-28)
        assert torch.equal(found.diagonal(), torch.zeros(7, dtype=D))
        assert torch.equal(found, found.T)
    torch.testing.assert_close(distances(k for k in kernels), plain, rtol=1e-9, atol=1e-28)
    assert distances([kernels[0]]).tolist() == [[0.0]]


def test_velocity_of_a_pair_and_of_a_way() -> None:
    kernels = [random_kernel(4, seed) for seed in range(4)]
    one = velocity(kernels[:2], 0.4, lr=0.1)
    assert one.velocity.item() == pytest.approx(distance(*kernels[:2]) / 0.4)
    assert one.per_lr.item() == pytest.approx(distance(*kernels[:2]) / 0.4 / 0.1)
    way = velocity(iter(kernels), [1.0, 2.0, 4.0])
    expected = [distance(a, b) for a, b in itertools.pairwise(kernels)]
    torch.testing.assert_close(way.distances, torch.tensor(expected, dtype=D))
    torch.testing.assert_close(way.velocity * torch.tensor([1.0, 2.0, 4.0]), way.distances)
    assert way.per_lr is None


@pytest.mark.parametrize("outputs", [0, 2])
def test_polar_coordinates_by_their_formulas(outputs: int) -> None:
    kernels = [random_kernel(5, seed, outputs=outputs) for seed in range(3)]
    found = polar(kernels, top=2)

    def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
        return 1 - plain_distance(a, b)

    def check(way: list[torch.Tensor], seen) -> None:
        far = [torch.linalg.norm(k - way[0]).item() for k in way]
        assert seen.radius.tolist() == pytest.approx([f / far[-1] for f in far], abs=1e-7)
        assert seen.angle.tolist() == pytest.approx([math.acos(min(1.0, cosine(k, way[0]))) for k in way], abs=1e-7)
        assert seen.scale.tolist() == pytest.approx([(k.norm() / way[0].norm()).item() for k in way])

    matrices = [as_plain_matrix(k) for k in kernels]
    check(matrices, found)
    tops = []
    for matrix in matrices:
        values, vectors = torch.linalg.eigh(matrix)
        tops.append(vectors[:, -2:] @ torch.diag(values[-2:]) @ vectors[:, -2:].T)
    check(tops, found.top)
    check([m - t for m, t in zip(matrices, tops, strict=True)], found.bottom)
    assert polar(kernels).top is None
    assert found.radius[0] == 0.0
    assert found.radius[-1] == 1.0
    grown = polar([kernels[0], 2 * kernels[0], 4 * kernels[0]])
    torch.testing.assert_close(grown.radius, torch.tensor([0.0, 1 / 3, 1.0], dtype=D))
    assert grown.angle.abs().max() < 1e-7


def test_changes_by_layer() -> None:
    first = {name: random_kernel(4, i) for i, name in enumerate(("one", "two", "three"))}
    second = {"one": 2 * first["one"], "two": first["two"], "three": random_kernel(4, 9)}
    found = changes(first, second)
    assert found.names == ("one", "two", "three")
    assert found.distance.tolist()[:2] == pytest.approx([0.0, 0.0], abs=1e-28)
    assert found.distance[2].item() == pytest.approx(plain_distance(first["three"], second["three"]))
    assert found.relative.tolist()[:2] == pytest.approx([1.0, 0.0])
    assert found.scale[0].item() == pytest.approx(2.0)
    whole = sum(first.values()).trace().item()
    assert found.share.tolist() == pytest.approx([k.trace().item() / whole for k in first.values()])
    assert found.share_after.sum().item() == pytest.approx(1.0)
    assert found.part.sum().item() == pytest.approx(1.0)
    assert found.part[1].item() == 0.0
    empty = changes({"a": torch.zeros(2, 2), "b": torch.eye(2)}, {"a": torch.zeros(2, 2), "b": torch.eye(2)})
    assert empty.distance.isnan().tolist() == [True, False]


# --------------------------------------------------------------------------------------------------- spectra


@pytest.mark.parametrize("outputs", [0, 3])
def test_the_spectrum_and_what_is_read_off_it(outputs: int) -> None:
    kernel = random_kernel(5, 1, outputs=outputs)
    matrix = as_plain_matrix(kernel)
    found = spectrum(kernel, vectors=True)
    values = torch.linalg.eigvalsh(matrix).flip(0)
    torch.testing.assert_close(found.values, values)
    torch.testing.assert_close(found.vectors @ torch.diag(found.values) @ found.vectors.T, matrix)
    p = (values / values.sum()).tolist()
    assert effective_rank(kernel) == pytest.approx(math.exp(-sum(q * math.log(q) for q in p)))
    assert found.participation == pytest.approx(values.sum().item() ** 2 / matrix.square().sum().item())
    assert found.top_mass(2) == pytest.approx((values[:2].square().sum() / values.square().sum()).item())
    assert found.top_mass(2, power=1.0) == pytest.approx((values[:2].sum() / matrix.trace()).item())
    assert found.condition == pytest.approx((values[0] / values[-1]).item())
    assert spectrum(kernel).vectors is None
    assert effective_rank(torch.eye(7)) == pytest.approx(7.0)
    flat = spectrum(random_kernel(6, 0, rank=2))
    assert flat.rank == 2
    assert flat.condition == math.inf


def test_label_energy_along_eigenvectors() -> None:
    y = torch.tensor([0, 1, 2, 0, 1])
    one_hot = torch.nn.functional.one_hot(y).double()
    kernel = random_kernel(5, 1)
    found = label_energy(kernel, y)
    vectors = torch.linalg.eigh(kernel)[1].flip(1)
    plain = torch.stack([(vectors[:, i] @ one_hot).square().sum() for i in range(5)]) / 5
    torch.testing.assert_close(found.shares, plain)
    assert found.cumulative[-1].item() == pytest.approx(1.0)
    assert found.needed(1.0) == 5
    assert found.needed(0.5) == int((found.cumulative < 0.5).sum()) + 1
    torch.testing.assert_close(found.chance, torch.tensor([0.2, 0.4, 0.6, 0.8, 1.0], dtype=D))
    torch.testing.assert_close(label_energy(spectrum(kernel, vectors=True), y).shares, plain)
    full = random_kernel(5, 2, outputs=3)
    wide = torch.linalg.eigh(as_plain_matrix(full))[1].flip(1)
    torch.testing.assert_close(label_energy(full, y).shares, (wide.T @ one_hot.reshape(-1)).square() / 5)
    torch.testing.assert_close(label_energy(spectrum(full, vectors=True), y).shares, label_energy(full, y).shares)
    # A kernel made of the labels holds them in as many eigenvectors as there are classes, one less when centred.
    own = one_hot @ one_hot.T
    assert label_energy(own, y).needed(1 - 1e-9) == 3
    centred: LabelEnergy = label_energy(own - own.mean(0) - own.mean(1, keepdim=True) + own.mean(), y, centred=True)
    assert centred.needed(1 - 1e-9) == 2


def test_alignment_with_labels_centred_and_not() -> None:
    y = torch.tensor([0, 1, 2, 0, 1, 2])
    one_hot = torch.nn.functional.one_hot(y).double()
    target = one_hot @ one_hot.T
    H = torch.eye(6, dtype=D) - 1 / 6
    kernel = random_kernel(6, 3)

    def cosine(a: torch.Tensor, b: torch.Tensor) -> float:
        return 1 - plain_distance(a, b)

    assert alignment(kernel, y, centred=False) == pytest.approx(cosine(kernel, target))
    assert alignment(kernel, y) == pytest.approx(cosine(H @ kernel @ H, H @ target @ H))
    assert alignment(target, y) == pytest.approx(1.0)
    assert alignment(5 * kernel + 100, y) == pytest.approx(alignment(kernel, y))
    assert alignment(torch.ones(6, 6), y, centred=False) == pytest.approx(3**-0.5)
    full = random_kernel(6, 4, outputs=3)
    wide_H = torch.kron(H, torch.eye(3, dtype=D))
    flat = one_hot.reshape(-1)
    matrix = as_plain_matrix(full)
    assert alignment(full, y, centred=False) == pytest.approx(cosine(matrix, torch.outer(flat, flat)))
    mid = wide_H @ flat
    assert alignment(full, y) == pytest.approx(cosine(wide_H @ matrix @ wide_H, torch.outer(mid, mid)))
    signs = torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0, -1.0])
    assert alignment(kernel, signs, centred=False) == pytest.approx(cosine(kernel, torch.outer(signs, signs).double()))


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda k: distance(k, k[:2]), "of one kind"),
        (lambda k: distance(k, 0 * k), "second kernel is zero"),
        (lambda k: distance(k * torch.nan, k), "first kernel holds NaN"),
        (lambda k: distance(k.long(), k), "floating-point"),
        (lambda k: distances([]), "no kernels"),
        (lambda k: distances([k, k[:2]]), "of one kind"),
        (lambda k: velocity([k], 0.4), "two times at least"),
        (lambda k: velocity([k, k], 0.0), "positive numbers"),
        (lambda k: velocity([k, k], [1.0, 2.0]), "each pair of times"),
        (lambda k: polar([k]), "two times at least"),
        (lambda k: polar([k, k], top=4), "fewer than the 4"),
        (lambda k: changes({"a": k}, {"b": k}), "same layers"),
        (lambda k: spectrum(0 * k), "is zero"),
        (lambda k: spectrum(k).top_mass(5), "from 1 to 4"),
        (lambda k: label_energy(spectrum(k), torch.arange(4)), "without vectors"),
        (lambda k: label_energy(k, torch.zeros(4)), "all zero"),
        (lambda k: alignment(torch.ones(4, 4), torch.arange(4)), "mean is taken off"),
        (lambda k: alignment(k, torch.zeros(4, dtype=torch.long)), "mean is taken off"),
        (lambda k: label_energy(k, torch.arange(3)), "4 labels"),
    ],
)
def test_misuse_is_said_in_a_sentence(call, said) -> None:
    with pytest.raises(BadInput, match=said):
        call(random_kernel(4, 0))
