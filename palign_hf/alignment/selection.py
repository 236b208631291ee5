"""Which of many rows stay: a draw by hash, which no order of rows can change, and caps on what would be too much.

balanced = balance(pairs, per="source", cap=500)      # at most 500 kept pairs of each source
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from palign_hf.errors import UserError, listed, nearest, shown
from palign_hf.pairs.drawing import draw
from palign_hf.schema import PAIRS, SchemaError, check
from palign_hf.traces.cache import cached_apart


if TYPE_CHECKING:
    from datasets import Dataset

# Raise it if another row would be drawn, or `reject` writes something else.
SELECTION_VERSION = 1
# How the reason of a pair begins that was kept but for the cap on its kind.
BALANCE = "balance"
# Other columns may be null: only these are looked at.
_FILLED = ("id", "sample", "status")


def over_cap(values: Sequence[str], keys: Sequence[tuple[str, int]], cap: int | None, seed: int) -> list[int]:
    """Positions to leave out, in order, so that no value has more than `cap` pairs left.

    A `cap` of None is as many as the value with the fewest has. Which pairs of a value stay is drawn by `seed` and
    their keys, `(id, sample)`.
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
    """Positions to leave out as `over_cap` has them, each with the reason; a null is a value of its own."""
    named = ["null" if value is None else str(value) for value in values]
    over = over_cap(named, keys, cap, seed)
    most = min(Counter(named).values()) if over and cap is None else cap
    return {at: f"{BALANCE}: more than {most} pairs of {per} `{shown(named[at])}`" for at in over}


def balance(pairs: "Dataset", per: str, cap: int | None = None, seed: int = 0) -> "Dataset":
    """The same table with what is kept over `cap` of each value of the column `per` rejected, and the reason told.

    A null is a value of its own, written `null`. Without a cap all values keep as many as the one with the fewest.
    """
    if per not in pairs.column_names:
        raise SchemaError(
            f"`per={per!r}`: this table has no such column{nearest(per, pairs.column_names)}. It has "
            f"{listed(pairs.column_names)}; name one of these."
        )
    check(pairs, PAIRS, filled=_FILLED)
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
    """The outcome of a row: rejected with its reason if it has one, else as it was."""
    if index not in reasons:
        return {"status": row["status"], "reason": row["reason"]}
    return {"status": "rejected", "reason": reasons[index]}


def _typed(pairs: "Dataset") -> Any:
    """A column of nulls alone, as `reason` may be, has no type that could hold a text."""
    from datasets import Features

    return Features({**pairs.features, "reason": PAIRS.features["reason"]})
