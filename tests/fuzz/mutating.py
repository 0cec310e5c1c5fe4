"""Ways in which a file, or a folder of files, may be wrong; all of them drawn from one seeded generator."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from landform import store

# Values that nobody who reads a file should trust.
STRANGE: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2**31, 2**63, -(2**63), 10**30, 0.5, -0.0, 1e308, "", "x", "../../outside/canary",
    "/etc/passwd", "nan", "\u0000", "a" * 300, [], [[]], {}, {"": None}, [None], ["x"], [1, 2, 3],
    [2**62, 2**62],
    "é\U0001f4a5",
)  # fmt: skip
WORDS = (
    b"nan", b"inf", b"-1", b"0", b"1e999", b"99999999999999999999", b"null", b"true", b"\xff\xfe", b"\x00", b",", b"\n",
    b"../../outside/canary", b"{", b"}", b'"', b":", b"@",
)  # fmt: skip


def bent(plain: Any, draw: random.Random) -> Any:
    """JSON with one value replaced, left out, or doubled, wherever in it."""
    if isinstance(plain, dict) and plain and draw.random() < 0.85:
        key = draw.choice(list(plain))
        others = {name: value for name, value in plain.items() if name != key}
        if draw.random() < 0.15:
            return others
        if draw.random() < 0.08:
            return {**others, draw.choice(["", "x", f"{key} ", "../x"]): plain[key]}
        return {**plain, key: bent(plain[key], draw)}
    if isinstance(plain, list) and plain and draw.random() < 0.85:
        place = draw.randrange(len(plain))
        if draw.random() < 0.2:
            return plain[:place] + plain[place + 1 :]
        if draw.random() < 0.2:
            return [*plain, plain[place]]
        return [*plain[:place], bent(plain[place], draw), *plain[place + 1 :]]
    if isinstance(plain, int | float) and not isinstance(plain, bool) and draw.random() < 0.4:
        return draw.choice([-plain, plain + 1, plain * 1000003, plain - 1, float(plain) + 0.5])
    return draw.choice(STRANGE)


def _flip(data: bytes, draw: random.Random) -> bytes:
    changed = bytearray(data)
    for _ in range(draw.choice([1, 1, 1, 8])):
        if changed:
            changed[draw.randrange(len(changed))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def _cut(data: bytes, draw: random.Random) -> bytes:
    return data[: draw.randrange(len(data) + 1)]


def _slice(data: bytes, draw: random.Random) -> bytes:
    a, b = sorted(draw.randrange(len(data) + 1) for _ in range(2))
    b = min(b, a + 64)
    middle = draw.choice([b"", data[a:b] * 2, draw.randbytes(b - a), draw.choice(WORDS)])
    return data[:a] + middle + data[b:]


def _number(data: bytes, draw: random.Random) -> bytes:
    found = list(re.finditer(rb"-?\d+(\.\d+)?", data))
    if not found:
        return _slice(data, draw)
    one = draw.choice(found)
    return data[: one.start()] + draw.choice(WORDS) + data[one.end() :]


def _recoded(data: bytes, draw: random.Random) -> bytes:
    return data.decode("latin-1").encode(draw.choice(["utf-16", "utf-8-sig", "utf-32"]))


def _header(data: bytes, draw: random.Random) -> bytes:
    """A safetensors file whose header lies, in a header of the right length."""
    try:
        (length,) = struct.unpack("<Q", data[:8])
        told = bent(json.loads(data[8 : 8 + length]), draw)
    except (struct.error, ValueError, UnicodeDecodeError):
        return _slice(data, draw)
    text = json.dumps(told).encode()
    length_told = draw.choice([len(text)] * 6 + [0, 2**63, len(text) + 1, 10**9])
    return struct.pack("<Q", length_told) + text + data[8 + length :]


_BYTES: tuple[Callable[[bytes, random.Random], bytes], ...] = (_flip, _cut, _slice, _slice, _number, _number, _recoded)


def spoil(path: Path, draw: random.Random) -> None:
    """Change one file in one way."""
    data = path.read_bytes()
    kind = draw.random()
    if path.suffix == ".json" and kind < 0.6:
        try:
            plain = json.loads(data)
        except ValueError:
            plain = {}
        sound = {key: value for key, value in plain.items() if key != "crc32"} if isinstance(plain, dict) else {}
        changed = bent(sound, draw)
        if isinstance(changed, dict) and draw.random() < 0.8:
            store.write_json(
                path, changed, checksum="crc32" in plain
            )  # a checksum that is right: only the content is not
        else:
            path.write_text(json.dumps(changed))
    elif path.suffix == ".safetensors" and kind < 0.5:
        path.write_bytes(_header(data, draw))
    elif kind > 0.97:
        path.unlink()
        draw.choice([path.mkdir, lambda: None, lambda: os.symlink("../../outside/canary", path), path.touch])()
    else:
        path.write_bytes(draw.choice(_BYTES)(data, draw))


def spoil_some(folder: Path, draw: random.Random) -> None:
    """Change one file of a folder, now and then several, or which files there are."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink())
    if not files:
        return
    if draw.random() < 0.05:
        one, other = draw.choice(files), draw.choice(files)
        if one != other:
            shutil.copyfile(one, other)
        return
    for path in draw.sample(files, min(len(files), draw.choice([1, 1, 1, 1, 2, 3]))):
        spoil(path, draw)
