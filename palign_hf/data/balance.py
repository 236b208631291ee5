"""Balance caps: draws by hash the rows that stay under a cap, independent of row order.

balanced = balance(pairs, per="source", cap=500)      # at most 500 kept pairs of each source
"""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from palign_hf.data.exact import cached_apart
from palign_hf.errors import UserError, listed, nearest, shown
from palign_hf.schema import PAIRS, SchemaError, check_table


if TYPE_CHECKING:
    from datasets import Dataset


def draw(seed: int, *names: object) -> bytes:
    """Sort key of an item in a draw, by its names alone: the smallest is drawn first."""
    text = "\0".join(map(str, (seed, *names)))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


# Raise it when another row would be drawn, or `reject` writes something else.
SELECTION_VERSION = 1
# Prefix of the reason of a pair that was rejected by a cap.
BALANCE = "balance"
# Columns that are read; other columns may be null.
_FILLED = ("id", "sample", "status")


def over_cap(values: Sequence[str], keys: Sequence[tuple[str, int]], cap: int | None, seed: int) -> list[int]:
    """Positions to leave out, in order, so that no value keeps more than `cap` pairs.

    A `cap` of None is the count of the rarest value. Which pairs of a value stay is drawn from `seed` and their keys,
    `(id, sample)`.
    """
    if cap is not None and cap < 1:
        raise UserError(f"`cap={cap}` must be at least 1. Write None for as many as the value with the fewest has.")
    if not values:
        return []
    cap = min(Counter(values).values()) if cap is None else cap
    drawn: dict[str, list[tuple[bytes, int]]] = defaultdict(list)
    for at, (value, key) in enumerate(zip(values, keys, strict=True)):
        drawn[value].append((draw(seed, *key), at))
    return sorted(at for of_one in drawn.values() for _, at in sorted(of_one)[cap:])


def surplus(
    values: Sequence[object], keys: Sequence[tuple[str, int]], per: str, cap: int | None, seed: int
) -> dict[int, str]:
    """Positions to leave out, as in `over_cap`, each with its reason; null is a separate value."""
    named = ["null" if value is None else str(value) for value in values]
    over = over_cap(named, keys, cap, seed)
    most = min(Counter(named).values()) if over and cap is None else cap
    return {at: f"{BALANCE}: more than {most} pairs of {per} `{shown(named[at])}`" for at in over}


def balance(pairs: "Dataset", per: str, cap: int | None = None, seed: int = 0) -> "Dataset":
    """Reject the kept pairs beyond `cap` for each value of the column `per`, with the reason.

    Null is a separate value, written `null`. Without a cap all values keep as many pairs as the rarest one.
    """
    if per not in pairs.column_names:
        raise SchemaError(
            f"`per={per!r}`: this table has no such column{nearest(per, pairs.column_names)}. It has "
            f"{listed(pairs.column_names)}; name one of these."
        )
    check_table(pairs, PAIRS, filled=_FILLED)
    pairs = cached_apart(pairs.with_format(None))
    kept = [at for at, status in enumerate(pairs["status"]) if status == "kept"]
    of_kept = pairs.select(kept)
    over = surplus(of_kept[per], list(zip(of_kept["id"], of_kept["sample"], strict=True)), per, cap, seed)
    if not over:
        return pairs
    reasons = {kept[at]: reason for at, reason in over.items()}
    return pairs.map(
        reject,
        with_indices=True,
        fn_kwargs={"reasons": reasons, "version": SELECTION_VERSION},
        features=_typed(pairs),
        desc="Balancing",
    )


def reject(row: dict[str, Any], index: int, reasons: dict[int, str], version: int) -> dict[str, Any]:
    """The outcome of a row: rejected if `reasons` has its index, else unchanged."""
    if index not in reasons:
        return {"status": row["status"], "reason": row["reason"]}
    return {"status": "rejected", "reason": reasons[index]}


def _typed(pairs: "Dataset") -> Any:
    """Give a column of nulls alone, as `reason` may be, the type of texts."""
    from datasets import Features

    return Features({**pairs.features, "reason": PAIRS.features["reason"]})
