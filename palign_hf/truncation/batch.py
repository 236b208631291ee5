"""A batch as `map` hands it over, refused in words where no search should start on it; the bar that `map` shows."""

from collections import Counter
from collections.abc import Mapping
from typing import Any

from palign_hf.errors import listed
from palign_hf.schema import TRACES, SchemaError, check_columns


_UNFORMATTED = (
    "`PrefixTruncation` got its rows as `{}`: it reads plain Python values. Take the format of the dataset off: "
    "`traces.with_format(None).map(truncation, batched=True)`."
)


def columns_of(batch: Mapping[str, Any]) -> dict[str, list[Any]]:
    """The TRACES columns of a batch, every value of them checked."""
    if not isinstance(batch, Mapping):
        raise SchemaError(_UNFORMATTED.format(type(batch).__name__))
    check_columns(list(batch), TRACES)
    if batch["id"] is None or isinstance(batch["id"], str | int):
        raise SchemaError(
            "`PrefixTruncation` got a single row: its engine answers many problems at once. "
            "Use `traces.map(truncation, batched=True, batch_size=1000)`."
        )
    columns: dict[str, list[Any]] = {name: batch[name] for name in TRACES.columns}
    for name, values in columns.items():
        if not isinstance(values, list):
            raise SchemaError(_UNFORMATTED.format(type(values).__name__))
        for row, value in enumerate(values):
            if not isinstance(value, str) and (value is not None or name == "id"):
                raise SchemaError(
                    f"Row {row} of the batch (id `{columns['id'][row]}`) has a `{name}` of type "
                    f"`{type(value).__name__}`: it must be text. Load the dataset through "
                    f"`palign_hf.load_traces`, or cast the column."
                )
    if twice := [name for name, count in Counter(columns["id"]).items() if count > 1]:
        raise SchemaError(
            f"Column `id` must be unique, but {len(twice)} ids are repeated: {listed(twice[:5])}. Give each row its "
            f"own, or let `load_traces` do it."
        )
    return columns


def map_bars() -> list[Any]:
    """The bars that `map` itself is showing on a terminal just now."""
    from datasets.utils import tqdm

    shown = getattr(tqdm, "_instances", ())
    return [bar for bar in shown if isinstance(bar, tqdm) and not bar.disable and bar.fp.isatty()]
