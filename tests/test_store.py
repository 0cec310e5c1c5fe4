from __future__ import annotations

import errno
import json
import multiprocessing
import os
import zlib
from pathlib import Path

import pytest
import safetensors
import safetensors.torch
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from landform import store
from landform.errors import BadInput, Damaged

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16,
    torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool,
]  # fmt: skip


def some_tensors() -> dict[str, torch.Tensor]:
    made = {}
    generator = torch.Generator().manual_seed(0)
    for number, dtype in enumerate(DTYPES):
        for shape in [(), (0,), (3,), (2, 5), (0, 4)]:
            made[f"{dtype}{shape}"] = (torch.rand(shape, generator=generator) * (number + 2)).to(dtype)
    made["turned"] = torch.arange(12.0).view(3, 4).T
    made['odd "name"/ü.landform.header'] = torch.ones(1)
    return made


def left_over(folder: Path) -> list[str]:
    return [file.name for file in folder.iterdir() if file.name.endswith(".tmp")]


def test_tensors_come_back_as_they_were(tmp_path: Path) -> None:
    tensors = some_tensors()
    strings = {"step": "3", "landform": 'a "quoted" \\ string', "ü": '"landform.header":"'}
    store.write_tensors(tmp_path / "a.safetensors", tensors, strings)
    back, metadata = store.read_tensors(tmp_path / "a.safetensors")
    assert metadata == strings
    assert back.keys() == tensors.keys()
    for name, tensor in tensors.items():
        assert back[name].dtype == tensor.dtype
        assert torch.equal(back[name], tensor), name
    assert left_over(tmp_path) == []


def test_the_safetensors_package_reads_our_files(tmp_path: Path) -> None:
    tensors = some_tensors()
    store.write_tensors(tmp_path / "a.safetensors", tensors, {"step": "3"})
    theirs = safetensors.torch.load_file(tmp_path / "a.safetensors")
    assert theirs.keys() == tensors.keys()
    assert all(torch.equal(theirs[name], tensors[name]) for name in tensors)
    with safetensors.safe_open(tmp_path / "a.safetensors", framework="pt") as file:
        assert file.metadata()["step"] == "3"


def test_a_file_not_written_here_is_refused(tmp_path: Path) -> None:
    safetensors.torch.save_file({"a": torch.ones(3)}, tmp_path / "theirs.safetensors")
    with pytest.raises(Damaged, match=r"theirs\.safetensors"):
        store.open_tensors(tmp_path / "theirs.safetensors")


def test_reading_into_a_row_of_another_type(tmp_path: Path) -> None:
    point = torch.randn(7, dtype=torch.bfloat16)
    store.write_tensors(tmp_path / "a.safetensors", {"point": point})
    rows = torch.zeros(2, 7)
    store.open_tensors(tmp_path / "a.safetensors").read("point", out=rows[1])
    assert torch.equal(rows[1], point.float())
    assert torch.equal(rows[0], torch.zeros(7))


def test_reading_one_tensor_leaves_the_others_unread(tmp_path: Path) -> None:
    file = tmp_path / "a.safetensors"
    store.write_tensors(file, {"a": torch.zeros(100), "b": torch.ones(100)})
    data = bytearray(file.read_bytes())
    data[-1] ^= 1  # in b, which lies last
    file.write_bytes(data)
    opened = store.open_tensors(file)
    assert torch.equal(opened.read("a"), torch.zeros(100))
    with pytest.raises(Damaged, match=r"a\.safetensors is damaged \(the bytes of b"):
        opened.read("b")
    with pytest.raises(BadInput, match="holds no tensor c"):
        opened.read("c")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = tmp_path_factory.mktemp("whole") / "a.safetensors"
    store.write_tensors(file, {"a": torch.randn(20), "b": torch.arange(5)}, {"step": "12"})
    return file.read_bytes()


@settings(deadline=None, max_examples=300)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_any_flipped_bit_is_noticed(whole: bytes, tmp_path_factory, place: float, bit: int) -> None:
    file = tmp_path_factory.getbasetemp() / "flipped.safetensors"
    data = bytearray(whole)
    data[int(place * len(data))] ^= 1 << bit
    file.write_bytes(data)
    with pytest.raises(Damaged, match=r"flipped\.safetensors is damaged"):
        store.read_tensors(file)


