"""Reading and writing of rows in JSON lines and parquet files; a broken line is named by its number."""

import gzip
import json
import os
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from palign_hf.errors import UserError, listed, nearest, shown
from palign_hf.evaluation.samples import SAMPLES, Sample
from palign_hf.literals import load_json
from palign_hf.runs.parts import whole


Row = dict[str, Any]
_LINES = (".jsonl", ".ndjson", ".json")
READ = (*_LINES, *(f"{suffix}.gz" for suffix in _LINES), ".parquet")
WRITTEN = (".jsonl", ".parquet")
# File of the samples in an evaluation's folder.
SAMPLES_FILE = "samples.parquet"


def read_rows(file: str | Path) -> list[Row]:
    """All rows of a file; of a folder, those of its `samples.parquet`."""
    path = _table_in(file)
    if Path(os.path.expanduser(file)).is_dir():
        if not path.is_file():
            raise UserError(f"`{file}` is a folder without `{SAMPLES_FILE}`. Give a file of outputs or of samples.")
    if path.exists() and not path.is_file():
        raise UserError(f"`{file}` is a pipe or a device, and no file. Write what comes out of it to a file first.")
    if not path.is_file():
        beside = [one.name for one in path.parent.iterdir()] if path.parent.is_dir() else []
        raise UserError(f"`{file}` does not exist{nearest(path.name, beside)}. Check the path.")
    suffix = _suffix(path)
    if suffix not in READ:
        raise UserError(
            f"`{path.name}` has the suffix `{suffix}`, which can't be read here. Give one of {listed(READ)}."
        )
    rows = _read_parquet(path) if suffix == ".parquet" else _read_lines(path)
    if not rows:
        raise UserError(f"`{path.name}` holds no rows. Check how it was written.")
    return rows


def writer(
    file: str | Path, overwrite: bool = False, read: str | Path | None = None
) -> Callable[[Iterable[Sample]], None]:
    """Return a function that writes samples to a file, in the format of its suffix; a wrong path is refused at once.

    Args:
        file (`str` or `Path`): file to write.
        replace (`bool`): whether existing samples may be overwritten; anything else never is.
        read (`str` or `Path`): the file or folder that is read, which is not overwritten.
    """
    path = Path(os.path.expanduser(file))
    if path.suffix not in WRITTEN:
        raise UserError(f"`{path.name}` can't be written: its suffix is none of {listed(WRITTEN)}. Give one of them.")
    if path.is_dir() or not path.parent.is_dir():
        raise UserError(f"`{path}` can't be written: {_obstacle(path)}. Give a file in a folder that is there.")
    if read is not None and _same(path, _table_in(read)):
        raise UserError(f"`{path}` is the file that is read. Give another file for the labels.")
    if path.is_symlink():
        raise UserError(f"`{path}` is a link, and links are not followed where labels are written. Give another file.")
    if path.exists() and not overwrite:
        raise UserError(f"`{path}` is there already. Give another file, or `overwrite=True` to write over it.")
    if path.exists() and not _graded(path):
        raise UserError(f"`{path}` holds no graded samples, so it is not written over. Give another file.")
    return lambda samples: write_samples(path, samples)


def write_samples(path: Path, samples: Iterable[Sample]) -> None:
    """Write samples to a file in the format of its suffix, atomically."""
    _write(path, [sample.row() for sample in samples])


def read_samples(file: str | Path) -> list[Sample]:
    """Read the samples of a file that `writer` wrote; columns beyond the table describe the problems."""
    rows = read_rows(file)
    names = dict.fromkeys(name for row in rows for name in row)
    if missing := [name for name in SAMPLES.columns if name not in names]:
        raise UserError(
            f"`{file}` holds no graded samples: it lacks {listed(missing)}. Grade it first "
            f"(`palign grade --output-file`), and give what that writes."
        )
    samples = []
    for at, row in enumerate(({**dict.fromkeys(names), **row} for row in rows), 1):
        for name in SAMPLES.required:
            if row[name] is None:
                raise UserError(f"Row {at} of `{file}` has no `{name}`, so it is no graded sample. Grade it again.")
        samples.append(Sample.from_row(row))
    return samples


def _write(path: Path, rows: list[Row]) -> None:
    with whole(path) as unfinished:
        if path.suffix == ".jsonl":
            with unfinished.open("w", encoding="utf-8") as lines:
                lines.writelines(f"{json.dumps(row, ensure_ascii=False)}\n" for row in rows)
            return
        import pyarrow as pa
        import pyarrow.parquet as pq
        from datasets import Features, Value

        extra = {name: Value("string") for row in rows for name in row if name not in SAMPLES.columns}
        schema = Features(SAMPLES.features | extra).arrow_schema
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), unfinished)


def _read_parquet(path: Path) -> list[Row]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        rows: list[Row] = pq.read_table(path).to_pylist()
    except (pa.ArrowInvalid, OSError) as error:
        raise UserError(f"`{path.name}` can't be read as parquet: {error}. Check that it is whole.") from error
    return rows


def _read_lines(path: Path) -> list[Row]:
    try:
        data = path.read_bytes()
        text = (gzip.decompress(data) if path.suffix == ".gz" else data).decode("utf-8-sig")
    except (EOFError, gzip.BadGzipFile, zlib.error, UnicodeDecodeError) as error:
        raise UserError(f"`{path.name}` can't be read: {error}. Check that it is whole, and UTF-8.") from error
    if text.lstrip().startswith("["):
        found = _parsed(text, path, "")
        return [_row(row, path, f"entry {at}") for at, row in enumerate(found, 1)]
    # Not `splitlines`: a text may hold other line ends than that of the file.
    lines = ((at, line) for at, line in enumerate(text.split("\n"), 1) if line.strip())
    return [_row(_parsed(line, path, f"line {at}: "), path, f"line {at}") for at, line in lines]


def _parsed(text: str, path: Path, where: str) -> Any:
    try:
        return load_json(text)
    except ValueError as error:
        raise UserError(f"`{path.name}` can't be read: {where}{error}. Mend that, or cut it off.") from error


def _row(value: Any, path: Path, where: str) -> Row:
    if not isinstance(value, dict):
        raise UserError(
            f"`{path.name}`, {where}, is no row but `{shown(value)}`. Give an object with names for its values."
        )
    return value


def _suffix(path: Path) -> str:
    return "".join(path.suffixes[-2 if path.suffix.lower() == ".gz" else -1 :]).lower()


def _table_in(file: str | Path) -> Path:
    """The file itself; of a folder, its samples."""
    path = Path(os.path.expanduser(file))
    return path / SAMPLES_FILE if path.is_dir() else path


def _same(path: Path, other: Path) -> bool:
    return path.exists() and other.exists() and path.samefile(other)


def _graded(path: Path) -> bool:
    """Whether a file is one that `writer` has written."""
    if path.suffix == ".jsonl":
        with path.open(encoding="utf-8", errors="replace") as lines:
            first = lines.readline()
        try:
            found = set(json.loads(first))
        except (ValueError, TypeError, RecursionError):
            return False
        return found >= {*SAMPLES.columns}
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return {*pq.read_schema(path).names} >= {*SAMPLES.columns}
    except (pa.ArrowInvalid, OSError):
        return False


def _obstacle(path: Path) -> str:
    return "it is a folder" if path.is_dir() else f"`{path.parent}` is no folder"
