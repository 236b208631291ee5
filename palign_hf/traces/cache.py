"""Cache location of tables derived from a source: the cache of `datasets`, never the source's folder.

`datasets` writes the results of `map`, `filter` and `sort` into the folder of the table's own file, which for a table
written by `save_to_disk` is the source itself. So that file gets a link in the cache, and the table is read through
it.
"""

import copy
import hashlib
import os
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar


if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

Rows = TypeVar("Rows", bound="Dataset | IterableDataset")


def cached_apart(dataset: Rows) -> Rows:
    """Return the dataset so that nothing derived from it is written beside its source files."""
    from datasets import Dataset

    if not isinstance(dataset, Dataset) or not any(_is_source(file["filename"]) for file in dataset.cache_files):
        return dataset
    apart = copy.copy(dataset)
    apart._data = _apart(dataset._data)
    apart._indices = None if dataset._indices is None else _apart(dataset._indices)
    return apart


def cache_folder(kind: str, file: str | Path, *more: object) -> Path:
    """A folder in the cache of `datasets` for tables derived from the current content of a file."""
    import datasets

    real, about = os.path.realpath(file), os.stat(file)
    named = "\0".join(map(str, (real, about.st_size, about.st_mtime_ns, *more)))
    digest = hashlib.sha256(named.encode(errors="surrogatepass")).hexdigest()[:16]
    return Path(datasets.config.HF_DATASETS_CACHE) / "palign" / kind / digest


def _is_source(file: str) -> bool:
    """Whether a table's file is outside the cache of `datasets`."""
    import datasets
    from datasets import fingerprint

    own = [datasets.config.HF_DATASETS_CACHE]
    if fingerprint._TEMP_DIR_FOR_TEMP_CACHE_FILES is not None:
        own.append(fingerprint._TEMP_DIR_FOR_TEMP_CACHE_FILES.name)
    folder = Path(os.path.abspath(file)).parent
    return not any(folder.is_relative_to(os.path.abspath(one)) for one in own)


def _apart(table: Any) -> Any:
    """The table with each source file replaced by a link to it; the mapped memory stays the same."""
    from datasets.table import ConcatenationTable, InMemoryTable, MemoryMappedTable

    if isinstance(table, ConcatenationTable):
        return ConcatenationTable(table.table, [[_apart(block) for block in row] for row in table.blocks])
    if not isinstance(table, MemoryMappedTable) or not _is_source(table.path):
        return table
    try:
        return MemoryMappedTable(table.table, _link(table.path), replays=table.replays)
    except OSError:
        # A cache that can't be written, or a system without links: derived tables go into a temporary folder.
        return InMemoryTable(table.table)


def _link(file: str) -> str:
    link = cache_folder("sources", file) / Path(file).name
    real = os.path.realpath(file)
    if not link.is_symlink() or os.readlink(link) != real:
        link.parent.mkdir(parents=True, exist_ok=True)
        unfinished = link.with_name(f".{uuid.uuid4().hex}")
        os.symlink(real, unfinished)
        os.replace(unfinished, link)
    return str(link)
