"""Wrong labels, balanced subsets, augmentation and mixup."""

import random

import numpy
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from landform.data import Augment, Dataset, Split, mix, noisy_labels
from landform.data._labels import balanced, random_labels
from landform.errors import BadInput

quick = settings(deadline=None, max_examples=40)


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@quick
@given(st.integers(1, 300), st.floats(0, 1), st.integers(2, 12), st.integers(0, 9))
def test_the_share_of_wrong_labels_is_exact(samples, fraction, classes, seed):
    targets = torch.randint(classes, (samples,), generator=generator(seed))
    noisy = noisy_labels(targets, fraction, classes, seed)
    assert int((noisy != targets).sum()) == int(fraction * samples + 0.5)
    assert noisy.min() >= 0
    assert noisy.max() < classes
    assert torch.equal(noisy, noisy_labels(targets, fraction, classes, seed))


@quick
@given(st.floats(0, 1), st.floats(0, 1), st.integers(0, 9))
def test_less_noise_is_part_of_more_noise(one, other, seed):
    targets = torch.arange(200) % 7
    less, more = (noisy_labels(targets, share, 7, seed) for share in sorted((one, other)))
    assert torch.equal(more[less != targets], less[less != targets])


def test_wrong_labels_are_uniform_over_the_other_classes():
    counts = noisy_labels(torch.zeros(9000, dtype=torch.int64), 1.0, 10, 0).bincount(minlength=10)
    assert counts[0] == 0
    assert (counts[1:] - 1000).abs().max() < 150


def test_labels_of_sequences_and_of_small_integers_keep_their_shape():
    targets = (torch.arange(60) % 5).reshape(12, 5).to(torch.uint8)
    noisy = noisy_labels(targets, 0.5, 5, 0)
    assert noisy.shape == targets.shape
    assert noisy.dtype == torch.uint8
    assert int((noisy != targets).sum()) == 30


def test_random_labels_know_nothing_of_the_true_ones():
    targets = torch.arange(5000) % 10
    drawn = random_labels(targets, 10, 3)
    assert 0.07 < (drawn == targets).double().mean() < 0.13
    assert not torch.equal(drawn, random_labels(targets, 10, 4))


@quick
@given(st.lists(st.integers(3, 40), min_size=2, max_size=5), st.integers(1, 3), st.integers(0, 5))
def test_subsets_by_count_are_balanced_and_nested(sizes, per_class, seed):
    targets = torch.cat([torch.full((n,), c) for c, n in enumerate(sizes)])
    targets = targets[torch.randperm(len(targets), generator=generator(seed))]
    kept = balanced(targets, per_class, None, len(sizes), seed)
    assert targets[kept].bincount(minlength=len(sizes)).tolist() == [per_class] * len(sizes)
    assert kept.tolist() == sorted(set(kept.tolist()))
    assert set(kept.tolist()) <= set(balanced(targets, 3, None, len(sizes), seed).tolist())


