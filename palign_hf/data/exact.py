"""Exact reading of numbers in text files: JSON through copies, CSV as text.

The readers of `datasets` turn large integers into 64-bit floats, larger ones into infinity, and a CSV's 0101 into 101.
"""

import copy
import gzip
import hashlib
import json
import math
import os
import re
import uuid
from collections.abc import Iterator, Sequence
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from palign_hf.errors import UserError


if TYPE_CHECKING:
    from datasets import Dataset, IterableDataset

    from palign_hf.schema import Table


# Nesting limit of arrays and objects. No dataset needs more, and the parsers of other libraries recurse: pyarrow's
# crashes the process at some thousands of levels.
MOST_LEVELS = 200
# Beyond it, neighbouring integers are one float.
_EXACT = 2**53
_MARK = re.compile(r'"(?:[^"\\]|\\.)*+"?|([\[{])|[\]}]', re.DOTALL)
# All that a number must have to be inexact: an exponent, or as many digits as the smallest such integer.
_MAYBE = re.compile(r"[\d.]{16}|\d[eE][-+]?\d")


class LiteralNumber(str):
    """A number as written."""

    __slots__ = ()

    @property
    def value(self) -> int | float | None:
        """The number, if a 64-bit float holds exactly the written one; else None."""
        if self.lstrip("-").isdigit():
            whole = int(self) if len(self) < 20 else _EXACT + 1
            return whole if abs(whole) <= _EXACT else None
        near = float(self)
        try:
            return near if math.isfinite(near) and Decimal(self) == Decimal(repr(near)) else None
        except InvalidOperation:  # an exponent that no decimal has
            return None

    @property
    def text(self) -> str:
        """The number as people write it: 142.0 is `142`."""
        value = self.value
        return re.sub(r"\.0+$", "", self) if value is None else number_text(value)


def number_text(value: int | float | Decimal) -> str:
    """A finite number as people write it: 142.0 is `142`, 1e23 is a one with its zeros."""
    if isinstance(value, float) and value.is_integer() and abs(value) > _EXACT:
        value = Decimal(repr(value))
    if isinstance(value, Decimal):
        text = format(value, "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    return str(int(value) if value == int(value) else value)


def load_json(text: str) -> Any:
    """Parse JSON, with numbers that 64 bits can't hold as text; `ValueError` has the reason if it can't be read."""
    check_nesting(text)
    return json.loads(text, parse_int=_whole, parse_float=_broken)


def load_numbers(text: str) -> Any:
    """Parse JSON with every number as a `LiteralNumber`."""
    check_nesting(text)
    return json.loads(text, parse_int=LiteralNumber, parse_float=LiteralNumber)


def may_be_inexact(text: str) -> bool:
    """Whether a JSON text can hold a number that isn't exact as a float; False is certain."""
    return _MAYBE.search(text) is not None


def check_nesting(text: str) -> None:
    """Raise `ValueError` if arrays and objects are nested too deep."""
    if text.count("[") + text.count("{") <= MOST_LEVELS:
        return
    if max(_levels(text), default=0) > MOST_LEVELS:
        raise ValueError(f"it is nested more than {MOST_LEVELS} levels deep, and no row of a dataset is")


def _levels(text: str) -> Iterator[int]:
    level = 0
    for mark in _MARK.finditer(text):
        if mark[0][0] == '"':
            continue
        level += 1 if mark[1] else -1
        yield level
        if level > MOST_LEVELS:
            return


def _whole(literal: str) -> int | str:
    """Integers are exact in Python, but tables hold 64 bits, and Python itself reads at most 4,300 digits."""
    value = int(literal) if len(literal) <= 20 else None
    return value if value is not None and -(2**63) <= value < 2**63 else literal


def _broken(literal: str) -> float | str:
    number = LiteralNumber(literal)
    return number.text if number.value is None else float(literal)


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
