"""Any teacher dataset to the TRACES table, with a report of what became of every row."""

import logging
from collections import Counter
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palign_hf.errors import UserError
from palign_hf.schema import TRACES, SchemaError, check
from palign_hf.traces.layouts import Layout, choose_layout
from palign_hf.traces.report import TraceReport
from palign_hf.traces.rows import READER_VERSION, read_row
from palign_hf.traces.sources import open_source


if TYPE_CHECKING:
    from typing import TypeAlias

    from datasets import Dataset, DatasetDict, Features, IterableDataset, IterableDatasetDict

    Source: TypeAlias = str | Path | Dataset | IterableDataset | DatasetDict | IterableDatasetDict

logger = logging.getLogger("palign_hf")

# Enough rows to see whether a text column carries thinking tags.
_SAMPLE = 20


def load_traces(
    source: "Source",
    *,
    columns: dict[str, str] | None = None,
    known: str | None = None,
    name: str | None = None,
    split: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    streaming: bool = False,
    limit: int | None = None,
    content_ids: bool = False,
) -> "Dataset | IterableDataset":
    """Load teacher traces as the TRACES table: exactly its five columns, and none of the others.

    Logs one line of account on the logger `palign_hf`, a warning if rows were dropped; `read_traces` returns it.

    Args:
        source: a Hub id, a file or folder (parquet, jsonl, json, arrow, csv, `save_to_disk`), or a loaded dataset.
        columns: target -> source column, for `question`, `trace`, `answer`, `solution` (its last box is the answer),
            `id` and `source`. With both `question` and `trace`, nothing else is read; with fewer, a known layout is
            changed.
        known: the name of a known layout (`KNOWN`), instead of recognising it from the columns.
        name: what to write in the `source` column; else the Hub id or the name of the file or folder.
        split, config, revision: as in `datasets.load_dataset`.
        streaming: return an `IterableDataset` that is converted as it is read.
        limit: read only the first so many rows.
        content_ids: ignore an `id`, `uuid` or `unique_id` column and make ids from question and trace.
    """
    dataset, report = read_traces(
        source,
        columns=columns,
        known=known,
        name=name,
        split=split,
        config=config,
        revision=revision,
        streaming=streaming,
        limit=limit,
        content_ids=content_ids,
    )
    logger.log(logging.WARNING if report.dropped else logging.INFO, report.summary())
    return dataset


def read_traces(
    source: "Source",
    *,
    columns: dict[str, str] | None = None,
    known: str | None = None,
    name: str | None = None,
    split: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    streaming: bool = False,
    limit: int | None = None,
    content_ids: bool = False,
) -> tuple["Dataset | IterableDataset", TraceReport]:
    """`load_traces` with its `TraceReport`; for a stream the report fills as rows are read."""
    from datasets import Dataset

    if limit is not None and limit < 1:
        raise UserError(f"`limit={limit}` would read no rows. Pass a positive number, or leave `limit` out.")
    dataset, found_name = open_source(source, split=split, config=config, revision=revision, streaming=streaming)
    name = name or found_name
    dataset = dataset.with_format(None)
    if limit is not None:
        dataset = (
            dataset.take(limit)
            if not isinstance(dataset, Dataset)
            else dataset.select(range(min(limit, len(dataset))))
        )
    try:
        sample = list(islice(dataset, _SAMPLE))
    except ValueError as error:  # a stream is parsed only now
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
        return _read(dataset, layout, name, report), report
    return _stream(dataset, layout, name, report), report


def _read(dataset: "Dataset", layout: Layout, name: str | None, report: TraceReport) -> "Dataset":
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
    ids = dataset["id"][:]
    if len(set(ids)) < len(ids):
        seen = _Ids(layout.id, report, ids)
        unique = [seen.unique(row_id) for row_id in ids]
        dataset = dataset.remove_columns("id").add_column("id", unique, feature=TRACES.features["id"])
        dataset = dataset.select_columns(list(TRACES.columns))
    check(dataset, TRACES)
    return dataset


def _stream(dataset: "IterableDataset", layout: Layout, name: str | None, report: TraceReport) -> "IterableDataset":
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
    """`read_row` as `Dataset.map` calls it; `version` is there for the fingerprint of the cache."""
    return read_row(row, index, layout, name)


def read_row_of_stream(
    batch: dict[str, list[Any]],
    indices: list[int],
    layout: Layout,
    name: str | None,
    report: TraceReport,
    ids: "_Ids",
) -> dict[str, list[Any]]:
    """`read_row` as `IterableDataset.map` calls it: a batch of one row in, none or one out, counted at once."""
    if indices[0] == 0:
        report.restart()
        ids.restart()
    row = read_row({column: values[0] for column, values in batch.items()}, indices[0], layout, name)
    report.count(row)
    reason = row["_dropped"]
    if reason is None:
        return {column: [ids.unique(row[column]) if column == "id" else row[column]] for column in TRACES.columns}
    # A stream has no end to report at: warn at the 1st, 10th, 100th, ... row of a reason.
    if str(report.dropped[reason]).strip("0") == "1":
        logger.warning(
            "%s: row %d dropped (%s), %d so far", name or "dataset", indices[0], reason, report.dropped[reason]
        )
    return {column: [] for column in TRACES.columns}


class _Ids:
    """Makes ids unique: repeated content gets -1, -2, ...; a repeated given id is an error."""

    def __init__(self, column: str | None, report: TraceReport, known: list[str] | None = None) -> None:
        self.column = column
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
                f"{f' and {len(twice) - 5} more' if len(twice) > 5 else ''}, but an id names one row. Choose another "
                f"column with `columns={{'id': ...}}`, or pass `content_ids=True` to have ids made from the content."
            )
        self.report.notes["repeats an earlier row"] += 1
        return f"{row_id}-{before}"


def _audited() -> "Features":
    from datasets import Features, List, Value

    text = Value("string")
    return Features({**TRACES.features, "_dropped": text, "_answer_from": text, "_notes": List(text)})
