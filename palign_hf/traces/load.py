"""`load_traces` and `read_traces`: open a source, choose its layout, convert it, and give the account of it."""

import logging
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypedDict, Unpack, overload

from palign_hf.config.renamed import knows_old_names
from palign_hf.errors import UserError
from palign_hf.traces.convert import read_stream, read_table
from palign_hf.traces.layouts import choose_layout
from palign_hf.traces.report import TraceReport
from palign_hf.traces.sources import UNREADABLE, open_source


if TYPE_CHECKING:
    from typing import TypeAlias

    from datasets import Dataset, DatasetDict, IterableDataset, IterableDatasetDict

    Table: TypeAlias = Dataset | DatasetDict
    Stream: TypeAlias = IterableDataset | IterableDatasetDict
    Source: TypeAlias = str | Path | Table | Stream

logger = logging.getLogger("palign_hf")


class ReadOptions(TypedDict, total=False):
    """The options of `load_traces` beside `streaming`, for its overloads."""

    columns: dict[str, str] | None
    known: str | None
    source_name: str | None
    split: str | None
    config: str | None
    revision: str | None
    token: str | bool | None
    max_samples: int | None
    content_ids: bool


# Enough rows to see whether a text column carries thinking tags.
_SAMPLE = 20


@overload
def load_traces(source: "Stream", *, streaming: bool = ..., **options: Unpack[ReadOptions]) -> "IterableDataset": ...
@overload
def load_traces(
    source: "str | Path | Table", *, streaming: Literal[False] = ..., **options: Unpack[ReadOptions]
) -> "Dataset": ...
@overload
def load_traces(
    source: "Source", *, streaming: Literal[True], **options: Unpack[ReadOptions]
) -> "IterableDataset": ...
@overload
def load_traces(
    source: "Source", *, streaming: bool, **options: Unpack[ReadOptions]
) -> "Dataset | IterableDataset": ...
@knows_old_names
def load_traces(
    source: "Source",
    *,
    columns: dict[str, str] | None = None,
    known: str | None = None,
    source_name: str | None = None,
    split: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    streaming: bool = False,
    max_samples: int | None = None,
    content_ids: bool = False,
) -> "Dataset | IterableDataset":
    """Load teacher traces as the TRACES table: exactly its five columns, and none of the others.

    Logs one line of account on the logger `palign_hf`; `read_traces` returns it. It is a warning if rows were dropped,
    or if the gold answer is the teacher's own for want of a column that holds it.

    Args:
        source: a Hub id, a file, a glob ("data/*.parquet") or a folder (parquet, arrow, jsonl, json, csv, tsv, also
            as .gz, `save_to_disk`), or a loaded dataset.
        columns: target -> source column, for `question`, `trace`, `answer`, `solution` (its marked answer is read),
            `id` and `source`. With both `question` and `trace`, nothing else is read but the gold answer, and that
            from known columns if neither `answer` nor `solution` is named; with fewer, a known layout is changed.
        known: the name of a known layout (`KNOWN`), instead of recognising it from the columns.
        source_name: what to write in the `source` column; else the Hub id or the name of the file or folder.
        split, config, revision, token: as in `datasets.load_dataset`.
        streaming: return an `IterableDataset` that is converted as it is read.
        max_samples: read only the first so many rows.
        content_ids: ignore an `id`, `uuid` or `unique_id` column and make ids from question and trace.
    """
    dataset, report = read_traces(
        source,
        columns=columns,
        known=known,
        source_name=source_name,
        split=split,
        config=config,
        revision=revision,
        token=token,
        streaming=streaming,
        max_samples=max_samples,
        content_ids=content_ids,
    )
    logger.log(logging.WARNING if report.dropped or report.warning else logging.INFO, report.summary())
    return dataset


@overload
def read_traces(
    source: "Stream", *, streaming: bool = ..., **options: Unpack[ReadOptions]
) -> tuple["IterableDataset", TraceReport]: ...
@overload
def read_traces(
    source: "str | Path | Table", *, streaming: Literal[False] = ..., **options: Unpack[ReadOptions]
) -> tuple["Dataset", TraceReport]: ...
@overload
def read_traces(
    source: "Source", *, streaming: Literal[True], **options: Unpack[ReadOptions]
) -> tuple["IterableDataset", TraceReport]: ...
@overload
def read_traces(
    source: "Source", *, streaming: bool, **options: Unpack[ReadOptions]
) -> tuple["Dataset | IterableDataset", TraceReport]: ...
@knows_old_names
def read_traces(
    source: "Source",
    *,
    columns: dict[str, str] | None = None,
    known: str | None = None,
    source_name: str | None = None,
    split: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    streaming: bool = False,
    max_samples: int | None = None,
    content_ids: bool = False,
) -> tuple["Dataset | IterableDataset", TraceReport]:
    """`load_traces` with its `TraceReport`; for a stream the report fills as rows are read."""
    from datasets import Dataset

    if max_samples is not None and max_samples < 1:
        raise UserError(f"`max_samples={max_samples}` must be at least 1. Leave `max_samples` out to read all rows.")
    dataset, found_name = open_source(
        source, split=split, config=config, revision=revision, streaming=streaming, token=token
    )
    name = source_name or found_name
    dataset = dataset.with_format(None)
    if max_samples is not None:
        dataset = (
            dataset.take(max_samples)
            if not isinstance(dataset, Dataset)
            else dataset.select(range(min(max_samples, len(dataset))))
        )
    try:
        sample = list(islice(dataset, _SAMPLE))
    except UNREADABLE as error:  # a stream is parsed only now
        raise UserError(f"`{name}` can't be read: {error}. Check that it is whole.") from error
    if not sample:
        raise UserError(
            f"`{name or type(source).__name__}` is empty: it holds no rows. Check the split and how it was written."
        )
    present = dataset.column_names or list(sample[0])
    layout = choose_layout(present, sample, columns, known)
    if content_ids:
        layout = replace(layout, id=None)
    report = TraceReport(name, layout.name, tuple(column for column in present if column not in layout.columns()))
    if isinstance(dataset, Dataset):
        return read_table(dataset, layout, name, report), report
    return read_stream(dataset, layout, name, report), report
