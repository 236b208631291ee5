"""The tables of the flow: TRACES -> PREFIXES -> PAIRS.

Each is a plain `datasets.Dataset` with explicit `Features`, so the Hub viewer, filters and SQL work without this
package. Every stage calls `check` before any model loads, and its errors say what to change.
The names and types below are a public format: a change that a reader could notice raises the version of its table, and
`SCHEMA_VERSION` with it. Old tables are read: `palign_hf.data.pairs` converts version 1 of PAIRS.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from palign_hf.errors import UserError, listed, nearest, shown


if TYPE_CHECKING:
    from datasets import Dataset, Features, IterableDataset

SCHEMA_VERSION = 2

# Status of a row of PREFIXES. `fixed` marks cuts made by a rule (fixed ratio, none) without a judge. `published` ones
# were read from a foreign set that has the prefix alone, without the rest of the trace.
STATUSES = ("sufficient", "full_trace", "fixed", "published", "skipped", "error")

# Status of a row of PAIRS: `kept` ones are trained on, `rejected` ones are samples that a rule rejected. Others have
# no sample: `left_out` was excluded (no gold answer, no prefix, a copy of a benchmark question), `skipped` could not
# be sampled (too long, broken), `error` failed.
OUTCOMES = ("kept", "rejected", "left_out", "skipped", "error")
# Which rows are trained on: what alignment kept. The others are those of PREFIXES that have a prefix; where such a
# table has continuations, its publisher kept them.
TRAINED = ("kept", "sufficient", "full_trace", "fixed", "published")
# Origin of a pair's prefix if not its row of PREFIXES, none of whose samples was kept.
FALLBACKS = ("longer_prefix", "full_trace")

_TRACES = {
    "id": "string",
    "question": "string",
    "trace": "string",
    "answer": "string",
    "source": "string",
}
_PREFIXES = _TRACES | {
    "prefix": "string",
    "prefix_end": "int64",
    "n_segments": "int32",
    "prefix_segments": "int32",
    "prefix_ratio": "float64",
    "trace_tokens": "int32",
    "prefix_tokens": "int32",
    "status": "string",
    "reason": "string",
    "probes": [{"segments": "int32", "margin": "float64", "verdict": "string"}],
}
_PAIRS = {
    "id": "string",
    "question": "string",
    "prefix": "string",
    "continuation": "string",
    "answer": "string",
    "source": "string",
    "status": "string",
    "reason": "string",
    "sample": "int32",
    "fallback": "string",
    "mode": "string",
    "seed": "int64",
    "finish_reason": "string",
    "answer_found": "string",
    "strict": "bool",
    "lenient": "bool",
    "grading_error": "string",
    "flags": ["string"],
    "tokens": "int32",
    "prefix_tokens": "int32",
    "trace_tokens": "int32",
    "prefix_end": "int64",
    "engine": "string",
}


class SchemaError(UserError):
    """A dataset does not fit its table; the message names the problem and what to do."""


@dataclass(frozen=True)
class Table:
    """One of the tables that stages read and write, as `TRACES`, `PREFIXES` and `PAIRS`.

    Args:
        name (`str`): The name in messages.
        version (`int`): Increased whenever columns change or mean something else.
        columns (`dict[str, Any]`): The columns and their types, in order.
        unique (`tuple[str, ...]`): The columns that identify a row.
        required (`tuple[str, ...]`): The columns without nulls.

    Example:

    ```python
    >>> from palign_hf import PAIRS, PREFIXES, TRACES

    >>> TRACES.unique, PAIRS.unique
    (('id',), ('id', 'sample'))
    >>> PREFIXES.features["prefix_end"]
    Value('int64')
    ```
    """

    name: str
    version: int
    columns: dict[str, Any]
    unique: tuple[str, ...]
    required: tuple[str, ...]

    @cached_property
    def features(self) -> "Features":
        """The `datasets.Features` of the table, built on first use so that importing this module stays cheap."""
        from datasets import Features

        return Features({name: _feature(spec) for name, spec in self.columns.items()})


TRACES = Table("TRACES", 1, _TRACES, unique=("id",), required=("id", "question", "trace"))
PREFIXES = Table("PREFIXES", 1, _PREFIXES, unique=("id",), required=("id", "question", "trace", "prefix", "status"))
# One row a sample; trace and probes are not repeated, they join by `id`.
PAIRS = Table(
    "PAIRS",
    2,
    _PAIRS,
    unique=("id", "sample"),
    required=("id", "question", "prefix", "continuation", "sample", "status"),
)

# Readers that build each table from foreign ones.
_READERS = {
    "TRACES": "`palign_hf.load_traces(..., columns={...})`",
    "PREFIXES": "`palign_hf.load_prefixes`",
    "PAIRS": "`palign_hf.load_pairs`",
    "SAMPLES": "`palign grade --output-file`, which labels outputs of any layout",
}


def check_table(dataset: "Dataset | IterableDataset", table: Table, filled: Sequence[str] | None = None) -> None:
    """Raise `SchemaError` unless `dataset` has the columns, types and ids of `table`; extra columns are allowed.

    `filled` are the columns without nulls, for a stage that handles other nulls itself. Rows of a streaming dataset
    are not read: only its columns and types are checked.
    """
    from datasets import Dataset

    features = dataset.features
    if features is None:
        raise SchemaError(
            f"This streaming dataset declares no columns, so it can't be checked against {table.name}. "
            f"Resolve them first: `dataset = dataset._resolve_features()`, or load it without streaming."
        )
    check_columns(list(features), table)
    for name in table.columns:
        _check_type(dataset, features[name], name, table)
    if not isinstance(dataset, Dataset):
        return
    for name in table.required if filled is None else filled:
        _check_filled(dataset, name, table)
    _check_unique(dataset, table)


def check_version(dataset: "Dataset | IterableDataset", table: Table) -> None:
    """Raise `SchemaError` if the card of a published dataset says that a newer release has written this table.

    Cards give the version of a table as that of its configuration (`2.0.0`), which `load_dataset` passes on; an older
    one is for the table's own reader, and where there is none nothing is known.
    """
    version = getattr(dataset.info, "version", None)
    major = str(version).partition(".")[0] if version is not None else ""
    if major.isdecimal() and int(major) > table.version:
        raise SchemaError(
            f"This dataset is written in version {major} of {table.name}, and this release reads versions up to "
            f"{table.version}. Install a newer one: `pip install --upgrade palign-hf`."
        )


def check_columns(present: Sequence[str], table: Table) -> None:
    """Raise `SchemaError` if a column of `table` is missing among the names `present`."""
    missing = [name for name in table.columns if name not in present]
    if not missing:
        return
    wanted = ", ".join(f"`{name}`{nearest(name, set(present) - set(table.columns))}" for name in missing)
    raise SchemaError(
        f"Column {wanted} missing: the {table.name} table needs {listed(table.columns)}, "
        f"but this dataset has {listed(present, 'no columns')}. Rename the columns with "
        f"`dataset.rename_columns({{...}})`, or load it through {_READERS[table.name]}."
    )


def _check_type(dataset: "Dataset | IterableDataset", found: Any, name: str, table: Table) -> None:
    wanted = table.features[name]
    if _storage(found) == _storage(wanted) or _is_null(found):
        return
    raise SchemaError(
        f"Column `{name}` of {table.name} must be `{_show(wanted)}`, but this dataset has `{_show(found)}`"
        f"{_first_value(dataset, name)}. Convert it with `dataset.cast_column({name!r}, ...)` or a `map`."
    )


def _check_filled(dataset: "Dataset", name: str, table: Table) -> None:
    column = dataset.data.column(name)
    if dataset._indices is not None or column.null_count:
        rows = [row for row, value in enumerate(dataset[name], 1) if value is None][:5]
        if rows:
            raise SchemaError(
                f"Column `{name}` of {table.name} is null in row {', '.join(map(str, rows))}"
                f"{' and more' if len(rows) == 5 else ''}. Fill it, or drop those rows with "
                f"`dataset.filter(lambda row: row[{name!r}] is not None)`."
            )


def _check_unique(dataset: "Dataset", table: Table) -> None:
    names = table.unique
    try:
        counts = Counter(zip(*(dataset[name] for name in names), strict=True))
    except UnicodeDecodeError as error:
        raise SchemaError(
            f"A value of {' or '.join(f'`{name}`' for name in names)} of {table.name} is no UTF-8 ({error.reason}). "
            f"It identifies rows. Write that column again."
        ) from error
    twice = [shown(" / ".join(map(str, values))) for values, count in counts.items() if count > 1]
    if not twice:
        return
    which, together = " and ".join(f"`{name}`" for name in names), " together" if len(names) > 1 else ""
    advice = "Give each row its own `id`, or leave the column out and `load_traces` makes one from the content."
    if len(names) > 1:
        advice = "Remove duplicate rows, which occur where a table was joined to itself."
    raise SchemaError(
        f"Column {which} of {table.name} must be unique{together}, but {len(twice)} of its values are repeated: "
        f"{', '.join(f'`{value}`' for value in twice[:5])}{', ...' if len(twice) > 5 else ''}. {advice}"
    )


def _first_value(dataset: "Dataset | IterableDataset", name: str) -> str:
    """The first row with the wrong type, for the message."""
    from datasets import Dataset

    if not isinstance(dataset, Dataset):
        return ""
    for row, value in enumerate(dataset[name], 1):
        if value is not None:
            return f" (row {row}: {shown(repr(value))})"
    return ""


def _feature(spec: Any) -> Any:
    from datasets import List, Value

    if isinstance(spec, list):
        return List(_feature(spec[0]))
    if isinstance(spec, dict):
        return {name: _feature(value) for name, value in spec.items()}
    return Value(spec)


def _storage(feature: Any) -> Any:
    """A feature reduced to its visible type: widths and 'large' variants don't matter."""
    from datasets import List, Value
    from datasets.features import LargeList

    if isinstance(feature, (List, LargeList)):
        return [_storage(feature.feature)]
    if isinstance(feature, dict):
        return {name: _storage(value) for name, value in feature.items()}
    if isinstance(feature, Value):
        for kind in ("string", "uint", "int", "float", "bool"):
            if kind in feature.dtype:
                return kind
        return feature.dtype
    return repr(feature)


def _is_null(feature: Any) -> bool:
    """Whether the type is unknown for lack of values, also in a list that is always empty."""
    return (
        getattr(feature, "dtype", None) == "null" or getattr(getattr(feature, "feature", None), "dtype", "") == "null"
    )


def _show(feature: Any) -> str:
    return getattr(feature, "dtype", None) or repr(feature)
