"""Digits, the tasks made of them, clusters, and what all data sets have in common."""

import json

import pytest
import torch
from sklearn.datasets import load_digits

import landform.data as data
from landform.errors import BadInput

LOADERS = {
    "digits": data.digits,
    "digit_sums": data.digit_sums,
    "moved_digits": data.moved_digits,
    "clusters": data.clusters,
}


def undone(split: data.Split, dataset: data.Dataset) -> torch.Tensor:
    """Inputs before they were normalised, by the transform on record."""
    scaling = dataset.transform["normalise"]
    mean, std = (torch.tensor(scaling[key], dtype=torch.float64) for key in ("mean", "std"))
    return (split.inputs.double() * std + mean) * scaling["unit"]


def test_digits_are_those_of_scikit_learn_in_two_parts():
    dataset = data.digits()
    assert dataset.train.inputs.shape == (1000, 64)
    assert dataset.test.inputs.shape == (797, 64)
    assert dataset.train.targets.bincount().tolist() == [100] * 10
    found = torch.cat([undone(dataset.train, dataset), undone(dataset.test, dataset)]).round().long()
    labels = torch.cat([dataset.train.targets, dataset.test.targets])
    bunch = load_digits()
    expected = torch.cat([torch.tensor(bunch.data).long(), torch.tensor(bunch.target)[:, None]], 1)
    assert torch.equal(
        torch.cat([found, labels[:, None]], 1).unique(dim=0, return_counts=True)[0], expected.unique(dim=0)
    )
    assert len(found) == len(expected)


def test_digits_as_images_are_the_same_numbers():
    flat, square = data.digits(), data.digits(flat=False)
    assert square.train.inputs.shape == (1000, 1, 8, 8)
    assert torch.equal(square.train.inputs.flatten(1), flat.train.inputs)


@pytest.mark.parametrize("name", LOADERS)
def test_training_inputs_have_mean_zero_and_deviation_one(name):
    inputs = LOADERS[name]().train.inputs
    assert inputs.dtype == torch.float32
    assert abs(float(inputs.double().mean())) < 1e-5
    assert abs(float(inputs.double().std()) - 1) < 1e-3


def test_sums_of_digits_are_sums_of_the_digits_shown():
    dataset = data.digit_sums(train_size=50, test_size=30)
    assert dataset.train.inputs.shape == (50, 128)
    bunch = load_digits()
    rows = enumerate(zip(bunch.data, bunch.target, strict=True))
    known = {tuple(row.astype(int)): (int(label), i) for i, (row, label) in rows}
    used = []
    for split in (dataset.train, dataset.test):
        pairs = undone(split, dataset).round().long().reshape(-1, 2, 64)
        members = [[known[tuple(image.tolist())] for image in pair] for pair in pairs]
        assert split.targets.tolist() == [(a[0] + b[0]) % 10 for a, b in members]
        used.append({index for pair in members for _, index in pair})
    assert not used[0] & used[1]


def test_moved_digits_are_digits_somewhere_on_the_canvas():
    dataset = data.moved_digits(train_size=40, test_size=10, noise=0.0)
    assert dataset.train.inputs.shape == (40, 1, 14, 14)
    bunch = load_digits()
    known = {tuple(row.astype(int)): int(label) for row, label in zip(bunch.data, bunch.target, strict=True)}
    corners = set()
    for image, label in zip(undone(dataset.train, dataset), dataset.train.targets.tolist(), strict=True):
        ink = (image[0] * 16).round().long()
        windows = {(i, j): tuple(ink[i : i + 8, j : j + 8].flatten().tolist()) for i in range(7) for j in range(7)}
        whole = [place for place, w in windows.items() if known.get(w) == label and sum(w) == int(ink.sum())]
        assert whole
        corners.add(whole[0])
    assert len(corners) > 15


def test_noise_on_the_canvas_has_the_deviation_asked_for():
    quiet, loud = (data.moved_digits(noise=noise, train_size=500) for noise in (0.0, 0.3))
    grain = undone(loud.train, loud) - undone(quiet.train, quiet)
    assert abs(float(grain.std()) - 0.3) < 0.005
    assert torch.equal(quiet.train.targets, loud.train.targets)


def test_clusters_lie_around_centres_at_the_distance_asked_for():
    dataset = data.clusters(classes=4, features=30, train_size=4001, test_size=80, separation=6.0)
    assert dataset.train.targets.bincount().tolist() == [1001, 1000, 1000, 1000]
    raw, labels = undone(dataset.train, dataset), dataset.train.targets
    centres = torch.stack([raw[labels == c].mean(0) for c in range(4)])
    assert torch.allclose(centres.norm(dim=1), torch.full((4,), 6.0, dtype=torch.float64), atol=0.3)
    assert abs(float((raw - centres[labels]).std()) - 1) < 0.02
    nearest = torch.cdist(undone(dataset.test, dataset), centres).argmin(1)
    assert (nearest == dataset.test.targets).double().mean() > 0.97


@pytest.mark.parametrize("name", LOADERS)
def test_the_same_seed_gives_the_same_set_whatever_the_global_generators_hold(name):
    options = {"seed": 3, "label_noise": 0.2, "fraction": 0.5}
    torch.manual_seed(1)
    first = LOADERS[name](**options)
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = LOADERS[name](**options)
    assert torch.equal(torch.get_rng_state(), state)
    assert first.fingerprint() == second.fingerprint()
    assert first.fingerprint() != LOADERS[name](**{**options, "seed": 4}).fingerprint()


