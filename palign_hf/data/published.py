"""Published prefix sets, from this package or others, as PREFIXES.

* Our own tables: PREFIXES as they are, PAIRS with one row a problem (that of its first kept sample, if one is kept).
* Targets with tags around their prefix (`<Begin_of_Prefix>`, or the older `<Begin_of_Draft>`), in alpaca, ShareGPT,
  messages or prompt-completion layout; the usual instruction to solve is removed from the question.
* Tables with `question` and `prefix`, and optionally `continuation`, `answer`, `trace` and `id`.

Where only the prefix was published it is the trace too, and the status is `published`. A trace that begins with the
prefix is used, with the status `fixed`. Gold answers come from the columns that `load_traces` knows, never from a
continuation, which is the student's. Unreadable rows are dropped and counted under their reason.
"""

import logging
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palign_hf.config.resolve import knows_old_names
from palign_hf.data.exact import typed
from palign_hf.data.layouts import IDS, LAYOUTS, choose_layout
from palign_hf.data.pairs import load_pairs
from palign_hf.data.published_rows import READER_VERSION, PublishedRow, read_published
from palign_hf.data.sources import open_source
from palign_hf.data.trace_rows import TraceReport
from palign_hf.data.traces import with_unique_ids
from palign_hf.errors import UserError, listed, nearest
from palign_hf.generation.jobs import plain_rows
from palign_hf.prompts import tag_style as style_of
from palign_hf.schema import PAIRS, PREFIXES, SchemaError, check_table, check_version


if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict, Features

logger = logging.getLogger("palign_hf")

_STYLES = ("prefix", "draft")
_TAGGED = ("alpaca", "sharegpt", "messages", "prompt-completion")
_PAIRS = {"id", "sample", "status", "prefix", "continuation"}
_OTHER_SAMPLE = "another sample of its problem"


@knows_old_names
def load_prefixes(
    source: "str | Path | Dataset | DatasetDict",
    config: str | None = None,
    *,
    split: str | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    max_samples: int | None = None,
    tag_style: str | None = None,
) -> "Dataset":
    """Load a published prefix set as PREFIXES, with a column `continuation` where the set has one.

    Logs one summary line on the logger `palign_hf`, as a warning if rows were dropped; `read_prefixes` returns it.

    Args:
        source (`str`, `Path`, `Dataset` or `DatasetDict`):
            Hub id, file, glob, folder (also a run's output folder), or loaded dataset.
        config (`str`, *optional*):
            Configuration name, as in `datasets.load_dataset`.
        split (`str`, *optional*):
            Split name, as in `datasets.load_dataset`.
        revision (`str`, *optional*):
            Revision on the Hub, as in `datasets.load_dataset`.
        token (`str` or `bool`, *optional*):
            Token of the Hub, as in `datasets.load_dataset`.
        max_samples (`int`, *optional*):
            Read at most this many rows, from the first on.
        tag_style (`str`, *optional*):
            Style of the tags around prefixes; by default `prefix` or `draft`, whichever a row begins with.

    Returns:
        `Dataset`: one row of PREFIXES a problem.

    Raises:
        [`UserError`]: if no known layout matches the columns, or the source is empty or a stream.

    Example:

    ```python
    >>> from datasets import Dataset
    >>> from palign_hf import load_prefixes

    >>> published = Dataset.from_dict({"question": ["What is 2 + 3?"], "prefix": ["I add the two. "], "answer": ["5"]})
    >>> prefixes = load_prefixes(published)
    >>> prefixes[0]["status"], prefixes[0]["prefix"]
    ('published', 'I add the two. ')
    ```
    """
    dataset, report = read_prefixes(
        source,
        split=split,
        config=config,
        revision=revision,
        token=token,
        max_samples=max_samples,
        tag_style=tag_style,
    )
    logger.log(logging.WARNING if report.dropped else logging.INFO, report.summary())
    return dataset


@knows_old_names
def read_prefixes(
    source: "str | Path | Dataset | DatasetDict",
    *,
    split: str | None = None,
    config: str | None = None,
    revision: str | None = None,
    token: str | bool | None = None,
    max_samples: int | None = None,
    tag_style: str | None = None,
) -> tuple["Dataset", TraceReport]:
    """`load_prefixes` that also returns its summary."""
    from datasets import Dataset

    if max_samples is not None and max_samples < 1:
        raise UserError(f"`max_samples={max_samples}` must be at least 1. Leave `max_samples` out to read all rows.")
    check_tags(tag_style)
    dataset, name = open_source(source, split=split, config=config, revision=revision, streaming=False, token=token)
    what = name or type(source).__name__
    if not isinstance(dataset, Dataset):
        raise UserError(f"`{what}` is a stream, and prefixes are read as a whole. Load it without streaming.")
    dataset = dataset.with_format(None)
    dataset = dataset if max_samples is None else dataset.select(range(min(max_samples, len(dataset))))
    if not len(dataset):
        raise UserError(f"`{what}` is empty: it holds no rows. Check the split and how it was written.")
    present = dataset.column_names
    # Both versions of PAIRS; the first had the columns of PREFIXES, too.
    if pairs := _PAIRS <= set(present) and not {"strict", "correct"}.isdisjoint(present):
        dataset = load_pairs(dataset)
    elif set(PREFIXES.columns) - {"probes"} <= set(present):
        if tag_style is not None:
            raise _untagged(tag_style)
        return _own(dataset, name)
    where = _find(present, pairs, tag_style)
    report = TraceReport(name, where.layout.name, tuple(c for c in present if c not in where.columns()))
    return _read(dataset, where, name, report), report


