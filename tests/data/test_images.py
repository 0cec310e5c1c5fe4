"""CIFAR and MNIST in every layout, from tiny files written here."""

import gzip
import io
import pickle
import struct

import numpy
import pyarrow
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pyarrow import parquet

import landform.data as data
from landform.data._idx import read_idx
from landform.data._pickles import read_batches
from landform.errors import BadInput

fuzz = settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])


def pixels(count: int, shape: tuple[int, ...], seed: int) -> numpy.ndarray:
    return numpy.random.default_rng(seed).integers(0, 256, (count, *shape), dtype=numpy.uint8)


def encoded(image: numpy.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(image).save(stream, "PNG")
    return stream.getvalue()


def undone(split: data.Split, dataset: data.Dataset) -> numpy.ndarray:
    scaling = dataset.transform["normalise"]
    mean, std = (torch.tensor(scaling[key], dtype=torch.float64).reshape(1, -1, 1, 1) for key in ("mean", "std"))
    return ((split.inputs.double() * std + mean) * 255).round().to(torch.uint8).numpy()


def write_parquet(file, images, labels, *, image="img", label="label") -> None:
    structs = [{"bytes": encoded(each), "path": None} for each in images]
    parquet.write_table(pyarrow.table({image: structs, label: pyarrow.array(labels, pyarrow.int64())}), file)


@pytest.fixture
def hub(tmp_path):
    """Forty training and ten test images in the hub's layout, and their pixels."""
    train, test = pixels(40, (32, 32, 3), 0), pixels(10, (32, 32, 3), 1)
    folder = tmp_path / "cifar10"
    folder.mkdir()
    # two files, in the order of their names
    write_parquet(folder / "train-00000-of-00002.parquet", train[:25], [i % 10 for i in range(25)])
    write_parquet(folder / "train-00001-of-00002.parquet", train[25:], [i % 10 for i in range(25, 40)])
    write_parquet(folder / "test-00000-of-00001.parquet", test, list(range(10)))
    return tmp_path, train.transpose(0, 3, 1, 2), test.transpose(0, 3, 1, 2)


def test_parquet_gives_the_images_in_order(hub):
    root, train, test = hub
    dataset = data.cifar10(root=root)
    assert dataset.train.inputs.shape == (40, 3, 32, 32)
    assert dataset.train.inputs.is_contiguous()
    assert numpy.array_equal(undone(dataset.train, dataset), train)
    assert numpy.array_equal(undone(dataset.test, dataset), test)
    assert dataset.train.targets.tolist() == [i % 10 for i in range(40)]
    assert dataset.transform["source"]["from"] == "parquet"
    assert dataset.classes == 10


def test_normalised_by_the_training_splits_own_moments(hub):
    root, train, _ = hub
    dataset = data.cifar10(root=root)
    inputs = dataset.train.inputs.double()
    assert torch.allclose(inputs.mean((0, 2, 3)), torch.zeros(3, dtype=torch.float64), atol=1e-6)
    assert torch.allclose(inputs.var((0, 2, 3), correction=0), torch.ones(3, dtype=torch.float64), atol=1e-5)
    assert numpy.allclose(dataset.transform["normalise"]["mean"], (train / 255).mean((0, 2, 3)))
    assert numpy.allclose(dataset.transform["normalise"]["std"], (train / 255).std((0, 2, 3)))


def test_a_subset_decodes_only_what_it_keeps(hub):
    root, train, _ = hub
    folder = root / "cifar10"
    labels = [i % 10 for i in range(40)]
    kept = data.cifar10(root=root, per_class=1, seed=2)
    chosen = undone(kept.train, kept)
    places = [next(i for i in range(40) if numpy.array_equal(train[i], image)) for image in chosen]
    assert [labels[i] for i in places] == kept.train.targets.tolist()
    # spoil every image that is not kept: the subset must not notice
    structs = [
        {"bytes": encoded(train[i].transpose(1, 2, 0)) if i in places else b"broken", "path": None} for i in range(40)
    ]
    (folder / "train-00001-of-00002.parquet").unlink()
    parquet.write_table(
        pyarrow.table({"img": structs, "label": pyarrow.array(labels, pyarrow.int64())}),
        folder / "train-00000-of-00002.parquet",
    )
    again = data.cifar10(root=root, per_class=1, seed=2)
    assert torch.equal(again.train.inputs, kept.train.inputs)
    with pytest.raises(BadInput, match="no image that can be decoded"):
        data.cifar10(root=root)


def test_the_hubs_own_folders_are_found(hub):
    root, train, _ = hub
    (root / "cifar10").rename(root / "elsewhere")
    (root / "cifar10").mkdir()
    (root / "elsewhere").rename(root / "cifar10" / "plain_text")
    assert numpy.array_equal(undone(*[(d := data.cifar10(root=root)).train, d]), train)


def test_cifar100_takes_the_fine_labels(tmp_path):
    images = pixels(4, (32, 32, 3), 0)
    structs = [{"bytes": encoded(each), "path": "x.png"} for each in images]
    for part in ("train", "test"):
        table = pyarrow.table({"img": structs, "fine_label": [99, 0, 50, 7], "coarse_label": [1, 2, 3, 4]})
        parquet.write_table(table, tmp_path / f"{part}-0.parquet")
    dataset = data.cifar100(root=tmp_path)
    assert dataset.train.targets.tolist() == [99, 0, 50, 7]
    assert dataset.classes == 100


def spoilt_bytes(root):
    (root / "cifar10" / "test-00000-of-00001.parquet").write_bytes(b"PAR1 and no more")


def spoilt_columns(root):
    write_parquet(root / "cifar10" / "test-00000-of-00001.parquet", pixels(1, (32, 32, 3), 0), [0], image="picture")


def spoilt_size(root):
    write_parquet(root / "cifar10" / "test-00000-of-00001.parquet", pixels(1, (28, 28, 3), 0), [0])


def spoilt_label(root):
    write_parquet(root / "cifar10" / "test-00000-of-00001.parquet", pixels(1, (32, 32, 3), 0), [10])


def spoilt_kind(root):
    table = pyarrow.table({"img": ["a.png"], "label": [0]})
    parquet.write_table(table, root / "cifar10" / "test-00000-of-00001.parquet")


def spoilt_null(root):
    table = pyarrow.table({"img": [{"bytes": b"x", "path": "a"}, {"bytes": None, "path": "a"}], "label": [0, 1]})
    parquet.write_table(table, root / "cifar10" / "test-00000-of-00001.parquet")


def spoilt_type(root):
    table = pyarrow.table({"img": [{"bytes": b"x", "path": "a"}], "label": ["cat"]})
    parquet.write_table(table, root / "cifar10" / "test-00000-of-00001.parquet")


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoilt_bytes, "cannot be read as cifar10"),
        (spoilt_columns, "has no column 'img' but picture, label"),
        (spoilt_size, "28x28 pixels, but those of cifar10 have 32x32"),
        (spoilt_label, "test split of cifar10 is 10, outside 0..9"),
        (spoilt_kind, "cannot be read as cifar10"),
        (spoilt_null, "names images instead of holding their bytes"),
        (spoilt_type, "not an integer for every row"),
    ],
)
def test_bad_parquet_is_refused_in_one_sentence(hub, spoil, words):
    spoil(hub[0])
    with pytest.raises(BadInput, match=words) as refusal:
        data.cifar10(root=hub[0])
    assert "\n" not in str(refusal.value)


