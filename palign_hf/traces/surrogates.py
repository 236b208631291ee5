"""Reader of JSON lines with unpaired surrogates, which no table can hold: the broken places are marked.

One such row would make a whole file unreadable. The mark is a noncharacter, so that later stages recognize the broken
row (`asking.batches.broken`), and the other rows are read.
"""

import gzip
import json
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any


if TYPE_CHECKING:
    from datasets import Dataset

MARK = "\uffff"
_HALF = re.compile("[\ud800-\udfff]")


def read_json(files: Sequence[Path]) -> "Dataset":
    """The rows of files of JSON lines, in order."""
    from datasets import Dataset

    return Dataset.from_list([_mended(row) for file in files for row in _rows(file)])


def _rows(file: Path) -> Iterator[Any]:
    text = (gzip.decompress(file.read_bytes()) if file.suffix == ".gz" else file.read_bytes()).decode("utf-8")
    for line in text.split("\n"):
        if line.strip():
            yield json.loads(line)


def _mended(value: Any) -> Any:
    """The value with a mark for each unpaired surrogate; the parser has already joined valid pairs."""
    if isinstance(value, str):
        return _HALF.sub(MARK, value)
    if isinstance(value, list):
        return [_mended(one) for one in value]
    if isinstance(value, dict):
        return {_mended(name): _mended(one) for name, one in value.items()}
    return value
