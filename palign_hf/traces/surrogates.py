"""JSON lines whose texts hold half a surrogate pair, which no table can: read all the same, the broken places marked.

One such row would keep a whole file from being read. The mark is no character of any text, so that whoever works with
the row sees that it is broken (`asking.batches.broken`), and the others go on.
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
    """The value with a mark for each half of a pair; a whole pair was made one character by the parser."""
    if isinstance(value, str):
        return _HALF.sub(MARK, value)
    if isinstance(value, list):
        return [_mended(one) for one in value]
    if isinstance(value, dict):
        return {_mended(name): _mended(one) for name, one in value.items()}
    return value