@pytest.mark.parametrize("name", LOADERS)
def test_what_was_done_is_on_record_and_can_be_done_again(name):
    dataset = LOADERS[name](per_class=12, label_noise=0.25, mixup=0.3, seed=5)
    transform = json.loads(json.dumps(dataset.transform))
    again = data.load(dataset.name, **transform["options"])
    assert again.fingerprint() == dataset.fingerprint()
    assert again.mixup == 0.3
    assert transform["subset"]["kept"] == 12 * dataset.classes
    assert transform["labels"] == {"changed": 3 * dataset.classes, "of": 12 * dataset.classes}


def test_augmentation_is_on_record_too():
    for given in ("crop", data.Augment(pad=4), {"pad": 4}):
        dataset = data.digits(flat=False, augment=given)
        assert dataset.augment == data.Augment(pad=4)
        assert data.load("digits", **dataset.transform["options"]).augment == dataset.augment
    assert dataset.fingerprint() != data.digits(flat=False).fingerprint()


def test_noise_and_subsets_touch_the_training_split_only():
    plain, noisy = data.digits(), data.digits(label_noise=0.4)
    assert torch.equal(plain.train.inputs, noisy.train.inputs)
    assert int((plain.train.targets != noisy.train.targets).sum()) == 400
    drawn = data.digits(random_labels=True)
    assert int((plain.train.targets != drawn.train.targets).sum()) > 800
    for changed in (noisy, drawn, data.digits(per_class=5)):
        assert torch.equal(changed.test.targets, plain.test.targets)
    small = data.digits(per_class=5)
    assert small.train.targets.bincount().tolist() == [5] * 10
    assert len(small.test) == 797


def test_a_data_set_moves_and_stays_what_it_is():
    dataset = data.digits(per_class=3)
    double = dataset.to("cpu", torch.float64)
    assert double.train.inputs.dtype == torch.float64
    assert double.test.targets.dtype == torch.int64
    assert dataset.to("cpu").fingerprint() == dataset.fingerprint() != double.fingerprint()
    assert len(dataset.train) == 30


def test_names_are_what_load_knows():
    assert set(LOADERS) < set(data.names())
    assert len(data.names()) == 10
    for name in data.names():
        assert callable(getattr(data, name))


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: data.load("digts"), "did you mean digits"),
        (lambda: data.load("nothing like it"), "there are digits, digit_sums"),
        (lambda: data.load("digits", per_clas=3), "did you mean per_class"),
        (lambda: data.digits(fractoin=0.5), "did you mean fraction"),
        (lambda: data.load("digits:3"), "nothing after a colon"),
        (lambda: data.load("time_series"), "time_series:<name>"),
        (lambda: data.digits(per_class=3, fraction=0.5), "give one of them"),
        (lambda: data.digits(per_class=0), "at least 1"),
        (lambda: data.digits(per_class=True), "whole number"),
        (lambda: data.digits(per_class=101), "100 samples of class 0"),
        (lambda: data.digits(fraction=0.0), "above 0"),
        (lambda: data.digits(fraction="half"), "finite number"),
        (lambda: data.digits(label_noise=1.1), "between 0 and 1"),
        (lambda: data.digits(label_noise=float("nan")), "finite number"),
        (lambda: data.digits(label_noise=0.1, random_labels=True), "give one of them"),
        (lambda: data.digits(mixup=-1.0), "at least 0"),
        (lambda: data.digits(seed=1.5), "seed is a whole number"),
        (lambda: data.digits(augment="flip"), r"images \[C, H, W\], but the inputs of digits are \[64\]"),
        (lambda: data.digits(augment="spin"), "no augmentation 'spin'"),
        (lambda: data.digits(augment={"spin": 1}), "no setting 'spin'"),
        (lambda: data.digits(augment=3), "not int"),
        (lambda: data.digit_sums(train_size=0), "train_size is a whole number of at least 1"),
        (lambda: data.moved_digits(canvas=7), "canvas is a whole number of at least 8"),
        (lambda: data.moved_digits(noise=-0.1), "at least 0"),
        (lambda: data.clusters(classes=1), "at least 2"),
        (lambda: data.clusters(train_size=5), "train_size=10"),
    ],
)
def test_misuse_is_refused_in_one_sentence(call, words):
    with pytest.raises(BadInput, match=words) as refusal:
        call()
    assert "\n" not in str(refusal.value)


def test_some_classes_alone():
    whole, some = data.digits(), data.digits(only=(7, 3), per_class=20)
    assert some.classes == 2
    assert some.train.targets.bincount().tolist() == [20, 20]
    sevens = undone(whole.test, whole)[whole.test.targets == 7].round()
    assert torch.equal(undone(some.test, some)[some.test.targets == 0].round(), sevens)
    assert len(some.test) == int(torch.isin(whole.test.targets, torch.tensor([3, 7])).sum())
    assert some.transform["options"]["only"] == [7, 3]
    assert data.digits(only=[7, 3], per_class=20).train.targets.tolist() == some.train.targets.tolist()


@pytest.mark.parametrize(
    ("only", "says"),
    [((3,), "two classes or more"), ((3, 3), "each once"), ((3, 10), "0 to 9"), (3, "a list"), ((1, -2), "at least 0")],
)
def test_classes_that_cannot_be_are_refused(only, says):
    with pytest.raises(BadInput, match=says):
        data.digits(only=only)