@quick
@given(st.lists(st.integers(1, 40), min_size=2, max_size=5), st.floats(0.01, 1))
def test_subsets_by_fraction_keep_each_classes_share(sizes, fraction):
    targets = torch.cat([torch.full((n,), c) for c, n in enumerate(sizes)])
    counts = targets[balanced(targets, None, fraction, len(sizes), 0)].bincount(minlength=len(sizes))
    for count, size in zip(counts.tolist(), sizes, strict=True):
        assert count == max(1, int(fraction * size + 0.5))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: noisy_labels(torch.zeros(3).long(), 1.5, 10, 0), "between 0 and 1"),
        (lambda: noisy_labels(torch.zeros(3).long(), float("nan"), 10, 0), "between 0 and 1"),
        (lambda: noisy_labels(torch.zeros(3).long(), 0.5, 1, 0), "at least 2 classes"),
        (lambda: noisy_labels(torch.tensor([0, 10]), 0.5, 10, 0), "is 10, outside 0..9"),
        (lambda: noisy_labels(torch.tensor([-1, 1]), 0.5, 10, 0), "is -1, outside 0..9"),
        (lambda: noisy_labels(torch.zeros(3), 0.5, 10, 0), "Labels are integers"),
        (lambda: balanced(torch.arange(3), 2, None, 3, 0), "more than the 1 samples of class 0"),
        (lambda: Augment(pad=-1), "not negative"),
        (lambda: Augment(fill="wrap"), "zero"),
        (lambda: Augment.named("rotate"), "no augmentation 'rotate'"),
        (lambda: Augment(flip=True)(torch.zeros(3, 8, 8), generator()), r"\[B, C, H, W\]"),
        (lambda: Augment(pad=8, fill="reflect")(torch.zeros(1, 1, 8, 8), generator()), "pad less"),
        (lambda: mix(torch.zeros(3).long(), torch.zeros(3).long(), 1.0, 2, generator()), "mixup"),
        (lambda: mix(torch.zeros(3), torch.zeros(3).long(), -1.0, 2, generator()), "at least 0"),
        (lambda: Split(torch.zeros(3), torch.zeros(2)), "3 inputs but its targets are 2"),
        (lambda: Split(torch.zeros(3), torch.zeros(3), torch.zeros(2)), "lengths are 2"),
        (lambda: Split(torch.zeros(3), torch.tensor(1.0)), "a single number"),
    ],
)
def test_misuse_is_refused_in_one_sentence(call, words):
    with pytest.raises(BadInput, match=words):
        call()


def test_a_data_set_checks_its_labels():
    good = Split(torch.zeros(2, 3), torch.tensor([0, 1]))
    with pytest.raises(BadInput, match="test split of mine is 5"):
        Dataset("mine", good, Split(torch.zeros(1, 3), torch.tensor([5])), 2, {})


def slowly(image: torch.Tensor, flipped: bool, down: int, right: int, augment: Augment) -> torch.Tensor:
    """Pad, crop and flip one image the plain way."""
    image = image.flip(-1) if flipped else image
    if augment.fill == "zero":
        padded = torch.nn.functional.pad(image[None], [augment.pad] * 4)[0]
    else:
        padded = torch.nn.functional.pad(image[None], [augment.pad] * 4, mode="reflect")[0]
    return padded[:, down : down + image.shape[1], right : right + image.shape[2]]


@quick
@given(st.booleans(), st.integers(0, 3), st.sampled_from(["zero", "reflect"]), st.integers(0, 99))
def test_each_augmented_image_is_some_flip_and_crop_of_its_own(flip, pad, fill, seed):
    augment = Augment(flip=flip, pad=pad, fill=fill)
    images = torch.arange(1, 2 * 2 * 5 * 6 + 1, dtype=torch.float64).reshape(2, 2, 5, 6)
    for before, after in zip(images, augment(images, generator(seed)), strict=True):
        candidates = [
            slowly(before, f, down, right, augment)
            for f in ({False, flip})
            for down in range(2 * pad + 1)
            for right in range(2 * pad + 1)
        ]
        assert any(torch.equal(after, candidate) for candidate in candidates)


def test_flips_and_places_are_all_drawn():
    images = torch.arange(1, 17, dtype=torch.float32).reshape(1, 1, 4, 4).expand(4000, -1, -1, -1)
    changed = Augment(flip=True, pad=1)(images, generator())
    _, counts = changed.flatten(1).unique(dim=0, return_counts=True)
    assert len(counts) == 2 * 3 * 3
    assert counts.min() > 4000 / 18 * 0.7


@quick
@given(st.integers(1, 6), st.integers(0, 99))
def test_cutout_clears_one_square_and_nothing_else(side, seed):
    images = torch.ones(5, 2, 9, 7)
    for image in Augment(cutout=side)(images, generator(seed)):
        assert torch.equal(image[0], image[1])
        holes = (image[0] == 0).nonzero()
        rows, columns = holes[:, 0].unique(), holes[:, 1].unique()
        assert len(holes) == len(rows) * len(columns)
        assert 1 <= len(rows) <= side
        assert 1 <= len(columns) <= side
        assert image[0].sum() == 63 - len(holes)


def test_zero_padding_is_zero_even_beside_an_infinity():
    images = torch.full((50, 1, 4, 4), float("inf"))
    changed = Augment(pad=2)(images, generator())
    assert not changed.isnan().any()
    assert (changed == 0).any()