def check_tags(tag_style: str | None) -> None:
    """Refuse an unknown style of tags, and one without tags."""
    if tag_style is not None and not style_of(tag_style).open:
        raise UserError(
            f"`tag_style={tag_style!r}` has no tags, so the end of a prefix can't be found. Give `prefix` or `draft`, "
            f"or leave `tag_style` out."
        )


def _find(present: list[str], pairs: bool, tag_style: str | None) -> PublishedRow:
    """Find the layout of the set."""
    there = set(present)
    if pairs or {"question", "prefix"} <= there:
        if tag_style is not None:
            raise _untagged(tag_style)
        named = {"question": "question", "trace": "prefix"} | {name: name for name in ("source",) if name in there}
        if ids := [name for name in IDS if name in there]:
            named["id"] = ids[0]
        layout = choose_layout(present, (), named, None)
        if pairs:
            own = replace(layout, name="pairs", answers=("answer",), solutions=(), final=True)
            return PublishedRow(own, continuation="continuation", outcome="status")
        continuation, trace = (name if name in there else None for name in ("continuation", "trace"))
        return PublishedRow(replace(layout, name="question and prefix"), continuation=continuation, trace=trace)
    known = [layout.name for layout in LAYOUTS if layout.name in _TAGGED and set(layout.needs) <= there]
    if len(known) == 1:
        named = {"source": "source"} if "source" in there else {}
        return PublishedRow(
            choose_layout(present, (), named, known[0]), tags=_STYLES if tag_style is None else (tag_style,)
        )
    if known:
        raise SchemaError(
            f"The columns {listed(present)} fit several layouts: {listed(known)}. Leave one in it with "
            f"`dataset.select_columns([...])`."
        )
    needs = "; ".join(f"`{layout.name}` ({listed(layout.needs)})" for layout in LAYOUTS if layout.name in _TAGGED)
    lacks = [f"`{name}`{nearest(name, there)}" for name in ("question", "prefix") if name not in there]
    raise SchemaError(
        f"The columns {listed(present)} match no known layout of published prefixes: {' and '.join(lacks)} is "
        f"missing. Rename columns with `dataset.rename_columns({{...}})`. Targets with tags are read in the layouts "
        f"{needs}."
    )


def _own(dataset: "Dataset", name: str | None) -> tuple["Dataset", TraceReport]:
    """Return a table of PREFIXES as it is, with its other columns, and with empty probes where none were written.

    A null where a text is expected concerns its row only: the stage that reads it leaves that row out.
    """
    from datasets import Features

    report = TraceReport(name, "prefixes")
    dataset = typed(dataset, PREFIXES)
    check_version(dataset, PREFIXES)
    if "probes" not in dataset.column_names:
        dataset = dataset.add_column("probes", [None] * len(dataset))
    check_table(dataset, PREFIXES, filled=["id"])
    dataset = dataset.cast(Features({**dataset.features, **PREFIXES.features}))
    if any(probes is None for probes in dataset["probes"]):
        dataset = dataset.map(fill_probes, fn_kwargs={"version": READER_VERSION}, desc="Reading prefixes")
    report.rows_in = report.rows_out = len(dataset)
    for row in plain_rows(dataset.select_columns("answer")):
        report.answers_found["none" if row["answer"] is None else "answer column `answer`"] += 1
    return dataset, report


def fill_probes(row: dict[str, Any], version: int) -> dict[str, Any]:
    """Replace null probes by an empty list, as in every table of PREFIXES."""
    return {"probes": row["probes"] or []}


def _read(dataset: "Dataset", where: PublishedRow, name: str | None, report: TraceReport) -> "Dataset":
    from datasets import Features, List, Value

    columns = [*PREFIXES.columns, *(["continuation"] if where.continues else [])]
    if where.outcome is not None:
        first = _first_of_each(dataset)
        if len(first) < len(dataset):
            report.rows_in = report.dropped[_OTHER_SAMPLE] = len(dataset) - len(first)
            dataset = dataset.select(first)
    audit = {"_dropped": Value("string"), "_answer_from": Value("string"), "_notes": List(Value("string"))}
    dataset = dataset.select_columns(where.columns())
    read = dataset.map(
        read_published,
        with_indices=True,
        fn_kwargs={"where": where, "name": name, "version": READER_VERSION},
        remove_columns=dataset.column_names,
        features=Features({**_features([*PREFIXES.columns, "continuation"]), **audit}),
        desc="Reading prefixes",
    )
    kept = []
    for index, row in enumerate(read.select_columns(list(audit))):
        report.count(row)
        if row["_dropped"] is None:
            kept.append(index)
    if not kept:
        raise SchemaError(f"Every row was dropped: {report.summary()}. Check that this is a set of prefixes.")
    read = read.select(kept).select_columns(columns)
    advice = "Remove the column to have ids made from the content, or keep one row of each problem."
    read = with_unique_ids(read, where.layout.id, report, advice)
    check_table(read, PREFIXES)
    return read


def _first_of_each(pairs: "Dataset") -> list[int]:
    """One row of each problem, in their order: its first kept sample, else its first rejected one, else the first."""
    ranks = {"kept": 0, "rejected": 1}
    best: dict[str, tuple[int, int, int]] = {}
    for at, row in enumerate(pairs.select_columns(["id", "sample", "status"])):
        place = (ranks.get(row["status"], 2), row["sample"], at)
        best[row["id"]] = min(best.get(row["id"], place), place)
    return sorted(at for *_, at in best.values())


def _features(columns: list[str]) -> "Features":
    from datasets import Features

    return Features({name: PREFIXES.features.get(name, PAIRS.features["continuation"]) for name in columns})


def _untagged(tag_style: str) -> UserError:
    return UserError(
        f"`tag_style={tag_style!r}`: this table has its prefixes in a column, without tags. Leave `tag_style` out."
    )
