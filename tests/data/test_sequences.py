"""Time series and text, from tiny files written here."""

import numpy
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import landform.data as data
from landform.data._series import read_ts
from landform.errors import BadInput

fuzz = settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])

HEADER = "# a comment\n@problemName Toy\n@timeStamps false\n@univariate true\n"
CLASSES = HEADER + "@classLabel true a b\n@data\n"


def write(folder, train: str, test: str, name: str = "Toy"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}_TRAIN.ts").write_text(train)
    (folder / f"{name}_TEST.ts").write_text(test)


def undone(split: data.Split, dataset: data.Dataset) -> torch.Tensor:
    scaling = dataset.transform["normalise"]
    mean, std = (torch.tensor(scaling[key], dtype=torch.float64) for key in ("mean", "std"))
    return split.inputs[..., : len(mean)].double() * std + mean


@pytest.mark.parametrize("place", ["timeseries/Toy", "timeseries", "Toy", ""])
def test_series_of_equal_length(tmp_path, place):
    write(tmp_path / place, CLASSES + "1,2,3:b\n4,5,6.5:a\n", CLASSES + "\n-1e1, 0 ,2:a\n")
    dataset = data.time_series("Toy", root=tmp_path)
    assert dataset.train.inputs.shape == (2, 3, 1)
    expected = torch.tensor([[1, 2, 3], [4, 5, 6.5]], dtype=torch.float64)
    assert torch.allclose(undone(dataset.train, dataset)[..., 0], expected, atol=1e-6)
    assert dataset.transform["normalise"]["mean"] == [pytest.approx(21.5 / 6)]
    assert dataset.transform["normalise"]["std"] == [pytest.approx(numpy.std([1, 2, 3, 4, 5, 6.5]))]
    assert torch.allclose(undone(dataset.test, dataset)[0, :, 0], torch.tensor([-10.0, 0, 2]).double(), atol=1e-6)
    assert dataset.train.targets.tolist() == [1, 0]
    assert dataset.train.lengths is None
    assert dataset.name == "time_series:Toy"
    assert data.load(dataset.name, root=tmp_path).fingerprint() == dataset.fingerprint()


def test_series_of_unequal_length_are_right_aligned(tmp_path):
    write(tmp_path, CLASSES + "1,2:10,20:b\n3:30:a\n", CLASSES + "1,2,4:10,10,10:a\n")
    dataset = data.load("time_series:Toy", root=tmp_path, mask=True)
    assert dataset.train.inputs.shape == (2, 3, 3)
    assert dataset.train.lengths.tolist() == [2, 1]
    assert dataset.test.lengths.tolist() == [3]
    assert dataset.train.inputs[:, :, 2].tolist() == [[0, 1, 1], [0, 0, 1]]
    assert dataset.test.inputs[0, :, 2].tolist() == [1, 1, 1]
    assert dataset.train.inputs[0, 0].tolist() == [0, 0, 0]
    assert dataset.train.inputs[1, :2].abs().sum() == 0
    assert dataset.transform["normalise"]["mean"] == [2, 20]  # padding does not count
    values = undone(dataset.train, dataset)
    assert values[0, 1:].tolist() == [pytest.approx([1, 10]), pytest.approx([2, 20])]
    assert values[1, 2].tolist() == pytest.approx([3, 30])
    plain = data.time_series("Toy", root=tmp_path)
    assert torch.equal(plain.train.inputs, dataset.train.inputs[..., :2])


def test_lengths_follow_the_subset(tmp_path):
    train = CLASSES + "".join(f"{','.join(['1', '2', '3', '4'][: 1 + i % 4])}:{'ab'[i % 2]}\n" for i in range(16))
    write(tmp_path, train, CLASSES + "1,2,3,4:a\n")
    whole, part = (data.time_series("Toy", root=tmp_path, mask=True, **o) for o in ({}, {"per_class": 3}))
    assert len(part.train) == 6
    assert part.train.inputs[..., -1].sum(1).tolist() == part.train.lengths.tolist()
    assert whole.train.inputs[..., -1].sum(1).tolist() == whole.train.lengths.tolist()


def test_regression(tmp_path):
    header = HEADER + "@targetlabel true\n@data\n"
    write(tmp_path, header + "1,2:0.5\n3,4:-7\n5,6:1\n", header + "1,2:3\n")
    dataset = data.time_series("Toy", root=tmp_path)
    assert dataset.classes is None
    assert dataset.train.targets.tolist() == [0.5, -7, 1]
    assert len(data.time_series("Toy", root=tmp_path, fraction=0.67).train) == 2
    with pytest.raises(BadInput, match="does not have: give fraction"):
        data.time_series("Toy", root=tmp_path, per_class=1)
    with pytest.raises(BadInput, match="regression"):
        data.time_series("Toy", root=tmp_path, label_noise=0.1)