def test_nothing_to_do_gives_a_copy():
    images = torch.randn(2, 1, 4, 4, generator=generator())
    same = Augment()(images, generator())
    assert torch.equal(same, images)
    assert same.data_ptr() != images.data_ptr()


def test_settings_give_the_augmentation_back():
    augment = Augment.named("cutout")
    assert Augment(**augment.to_json()) == augment


@quick
@given(st.floats(0.05, 5), st.integers(0, 99))
def test_mixing_is_the_same_average_of_inputs_and_targets(alpha, seed):
    inputs, targets = torch.eye(6, dtype=torch.float64), torch.tensor([0, 1, 2, 3, 4, 5])
    mixed, shares = mix(inputs, targets, alpha, 6, generator(seed))
    # one-hot inputs are their own targets, so the two must agree
    assert torch.allclose(mixed, shares)
    assert torch.allclose(shares.sum(1), torch.ones(6, dtype=torch.float64))
    weights = torch.cat([row[row > 0] for row in shares])
    assert len({round(min(w, 1 - w), 9) for w in weights.tolist()} - {0.0}) <= 1


def test_mixing_soft_targets_and_not_mixing():
    inputs, soft = torch.randn(4, 3, generator=generator()), torch.full((4, 2), 0.5)
    assert torch.allclose(mix(inputs, soft, 1.0, 2, generator())[1], soft)
    same, hard = mix(inputs, torch.tensor([0, 1, 1, 0]), 0.0, 2, generator())
    assert torch.equal(same, inputs)
    assert hard.tolist() == [[1, 0], [0, 1], [0, 1], [1, 0]]


def test_the_weight_of_mixing_has_the_moments_of_beta():
    inputs, targets = torch.tensor([[0.0], [1.0]]), torch.tensor([0, 1])
    draw, alpha = generator(), 0.4
    seen = []
    while len(seen) < 2000:
        shares = mix(inputs, targets, alpha, 2, draw)[1]
        if shares[0, 0] != 1:  # the partner was the other one
            seen.append(float(shares[0, 0]))
    seen = torch.tensor(seen)
    assert abs(seen.mean() - 0.5) < 0.03
    assert abs(seen.var() - 1 / (4 * (2 * alpha + 1))) < 0.01


def test_no_global_generator_is_read_or_moved():
    def everything() -> list[torch.Tensor]:
        images, targets = torch.ones(8, 1, 6, 6), torch.arange(8) % 4
        changed = Augment(flip=True, pad=1, cutout=2)(images, generator())
        return [changed, *mix(changed, targets, 0.5, 4, generator()), noisy_labels(targets, 0.5, 4, 0)]

    torch.manual_seed(1)
    first = everything()
    torch.manual_seed(2)
    numpy.random.seed(2)  # noqa: NPY002 - the global generator is what is tested
    random.seed(2)
    states = torch.get_rng_state(), str(numpy.random.get_state()), random.getstate()  # noqa: NPY002
    second = everything()
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert torch.equal(torch.get_rng_state(), states[0])
    assert str(numpy.random.get_state()) == states[1]  # noqa: NPY002
    assert random.getstate() == states[2]


def test_a_generator_on_the_cpu_serves_images_on_any_device(device):
    if device.type == "cpu":
        pytest.skip("the other tests of this file run on the CPU")
    images, augment = torch.randn(16, 3, 8, 8, generator=generator()), Augment(flip=True, pad=2, cutout=3)
    there = augment(images.to(device), generator())
    assert there.device.type == device.type
    assert torch.equal(augment(images, generator()), there.cpu())
    targets = torch.arange(16) % 4
    here = mix(images, targets, 1.0, 4, generator())
    elsewhere = mix(images.to(device), targets.to(device), 1.0, 4, generator())
    assert all(torch.allclose(a, b.cpu(), atol=1e-6) for a, b in zip(here, elsewhere, strict=True))
    assert torch.equal(noisy_labels(targets, 0.5, 4, 0), noisy_labels(targets.to(device), 0.5, 4, 0).cpu())
