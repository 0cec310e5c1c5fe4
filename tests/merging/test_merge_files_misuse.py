"""What merge_files refuses: one sentence that names the file and the tensor, and nothing half-written."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from merge_file_cases import save_folder, tensors
from safetensors.torch import save_file

import landform as lf
from landform.errors import BadInput
from landform.merging import merge_files


def refused(folder: Path, *named: str, sources: list[Any], **asked: Any) -> str:
    """It is refused in one sentence that names all of these, and nothing is left."""
    before = sorted(folder.rglob("*"))
    for more in ({}, {"dry_run": True}):
        with pytest.raises(BadInput) as why:
            merge_files(sources, **{"out": folder / "out", **asked, **more})
        text = str(why.value)
        for name in named:
            assert name in text, text
        assert "\n" not in text
        assert text.endswith((".", "?"))
        assert re.search(r"[.?] [A-Z]", text.replace("e.g. ", "")) is None, text  # one sentence
        assert sorted(folder.rglob("*")) == before
    return text


def pair(folder: Path, change: Callable[[dict[str, torch.Tensor]], object], shards: int = 1) -> list[Path]:
    """Two models, of which the second has been changed."""
    other = tensors(1)
    change(other)
    return [save_folder(folder / "a", tensors(0), shards), save_folder(folder / "b", other, shards)]


def put(name: str, tensor: torch.Tensor) -> Callable[[dict[str, torch.Tensor]], object]:
    return lambda found: found.__setitem__(name, tensor)


def test_models_that_differ(tmp_path: Path) -> None:
    def case(name: str, change: Callable[[dict[str, torch.Tensor]], object]) -> tuple[Path, list[Path]]:
        return tmp_path / name, pair(tmp_path / name, change)

    folder, sources = case("missing", lambda found: found.pop("layers.0.w"))
    refused(folder, "b lacks", "layers.0.w", "a holds", sources=sources)
    refused(folder, "the tensor layers.0.w", sources=sources[::-1])
    folder, sources = case("extra", put("lm_head.weight", torch.ones(2, 2)))
    refused(folder, "b holds", "lm_head.weight", "tied", sources=sources)
    folder, sources = case("shape", put("layers.0.w", torch.ones(15, 8)))
    refused(folder, "layers.0.w is [15, 8] in", "and [16, 8] in", "vocabularies", sources=sources)
    folder, sources = case("rank", put("layers.0.w", torch.ones(16 * 8)))
    refused(folder, "layers.0.w is [128] in", sources=sources)
    folder, sources = case("dtype", put("layers.0.b", torch.ones(16, dtype=torch.bfloat16)))
    refused(folder, "layers.0.b is bfloat16 in", "float32 in", "dtype=", sources=sources)
    folder, sources = case("whole", put("layers.0.b", torch.ones(16, dtype=torch.int32)))
    refused(folder, "layers.0.b is int32 in", sources=sources, dtype="float32")


def test_a_base_that_differs(tmp_path: Path) -> None:
    sources = pair(tmp_path, lambda found: None)
    base = tensors(2)
    del base["norm.weight"]
    base = save_folder(tmp_path / "base", base)
    refused(tmp_path, "base lacks", "norm.weight", sources=sources, base=base, method="ties")
    refused(tmp_path, "ties", "base=", sources=sources, method="ties")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan(value: float, tmp_path: Path) -> None:
    def spoil(found: dict[str, torch.Tensor]) -> None:
        found["layers.1.w"][2, 1, 3] = value

    sources = pair(tmp_path, spoil, shards=3)
    refused(tmp_path, f"b holds {value} in layers.1.w", sources=sources)
    refused(tmp_path, f"b holds {value} in layers.1.w", sources=sources, block=7, method="slerp", per="point")
    refused(tmp_path, "b holds", sources=sources[:1] * 2, base=sources[1], method="task_arithmetic")
    (tmp_path / "c").mkdir()
    sources = pair(tmp_path / "c", lambda found: found["norm.running_mean"].fill_(value))
    refused(tmp_path, "norm.running_mean", sources=sources)


def test_numbers_too_large_for_half(tmp_path: Path) -> None:
    sources = pair(tmp_path, lambda found: found["embed.weight"].fill_(1e6))
    refused(tmp_path, "embed.weight", "float16", "bfloat16", sources=sources, dtype="fp16")


def test_shards(tmp_path: Path) -> None:
    a, b = pair(tmp_path, lambda found: None, shards=3)
    index = b / "model.safetensors.index.json"
    shard = b / "model-00002-of-00003.safetensors"
    told, held = json.loads(index.read_text()), shard.read_bytes()
    shard.unlink()
    refused(tmp_path, "lacks its shard model-00002-of-00003.safetensors", "layers.0.w", sources=[a, b])
    shard.write_bytes(held[:-8])
    refused(tmp_path, "model-00002-of-00003.safetensors is not a whole safetensors file", sources=[a, b])
    shard.write_bytes(held)
    more = {**told, "weight_map": {**told["weight_map"], "new": shard.name}}
    index.write_text(json.dumps(more))
    refused(tmp_path, "lacks new", index.name, sources=[a, b])
    less = {name: file for name, file in told["weight_map"].items() if name != "layers.0.w"}
    index.write_text(json.dumps({"weight_map": less}))
    refused(tmp_path, "holds layers.0.w", "not told of", sources=[a, b])
    index.write_text(
        json.dumps({"weight_map": {**told["weight_map"], "layers.0.w": "model-00001-of-00003.safetensors"}})
    )
    refused(tmp_path, "layers.0.w", sources=[a, b])
    index.write_text(json.dumps({"weight_map": dict.fromkeys(told["weight_map"], "../a/model.safetensors")}))
    refused(tmp_path, "lacks its shard ../a", sources=[a, b])
    index.write_text("[]")
    refused(tmp_path, "is no index", sources=[a, b])
    index.unlink()
    refused(tmp_path, "b holds model-00001-of-00003.safetensors", "index", sources=[a, b])


def test_tied_in_one_only(tmp_path: Path) -> None:
    one = {"embed": torch.ones(3, 2)}
    save_file(one, tmp_path / "tied.safetensors", {"head": "embed"})
    save_file({**one, "head": torch.zeros(3, 2)}, tmp_path / "free.safetensors")
    sources = [tmp_path / "tied.safetensors", tmp_path / "free.safetensors"]
    refused(tmp_path, "head is tied to embed in", "tied.safetensors", sources=sources)
    refused(tmp_path, "head is tied to embed in", "tied.safetensors", sources=sources[::-1])


def test_files_that_are_none(tmp_path: Path) -> None:
    good = tmp_path / "good.safetensors"
    save_file(tensors(0), good)
    content = good.read_bytes()

    def bad(name: str, content: bytes | None, *named: str) -> None:
        file = tmp_path / name
        if content is not None:
            file.write_bytes(content)
        refused(tmp_path, name, *named, sources=[good, file])

    bad("nowhere.safetensors", None, "no file or folder")
    bad("org/model", None, "downloaded")
    bad("empty.safetensors", b"", "whole")
    bad("short.safetensors", content[:100], "whole")
    bad("less.safetensors", content[:-1], "whole")
    bad("more.safetensors", content + b"0", "whole")
    bad("noise.safetensors", (8).to_bytes(8, "little") + b"12345678", "whole")
    bad("pointer.safetensors", b"version https://git-lfs.github.com/spec/v1\noid sha256:00\n", "Git LFS")
    eight = b'{"w":{"dtype":"F8_E4M3","shape":[2],"data_offsets":[0,2]}}'
    bad("eight.safetensors", len(eight).to_bytes(8, "little") + eight + b"00", "F8_E4M3", " w ")
    apart = b'{"w":{"dtype":"F32","shape":[2],"data_offsets":[4,12]}}'
    bad("apart.safetensors", len(apart).to_bytes(8, "little") + apart + b"0" * 12, "w does not lie")
    bad("text.txt", b"", "no file of weights")
    bad("noise.pt", b"no pickle", "no state dict")
    torch.save([1, 2], tmp_path / "list.pt")
    bad("list.pt", None, "list")
    torch.save({"epoch": 3, "rates": [0.1]}, tmp_path / "none.pt")
    bad("none.pt", None, "epoch, rates")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "module.pt")
    bad("module.pt", None, "state_dict() alone")
    torch.save({"w": torch.eye(3).to_sparse()}, tmp_path / "sparse.pt")
    bad("sparse.pt", None, "sparse", " w ")
    torch.save({"w": torch.ones(2, dtype=torch.complex64)}, tmp_path / "complex.pt")
    bad("complex.pt", None, "complex64")
    cut = (tmp_path / "module.pt").read_bytes()[:200]
    bad("cut.pt", cut, "cut short")


def test_folders_that_are_none(tmp_path: Path) -> None:
    good = save_folder(tmp_path / "good", tensors(0))

    def bad(name: str, *named: str) -> None:
        refused(tmp_path, name, *named, sources=[good, tmp_path / name])

    (tmp_path / "empty").mkdir()
    bad("empty", "holds no weights")
    (tmp_path / "two").mkdir()
    for name in ("one.safetensors", "two.safetensors"):
        save_file(tensors(0), tmp_path / "two" / name)
    bad("two", "one.safetensors, two.safetensors")
    save_folder(tmp_path / "packed", tensors(0), quantization_config={"bits": 4})
    bad("packed", "quantised", "config.json")
    save_file({**tensors(0), "q.qweight": torch.ones(2, dtype=torch.int32)}, tmp_path / "good" / "model.safetensors")
    refused(tmp_path, "quantised", "q.qweight", sources=[good, good])
    save_file({"n": torch.ones(2, dtype=torch.int32)}, tmp_path / "n.safetensors")
    refused(tmp_path, "no floating-point", sources=[tmp_path / "n.safetensors"] * 2)


def test_runs(tmp_path: Path) -> None:
    net = lf.models.mlp(inputs=(64,), classes=10, width=4)
    data = lf.data.digits(per_class=3)
    lf.train(net, data, lf.Recipe(epochs=1, batch_size=10), out=tmp_path / "run", device="cpu")
    run = tmp_path / "run"
    refused(tmp_path, "'soon'", "@epoch=2", sources=[run, f"{run}@epoch=soon"])
    refused(tmp_path, "nowhere", sources=[run, "nowhere@epoch=1"])
    record = lf.Trajectory(run).records[-1].file.path
    content = bytearray(record.read_bytes())
    content[lf.Trajectory(run).records[-1].file.offset + 50] ^= 1
    record.write_bytes(content)
    refused(tmp_path, record.name, "damaged", sources=[run, run])


def test_what_is_asked(tmp_path: Path) -> None:
    sources = pair(tmp_path, lambda found: None)
    refused(tmp_path, "wat", sources=sources, method="wat")
    refused(tmp_path, "fisher", "data", sources=sources, method="fisher")
    refused(tmp_path, "1 weights for 2 sources", sources=sources, weights=[1])
    refused(tmp_path, "mean has no setting 'density'", sources=sources, density=0.2)
    refused(tmp_path, "density", "1.5", sources=sources, base=sources[0], method="ties", density=1.5)
    refused(tmp_path, "1 given", sources=sources[:1])
    refused(tmp_path, "list", sources=str(sources[0]))  # type: ignore[arg-type]
    refused(tmp_path, "int", sources=[sources[0], 3])
    refused(tmp_path, "'int4'", "bf16", sources=sources, dtype="int4")
    refused(tmp_path, "shard_bytes", "0", sources=sources, shard_bytes=0)
    refused(tmp_path, "block", sources=sources, block=0)
    refused(tmp_path, "'layer'", sources=sources, per="layer")
    with pytest.raises(BadInput, match="no out"):
        merge_files(sources, None)


def test_where_it_shall_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sources = pair(tmp_path, lambda found: None)
    refused(tmp_path, "sources", sources=sources, out=sources[0])
    refused(tmp_path, "sources", sources=sources, out=sources[1] / ".." / "b", overwrite=True)
    refused(tmp_path, "sources", sources=sources, out=sources[1] / "model.safetensors", overwrite=True)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine.txt").touch()
    refused(tmp_path, "not empty", sources=sources, out=tmp_path / "full")
    refused(tmp_path, "is a file", sources=sources, out=tmp_path / "full" / "mine.txt", overwrite=True)
    (tmp_path / "x.safetensors").mkdir()
    refused(tmp_path, "is a folder", sources=sources, out=tmp_path / "x.safetensors")
    monkeypatch.setattr("landform.merging._writing.free_space", lambda folder: 10)
    with pytest.raises(BadInput, match="10 bytes free"):
        merge_files(sources, tmp_path / "out")
    assert not (tmp_path / "out").exists()
