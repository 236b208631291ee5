"""`load_traces` and `read_traces`: open a source, choose its layout, and convert it with a report."""

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
    """The options of `load_traces` except `streaming`, for its overloads."""

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
    """Load teacher traces as a table of TRACES: exactly its five columns, without the others.

    Logs one summary line on the logger `palign_hf`; `read_traces` returns it. It is a warning if rows were dropped, or
    if the gold answer is the teacher's own because no column holds a better one.

    Args:
        source (`str`, `Path`, `Dataset`, `IterableDataset` or a dictionary of splits):
            Hub id, file, glob ("data/*.parquet"), folder (parquet, arrow, jsonl, json, csv, tsv, also as .gz, or
            `save_to_disk`), `palign-toy`, or loaded dataset.
        columns (`dict[str, str]`, *optional*):
            Source columns by target: `question`, `trace`, `answer`, `solution` (its marked answer is read), `id` and
            `source`. With both `question` and `trace` only these are read, and the gold answer from known columns if
            neither `answer` nor `solution` is named; with fewer, a known layout is changed.
        known (`str`, *optional*):
            Name of a known layout (`KNOWN`), instead of recognition from the columns.
        source_name (`str`, *optional*):
            Value of the `source` column; by default the Hub id or the name of the file or folder.
        split (`str`, *optional*):
            Split name, as in `datasets.load_dataset`.
        config (`str`, *optional*):
            Configuration name, as in `datasets.load_dataset`.
        revision, token:
            Revision on the Hub, as in `datasets.load_dataset`.
        streaming (`bool`, defaults to `False`):
            Whether to return an `IterableDataset` that is converted as it is read.
        max_samples (`int`, *optional*):
            Read at most this many rows, from the first on.
        content_ids (`bool`, defaults to `False`):
            Whether to make ids from question and trace, and ignore an `id`, `uuid` or `unique_id` column.

    Returns:
        `Dataset` or, with `streaming=True`, `IterableDataset`: a table of TRACES.

    Raises:
        [`UserError`]: if the source can't be read or is empty, or its layout is unknown.

    Example:

    ```python
    >>> from palign_hf import load_traces

    >>> traces = load_traces("palign-toy", split="test", limit=3)
    >>> len(traces), sorted(traces.column_names)
    (3, ['answer', 'id', 'question', 'source', 'trace'])
    ```
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
    """`load_traces` that also returns its `TraceReport`; for a stream the report fills as rows are read."""
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