def test_labels_written_in_two_ways(tmp_path):
    header = HEADER + "@classLabel true 1 2\n@data\n"
    (tmp_path / "x.ts").write_text(header + "1:2.0\n1:1\n")
    assert read_ts(tmp_path / "x.ts").targets == [1, 0]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "no line @data"),
        ("1,2:a\n", "Line 1 of .* comes before @data"),
        (CLASSES, "no series"),
        (HEADER + "@data\n1,2:a\n", "neither @classLabel true nor @targetLabel"),
        (HEADER + "@classLabel true\n@data\n1:a\n", "does not list the classes"),
        (HEADER + "@classLabel true a a\n@data\n1:a\n", "does not list the classes"),
        ("@timeStamps true\n@classLabel true a\n@data\n(0,1),(1,2):a\n", "time stamps"),
        (CLASSES + "1,2:a\n1,?:a\n", "Line 8 of .* a missing value"),
        (CLASSES + "1,NaN:a\n", "NaN or infinity"),
        (CLASSES + "1,1e99:a\n", "NaN or infinity"),
        (CLASSES + "1,,2:a\n", "no number"),
        (CLASSES + "1,2:c\n", "class 'c', but the header lists a, b"),
        (CLASSES + "1,2\n", "no label"),
        (CLASSES + "1,2:1:a\n", "channels of 2 and 1 steps"),
        (CLASSES + "1,2:a\n1,2:3,4:a\n", "2 channels where the first series has 1"),
        (HEADER + "@targetLabel true\n@data\n1,2:nan\n", "no finite number"),
    ],
)
def test_malformed_ts_files_are_refused_in_one_sentence(tmp_path, text, words):
    (tmp_path / "x.ts").write_text(text)
    with pytest.raises(BadInput, match=words) as refusal:
        read_ts(tmp_path / "x.ts")
    assert "\n" not in str(refusal.value)


lines = st.lists(
    st.sampled_from(
        ["@data", "@classLabel true a 1", "@targetlabel true", "# x", "1,2:a", "1:2:1", "?:a", "", "@", ":"]
    )
    | st.text(alphabet="@#:,.ae1?-n\u2028 \x00", max_size=12),
    max_size=8,
)


@fuzz
@given(st.binary(max_size=80) | lines.map(lambda each: "\n".join(["@classLabel true a 1", *each]).encode()))
def test_any_bytes_are_a_ts_file_or_refused(tmp_path, written):
    (tmp_path / "x.ts").write_bytes(written)
    try:
        series = read_ts(tmp_path / "x.ts")
    except BadInput:
        return
    assert len(series.cases) == len(series.targets) > 0
    assert all(case.isfinite().all() for case in series.cases)


@fuzz
@given(st.lists(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1), min_size=1))
def test_what_is_written_is_read(tmp_path, cases):
    body = "".join(",".join(map(repr, case)) + ":b\n" for case in cases)
    (tmp_path / "x.ts").write_text(CLASSES + body)
    series = read_ts(tmp_path / "x.ts")
    assert [case[:, 0].tolist() for case in series.cases] == cases


def test_series_files_that_do_not_belong_together(tmp_path):
    write(tmp_path, CLASSES + "1:a\n", CLASSES.replace("a b", "a c") + "1:a\n")
    with pytest.raises(BadInput, match="list other classes"):
        data.time_series("Toy", root=tmp_path)
    write(tmp_path, CLASSES + "1:a\n", CLASSES + "1:2:a\n")
    with pytest.raises(BadInput, match="other numbers of channels"):
        data.time_series("Toy", root=tmp_path)
    with pytest.raises(BadInput, match=r"Gun_TRAIN.ts was not found; looked in .*timeseriesclassification"):
        data.time_series("Gun", root=tmp_path)
    (tmp_path / "Toy_TEST.ts").unlink()
    with pytest.raises(BadInput, match=r"Toy_TEST\.ts was not found"):
        data.time_series("Toy", root=tmp_path)
    with pytest.raises(BadInput, match="plain name"):
        data.time_series("../Toy", root=tmp_path)