def as_python_2(images: numpy.ndarray, labels: list[int], key: str) -> bytes:
    """The bytes that Python 2 and the NumPy of its day wrote for a batch, opcode by opcode."""
    raw = images.tobytes()
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R"
        + b"(K\x01"
        + b"".join(b"J" + struct.pack("<i", size) for size in images.shape)
        + b"\x86cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\x89"
        + b"T"
        + struct.pack("<i", len(raw))
        + raw
        + b"tb"
    )
    numbers = b"](" + b"".join(b"K" + bytes([label]) for label in labels) + b"e"
    name = key.encode()
    return b"\x80\x02}(U\x04data" + array + b"U" + bytes([len(name)]) + name + numbers + b"u."


@pytest.mark.parametrize("protocol", ["python 2", 2, 4, 5])
def test_python_batches(tmp_path, protocol):
    images = pixels(12, (3072,), 0)
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    for i, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        rows, labels = images[2 * i : 2 * i + 2], [i, 9 - i]
        if protocol == "python 2":
            written = as_python_2(rows, labels, "labels")
        else:
            written = pickle.dumps({b"data": rows, b"labels": labels, b"batch_label": b"x"}, protocol=protocol)
        (folder / name).write_bytes(written)
    dataset = data.cifar10(root=tmp_path)
    assert numpy.array_equal(undone(dataset.train, dataset), images[:10].reshape(-1, 3, 32, 32))
    assert numpy.array_equal(undone(dataset.test, dataset), images[10:].reshape(-1, 3, 32, 32))
    assert dataset.train.targets.tolist() == [0, 9, 1, 8, 2, 7, 3, 6, 4, 5]
    (folder / "data_batch_3").unlink()
    with pytest.raises(BadInput, match="but not data_batch_3"):
        data.cifar10(root=tmp_path)


