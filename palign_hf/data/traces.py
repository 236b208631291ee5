"""Teacher datasets -> TRACES: opens a source, recognizes its layout, and reads question, trace and gold answer.

* The trace is the text between `<think>` tags (or `<|begin_of_thought|>`), byte for byte; without tags, all of it.
* The answer is that of a known answer column, in any layout: its last box or a last `####`, else the whole of one
  short line (142.0 becomes "142"); else the answer marked so in the solution; else null. Where the dataset has neither
  column it is the answer in the teacher's own reply, which is counted and warned of.
* The id is that of an `id`, `uuid` or `unique_id` column, else a hash of question and trace.
* A row without a question or trace, or with a longer conversation, is dropped and counted under its reason. Values of
  a wrong type and repeated ids are errors. System prompts and all other columns are left out, and named in the report.

`load_traces` returns the table, `read_traces` the table and its `TraceReport`.
"""

import logging
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypedDict, Unpack, overload

from palign_hf.config.resolve import knows_old_names
from palign_hf.data.layouts import KNOWN, Layout, choose_layout
from palign_hf.data.sources import UNREADABLE, open_source
from palign_hf.data.trace_rows import OWN_ADVICE, OWN_ANSWER, READER_VERSION, TraceReport, read_row
from palign_hf.errors import UserError
from palign_hf.schema import TRACES, SchemaError, check_table


if TYPE_CHECKING:
    from typing import TypeAlias

    from datasets import Dataset, DatasetDict, Features, IterableDataset, IterableDatasetDict

    Table: TypeAlias = Dataset | DatasetDict
    Stream: TypeAlias = IterableDataset | IterableDatasetDict
    Source: TypeAlias = str | Path | Table | Stream


logger = logging.getLogger("palign_hf")

_ID_ADVICE = (
    "Choose another column with `columns={'id': ...}`, or pass `content_ids=True` to have ids made from the content."
)


def read_table(dataset: "Dataset", layout: Layout, name: str | None, report: TraceReport) -> "Dataset":
    """Convert all rows, counted in `report`, with unique ids and all checks."""
    dataset = dataset.select_columns(layout.columns())
    dataset = dataset.map(
        read_row_of_map,
        with_indices=True,
        fn_kwargs={"layout": layout, "name": name, "version": READER_VERSION},
        remove_columns=dataset.column_names,
        features=_audited(),
        desc="Reading traces",
    )
    kept = []
    for index, row in enumerate(dataset.select_columns(["_dropped", "_answer_from", "_notes"])):
        report.count(row)
        if row["_dropped"] is None:
            kept.append(index)
    if report.dropped:
        dataset = dataset.select(kept)
    dataset = dataset.select_columns(list(TRACES.columns))
    if not report.rows_out:
        raise SchemaError(f"Every row was dropped: {report.summary()}. Check that these are the columns to read.")
    dataset = with_unique_ids(dataset, layout.id, report)
    check_table(dataset, TRACES)
    return dataset


def with_unique_ids(
    dataset: "Dataset", column: str | None, report: TraceReport, advice: str = _ID_ADVICE
) -> "Dataset":
    """Make ids of repeated content unique, with a note; a repeated id of the dataset's `column` is an error."""
    ids = dataset["id"][:]
    if len(set(ids)) == len(ids):
        return dataset
    seen = _Ids(column, report, ids, advice)
    columns, kind = dataset.column_names, dataset.features["id"]
    unique = [seen.unique(row_id) for row_id in ids]
    return dataset.remove_columns("id").add_column("id", unique, feature=kind).select_columns(columns)


def read_stream(
    dataset: "IterableDataset", layout: Layout, name: str | None, report: TraceReport
) -> "IterableDataset":
    """Convert rows on demand; `report` counts them on the way."""
    return dataset.select_columns(layout.columns()).map(
        read_row_of_stream,
        batched=True,
        # One row a batch: the report then counts what was read, not what was prefetched.
        batch_size=1,
        with_indices=True,
        fn_kwargs={"layout": layout, "name": name, "report": report, "ids": _Ids(layout.id, report)},
        remove_columns=layout.columns(),
        features=TRACES.features,
    )


def read_row_of_map(row: dict[str, Any], index: int, layout: Layout, name: str | None, version: int) -> dict[str, Any]:
    """`read_row` for `Dataset.map`; `version` is part of the cache's fingerprint."""
    return read_row(row, index, layout, name)


def read_row_of_stream(
    batch: dict[str, list[Any]],
    indices: list[int],
    layout: Layout,
    name: str | None,
    report: TraceReport,
    ids: "_Ids",
) -> dict[str, list[Any]]:
    """`read_row` for `IterableDataset.map`: a batch of one row in, none or one out, counted at once."""
    if indices[0] == 0:
        report.restart()
        ids.restart()
    row = read_row({column: values[0] for column, values in batch.items()}, indices[0], layout, name)
    report.count(row)
    reason = row["_dropped"]
    # A stream has no end to warn at: the first such row stands for those that follow.
    if row["_answer_from"] == OWN_ANSWER and report.answers_found[OWN_ANSWER] == 1:
        logger.warning(
            "%s: row %d and those like it have the teacher's own answer as gold. %s",
            name or "dataset",
            indices[0] + 1,
            OWN_ADVICE,
        )
    if reason is None:
        return {column: [ids.unique(row[column]) if column == "id" else row[column]] for column in TRACES.columns}
    # Warn at the 1st, 10th, 100th, ... row of a reason.
    if str(report.dropped[reason]).strip("0") == "1":
        logger.warning(
            "%s: row %d dropped (%s), %d so far", name or "dataset", indices[0] + 1, reason, report.dropped[reason]
        )
    return {column: [] for column in TRACES.columns}


class _Ids:
    """Makes ids unique: repeated content gets -1, -2, ...; a repeated given id is an error."""

    def __init__(
        self, column: str | None, report: TraceReport, known: list[str] | None = None, advice: str = _ID_ADVICE
    ) -> None:
        self.column = column
        self.advice = advice
        self.report = report
        self.known = known
        self.seen: Counter[str] = Counter()

    def restart(self) -> None:
        self.seen.clear()

    def unique(self, row_id: str) -> str:
        before = self.seen[row_id]
        self.seen[row_id] += 1
        if not before:
            return row_id
        if self.column:
            counts = Counter(self.known) if self.known else self.seen
            twice = [value for value, count in counts.items() if count > 1]
            raise SchemaError(
                f"The id column `{self.column}` repeats {', '.join(f'`{value}`' for value in twice[:5])}"
                f"{f' and {len(twice) - 5} more' if len(twice) > 5 else ''}, but an id names one row. {self.advice}"
            )
        self.report.notes["repeats an earlier row"] += 1
        return f"{row_id}-{before}"


def _audited() -> "Features":
    from datasets import Features, List, Value

    text = Value("string")
    return Features({**TRACES.features, "_dropped": text, "_answer_from": text, "_notes": List(text)})


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
        revision (`str`, *optional*):
            Revision on the Hub, as in `datasets.load_dataset`.
        token (`str` or `bool`, *optional*):
            Token of the Hub, as in `datasets.load_dataset`.
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

    >>> traces = load_traces("palign-toy", split="test", max_samples=3)
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


__all__ = ["KNOWN", "TraceReport", "load_traces", "read_traces"]
