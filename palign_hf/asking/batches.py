"""Validation of the batches that `map` passes to a transform, and the progress bars of `map`."""

import re
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from palign_hf.errors import listed, nearest
from palign_hf.schema import SchemaError, Table, check_columns


if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset

# Halves of a surrogate pair, and what Unicode keeps free of characters for ever.
_NO_CHARACTER = re.compile("[\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")

# About a million tokens. Texts are cut and tokenized before their fit is known, at 250 bytes of memory a character: a
# single row of 56 million characters took 10 GB and five minutes.
MOST_CHARACTERS = 4_000_000

_UNFORMATTED = (
    "`{}` got its rows as `{}`: it reads plain Python values. Take the format of the dataset off: "
    "`dataset.with_format(None).map(transform, batched=True)`."
)


def columns_of(
    batch: Mapping[str, Any], table: Table, texts: Collection[str], transform: str, others: Collection[str] = ()
) -> dict[str, list[Any]]:
    """Return the columns of `table` in a batch, and those of `others` that exist; values of `texts` are text or null.

    `transform` is the transform's name, for messages.
    """
    if not isinstance(batch, Mapping):
        raise SchemaError(_UNFORMATTED.format(transform, type(batch).__name__))
    check_columns(list(batch), table)
    check_others(list(batch), others)
    if batch["id"] is None or isinstance(batch["id"], str | int):
        raise SchemaError(
            f"`{transform}` got a single row: its engine answers many problems at once. "
            f"Use `dataset.map(transform, batched=True, batch_size=1000)`."
        )
    columns: dict[str, list[Any]] = {name: batch[name] for name in (*table.columns, *others)}
    for name, values in columns.items():
        if not isinstance(values, list):
            raise SchemaError(_UNFORMATTED.format(transform, type(values).__name__))
        for row, value in enumerate(values if name in texts else ()):
            if not isinstance(value, str) and (value is not None or name == "id"):
                raise SchemaError(
                    f"Row {row + 1} of the batch (id `{columns['id'][row]}`) has a `{name}` of type "
                    f"`{type(value).__name__}`: it must be text. Load the dataset through "
                    f"`palign_hf.load_traces`, or cast the column."
                )
    if twice := [name for name, count in Counter(columns["id"]).items() if count > 1]:
        raise SchemaError(
            f"Column `id` must be unique, but {len(twice)} ids are repeated: {listed(twice[:5])}. Give each row its "
            f"own, or let `load_traces` do it."
        )
    return columns


def check_others(present: Sequence[str], others: Iterable[str], setting: str = "carry") -> None:
    """Refuse named columns that don't exist."""
    for name in others:
        if name not in present:
            raise SchemaError(
                f"`{setting}={name}` is no column of the prefixes{nearest(name, present)}. They have "
                f"{listed(present)}: name one of these, or leave it out."
            )


def plain_rows(rows: "Dataset", size: int = 256) -> Iterator[dict[str, Any]]:
    """Yield rows as plain values, read `size` at a time."""
    for batch in plain_batches(rows, size):
        yield from rows_of(batch)


def plain_batches(rows: "Dataset", size: int = 256) -> Iterator[dict[str, list[Any]]]:
    """Yield columns as plain values, `size` rows at a time. Invalid UTF-8 is kept as surrogates, as in Python, so that
    an unreadable row affects only itself (`broken`).
    """
    for table in rows.with_format("arrow").iter(size):
        yield {name: _plain(table[name]) for name in table.column_names}


def broken(text: str) -> str | None:
    """Why a text can't be shown to a student; None for valid text."""
    if found := _NO_CHARACTER.search(text):
        return f"it holds U+{ord(found[0]):04X}, which is no character: it was broken before it came here"
    return None


def oversized(text: str) -> str | None:
    """Why a text is too long for any context; None otherwise."""
    if len(text) <= MOST_CHARACTERS:
        return None
    return f"has {len(text):,} characters, more than any context holds ({MOST_CHARACTERS:,} are read at most)"


def _plain(column: "pa.ChunkedArray") -> list[Any]:
    import pyarrow as pa

    try:
        values: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        raw = column.cast(pa.large_binary() if pa.types.is_large_string(column.type) else pa.binary())
        values = [None if value is None else value.decode("utf-8", "surrogateescape") for value in raw.to_pylist()]
    return values


def rows_of(columns: Mapping[str, list[Any]]) -> Iterator[dict[str, Any]]:
    """The rows of plain columns."""
    for values in zip(*columns.values(), strict=True):
        yield dict(zip(columns, values, strict=True))


def map_bars() -> list[Any]:
    """The progress bars that `map` currently shows on a terminal."""
    from datasets.utils import tqdm

    shown = getattr(tqdm, "_instances", ())
    return [bar for bar in shown if isinstance(bar, tqdm) and not bar.disable and bar.fp.isatty()]
