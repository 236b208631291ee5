"""Values of foreign dataset cells: text, numbers, turns of a conversation."""

import math
from decimal import Decimal
from typing import Any

from palign_hf.errors import shown
from palign_hf.literals import number_text
from palign_hf.schema import SchemaError


_USER = ("user", "human")
_ASSISTANT = ("assistant", "gpt")
_IGNORED = ("system", "developer")


class Dropped(Exception):
    """The row can't be read; the message is the reason it is counted under."""


def scalar(row: dict[str, Any], column: str, index: int) -> str | None:
    """Text as it is, a number as people write it (142.0 is "142"), None for blanks and NaN; a list's single item."""
    value = row[column]
    if isinstance(value, list) and len(value) < 2:
        value = value[0] if value else None
    if value is None or isinstance(value, str):
        return value if value and value.strip() else None
    if isinstance(value, bool):
        return str(value)
    if isinstance(value, (int, float, Decimal)):
        return None if math.isnan(value) else number_text(value) if math.isfinite(value) else str(value)
    raise wrong_type(value, index, column, "text or a number")


def given_id(row: dict[str, Any], index: int, column: str | None, remedy: str) -> str | None:
    """The id that a row was given; None without such a column, and an error with the `remedy` where it is empty."""
    if not column:
        return None
    value = scalar(row, column, index)
    if value is None:
        raise SchemaError(
            f"Row {index + 1}: the id column `{column}` is empty, but an id names one row for good. {remedy}"
        )
    return value


def filled(value: Any, what: str, index: int, column: str) -> str:
    """Non-empty text; a row without is dropped, and `what` names the missing part."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise Dropped(f"{what} missing")
    if not isinstance(value, str):
        raise wrong_type(value, index, column, "text")
    if not value.strip():
        raise Dropped(f"{what} empty")
    return value


def turns_of(value: Any) -> list[dict[str, Any]] | None:
    """The turns of a conversation, or None for any other value."""
    if isinstance(value, dict) and value and all(isinstance(items, list) for items in value.values()):
        # A legacy `Sequence` of turns arrives as a dict of columns.
        value = [dict(zip(value, items, strict=True)) for items in zip(*value.values(), strict=True)]
    if isinstance(value, list) and all(isinstance(turn, dict) for turn in value):
        return value
    return None


def speech(turns: list[dict[str, Any]], wanted: str, reply: str = "trace") -> list[dict[str, Any]]:
    """The turns of user (u) and assistant (a), if they match `wanted`; system prompts are left out.

    A longer conversation is dropped: which of its exchanges is the question and which the `reply` is unknown.
    """
    spoken, order = [], ""
    for turn in turns:
        role = str(turn.get("role") or turn.get("from")).lower()
        if role not in _IGNORED:
            spoken.append(turn)
            order += "u" if role in _USER else "a" if role in _ASSISTANT else "?"
    if order == wanted:
        return spoken
    for who, what in (("u", "question"), ("a", reply)):
        if who in wanted and who not in order:
            raise Dropped(f"{what} missing")
    raise Dropped("not one question and one reply")


def content(turn: dict[str, Any]) -> Any:
    """Text of a turn."""
    return turn["content"] if turn.get("content") is not None else turn.get("value")


def wrong_type(value: Any, index: int, column: str, wanted: str) -> SchemaError:
    """The error for a value of another type than its column is read as."""
    return SchemaError(
        f"Row {index + 1}: column `{column}` holds a `{type(value).__name__}` ({shown(repr(value))}), "
        f"but {wanted} is needed. Convert it first with a `map`, or choose another column, as with "
        f"`load_traces(..., columns={{...}})`."
    )
