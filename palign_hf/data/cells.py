"""Cells of source rows: identifiers, turns of a conversation, the reasoning in them, and gold answers."""

import math
import re
from collections.abc import Container, Sequence
from decimal import Decimal
from typing import Any, NamedTuple

from palign_hf.data.exact import number_text
from palign_hf.errors import shown
from palign_hf.grading import last_boxed
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


_TAGS = (("<think>", "</think>"), ("<|begin_of_thought|>", "<|end_of_thought|>"))


class Thinking(NamedTuple):
    """A teacher's text split into thinking (byte for byte) and reply, with notes about irregularities."""

    trace: str
    response: str
    notes: tuple[str, ...]


def has_thinking(text: str) -> bool:
    """Whether `text` holds a thinking tag of a known kind."""
    return any(tag in text for pair in _TAGS for tag in pair)


def split_thinking(text: str) -> Thinking:
    """Split a text at its thinking tags; a text without tags is all trace, and its own response.

    A missing closing tag makes everything after the opening one thinking (without a response: the teacher was cut
    off); a missing opening tag, which chat templates put in the prompt, makes everything before the closing one
    thinking.
    """
    for opening, closing in _TAGS:
        end = text.find(closing)
        start = text.find(opening, 0, None if end < 0 else end)
        if start < 0 and end < 0:
            continue
        notes = []
        if end < 0:
            notes.append("thinking never closed")
        if start < 0:
            notes.append("thinking never opened")
        elif text[:start].strip():
            notes.append("text before the thinking left out")
        response = "" if end < 0 else text[end + len(closing) :]
        if opening in response:
            notes.append("several thinking blocks: first kept")
        inside = text[0 if start < 0 else start + len(opening) : None if end < 0 else end]
        return Thinking(inside, response, tuple(notes))
    return Thinking(text, text, ())


# The best first: `final_answer` may be the teacher's, `target` a whole solution. Any case; `groundTruth` is one, too.
ANSWERS = (
    "answer",
    "gold_answer",
    "golden_answer",
    "expected_answer",
    "reference_answer",
    "ref_answer",
    "ground_truth_answer",
    "gt_answer",
    "correct_answer",
    "true_answer",
    "standard_answer",
    "official_answer",
    "target_answer",
    "answer_key",
    "ground_truth",
    "gold",
    "gt",
    "final_answer",
    "target",
)
SOLUTIONS = (
    "solution",
    "gold_solution",
    "reference_solution",
    "ground_truth_solution",
    "gt_solution",
    "official_solution",
)
# Longer than any final answer, shorter than any proof of the s1K solutions.
BARE_SOLUTION = 100
# A column that is called an answer may hold a long one.
BARE_ANSWER = 200

# GSM8K ends with `#### 72`. Nothing but a unit may follow on the line: `2x`, `3 1/2` and the heading `2. Count them`
# aren't this number.
_HASHES = re.compile(
    r"""
    (?<!\#)\#\#\#\#[ \t]*
    (?P<sign>[-+]?)[ \t]*(?:\\?\$)?[ \t]*(?P<minus>-?)
    (?P<number>\d{1,3}(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+)(?P<over>/\d+)?
    [ \t]*(?:\\?[%$])?
    (?:[ \t]+\(?[^\W\d_]{2}[^\n\d+*=^\\<>{}\#]*|[ \t.]*)\r?$
    """,
    re.MULTILINE | re.VERBOSE,
)
_MOST_BELOW = 100


def known_columns(present: Sequence[str], known: Sequence[str], taken: Container[str]) -> tuple[str, ...]:
    """The columns of `present` that are in `known`, in the order of `known`, without those in `taken`."""
    order = {_plain(name): rank for rank, name in enumerate(known)}
    found = [name for name in present if _plain(name) in order and name not in taken]
    return tuple(sorted(found, key=lambda name: order[_plain(name)]))


def stated(text: str) -> tuple[str, str] | None:
    """The answer that a text marks, and how: by its last box, or by the `####` at its end."""
    boxed = last_boxed(text)
    if boxed is not None:
        return boxed, "boxed"
    hashed = after_hashes(text)
    return None if hashed is None else (hashed, "####")


def after_hashes(text: str) -> str | None:
    """The number behind the last `####` of a text that ends with it, without `$`, thousands commas and units."""
    start = text.rfind("####")
    found = _HASHES.match(text, start) if start >= 0 else None
    if found is None or len(text[found.end() :].strip()) > _MOST_BELOW:
        return None
    minus = "-" if "-" in (found["sign"], found["minus"]) else ""
    return f"{minus}{found['number'].replace(',', '')}{found['over'] or ''}"


def is_bare(text: str, most: int) -> bool:
    """Whether a text is an answer as it stands: one short line without a teacher's thinking."""
    short = text.strip()
    if short.removeprefix("-").isdecimal():
        return True  # a number, however long
    return len(short) <= most and "\n" not in short and not has_thinking(short)


def same(one: str, other: str) -> bool:
    """Whether two golds look the same; used only to decide whether to note a difference."""
    plain, other_plain = _bared(one), _bared(other)
    try:
        return float(plain) == float(other_plain)
    except ValueError:
        return plain == other_plain


def _plain(name: Any) -> str:
    return re.sub(r"[\W_]+", "", str(name)).lower()


def _bared(answer: str) -> str:
    bare = re.sub(r"\\[,!; ]|[\s$]", "", answer).replace("\\dfrac", "\\frac").replace("\\tfrac", "\\frac")
    return re.sub(r"(?<=\d),(?=\d{3}(?!\d))", "", bare).rstrip(".").lower()