@settings(deadline=None, max_examples=200)
@given(cut=st.floats(0, 1, exclude_max=True), tail=st.binary(max_size=9))
def test_any_cut_or_changed_end_is_noticed(whole: bytes, tmp_path_factory, cut: float, tail: bytes) -> None:
    file = tmp_path_factory.getbasetemp() / "cut.safetensors"
    data = whole[: int(cut * len(whole))] + tail
    if data == whole:
        return
    file.write_bytes(data)
    with pytest.raises(Damaged, match=r"cut\.safetensors is damaged"):
        store.read_tensors(file)


def test_something_after_the_end_is_noticed(whole: bytes, tmp_path: Path) -> None:
    (tmp_path / "long.safetensors").write_bytes(whole + b"\0")
    with pytest.raises(Damaged, match="bytes where"):
        store.open_tensors(tmp_path / "long.safetensors")


LIES = [
    {"dtype": "F32", "shape": [2**40], "data_offsets": [0, 4]},
    {"dtype": "F32", "shape": [1], "data_offsets": [4, 8]},
    {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]},
    {"dtype": "F32", "shape": [True], "data_offsets": [0, 4]},
    {"dtype": "F99", "shape": [1], "data_offsets": [0, 4]},
    {"dtype": "F32", "shape": 1, "data_offsets": [0, 4]},
    {"dtype": "F32", "shape": [1]},
    {"dtype": [], "shape": [1], "data_offsets": [0, 4]},
    [1, 2],
    "F32",
]


@pytest.mark.parametrize("lie", LIES)
def test_a_header_that_lies_under_a_right_checksum_is_refused(lie: object, tmp_path: Path) -> None:
    strings = json.dumps({"landform.crc32": json.dumps({"a": "00000000"})}).encode()
    rest = b'",' + strings[1:] + b',"a":' + json.dumps(lie).encode() + b"}"
    front = b'{"__metadata__":{"landform.header":"'
    length = (len(front) + 8 + len(rest)).to_bytes(8, "little")
    file = tmp_path / "lie.safetensors"
    file.write_bytes(length + front + b"%08x" % zlib.crc32(length + rest) + rest + bytes(4))
    assert json.loads(file.read_bytes()[8:-4])["a"] == lie  # the header itself is well formed
    with pytest.raises(Damaged, match=r"lie\.safetensors is damaged"):
        store.open_tensors(file)


def test_what_cannot_be_stored_is_said(tmp_path: Path) -> None:
    for odd in (torch.ones(2, dtype=torch.complex64), torch.ones(2).to_sparse(), torch.ones(2, device="meta")):
        with pytest.raises(BadInput, match=r"Tensor odd .* cannot be stored"):
            store.write_tensors(tmp_path / "a", {"odd": odd})
    for name in ("", "__metadata__"):
        with pytest.raises(BadInput, match="give another name"):
            store.write_tensors(tmp_path / "a", {name: torch.ones(1)})
    with pytest.raises(BadInput, match="are taken"):
        store.write_tensors(tmp_path / "a", {}, {"landform.header": "x"})
    assert list(tmp_path.iterdir()) == []


# ---------------------------------------------------------------------------------------------- JSON, text


def test_json_comes_back_and_a_change_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    content = {"schema": 1, "x": [1, 2.5, None, True, "ü"], "y": {"a": 1e-30}}
    store.write_json(file, content)
    assert store.read_json(file) == content
    file.write_text(file.read_text().replace("2.5", "2.6"))
    with pytest.raises(Damaged, match=r"run\.json is damaged"):
        store.read_json(file)
    store.write_json(file, content, checksum=False)
    assert json.loads(file.read_text()) == store.read_json(file, checksum=False) == content


