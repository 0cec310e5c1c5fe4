"""CIFAR-10 and CIFAR-100, MNIST and Fashion-MNIST, in whichever layout they lie."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, Unpack

from landform.data._assemble import Raw, Scaling, assemble
from landform.data._hub import fetch
from landform.data._idx import read_idx
from landform.data._options import Common, Options
from landform.data._pickles import read_batches
from landform.data._pictures import Kind, read_folder, read_parquet
from landform.data._places import first_of, missing, root_of
from landform.data._types import Dataset
from landform.errors import BadInput

CIFAR10 = Kind(
    "cifar10",
    (3, 32, 32),
    10,
    "uoft-cs/cifar10",
    "img",
    "label",
    ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
)
CIFAR100 = Kind("cifar100", (3, 32, 32), 100, "uoft-cs/cifar100", "img", "fine_label")
MNIST = Kind("mnist", (1, 28, 28), 10, "ylecun/mnist", "image", "label")
FASHION_MNIST = Kind("fashion_mnist", (1, 28, 28), 10, "zalando-datasets/fashion_mnist", "image", "label")

# Other names under which people keep a set's folder, beside its own.
FOLDERS = {
    "cifar10": ("cifar-10-batches-py", "cifar10/cifar-10-batches-py", "cifar-10", "CIFAR10"),
    "cifar100": ("cifar-100-python", "cifar100/cifar-100-python", "cifar-100", "CIFAR100"),
    "mnist": ("MNIST", "MNIST/raw", "mnist/raw"),
    "fashion_mnist": ("fashion-mnist", "FashionMNIST", "FashionMNIST/raw", "fashion_mnist/raw"),
}
BATCHES = {
    "cifar10": ([f"data_batch_{i}" for i in range(1, 6)], ["test_batch"], "labels"),
    "cifar100": (["train"], ["test"], "fine_labels"),
}

Splits = tuple[Raw, Raw, dict[str, Any]]


def cifar10(*, download: bool | str = False, **common: Unpack[Common]) -> Dataset:
    """Load CIFAR-10: 32x32 colour images of 10 kinds of things.

    Read from ``root/cifar10`` (or ``root`` itself): the hub's parquet files, the original python batches, or folders
    ``train/<class>/*.png`` and ``test/<class>/*.png``, whichever is there.

    Args:
        download: fetch it from the hub when it is not there; a string names another data set of the hub, or a folder
            with a copy.
        **common: the options common to all data sets.

    Returns:
        The data set; inputs ``[3, 32, 32]``.
    """
    return _load(CIFAR10, Options.of(cifar10, common), download)


def cifar100(*, download: bool | str = False, **common: Unpack[Common]) -> Dataset:
    """Load CIFAR-100: 32x32 colour images of 100 kinds of things, in the same layouts as `cifar10`.

    Args:
        download: as for `cifar10`.
        **common: the options common to all data sets.

    Returns:
        The data set; inputs ``[3, 32, 32]``.
    """
    return _load(CIFAR100, Options.of(cifar100, common), download)


def mnist(*, download: bool | str = False, **common: Unpack[Common]) -> Dataset:
    """Load MNIST: 28x28 grey handwritten digits.

    Read from ``root/mnist`` (or ``root`` itself): the four idx files, packed or not, or the hub's parquet files.

    Args:
        download: as for `cifar10`.
        **common: the options common to all data sets.

    Returns:
        The data set; inputs ``[1, 28, 28]``.
    """
    return _load(MNIST, Options.of(mnist, common), download)


def fashion_mnist(*, download: bool | str = False, **common: Unpack[Common]) -> Dataset:
    """Load Fashion-MNIST: 28x28 grey pictures of clothes, in the same layouts as `mnist`.

    Args:
        download: as for `cifar10`.
        **common: the options common to all data sets.

    Returns:
        The data set; inputs ``[1, 28, 28]``.
    """
    return _load(FASHION_MNIST, Options.of(fashion_mnist, common), download)


def _load(kind: Kind, options: Options, download: bool | str) -> Dataset:
    layouts = "as idx files" if kind.name in ("mnist", "fashion_mnist") else "as python batches or folders of images"
    how = f"put it there in the hub's parquet layout or {layouts}, or fetch it with download=True"
    root = root_of(options.root, kind.name, how)
    folders = [root / name for name in (kind.name, *FOLDERS[kind.name])] + [root]
    found = _find(kind, folders)
    if found is None and download:
        fetch(download if isinstance(download, str) else kind.hub, root / kind.name, kind)
        found = _find(kind, folders)
    if found is None:
        raise missing(kind.name, [root / kind.name, root], how)
    train, test, source = found
    return assemble(
        kind.name,
        options,
        {},
        train=train,
        test=test,
        classes=kind.classes,
        scaling=Scaling(255.0, channels=1),
        source=source,
    )


def _find(kind: Kind, folders: list[Path]) -> Splits | None:
    looks: tuple[Callable[[Kind, Path], Splits | None], ...] = (_parquet, _batches, _idx, _folders)
    for folder in folders:
        if folder.is_dir():
            for look in looks:
                if (found := look(kind, folder)) is not None:
                    return found
    return None


def _parquet(kind: Kind, folder: Path) -> Splits | None:
    """The hub's files lie in the folder, or one below, where its repositories have them."""
    for place in (folder, folder / "data", folder / "plain_text", folder / kind.name):
        parts = [sorted(place.glob(f"{part}*.parquet")) for part in ("train", "test")]
        if all(parts):
            train, test = (read_parquet(files, kind) for files in parts)
            return train, test, {"from": "parquet", "files": [file.name for files in parts for file in files]}
    return None


def _batches(kind: Kind, folder: Path) -> Splits | None:
    if kind.name not in BATCHES:
        return None
    names, test_names, key = BATCHES[kind.name]
    here = [name for name in (*names, *test_names) if (folder / name).is_file()]
    if not here:
        return None
    if lacking := [name for name in (*names, *test_names) if name not in here]:
        raise BadInput(f"{folder} has python batches of {kind.name} but not {', '.join(lacking)}: fetch them again.")
    train, test = (Raw.of(*read_batches([folder / n for n in part], key, kind.shape)) for part in (names, test_names))
    return train, test, {"from": "python batches", "files": here}


def _idx(kind: Kind, folder: Path) -> Splits | None:
    if kind.shape[0] != 1:
        return None
    splits, used = [], []
    for part in ("train", "t10k"):
        files = [
            first_of([folder], [f"{part}-{what}{dot}idx{axes}-ubyte{end}" for dot in "-." for end in ("", ".gz")])
            for what, axes in (("images", 3), ("labels", 1))
        ]
        if files[0] is None and files[1] is None and part == "train":
            return None
        if files[0] is None or files[1] is None:
            what = f"{part}-{'images-idx3' if files[0] is None else 'labels-idx1'}-ubyte"
            raise BadInput(f"{folder} has idx files of {kind.name} but not {what} (or that with .gz): put it there.")
        images, labels = read_idx(files[0], 3), read_idx(files[1], 1)
        if tuple(images.shape[1:]) != kind.shape[1:] or len(images) != len(labels):
            raise BadInput(
                f"{files[0]} holds {'x'.join(map(str, images.shape))} pixels for {len(labels)} labels, where an image "
                f"of {kind.name} has 28x28: fetch both files again."
            )
        splits.append(Raw.of(images[:, None], labels.long()))
        used += [files[0].name, files[1].name]
    return splits[0], splits[1], {"from": "idx", "files": used}


def _folders(kind: Kind, folder: Path) -> Splits | None:
    train = folder / "train"
    if not train.is_dir() or not any(entry.is_dir() for entry in train.iterdir()):
        return None
    test = next((folder / name for name in ("test", "val", "valid") if (folder / name).is_dir()), None)
    if test is None:
        raise BadInput(f"{folder} has a folder train but no folder test beside it: put the test images there.")
    first, second, labels = read_folder(train, test, kind)
    return first, second, {"from": "image folders", "labels": labels}
