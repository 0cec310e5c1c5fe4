"""A merge is there whole or does not look finished, whatever ends it; and memory holds blocks, not models."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from merge_file_cases import load_folder, save_folder, tensors
from safetensors.torch import save_file

from landform.errors import BadInput
from landform.merging import merge_files
from landform.merging._places import UNFINISHED
from landform.store import Lock

KILLED = """
import sys, time
from landform.merging import merge_files, _files
a, b, out, when = sys.argv[1:]

def stop(*ignored):
    print("there", flush=True)
    time.sleep(60)

def progress(done, whole):
    if done >= float(when) * whole:
        stop()

if when == "index":
    _files.write_index = stop
merge_files([a, b], out, block=16, progress=progress if when != "index" else None)
"""


@pytest.mark.parametrize("when", ["0.01", "0.75", "0.9", "index"])
def test_killed(when: str, tmp_path: Path) -> None:
    paths = [save_folder(tmp_path / f"m{i}", tensors(i, plain=True), shards=3) for i in range(2)]
    out = tmp_path / "out"
    command = [sys.executable, "-c", KILLED, *map(str, paths), str(out), when]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        process.send_signal(signal.SIGKILL)
    names = {file.name for file in out.iterdir()}
    assert UNFINISHED in names
    assert not {"model.safetensors", "model.safetensors.index.json", "merge.json"} & names
    assert ("model-00001-of-00003.safetensors" in names) == (when != "0.01")
    with pytest.raises(BadInput, match="not finished"):
        merge_files([out, paths[0]], tmp_path / "more")
    merge_files(paths, out)  # again, without a word
    got, a, b = load_folder(out), tensors(0), tensors(1)
    assert all(torch.allclose(got[name], (a[name] + b[name]) / 2) for name in got)
    shards = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    rest = {"config.json", "tokenizer.json", "model.safetensors.index.json", "merge.json"}
    assert {file.name for file in out.iterdir()} == {*shards, *rest}


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("failure", [KeyboardInterrupt, OSError, MemoryError])
def test_what_goes_wrong_leaves_nothing(
    failure: type[BaseException], there: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [save_folder(tmp_path / f"m{i}", tensors(i), shards=3) for i in range(2)]
    out = tmp_path / "deep" / "out"
    if there:
        out.mkdir(parents=True)

    def fail(done: int, whole: int) -> None:
        if done > whole / 2:
            raise failure(28, "No space left on device") if failure is OSError else failure

    with pytest.raises(BadInput if failure is OSError else failure):
        merge_files(paths, out, progress=fail, block=16)
    assert out.exists() == there
    assert (tmp_path / "deep").exists() == there
    assert list(out.iterdir() if there else []) == []


def test_overwriting(tmp_path: Path) -> None:
    paths = [save_folder(tmp_path / f"m{i}", tensors(i), shards=1 + 2 * (i == 2)) for i in range(3)]
    out = tmp_path / "out"
    merge_files([paths[2], paths[1]], out)
    (out / "mine.txt").write_text("mine")
    with pytest.raises(BadInput, match="not empty"):
        merge_files(paths[:2], out)
    merge_files(paths[:2], out, overwrite=True)  # one file in place of three and an index
    names = sorted(file.name for file in out.iterdir())
    assert names == ["config.json", "merge.json", "mine.txt", "model.safetensors", "tokenizer.json"]
    merge_files(paths[:2], tmp_path / "c.safetensors")
    with pytest.raises(BadInput, match=r"c\.safetensors is there"):
        merge_files(paths[:2], tmp_path / "c.safetensors")
    merge_files(paths[:2], tmp_path / "c.safetensors", overwrite=True, weights=[1, 0])


def test_two_at_once(tmp_path: Path) -> None:
    paths = [save_folder(tmp_path / f"m{i}", tensors(i)) for i in range(2)]
    (tmp_path / "out").mkdir()
    lock = Lock(tmp_path / "out")
    with pytest.raises(BadInput, match="already"):
        merge_files(paths, tmp_path / "out")
    lock.release()
    merge_files(paths, tmp_path / "out")


MEASURED = """
import sys
from pathlib import Path
import torch
from landform.merging import _pickled, merge_files

def peak():
    return int(next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]) * 1024

folder, method, ending = Path(sys.argv[1]), *sys.argv[2:]
torch.set_num_threads(1)
_pickled._SEEN = 2**22

def merge(a, b, base, out):
    merge_files([a, b], folder / out, method=method, block=2**17, **({"base": base} if method != "mean" else {}))

merge(*[folder / "small.safetensors"] * 3, "warm")
before = peak()
merge(*[folder / f"{name}.{ending}" for name in "abc"], "out")
print(peak() - before)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="the peak of memory is read from Linux's /proc")
@pytest.mark.parametrize(("method", "ending"), [("mean", "safetensors"), ("ties", "safetensors"), ("mean", "pt")])
def test_memory_holds_blocks(method: str, ending: str, tmp_path: Path) -> None:
    made = torch.randn(3, 1_000_000)
    for name, row in zip("abc", made, strict=True):
        found = {"big": row.repeat(10).reshape(4_000, -1), "small": row[:100].clone()}  # 40 MB in one tensor
        if ending == "pt":
            torch.save(found, tmp_path / f"{name}.pt")
        else:
            save_file(found, tmp_path / f"{name}.safetensors")
    save_file({"small": made[0, :100].clone()}, tmp_path / "small.safetensors")
    command = [sys.executable, "-c", MEASURED, str(tmp_path), method, ending]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    # Of each source three blocks of half a megabyte, and what the method makes of them; of a state dict in a file of
    # torch.save also the pages of a map that have been looked at, up to 4 MB here.
    assert int(done.stdout) < 25e6
