"""The three tables of the flow: TRACES -> PREFIXES -> PAIRS.

Each is a plain `datasets.Dataset` with explicit `Features`, so the Hub viewer, filters and SQL work without this
package. `check` is the one door: every stage calls it before any model loads, and its errors say what to change.
The names and types below are a public format: a change that a reader could notice raises `SCHEMA_VERSION`.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from palign_hf.errors import UserError, listed, nearest, shown


if TYPE_CHECKING:
    from datasets import Dataset, Features, IterableDataset

SCHEMA_VERSION = 1

# How a row of PREFIXES ended. `fixed` marks cuts made by a rule (fixed ratio, none): nothing judged them sufficient.
STATUSES = ("sufficient", "full_trace", "fixed", "skipped", "error")

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
_PAIRS = _PREFIXES | {
    "continuation": "string",
    "finish_reason": "string",
    "answer_found": "string",
    "correct": "bool",
    "flags": ["string"],
    "sample": "int32",
}


class SchemaError(UserError):
    """A dataset does not fit its table; the message names what is wrong and what to do."""


@dataclass(frozen=True)
class Table:
    """One table: its columns, and which of them may be null or must be filled."""

    name: str
    columns: dict[str, Any]
    unique: str | None
    required: tuple[str, ...]

    @cached_property
    def features(self) -> "Features":
        """The `datasets.Features` of the table, built on first use so that importing this module stays cheap."""
        from datasets import Features

        return Features({name: _feature(spec) for name, spec in self.columns.items()})


TRACES = Table("TRACES", _TRACES, unique="id", required=("id", "question", "trace"))
PREFIXES = Table("PREFIXES", _PREFIXES, unique="id", required=("id", "question", "trace", "prefix", "status"))
PAIRS = Table("PAIRS", _PAIRS, unique=None, required=("id", "question", "trace", "prefix", "continuation"))


def check(dataset: "Dataset | IterableDataset", table: Table) -> None:
    """Raise `SchemaError` unless `dataset` has the columns, types and ids of `table`; extra columns are fine.

    Rows of a streaming dataset are not read here: only its columns and types are checked.
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
    for name in table.required:
        _check_filled(dataset, name, table)
    if table.unique:
        _check_unique(dataset[table.unique], table.unique, table)


def check_columns(present: Sequence[str], table: Table) -> None:
    """Raise `SchemaError` if a column of `table` is missing among the names `present`."""
    missing = [name for name in table.columns if name not in present]
    if not missing:
        return
    wanted = ", ".join(f"`{name}`{nearest(name, set(present) - set(table.columns))}" for name in missing)
    raise SchemaError(
        f"Column {wanted} missing: the {table.name} table needs {listed(table.columns)}, "
        f"but this dataset has {listed(present, 'no columns')}. Rename the columns with "
        f"`dataset.rename_columns({{...}})`, or load it through `palign_hf.load_traces(..., columns={{...}})`."
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
        rows = [row for row, value in enumerate(dataset[name]) if value is None][:5]
        if rows:
            raise SchemaError(
                f"Column `{name}` of {table.name} is null in row {', '.join(map(str, rows))}"
                f"{' and more' if len(rows) == 5 else ''}. Fill it, or drop those rows with "
                f"`dataset.filter(lambda row: row[{name!r}] is not None)`."
            )


def _check_unique(values: Iterable[str], name: str, table: Table) -> None:
    twice = [value for value, count in Counter(values).items() if count > 1]
    if twice:
        raise SchemaError(
            f"Column `{name}` of {table.name} must be unique, but {len(twice)} of its values are repeated: "
            f"{', '.join(f'`{value}`' for value in twice[:5])}{', ...' if len(twice) > 5 else ''}. "
            f"Give each row its own `{name}`, or leave the column out and `load_traces` makes one from the content."
        )


def _first_value(dataset: "Dataset | IterableDataset", name: str) -> str:
    """Where the wrong type is first seen, so that the user can look at it."""
    from datasets import Dataset

    if not isinstance(dataset, Dataset):
        return ""
    for row, value in enumerate(dataset[name]):
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
    """A feature reduced to what a reader of the column can tell apart: widths and 'large' variants don't matter."""
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
    return getattr(feature, "dtype", None) == "null"


def _show(feature: Any) -> str:
    return getattr(feature, "dtype", None) or repr(feature)