def test_python_batches_of_cifar100(tmp_path):
    folder = tmp_path / "cifar100"
    folder.mkdir()
    for name in ("train", "test"):
        (folder / name).write_bytes(as_python_2(pixels(3, (3072,), 0), [99, 1, 2], "fine_labels"))
    assert data.cifar100(root=tmp_path).train.targets.tolist() == [99, 1, 2]


class Evil:
    def __init__(self, call, *arguments):
        self.call, self.arguments = call, arguments

    def __reduce__(self):
        return self.call, self.arguments


def test_a_pickle_that_would_run_a_program_is_refused(tmp_path):
    mark = tmp_path / "ran"
    for evil in (
        Evil(open, str(mark), "w"),
        Evil(eval, f"open({str(mark)!r}, 'w')"),
        Evil(numpy.load, str(mark)),
        Evil(getattr, [], "append"),
    ):
        (tmp_path / "batch").write_bytes(pickle.dumps({"data": evil, "labels": []}, protocol=2))
        with pytest.raises(BadInput, match="which no array needs"):
            read_batches([tmp_path / "batch"], "labels", (3, 32, 32))
    assert not mark.exists()


@pytest.mark.parametrize(
    ("batch", "words"),
    [
        ([1, 2], "holds a list where a dict was expected"),
        ({"labels": [1]}, "'data' is no uint8 array"),
        ({"data": numpy.zeros((1, 3072)), "labels": [1]}, "'data' is no uint8 array"),
        ({"data": numpy.zeros((1, 99), numpy.uint8), "labels": [1]}, r"\[N, 3072\]"),
        ({"data": numpy.array([None]), "labels": [1]}, "'O8', which are no numbers"),
        ({"data": numpy.zeros((1, 3072), numpy.uint8), "labels": [1, 2]}, "no list of 1 integers"),
        ({"data": numpy.zeros((1, 3072), numpy.uint8), "labels": ["1"]}, "no list of 1 integers"),
        ({"data": numpy.zeros((1, 3072), numpy.uint8), "labels": [2**70]}, "beyond 64 bits"),
    ],
)
def test_a_pickle_of_something_else_is_refused(tmp_path, batch, words):
    (tmp_path / "batch").write_bytes(pickle.dumps(batch, protocol=2))
    with pytest.raises(BadInput, match=words):
        read_batches([tmp_path / "batch"], "labels", (3, 32, 32))


@fuzz
@given(st.data())
def test_damaged_pickles_are_refused_or_read_but_never_crash(tmp_path, data):
    written = bytearray(as_python_2(pixels(1, (12,), 0), [3], "labels"))
    for _ in range(data.draw(st.integers(1, 4))):
        written[data.draw(st.integers(0, len(written) - 1))] = data.draw(st.integers(0, 255))
    (tmp_path / "batch").write_bytes(bytes(written[: data.draw(st.integers(0, len(written)))]))
    try:
        images, labels = read_batches([tmp_path / "batch"], "labels", (3, 2, 2))
    except BadInput:
        return
    assert images.shape == (len(labels), 3, 2, 2)


def test_folders_of_images(tmp_path):
    images = pixels(4, (32, 32, 3), 0)
    for part in ("train", "test"):
        for i, label in enumerate(["cat", "truck"]):
            folder = tmp_path / "cifar10" / part / label
            folder.mkdir(parents=True)
            Image.fromarray(images[2 * i]).save(folder / "b.png")
            Image.fromarray(images[2 * i + 1]).convert("L").save(folder / "a.PNG")
            (folder / "notes.txt").write_text("no image")
    dataset = data.cifar10(root=tmp_path)
    assert dataset.train.targets.tolist() == [3, 3, 9, 9]  # CIFAR-10's own numbers
    assert dataset.transform["source"] == {"from": "image folders", "labels": ["cat", "truck"]}
    assert numpy.array_equal(undone(dataset.train, dataset)[1::2], images[::2].transpose(0, 3, 1, 2))
    grey = undone(dataset.train, dataset)[0]
    assert (grey[0] == grey[1]).all()
    (tmp_path / "cifar10" / "test" / "dog").mkdir()
    with pytest.raises(BadInput, match="dog is a class that the training folder does not have"):
        data.cifar10(root=tmp_path)


