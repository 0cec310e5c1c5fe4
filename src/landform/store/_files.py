"""One file written whole or not at all; text and JSON; the sentences for a disk that says no."""

from __future__ import annotations

import errno
import json
import os
import re
import secrets
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeAlias

from landform.errors import BadInput, Damaged

Buffer: TypeAlias = bytes | bytearray | memoryview

TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


def write_bytes(path: str | Path, data: Buffer | Iterable[Buffer], *, settle: bool = True) -> None:
    """Write a file, whole or not at all.

    Args:
        path: the file; its folder must be there.
        data: what it shall hold, in one piece or several.
        settle: also make the new name outlast a power cut; who writes many files may rather call `settle_folder` once.

    Raises:
        BadInput: when it cannot be written; nothing is left behind, and an older file of this name is untouched.
    """
    path = Path(path)
    parts = [data] if isinstance(data, bytes | bytearray | memoryview) else data
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)
        file = os.open(temporary, flags, 0o666)
        try:
            for part in _gathered(parts):
                rest = memoryview(part).cast("B")
                while rest.nbytes:
                    rest = rest[os.write(file, rest) :]
            os.fsync(file)
        finally:
            os.close(file)
        os.replace(temporary, path)
        if settle:
            settle_folder(path.parent)
    except BaseException as failure:
        with suppress(OSError):
            os.unlink(temporary)
        if isinstance(failure, OSError):
            raise BadInput(why_not_written(path, failure)) from None
        raise


def write_text(path: str | Path, text: str) -> None:
    """Write text in UTF-8, whole or not at all.

    Args:
        path: the file; its folder must be there.
        text: what it shall hold.
    """
    write_bytes(path, text.encode())


def write_json(path: str | Path, content: Mapping[str, Any], *, checksum: bool = True) -> None:
    """Write a JSON object that a person can read, whole or not at all.

    Args:
        path: the file; its folder must be there.
        content: what it shall hold.
        checksum: add a last entry ``crc32`` by which `read_json` notices a change.

    Raises:
        BadInput: when the content is not JSON (nan and inf are not), or the file cannot be written.
    """
    try:
        content = json.loads(json.dumps(content, allow_nan=False))
    except (TypeError, ValueError) as why:
        raise BadInput(f"{path} cannot hold this as JSON ({why}): give numbers, strings, lists and dicts.") from None
    if checksum:
        content = {**content, "crc32": _json_sum(content)}
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")


def read_bytes(path: str | Path) -> bytes:
    """Read a file.

    Args:
        path: the file.

    Returns:
        Its content.

    Raises:
        BadInput: when it cannot be read.
    """
    try:
        return Path(path).read_bytes()
    except OSError as why:
        raise unreadable(Path(path), why) from None


def read_text(path: str | Path) -> str:
    """Read text in UTF-8.

    Args:
        path: the file.

    Returns:
        Its content.
    """
    try:
        return read_bytes(path).decode()
    except UnicodeDecodeError:
        raise damaged(Path(path), "it is not UTF-8 text") from None


def read_json(path: str | Path, *, checksum: bool = True) -> dict[str, Any]:
    """Read what `write_json` wrote.

    Args:
        path: the file.
        checksum: expect its checksum, and verify it.

    Returns:
        The object, without its checksum.

    Raises:
        Damaged: when it is no JSON object, or not the one that was written.
    """
    path = Path(path)
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError) as why:
        if isinstance(why, BadInput):
            raise
        raise damaged(path, f"it is not JSON: {why}") from None
    if not isinstance(content, dict):
        raise damaged(path, "it is not a JSON object")
    if checksum and content.pop("crc32", None) != _json_sum(content):
        raise damaged(path, "its content is not what was written")
    return content


def check_schema(content: Mapping[str, Any], path: str | Path, newest: int) -> None:
    """Refuse a file in a form that only a later landform knows.

    Args:
        content: what the file holds; ``schema`` is its form, ``landform`` the version that wrote it.
        path: the file.
        newest: the latest form that this landform reads.

    Raises:
        BadInput: when the form is later.
        Damaged: when the file does not say.
    """
    schema = content.get("schema")
    if not isinstance(schema, int):
        raise damaged(Path(path), "it does not say in which schema it is written")
    if schema > newest:
        raise BadInput(
            f"{path} was written by landform {content.get('landform')} in schema {schema}, and this landform reads "
            f"schemas up to {newest}: install that version or a later one."
        )


def why_not_written(path: Path, failure: OSError) -> str:
    """Say why a file cannot be written, and what to do."""
    if failure.errno in (errno.ENOSPC, errno.EDQUOT):
        return f"The disk is full, so {path} was not written: free some space (what was written before is intact)."
    if failure.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
        return f"{path} cannot be written ({failure.strerror}): give a folder that you may write to."
    if failure.errno in (errno.ENOTDIR, errno.EEXIST, errno.EISDIR):
        return f"{path} cannot be written because a file stands where a folder is needed, or the other way round."
    if failure.errno == errno.ENOENT:
        return f"{path} cannot be written because its folder is not there (any more)."
    return f"{path} cannot be written ({failure.strerror}); what was written before is intact."


def unreadable(path: Path, why: OSError) -> BadInput:
    """Say why a file cannot be read."""
    if isinstance(why, FileNotFoundError):
        return BadInput(f"There is no file {path}.")
    return BadInput(f"{path} cannot be read ({why.strerror}).")


def damaged(path: Path, why: str) -> Damaged:
    """Say that a file is damaged, and why."""
    return Damaged(f"{path} is damaged ({why}): put back a good copy, or remove it and have it made again.")


def _json_sum(content: Mapping[str, Any]) -> str:
    plain = json.dumps(content, sort_keys=True, separators=(",", ":"))
    return f"{zlib.crc32(plain.encode()):08x}"


def settle_folder(folder: str | Path) -> None:
    """Make the names of a folder's files outlast a power cut, where the system can.

    Args:
        folder: the folder.
    """
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as failure:
        if failure.errno != errno.EINVAL:  # some network file systems cannot
            raise BadInput(why_not_written(Path(folder), failure)) from None
    finally:
        os.close(handle)


def _gathered(parts: Iterable[Buffer], least: int = 1 << 16) -> Iterator[Buffer]:
    """Put small parts together, to save calls; large ones are passed on without a copy."""
    small = bytearray()
    for part in parts:
        if memoryview(part).nbytes < least:
            small += part
            continue
        if small:
            yield small
            small = bytearray()
        yield part
    if small:
        yield small
