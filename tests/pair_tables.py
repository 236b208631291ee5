"""Tables of PAIRS by hand: what a row doesn't say is null."""

from typing import Any

from datasets import Dataset

from palign_hf.schema import PAIRS


def pair(row_id: str = "a", sample: int = 0, status: str = "kept", **columns: Any) -> dict[str, Any]:
    """A row: its texts name the problem and the sample unless they are given."""
    texts = {
        "question": f"question {row_id}",
        "prefix": f"prefix {row_id}. ",
        "continuation": f"more {row_id}{sample}",
    }
    return dict.fromkeys(PAIRS.columns) | texts | {"id": row_id, "sample": sample, "status": status} | columns


def table(*rows: dict[str, Any]) -> Dataset:
    """The rows as a table with the exact types."""
    columns = {name: [row[name] for row in rows] for name in PAIRS.columns}
    return Dataset.from_dict(columns, features=PAIRS.features)
