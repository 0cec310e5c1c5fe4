"""merge_files against merge in memory, in every form in which weights lie on disk."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pytest
import torch
from merge_file_cases import TOKENIZER, WEIGHTS, layout, load_folder, save_folder, tensors
from safetensors import safe_open
from safetensors.torch import load_file, load_model, save_file, save_model
from torch import nn

import landform as lf
from landform import merging
from landform.merging import merge, merge_files
from landform.merging._blocks import BLOCK

STREAMED = [name for name in merging.methods() if merging.get(name).part is not None]


def models(
    folder: Path, count: int = 3, shards: int = 2, dtype: torch.dtype = torch.float32, **more: bool
) -> list[Path]:
    return [save_folder(folder / f"m{i}", tensors(i, dtype, **more), shards) for i in range(count)]


def in_memory(found: list[dict[str, torch.Tensor]], base: dict[str, torch.Tensor] | None, **asked: object) -> dict:
    own = layout(found[0])
    points = [own.join(one) for one in found]
    return own.views(merge(points, base=None if base is None else own.join(base), layout=own, **asked).point)


@pytest.mark.parametrize("per", ["tensor", "point"])
@pytest.mark.parametrize("block", [BLOCK, 41])
@pytest.mark.parametrize("method", STREAMED)
def test_it_is_what_merge_makes_of_the_same_in_memory(method: str, block: int, per: str, tmp_path: Path) -> None:
    paths = models(tmp_path)
    own = merging.get(method)
    count = own.most or 2
    base = paths[2] if own.base else None
    done = merge_files(paths[:count], tmp_path / "out", method=method, base=base, per=per, seed=3, block=block)
    got = load_folder(tmp_path / "out")
    found = [tensors(i) for i in range(count)]
    expected = in_memory(found, tensors(2) if own.base else None, method=method, per=per, seed=3)
    assert set(got) == set(found[0])
    for name in WEIGHTS:
        if block == BLOCK:
            assert torch.equal(got[name], expected[name]), name
        else:  # what is summed in pieces may be rounded otherwise
            torch.testing.assert_close(got[name], expected[name], rtol=1e-6, atol=1e-6)
    assert done.method == method
    assert done.per == per


def test_the_report_is_that_of_merge(tmp_path: Path) -> None:
    paths = models(tmp_path, shards=1)
    own = layout(tensors(0))
    points = [own.join(tensors(i)) for i in range(3)]
    expected = merge(points[:2], method="ties", base=points[2], layout=own, density=0.4)
    for block in (BLOCK, 17):
        out = tmp_path / f"out{block}"
        done = merge_files(paths[:2], out, method="ties", base=paths[2], density=0.4, block=block)
        layers = {layer.name: layer for layer in done.layers}
        assert set(layers) == set(WEIGHTS)
        for theirs in (*expected.layers, expected.total):
            ours = done.total if theirs is expected.total else layers[theirs.name]
            assert ours is not None
            assert ours.norms == pytest.approx(theirs.norms)
            assert ours.cosines == pytest.approx(theirs.cosines, nan_ok=True)
            assert (ours.size, ours.norm) == (theirs.size, pytest.approx(theirs.norm))
            assert (ours.agreement, ours.changed) == pytest.approx((theirs.agreement, theirs.changed), nan_ok=True)
        told = json.loads((out / "merge.json").read_text())
        assert told["method"] == "ties"
        assert told["settings"]["density"] == 0.4
        assert [layer["name"] for layer in told["layers"]] == [layer.name for layer in done.layers]
    assert merge_files(paths[:2], None, base=paths[2], dry_run=True, report=False).layers == ()


def test_what_is_no_weight(tmp_path: Path) -> None:
    paths = models(tmp_path, 2)
    done = merge_files(paths, tmp_path / "out", weights=[1, 3])
    got, a, b = load_folder(tmp_path / "out"), tensors(0), tensors(1)
    torch.testing.assert_close(got["norm.running_var"], 0.25 * a["norm.running_var"] + 0.75 * b["norm.running_var"])
    assert got["norm.num_batches_tracked"] == 10
    assert torch.equal(got["mask"], a["mask"])
    assert got["nothing"].shape == (0, 3)
    assert "norm.running_var" in done.facts["averaged whatever the method"]
    assert "num_batches_tracked" in done.facts["of the first source though others differ"]
    assert "mask" not in done.facts["of the first source though others differ"]


def test_shards_are_those_of_the_first_source_or_as_asked(tmp_path: Path) -> None:
    one, two = save_folder(tmp_path / "a", tensors(0), 3), save_folder(tmp_path / "b", tensors(1), 2)
    done = merge_files([one, two], tmp_path / "same")
    for file in one.glob("*.safetensors"):
        assert set(load_file(file)) == set(load_file(tmp_path / "same" / file.name))
    index = json.loads((tmp_path / "same" / "model.safetensors.index.json").read_text())
    theirs = json.loads((one / "model.safetensors.index.json").read_text())
    assert index["weight_map"] == theirs["weight_map"]
    assert index["metadata"]["total_size"] == done.bytes == sum(done.files.values())
    merge_files([one, two], tmp_path / "one", shard_bytes=10**9)
    assert [file.name for file in (tmp_path / "one").glob("*.safetensors*")] == ["model.safetensors"]
    limit = 700
    done = merge_files([one, two], tmp_path / "small", shard_bytes=limit)
    index = json.loads((tmp_path / "small" / "model.safetensors.index.json").read_text())
    for file, size in done.files.items():
        held = load_file(tmp_path / "small" / file)
        assert size == sum(tensor.nbytes for tensor in held.values())
        assert size <= limit or len(held) == 1
        assert all(index["weight_map"][name] == file for name in held)
    expected = load_folder(tmp_path / "same")
    got = load_folder(tmp_path / "small")
    assert all(torch.equal(got[name], expected[name]) for name in expected)
    assert got.keys() == expected.keys()


def test_other_files_come_from_the_base_or_the_first_source(tmp_path: Path) -> None:
    paths = models(tmp_path, 3)
    (paths[2] / "config.json").write_text('{"torch_dtype": "float32", "of": "base"}')
    (paths[1] / "tokenizer.json").write_text("another one")
    done = merge_files(paths[:2], tmp_path / "on", method="task_arithmetic", base=paths[2], dtype="bf16")
    config = json.loads((tmp_path / "on" / "config.json").read_text())
    assert config == {"torch_dtype": "bfloat16", "of": "base"}
    assert (tmp_path / "on" / "tokenizer.json").read_text() == TOKENIZER
    assert "m2: config.json, tokenizer.json" in done.facts["copied"]
    assert "m1" in done.facts["tokenizers differ"]
    done = merge_files(paths[:2], tmp_path / "no")
    assert "m0: config.json, tokenizer.json" in done.facts["copied"]
    assert json.loads((tmp_path / "no" / "config.json").read_text())["model_type"] == "tiny"
    names = sorted(file.name for file in (tmp_path / "no").iterdir())
    index = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"]
    assert names == ["config.json", "merge.json", *index, "tokenizer.json"]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64])
def test_types(dtype: torch.dtype, tmp_path: Path) -> None:
    paths = models(tmp_path, 2, dtype=dtype)
    merge_files(paths, tmp_path / "out", method="slerp", t=0.3)
    own = layout(tensors(0))
    points = [own.join(tensors(i, dtype)) for i in range(2)]
    expected = own.views(merge(points, method="slerp", layout=own, t=0.3).point)
    got = load_folder(tmp_path / "out")
    for name in WEIGHTS:
        assert got[name].dtype == dtype
        assert torch.equal(got[name], expected[name])


def test_the_type_of_the_merge_can_be_asked_for(tmp_path: Path) -> None:
    mixed = [save_folder(tmp_path / "a", tensors(0, torch.bfloat16)), save_folder(tmp_path / "b", tensors(1))]
    merge_files(mixed, tmp_path / "out", dtype=torch.float32)
    got, a, b = load_folder(tmp_path / "out"), tensors(0, torch.bfloat16), tensors(1)
    for name in WEIGHTS:  # the arithmetic is in float32: nothing is rounded before the end
        torch.testing.assert_close(got[name], (a[name].float() + b[name]) / 2, rtol=1e-6, atol=1e-7)
    assert got["norm.num_batches_tracked"].dtype == torch.int64
    merge_files([mixed[1], mixed[1]], tmp_path / "half", dtype="fp16")
    assert torch.equal(load_folder(tmp_path / "half")["layers.0.w"], b["layers.0.w"].half())


def test_a_file_of_its_own(tmp_path: Path) -> None:
    for i in range(2):
        save_file(tensors(i), tmp_path / f"{i}.safetensors")
    done = merge_files(
        [tmp_path / "0.safetensors", str(tmp_path / "1.safetensors")], tmp_path / "new" / "c.safetensors"
    )
    got = load_file(tmp_path / "new" / "c.safetensors")
    torch.testing.assert_close(got["layers.0.w"], (tensors(0)["layers.0.w"] + tensors(1)["layers.0.w"]) / 2)
    assert [file.name for file in (tmp_path / "new").iterdir()] == ["c.safetensors"]
    assert list(done.files) == ["c.safetensors"]
    with safe_open(tmp_path / "new" / "c.safetensors", "pt") as file:
        assert file.metadata() == {"format": "pt"}


def test_state_dicts(tmp_path: Path) -> None:
    a, b = tensors(0), tensors(1)
    b["layers.0.w"] = b["layers.0.w"].T.contiguous().T  # in another order in memory
    torch.save(a, tmp_path / "a.pt")
    torch.save({"state_dict": b, "epoch": 3}, tmp_path / "b.pth")
    torch.save(a, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    done = merge_files([tmp_path / "a.pt", tmp_path / "b.pth"], tmp_path / "out", block=10)
    assert "state_dict" in done.facts["taken"]
    again = merge_files([tmp_path / "old.pt", tmp_path / "b.pth"], tmp_path / "again")
    got, other = load_folder(tmp_path / "out"), load_folder(tmp_path / "again")
    assert done.files == again.files
    for name in WEIGHTS:
        torch.testing.assert_close(got[name], (a[name] + b[name]) / 2, rtol=1e-6, atol=1e-7)
        assert torch.equal(got[name], other[name])


def test_maps_of_state_dicts_are_made_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from landform.merging import _pickled

    monkeypatch.setattr(_pickled, "_SEEN", 100)
    for i in range(2):
        torch.save(tensors(i), tmp_path / f"{i}.pt")
    merge_files([tmp_path / "0.pt", tmp_path / "1.pt"], tmp_path / "out", block=16)
    got = load_folder(tmp_path / "out")
    torch.testing.assert_close(got["layers.0.w"], (tensors(0)["layers.0.w"] + tensors(1)["layers.0.w"]) / 2)


class Tied(nn.Module):
    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.embed = nn.Embedding(7, 4)
        self.head = nn.Linear(4, 7, bias=False)
        self.head.weight = self.embed.weight


def test_tied_tensors_are_merged_once(tmp_path: Path) -> None:
    nets = [Tied(i) for i in range(2)]
    for i, net in enumerate(nets):
        save_model(net, str(tmp_path / f"{i}.safetensors"))
        torch.save(net.state_dict(), tmp_path / f"{i}.pt")
    for ending in ("safetensors", "pt"):
        done = merge_files([tmp_path / f"{i}.{ending}" for i in range(2)], tmp_path / ending)
        assert done.tensors == 1
        assert "tied" in done.facts
        fresh = Tied(5)
        load_model(fresh, str(tmp_path / ending / "model.safetensors"))  # safetensors' own reader knows what is tied
        assert fresh.head.weight is fresh.embed.weight
        torch.testing.assert_close(fresh.head.weight, (nets[0].head.weight + nets[1].head.weight) / 2)
    # Which of the two names the tensor is kept under may differ.
    save_file(
        {"embed.weight": nets[0].embed.weight.detach()}, tmp_path / "c.safetensors", {"head.weight": "embed.weight"}
    )
    save_file(
        {"head.weight": nets[1].embed.weight.detach()}, tmp_path / "d.safetensors", {"embed.weight": "head.weight"}
    )
    merge_files([tmp_path / "c.safetensors", tmp_path / "d.safetensors"], tmp_path / "both.safetensors")
    got = load_file(tmp_path / "both.safetensors")
    assert list(got) == ["embed.weight"]
    torch.testing.assert_close(got["embed.weight"], ((nets[0].head.weight + nets[1].head.weight) / 2).detach())


def test_folders_of_pickled_shards(tmp_path: Path) -> None:
    paths = []
    for i in range(2):
        folder = tmp_path / f"m{i}"
        folder.mkdir()
        found = tensors(i)
        names = list(found)
        told = {}
        for number in (0, 1):
            file = f"pytorch_model-{number + 1:05d}-of-00002.bin"
            torch.save({name: found[name] for name in names[number::2]}, folder / file)
            told.update(dict.fromkeys(names[number::2], file))
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": told}))
        paths.append(folder)
    merge_files(paths, tmp_path / "out")
    got = load_folder(tmp_path / "out")
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())["weight_map"]
    assert sorted(set(index.values())) == ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    torch.testing.assert_close(got["layers.0.w"], (tensors(0)["layers.0.w"] + tensors(1)["layers.0.w"]) / 2)


def test_runs(tmp_path: Path) -> None:
    data = lf.data.digits(per_class=5)
    for seed in range(2):
        net = lf.models.build("small_cnn", inputs=(1, 8, 8), classes=10, width=2, norm="batch", seed=seed)
        pixels = lf.data.Dataset(
            "pixels", *(lf.data.Split(s.inputs.view(-1, 1, 8, 8), s.targets) for s in (data.train, data.test)), 10, {}
        )
        lf.train(net, pixels, lf.Recipe(epochs=2, batch_size=25, seed=seed), out=tmp_path / f"r{seed}", device="cpu")
    runs = [lf.Trajectory(tmp_path / f"r{seed}") for seed in range(2)]
    done = merge_files([tmp_path / "r0", f"{tmp_path / 'r1'}@epoch=1"], tmp_path / "out")
    ends = [runs[0].records[-1], runs[1].at(epoch=1)]
    expected = merge([end.point for end in ends], layout=runs[0].layout, buffers=[end.buffers for end in ends])
    got = load_folder(tmp_path / "out")
    for name, tensor in {**runs[0].layout.views(expected.point), **expected.buffers}.items():
        assert torch.equal(got[name], tensor), name
    net.load_state_dict(got)  # all of it, by the names of the model
    assert "epoch 1" in done.facts["taken"]
    assert "running_mean" in done.facts["averaged whatever the method"]


def test_a_dry_run_writes_nothing_and_tells_the_same(tmp_path: Path) -> None:
    paths = models(tmp_path, 2)
    before = sorted(tmp_path.rglob("*"))
    told = merge_files(paths, tmp_path / "out", method="slerp", dry_run=True)
    assert sorted(tmp_path.rglob("*")) == before
    done = merge_files(paths, tmp_path / "out", method="slerp")
    assert told.out is None
    for name in ("bytes", "tensors", "files", "layers", "total", "facts", "settings", "memory"):
        assert getattr(told, name) == getattr(done, name), name
    assert "would be written" in str(told)
    assert "written to" in str(done)


def test_progress_counts_every_byte_once(tmp_path: Path) -> None:
    paths = models(tmp_path, 3)
    for per in ("tensor", "point"):
        told: list[tuple[int, int]] = []
        asked = {"method": "ties", "base": paths[2], "per": per, "block": 11, "dry_run": True}
        merge_files(paths[:2], None, progress=lambda a, b, told=told: told.append((a, b)), **asked)
        sizes = [sum(t.nbytes for t in tensors(i).values()) for i in range(3)]
        assert told[-1][1] == sum(sizes)
        # Of the base neither statistics nor counts are read.
        rest = sum(t.nbytes for name, t in tensors(2).items() if name not in WEIGHTS)
        assert told[-1][0] == sum(sizes) - rest
        assert [done for done, _ in told] == sorted(done for done, _ in told)


def test_one_method_of_ones_own(tmp_path: Path) -> None:
    """A method may hand back what it was given, of memory that is used again."""
    first = merging.Method("first", "the first", "nobody", part=lambda part, known, asked: part.sources[0])
    paths = models(tmp_path, 2, shards=1)
    merge_files(paths, tmp_path / "out", method=first, block=3)
    got = load_folder(tmp_path / "out")
    assert all(torch.equal(got[name], tensors(0)[name]) for name in WEIGHTS)
    seen: list[tuple[str, int, tuple[int, ...]]] = []

    def look(part: merging.Part, known: object, asked: merging.Asked) -> torch.Tensor:
        seen.append((part.name, part.start, tuple(part.sources.shape[1:])))
        return part.sources.mean(0)

    for blocks, expected in (
        ("rows", [(0, (2, 3, 5)), (30, (2, 3, 5))]),
        ("whole", [(0, (4, 3, 5))]),
        ("numbers", [(0, (37,)), (37, (23,))]),
    ):
        seen.clear()
        own = merging.Method("own", "own", "nobody", part=look, blocks=blocks)  # type: ignore[arg-type]
        merge_files(paths, None, method=own, block=37, dry_run=True)
        assert sorted((start, shape) for name, start, shape in seen if name == "layers.1.w") == expected
        assert sum(math.prod(shape) for _, _, shape in seen) == sum(tensors(0)[name].numel() for name in WEIGHTS)


def test_what_is_drawn_does_not_depend_on_blocks() -> None:
    from landform.merging._sparse import draw

    whole = draw(4, "name", 1, torch.empty(200_000))
    for start, count in ((0, 70_000), (65_536, 65_536), (65_535, 2), (131_000, 69_000), (7, 0)):
        assert torch.equal(draw(4, "name", 1, torch.empty(count), start), whole[start : start + count])
    assert abs(float(whole.mean()) - 0.5) < 0.005
    assert len(whole.unique()) > 190_000  # no piece is that of another


def test_it_says_what_merging_adapters_means(tmp_path: Path) -> None:
    for i, name in enumerate("ab"):
        save_folder(tmp_path / name, tensors(i, plain=True))
        factors = {f"model.layers.0.q.lora_{which}.weight": torch.ones(2, 2) for which in "AB"}
        save_folder(tmp_path / f"lora-{name}", factors)
    whole, adapters = (
        merge_files([tmp_path / f"{kind}{name}" for name in "ab"], tmp_path / f"out{kind}") for kind in ("", "lora-")
    )
    assert "adapters" not in whole.facts
    assert "factor by factor" in adapters.facts["adapters"]