def test_folders_called_by_number_or_by_other_names(tmp_path):
    for part in ("train", "val"):
        for label in ("7", "10"):
            folder = tmp_path / part / label
            folder.mkdir(parents=True)
            Image.fromarray(pixels(1, (32, 32, 3), 0)[0]).save(folder / "a.png")
    assert sorted(data.cifar100(root=tmp_path).test.targets.tolist()) == [7, 10]
    assert sorted(data.cifar10(root=tmp_path).test.targets.tolist()) == [0, 1]  # 10 is no class of CIFAR-10
    for i in range(10):
        (tmp_path / "train" / f"class{i}").mkdir()
    with pytest.raises(BadInput, match="12 folders, but cifar10 has 10 classes"):
        data.cifar10(root=tmp_path)


def test_a_folder_of_images_without_its_other_half_or_without_images(tmp_path):
    (tmp_path / "train" / "cat").mkdir(parents=True)
    with pytest.raises(BadInput, match="no folder test beside it"):
        data.cifar10(root=tmp_path)
    (tmp_path / "test").mkdir()
    with pytest.raises(BadInput, match="training split of cifar10 is empty"):
        data.cifar10(root=tmp_path)


def idx(array: numpy.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def write_mnist(folder, *, packed=False, dot="-"):
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {}
    for seed, (part, count) in enumerate((("train", 20), ("t10k", 10))):
        arrays[part] = pixels(count, (28, 28), seed), (numpy.arange(count) % 10).astype(numpy.uint8)
        for what, axes, array in zip(("images", "labels"), (3, 1), arrays[part], strict=True):
            file = folder / f"{part}-{what}{dot}idx{axes}-ubyte{'.gz' if packed else ''}"
            file.write_bytes(gzip.compress(idx(array)) if packed else idx(array))
    return arrays


@pytest.mark.parametrize(("packed", "dot"), [(False, "-"), (True, "-"), (False, ".")])
@pytest.mark.parametrize(
    ("name", "folder"), [("mnist", "MNIST/raw"), ("fashion_mnist", "fashion_mnist"), ("mnist", "")]
)
def test_idx_files(tmp_path, packed, dot, name, folder):
    arrays = write_mnist(tmp_path / folder, packed=packed, dot=dot)
    dataset = data.load(name, root=tmp_path)
    assert dataset.train.inputs.shape == (20, 1, 28, 28)
    assert numpy.array_equal(undone(dataset.train, dataset)[:, 0], arrays["train"][0])
    assert numpy.array_equal(undone(dataset.test, dataset)[:, 0], arrays["t10k"][0])
    assert dataset.test.targets.tolist() == list(range(10))


def test_mnist_in_the_hubs_layout(tmp_path):
    images = pixels(3, (28, 28), 0)
    for part in ("train", "test"):
        write_parquet(tmp_path / f"{part}-0.parquet", images, [3, 1, 2], image="image")
    dataset = data.mnist(root=tmp_path)
    assert numpy.array_equal(undone(dataset.train, dataset)[:, 0], images)


IMAGES = idx(pixels(2, (4, 3), 0))


# With a date in them they would differ from one worker of the tests to the next, and so would the tests' names.
PACKED, PACKED_SHORT = (gzip.compress(each, mtime=0) for each in (IMAGES, IMAGES[:-1]))


@pytest.mark.parametrize(
    ("written", "words"),
    [
        pytest.param(b"", "no idx file", id="empty"),
        pytest.param(b"\0\0", "no idx file", id="half a number"),
        pytest.param(b"PK" + IMAGES[2:], "no idx file", id="another form"),
        pytest.param(IMAGES[:2] + b"\x0d" + IMAGES[3:], "type 0x0d", id="another type"),
        pytest.param(idx(numpy.zeros(5, numpy.uint8)), "1 dimensions where 3 were expected", id="labels"),
        pytest.param(IMAGES[:9], "3 dimensions where 3 were expected|no idx file", id="half a head"),
        pytest.param(IMAGES[:-1], "2x4x3 bytes, but it holds only 23", id="a byte short"),
        pytest.param(IMAGES + b"x", "holds more", id="a byte more"),
        pytest.param(IMAGES[:4] + struct.pack(">3I", 2**31, 2**31, 4), "which cannot be", id="beyond any disk"),
        pytest.param(PACKED[:-12], "cannot be read", id="packed, cut"),
        pytest.param(PACKED_SHORT, "only 23", id="packed, a byte short"),
        pytest.param(b"\x1f\x8b and no gzip", "cannot be read", id="no gzip"),
    ],
)
def test_lying_idx_files_are_refused(tmp_path, written, words):
    (tmp_path / "file").write_bytes(written)
    with pytest.raises(BadInput, match=words) as refusal:
        read_idx(tmp_path / "file", 3)
    assert "\n" not in str(refusal.value)


@fuzz
@given(st.binary(max_size=60) | st.binary(max_size=40).map(lambda tail: IMAGES[:16] + tail), st.booleans())
def test_any_bytes_are_an_idx_file_or_refused(tmp_path, written, packed):
    (tmp_path / "file").write_bytes(gzip.compress(written) if packed else written)
    try:
        array = read_idx(tmp_path / "file", 3)
    except BadInput:
        return
    assert idx(array.numpy()) == written


def test_idx_files_that_do_not_belong_together(tmp_path):
    write_mnist(tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").unlink()
    with pytest.raises(BadInput, match="but not t10k-labels-idx1-ubyte"):
        data.mnist(root=tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(numpy.zeros(9, numpy.uint8)))
    with pytest.raises(BadInput, match="for 9 labels"):
        data.mnist(root=tmp_path)
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx(numpy.full(10, 12, numpy.uint8)))
    with pytest.raises(BadInput, match="is 12, outside"):
        data.mnist(root=tmp_path)


def test_a_missing_set_says_where_it_looked_and_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.delenv("LANDFORM_DATA", raising=False)
    with pytest.raises(BadInput, match=r"give root=, or set LANDFORM_DATA .* download=True"):
        data.cifar10()
    monkeypatch.setenv("LANDFORM_DATA", str(tmp_path))
    with pytest.raises(BadInput, match=rf"looked in {tmp_path}/cifar10.*download=True"):
        data.cifar10()
    with pytest.raises(BadInput, match="no folder: correct root"):
        data.mnist(root=tmp_path / "nowhere")


def test_fetching_through_datasets_from_a_local_copy(tmp_path, hub, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    source, train, _ = hub
    root = tmp_path / "new"
    root.mkdir()
    fetched = data.cifar10(root=root, download=str(source / "cifar10"))
    assert numpy.array_equal(undone(fetched.train, fetched), train)
    # what was fetched stays, alone, and is read the next time
    assert sorted(file.name for file in (root / "cifar10").iterdir()) == [
        "test-00000-of-00001.parquet",
        "train-00000-of-00001.parquet",
    ]
    again = data.cifar10(root=root)
    assert again.fingerprint() == fetched.fingerprint()


def test_fetching_what_is_not_there_or_is_another_set(tmp_path, hub):
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"cifar100 could not be fetched from .*empty"):
        data.cifar100(root=tmp_path, download=str(tmp_path / "empty"))
    with pytest.raises(BadInput, match="has no column 'fine_label'"):
        data.cifar100(root=tmp_path / "empty", download=str(hub[0] / "cifar10"))


def test_the_real_cifar10(data_root):
    if not (data_root / "cifar10").is_dir():
        pytest.skip("no cifar10/ under LANDFORM_DATA")
    dataset = data.cifar10(root=data_root, per_class=3)
    assert dataset.transform["subset"] == {"kept": 30, "of": 50000}
    assert dataset.test.inputs.shape == (10000, 3, 32, 32)
    assert dataset.test.targets.bincount().tolist() == [1000] * 10
    assert 0.4 < dataset.transform["normalise"]["mean"][0] < 0.6


def test_fetching_a_copy_whose_columns_the_hub_has_typed(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    images = pixels(3, (28, 28), 0)
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(num_classes=10)})
    (tmp_path / "copy").mkdir()
    for part in ("train", "test"):
        rows = {"image": [{"bytes": encoded(each), "path": None} for each in images], "label": [3, 1, 2]}
        table = datasets.Dataset.from_dict(rows, features=features)
        table.to_parquet(str(tmp_path / "copy" / f"{part}-00000-of-00001.parquet"))
    dataset = data.mnist(root=tmp_path, download=str(tmp_path / "copy"))
    assert numpy.array_equal(undone(dataset.train, dataset)[:, 0], images)
    assert dataset.train.targets.tolist() == [3, 1, 2]
