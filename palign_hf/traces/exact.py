"""Exact reading of numbers in text files: JSON through copies, CSV as text.

The readers of `datasets` turn large integers into 64-bit floats, larger ones into infinity, and a CSV's 0101 into 101.
"""

import gzip
import json
import os
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palign_hf.errors import UserError
from palign_hf.literals import LiteralNumber, check_nesting, load_numbers, may_be_inexact
from palign_hf.traces.cache import cache_folder


if TYPE_CHECKING:
    from datasets import Dataset

    from palign_hf.schema import Table

# Raise it with any change of a copy's content.
_VERSION = 1
# How tables write what is missing. `NA` and `None` may be answers.
_MISSING = ["", "nan", "NaN", "<NA>", "null", "NULL"]
# Smallest size limit of an unpacked file, and the largest ratio to its packed size.
MOST_UNPACKED = 2**30
MOST_PACKED = 100

_Path = tuple[str, ...]


def exact_json(file: Path) -> Path:
    """The file itself, or, where a number in it would lose digits, a copy with the columns of such numbers as text."""
    check_levels(file)
    found = _inexact(file)
    if not found:
        return file
    name = file.name.removesuffix(".gz").removesuffix(".GZ")
    copy = cache_folder("exact", file, _VERSION) / name
    if not copy.exists():
        copy.parent.mkdir(parents=True, exist_ok=True)
        unfinished = copy.with_name(f".{uuid.uuid4().hex}")
        with unfinished.open("w", encoding="utf-8", errors="surrogateescape") as lines:
            for row in _values(file):
                lines.write(json.dumps(_written(row, (), found)) + "\n")
        os.replace(unfinished, copy)
    return copy


def check_levels(file: Path) -> None:
    """Refuse JSON that is nested too deep; the error names the line."""
    whole: list[str] = []
    for at, line in enumerate(_lines(file), 1):
        if whole or (at == 1 and line.lstrip().startswith("[")):
            whole.append(line)
        try:
            check_nesting(line)
        except ValueError as error:
            raise UserError(f"`{file.name}` can't be read: line {at}: {error}. Fix that line, or remove it.") from None
    try:
        check_nesting("".join(whole))
    except ValueError as error:
        raise UserError(f"`{file.name}` can't be read: {error}. Check how it was written.") from None


def csv_as_text(file: Path, **options: Any) -> dict[str, Any]:
    """Options for `datasets` that read every cell of a CSV as text, an empty one as null."""
    import pandas as pd
    from datasets import Features, Value

    columns = pd.read_csv(file, nrows=0, **options).columns
    features = Features({str(name): Value("string") for name in columns})
    return {"features": features, "keep_default_na": False, "na_values": _MISSING}


def typed(dataset: "Dataset", table: "Table") -> "Dataset":
    """Convert a table's text columns to the numbers and booleans that they spell, for text files."""
    import pyarrow as pa
    import pyarrow.compute as pc
    from datasets import Features, Value

    kinds = dict(dataset.features)
    for name, wanted in table.features.items():
        if kinds.get(name) == Value("string") and isinstance(wanted, Value) and wanted.dtype != "string":
            try:
                pc.cast(dataset.data.column(name), wanted.pa_type)
            except pa.ArrowInvalid:
                continue  # the check of the table reports its content
            kinds[name] = wanted
    return dataset if kinds == dict(dataset.features) else dataset.cast(Features(kinds))


def _inexact(file: Path) -> set[_Path]:
    """The columns in which a number isn't exact as a float; none for invalid JSON, which its reader reports."""
    found: set[_Path] = set()
    try:
        for row in _values(file, only_maybe=True):
            found.update(path for path, number in _numbers(row, ()) if number.value is None)
    except ValueError:
        return set()
    return found


def _values(file: Path, only_maybe: bool = False) -> Iterator[Any]:
    """Yield the rows of JSON lines or of an array, with their numbers as written; `only_maybe` skips certainly exact
    ones.
    """
    lines = (line for line in _lines(file) if line.strip())
    first = next(lines, "")
    if not first:
        return
    try:
        row = None if first.lstrip().startswith("[") else load_numbers(first)
    except ValueError:
        row = None  # an object over several lines
    if row is None:
        whole = first + "".join(lines)
        read = load_numbers(whole) if not only_maybe or may_be_inexact(whole) else []
        # An array may hold texts alone, which `datasets` takes for a column of this name.
        rows = read if isinstance(read, list) else [read]
        yield from (row if isinstance(row, dict) else {"text": row} for row in rows)
        return
    yield row
    for line in lines:
        if not only_maybe or may_be_inexact(line):
            yield load_numbers(line)


def _lines(file: Path) -> Iterator[str]:
    """The lines of a file, unpacked; bytes that are no UTF-8 stay what they are, as surrogates."""
    most = max(MOST_UNPACKED, MOST_PACKED * file.stat().st_size)
    packed = file.suffix.lower() == ".gz"
    read = 0
    with gzip.open(file) if packed else file.open("rb") as lines:
        for line in lines:
            read += len(line)
            if packed and read > most:
                raise UserError(
                    f"`{file.name}` unpacks to more than {MOST_PACKED} times its size, and more than "
                    f"{most >> 30} GiB: it holds the same rows over and over. Unpack it yourself if that is meant."
                )
            yield line.removeprefix(b"\xef\xbb\xbf").decode("utf-8", "surrogateescape")


def _numbers(value: Any, path: _Path) -> Iterator[tuple[_Path, LiteralNumber]]:
    if isinstance(value, LiteralNumber):
        yield path, value
    elif isinstance(value, list):
        for one in value:
            yield from _numbers(one, (*path, "[]"))
    elif isinstance(value, dict):
        for name, one in value.items():
            yield from _numbers(one, (*path, name))


def _written(value: Any, path: _Path, as_text: set[_Path]) -> Any:
    """The value with its numbers as numbers, and as text in these columns."""
    if isinstance(value, LiteralNumber):
        return value.text if path in as_text else value.value
    if isinstance(value, list):
        return [_written(one, (*path, "[]"), as_text) for one in value]
    if isinstance(value, dict):
        return {name: _written(one, (*path, name), as_text) for name, one in value.items()}
    return value


def all_exact(files: Sequence[Path]) -> list[Path]:
    """`exact_json` of each."""
    return [exact_json(file) for file in files]
