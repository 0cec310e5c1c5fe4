"""The files landform writes of its own: whole or not at all, and named when damaged.

A file is written under a temporary name in its own folder, flushed to the disk, and only then given its final name;
whoever reads sees the old file or the new one, never half of one. Arrays are safetensors files (any safetensors
reader opens them) with two kinds of checksum among the metadata: one over the header, and one for each tensor, so
that one tensor can be read and verified without reading the others.
"""

from landform.store._files import (
    check_schema,
    read_bytes,
    read_json,
    read_text,
    settle_folder,
    write_bytes,
    write_json,
    write_text,
)
from landform.store._folders import Lock, check_name, free_space, make_folder, remove, size_text, sweep
from landform.store._pickles import load_pickle, state_in
from landform.store._tensors import (
    Entry,
    TensorFile,
    can_hold,
    checksum,
    open_tensors,
    read_tensors,
    scratch,
    write_tensors,
)
from landform.store._writers import Writers, is_shared

__all__ = [
    "Entry",
    "Lock",
    "TensorFile",
    "Writers",
    "can_hold",
    "check_name",
    "check_schema",
    "checksum",
    "free_space",
    "is_shared",
    "load_pickle",
    "make_folder",
    "open_tensors",
    "read_bytes",
    "read_json",
    "read_tensors",
    "read_text",
    "remove",
    "scratch",
    "settle_folder",
    "size_text",
    "state_in",
    "sweep",
    "write_bytes",
    "write_json",
    "write_tensors",
    "write_text",
]