def test_text_becomes_next_character_sequences(tmp_path):
    text = "héllo wörld, " * 20 + "\U0001f600"
    (tmp_path / "a.txt").write_text(text, encoding="utf-8")
    dataset = data.characters(tmp_path / "a.txt", length=7, test_share=0.25)
    vocabulary = dataset.transform["source"]["vocabulary"]
    assert list(vocabulary) == sorted(set(text))
    assert dataset.classes == len(vocabulary)
    cut = len(text) - int(len(text) * 0.25)
    for split, part in ((dataset.train, text[:cut]), (dataset.test, text[cut:])):
        assert split.inputs.dtype == split.targets.dtype == torch.int64
        for i, (sequence, following) in enumerate(zip(split.inputs.tolist(), split.targets.tolist(), strict=True)):
            assert "".join(vocabulary[c] for c in sequence) == part[7 * i : 7 * i + 7]
            assert "".join(vocabulary[c] for c in following) == part[7 * i + 1 : 7 * i + 8]
        assert len(split) == (len(part) - 1) // 7


def test_options_of_text(tmp_path):
    file = tmp_path / "tinyshakespeare.txt"
    file.write_text("to be or not to be, " * 50)
    whole = data.load("characters", root=tmp_path, length=10)
    assert len(data.characters(root=tmp_path, length=10, fraction=0.5).train) == round(len(whole.train) / 2 + 0.01)
    noisy = data.load(f"characters:{file}", length=10, label_noise=0.1)
    changed = int((noisy.train.targets != whole.train.targets).sum())
    assert changed == int(0.1 * whole.train.targets.numel() + 0.5)
    assert torch.equal(noisy.test.targets, whole.test.targets)
    for options, words in (
        ({"per_class": 3}, "give fraction"),
        ({"mixup": 0.2}, "mixup takes averages"),
        ({"augment": "flip"}, "augment changes images"),
        ({"length": 0}, "at least 1"),
        ({"length": 500}, "smaller length"),
        ({"test_share": 1.0}, "below 1"),
    ):
        with pytest.raises(BadInput, match=words):
            data.characters(root=tmp_path, **options)


def test_text_that_is_none(tmp_path, monkeypatch):
    with pytest.raises(BadInput, match="no text file"):
        data.characters(tmp_path / "a.txt")
    with pytest.raises(BadInput, match="tinyshakespeare was not found"):
        data.characters(root=tmp_path)
    monkeypatch.delenv("LANDFORM_DATA", raising=False)
    with pytest.raises(BadInput, match="set LANDFORM_DATA"):
        data.characters()
    (tmp_path / "a.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(BadInput, match="no text in UTF-8"):
        data.characters(tmp_path / "a.txt")
    (tmp_path / "a.txt").write_bytes(b"")
    with pytest.raises(BadInput, match="leaves 0 characters"):
        data.characters(tmp_path / "a.txt")


REAL = {
    "ArrowHead": (36, 175, 251, 1, 3),
    "GunPoint": (50, 150, 150, 1, 2),
    "ItalyPowerDemand": (67, 1029, 24, 1, 2),
    "JapaneseVowels": (270, 370, 29, 12, 9),
    "PickupGestureWiimoteZ": (50, 50, 361, 1, 10),
}


@pytest.mark.parametrize("name", REAL)
def test_the_real_series(data_root, name):
    if not (data_root / "timeseries" / name).is_dir():
        pytest.skip(f"no timeseries/{name} under LANDFORM_DATA")
    dataset = data.time_series(name, root=data_root)
    train, test, steps, channels, classes = REAL[name]
    assert dataset.train.inputs.shape == (train, steps, channels)
    assert dataset.test.inputs.shape == (test, steps, channels)
    assert dataset.classes == classes
    assert (dataset.train.lengths is not None) == (name in ("JapaneseVowels", "PickupGestureWiimoteZ"))
    assert dataset.train.targets.unique().tolist() == list(range(classes))


def test_the_real_text(data_root):
    if not (data_root / "text" / "tinyshakespeare.txt").is_file():
        pytest.skip("no text/tinyshakespeare.txt under LANDFORM_DATA")
    dataset = data.characters(root=data_root)
    assert dataset.classes == 65
    assert dataset.train.inputs.shape[1] == 64


def test_classes_need_a_label_for_each_sample(tmp_path):
    (tmp_path / "text.txt").write_text("to be or not to be " * 20)
    with pytest.raises(BadInput, match="not one for each sample"):
        data.characters(tmp_path / "text.txt", length=8, only=(0, 1))
