"""Conversion of a dataset with a known layout to TRACES, as a cached table or as a stream."""

import logging
from collections import Counter
from typing import TYPE_CHECKING, Any

from palign_hf.schema import TRACES, SchemaError, check
from palign_hf.traces.layouts import Layout
from palign_hf.traces.report import OWN_ADVICE, OWN_ANSWER, TraceReport
from palign_hf.traces.rows import READER_VERSION, read_row


if TYPE_CHECKING:
    from datasets import Dataset, Features, IterableDataset

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
    check(dataset, TRACES)
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