@settings(deadline=None)
@given(place=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_flipped_bit_in_json_changes_nothing_silently(tmp_path_factory, place: float, bit: int) -> None:
    file = tmp_path_factory.getbasetemp() / "flipped.json"
    content = {"schema": 1, "name": "a run", "lr": 0.125}
    store.write_json(file, content)
    data = bytearray(file.read_bytes())
    data[int(place * len(data))] ^= 1 << bit
    file.write_bytes(data)
    try:
        back = store.read_json(file)
    except Damaged:
        return
    assert back == content  # between the entries, one white space may have become another


@pytest.mark.parametrize("data", [b"", b"[1]", b"{", b"\xff\xfe{}", b"{}", b"[" * 100_000])
def test_what_is_no_json_object_of_ours_is_damaged(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(data)
    with pytest.raises(Damaged, match=r"a\.json"):
        store.read_json(tmp_path / "a.json")


def test_json_refuses_what_json_cannot_hold(tmp_path: Path) -> None:
    for bad in (float("nan"), torch.ones(1), {1, 2}):
        with pytest.raises(BadInput, match="cannot hold this as JSON"):
            store.write_json(tmp_path / "a.json", {"bad": bad})
    assert list(tmp_path.iterdir()) == []


def test_text_and_bytes_come_back(tmp_path: Path) -> None:
    store.write_text(tmp_path / "a.html", "<p>ü</p>")
    assert store.read_text(tmp_path / "a.html") == "<p>ü</p>"
    store.write_bytes(tmp_path / "b", [b"one", bytearray(b""), memoryview(b"two")])
    assert store.read_bytes(tmp_path / "b") == b"onetwo"
    with pytest.raises(BadInput, match="There is no file"):
        store.read_bytes(tmp_path / "c")
    with pytest.raises(BadInput, match="cannot be read"):
        store.read_bytes(tmp_path)
    with pytest.raises(BadInput, match="cannot be read"):
        store.open_tensors(tmp_path)


def test_a_later_schema_names_the_version_that_wrote_it() -> None:
    store.check_schema({"schema": 1, "landform": "0.1.0"}, "run.json", 1)
    with pytest.raises(
        BadInput, match=r"written by landform 9\.1 in schema 7, and this landform reads schemas up to 1"
    ):
        store.check_schema({"schema": 7, "landform": "9.1"}, "run.json", 1)
    with pytest.raises(Damaged, match="does not say"):
        store.check_schema({}, "run.json", 1)


# ------------------------------------------------------------------------------------------- disks that say no


@pytest.mark.parametrize("where", ["write", "fsync", "replace", "open"])
@pytest.mark.parametrize(
    ("number", "sentence"),
    [
        (errno.ENOSPC, "The disk is full, so .*a.safetensors was not written"),
        (errno.EROFS, "give a folder that you may write to"),
        (errno.EACCES, "give a folder that you may write to"),
        (errno.EIO, "cannot be written"),
    ],
)
def test_a_disk_error_is_one_sentence_and_leaves_the_old_file(
    where: str, number: int, sentence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "a.safetensors"
    store.write_tensors(file, {"a": torch.ones(10)})

    def fail(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    with monkeypatch.context() as patch:
        patch.setattr(os, where, fail)
        with pytest.raises(BadInput, match=sentence):
            store.write_tensors(file, {"a": torch.zeros(10)})
    assert torch.equal(store.read_tensors(file)[0]["a"], torch.ones(10))
    assert left_over(tmp_path) == []


def _write_over_the_limit(folder: str) -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))
    with pytest.raises(BadInput, match=r"big\.safetensors cannot be written \(File too large\)"):
        store.write_tensors(Path(folder) / "big.safetensors", {"a": torch.zeros(10_000)})
    store.write_tensors(Path(folder) / "small.safetensors", {"a": torch.zeros(100)})


@pytest.mark.skipif(os.name == "nt", reason="no file size limit to set")
def test_a_write_that_the_system_cuts_short_leaves_nothing(tmp_path: Path) -> None:
    child = multiprocessing.get_context("fork").Process(
        target=_write_over_the_limit, args=(str(tmp_path),), daemon=True
    )
    child.start()
    child.join()
    assert child.exitcode == 0
    assert [file.name for file in tmp_path.iterdir()] == ["small.safetensors"]


def test_short_writes_are_completed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write
    monkeypatch.setattr(os, "write", lambda file, data: write(file, data[:7]))
    store.write_tensors(tmp_path / "a", {"a": torch.arange(50)})
    assert torch.equal(store.read_tensors(tmp_path / "a")[0]["a"], torch.arange(50))


def test_a_folder_that_is_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadInput, match="a file stands where a folder is needed"):
        store.make_folder(tmp_path / "file" / "run")
    with pytest.raises(BadInput, match="a file stands where a folder is needed"):
        store.write_text(tmp_path / "file" / "a", "x")
    with pytest.raises(BadInput, match="its folder is not there"):
        store.write_text(tmp_path / "none" / "a", "x")
    with pytest.raises(BadInput, match="cannot be removed"):
        store.remove(tmp_path)


def test_an_interrupt_while_writing_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "fsync", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.write_text(tmp_path / "a", "x")
    assert list(tmp_path.iterdir()) == []


# ----------------------------------------------------------------------------------------------- folders


def test_sweeping_takes_only_what_killed_writers_left(tmp_path: Path) -> None:
    old, young = tmp_path / ".a.safetensors.0123abcd.tmp", tmp_path / ".b.0123abcd.tmp"
    for file in (old, young, tmp_path / "c.tmp", tmp_path / ".hidden"):
        file.touch()
    os.utime(old, (0, 0))
    assert store.sweep(tmp_path) == 1
    assert store.sweep(tmp_path, older_than=0) == 1
    assert sorted(file.name for file in tmp_path.iterdir()) == [".hidden", "c.tmp"]
    assert store.sweep(tmp_path / "none") == 0


@pytest.mark.parametrize(
    "bad", ["", ".", "..", "../x", "a/b", "a\\b", ".hidden", "-x", "a b", "x" * 101, "a\n", "é", 3]
)
def test_names_that_are_no_names(bad: str) -> None:
    with pytest.raises(BadInput, match="cannot name a run"):
        store.check_name(bad)


def test_names_that_are() -> None:
    assert [store.check_name(name) for name in ("a", "mlp_64-lr=0.1", "0")] == ["a", "mlp_64-lr=0.1", "0"]


def test_sizes_in_words() -> None:
    assert [store.size_text(n) for n in (0, 999, 2100, 1_560_000, 3.2e9, 5e12)] == [
        "0 bytes", "999 bytes", "2.1 kB", "1.56 MB", "3.2 GB", "5 TB",
    ]  # fmt: skip


def _hold(folder: str, ready: object, done: object) -> None:
    lock = store.Lock(folder)
    ready.set()  # type: ignore[attr-defined]
    done.wait()  # type: ignore[attr-defined]
    lock.release()


def test_two_processes_cannot_hold_one_folder(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    ready, done = context.Event(), context.Event()
    child = context.Process(target=_hold, args=(str(tmp_path), ready, done), daemon=True)
    child.start()
    assert ready.wait(30)
    with pytest.raises(BadInput, match=f"is being written by process {child.pid} at this moment"):
        store.Lock(tmp_path)
    child.kill()
    child.join()
    store.Lock(tmp_path).release()  # the system dropped it with the process


def test_one_process_cannot_hold_a_folder_twice(tmp_path: Path) -> None:
    lock = store.Lock(tmp_path)
    with pytest.raises(BadInput, match="This process is recording into"):
        store.Lock(tmp_path)
    lock.release()
    lock.release()
    again = store.Lock(tmp_path)
    del again
    store.Lock(tmp_path).release()  # dropped with the object, too


def _wait(done: object) -> None:
    done.wait()  # type: ignore[attr-defined]


def test_a_forked_child_does_not_prolong_the_lock(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    done = context.Event()
    lock = store.Lock(tmp_path)
    child = context.Process(target=_wait, args=(done,), daemon=True)
    child.start()
    lock.release()
    store.Lock(tmp_path).release()
    done.set()
    child.join()
    assert child.exitcode == 0


def test_locks_are_seen_in_either_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = store.Lock(tmp_path)
    assert store.Writers().hold(tmp_path)
    monkeypatch.setattr("landform.store._writers._LOCKS", tmp_path / "nothing")
    assert store.Writers().hold(tmp_path)
    lock.release()
    assert not store.Writers().hold(tmp_path)
    assert not store.Writers().hold(tmp_path / "elsewhere")
    monkeypatch.undo()
    assert not store.Writers().hold(tmp_path)


def test_another_device_number_is_settled_by_the_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lock = store.Lock(tmp_path)
    inode = (tmp_path / ".lock").stat().st_ino
    table = tmp_path / "locks"
    monkeypatch.setattr("landform.store._writers._LOCKS", table)
    for process, held in ((os.getpid(), True), (os.getpid() + 1, False)):
        table.write_text(f"1: FLOCK  ADVISORY  WRITE {process} 7f:7f:{inode} 0 EOF\n")
        assert store.Writers().hold(tmp_path) is held
    lock.release()
