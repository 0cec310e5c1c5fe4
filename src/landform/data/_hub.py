"""Fetching a set from the hub into the folder it will be read from."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from landform.data._pictures import Kind
from landform.errors import BadInput, try_import


def fetch(source: str, folder: Path, kind: Kind) -> None:
    """Download both splits through the `datasets` library and keep them as parquet files.

    Args:
        source: a data set of the hub, or a folder that is a copy of one.
        folder: where the files go; each appears only once it is whole.
        kind: which columns to keep.

    Raises:
        BadInput: when `datasets` is not installed, the set cannot be fetched, or it is another set.
    """
    datasets = try_import("datasets", "data")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as refused:
        raise BadInput(f"{kind.name} cannot be kept in {folder} ({refused.strerror}): give another root.") from None
    # the library's own cache would hold everything a second time
    with tempfile.TemporaryDirectory(dir=folder, prefix=".fetching-") as cache:
        try:
            fetched = datasets.load_dataset(source, cache_dir=cache)
        except Exception as failed:  # the network, the hub and the file system each have their own errors
            said = str(failed).strip().partition("\n")[0]
            raise BadInput(f"{kind.name} could not be fetched from {source}: {said}") from None
        wanted = (kind.image_column, kind.label_column)
        for part in ("train", "test"):
            if part not in fetched:
                raise BadInput(f"{source} has no split {part!r} but {', '.join(fetched)}: it is not {kind.name}.")
            if lacking := [column for column in wanted if column not in fetched[part].column_names]:
                raise BadInput(f"{source} has no column {lacking[0]!r}: it is not {kind.name}.")
        for part in ("train", "test"):
            table = fetched[part].select_columns(list(wanted)).with_format(None)
            whole = Path(cache) / f"{part}.parquet"
            table.to_parquet(str(whole))
            os.replace(whole, folder / f"{part}-00000-of-00001.parquet")
        fetched.cleanup_cache_files()
        del fetched, table
