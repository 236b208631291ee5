"""One source row to one row of TRACES, with the account of what was done to it. Pure Python, no dependencies."""

import hashlib
import math
from typing import Any

from palign_hf.errors import shown
from palign_hf.schema import TRACES, SchemaError
from palign_hf.traces.gold import BARE_ANSWER, BARE_SOLUTION, is_bare, same, stated
from palign_hf.traces.layouts import Layout
from palign_hf.traces.report import OWN_ANSWER
from palign_hf.traces.text import has_thinking, split_thinking


# Raise it with any change of what `read_row` makes of a row: it is the part of the cache key that code can't be.
READER_VERSION = 2

_USER = ("user", "human")
_ASSISTANT = ("assistant", "gpt")
_IGNORED = ("system", "developer")
_REASONING = ("reasoning_content", "reasoning", "thinking")


class _Dropped(Exception):
    """The row can't become a trace; the message is the reason it is counted under."""


def read_row(row: dict[str, Any], index: int, layout: Layout, name: str | None) -> dict[str, Any]:
    """The row of TRACES, plus `_dropped` (a reason or None), `_answer_from` and `_notes` for the report.

    A row that lacks a question or trace is dropped with a reason; a value of the wrong type raises `SchemaError`.
    """
    notes: list[str] = []
    out = dict.fromkeys(TRACES.columns) | {"_dropped": None, "_answer_from": None, "_notes": notes}
    try:
        question = _question(row, index, layout)
        trace, response = _trace(row, index, layout, notes)
    except _Dropped as reason:
        return out | {"_dropped": str(reason), "_notes": []}
    answer, out["_answer_from"] = _answer(row, index, layout, response, notes)
    source = _scalar(row, layout.source, index) if layout.source else None
    row_id = _given_id(row, index, layout) or content_id(question, trace)
    return out | {"id": row_id, "question": question, "trace": trace, "answer": answer, "source": source or name}


def content_id(question: str, trace: str) -> str:
    """16 hex digits of the SHA-256 of question and trace: the same on every machine and in every order of rows."""
    return hashlib.sha256(f"{question}\0{trace}".encode()).hexdigest()[:16]


def _question(row: dict[str, Any], index: int, layout: Layout) -> str:
    value = row[layout.question]
    turns = _turns(value)
    if turns is not None:
        value = _content(_speech(turns, "ua" if layout.trace == layout.question else "u")[0])
    question = _filled(value, "question", index, layout.question)
    if not layout.input or row[layout.input] in (None, ""):
        return question
    return f"{question}\n{_filled(row[layout.input], 'input', index, layout.input)}"


def _trace(row: dict[str, Any], index: int, layout: Layout, notes: list[str]) -> tuple[str, str]:
    """The trace and the teacher's text after it."""
    value = row[layout.trace]
    turns = _turns(value)
    if turns is not None:
        turn = _speech(turns, "ua" if layout.trace == layout.question else "a")[-1]
        value = _content(turn)
        reasoning = next((turn[key] for key in _REASONING if turn.get(key)), None)
        if reasoning is not None:
            response = value if isinstance(value, str) else ""
            return _filled(reasoning, "trace", index, layout.trace), response
    elif isinstance(value, list):
        value = _pick(value, row[layout.correct] if layout.correct else None, notes)
    thinking = split_thinking(_filled(value, "trace", index, layout.trace))
    notes.extend(thinking.notes)
    return _filled(thinking.trace, "trace", index, layout.trace), thinking.response


def _pick(texts: list[Any], correct: list[Any] | None, notes: list[str]) -> Any:
    """The first text marked correct; the first of all where none is, or nothing is marked."""
    if not texts:
        return None
    marked = [text for text, right in zip(texts, correct or [], strict=False) if right]
    if correct and not marked:
        notes.append("no generation marked correct: first kept")
    elif len(texts) > 1 and not correct:
        notes.append("several texts, none marked: first kept")
    return marked[0] if marked else texts[0]


def _answer(
    row: dict[str, Any], index: int, layout: Layout, response: str, notes: list[str]
) -> tuple[str | None, str]:
    """The gold answer and where it was found: in an answer column, else in a solution."""
    found = []
    for column in layout.answers:
        text = _scalar(row, column, index)
        if text is None:
            continue
        if marked := _marked(text):
            found.append((marked[0], f"{marked[1]} in `{column}`", column))
        elif layout.final or is_bare(text, BARE_ANSWER):
            found.append((text, f"answer column `{column}`", column))
        else:
            notes.append(f"`{column}` is a long text without a marked answer")
    if found:
        answer, where, first = found[0]
        notes += [
            f"`{first}` and `{name}` disagree: `{first}` kept" for a, _, name in found[1:] if not same(answer, a)
        ]
        return answer, where
    for column in layout.solutions:
        text = _scalar(row, column, index)
        if text is None:
            continue
        if marked := _marked(text):
            return marked[0], f"{marked[1]} in `{column}`"
        if layout.bare_solution and is_bare(text, BARE_SOLUTION):
            return text.strip(), f"bare `{column}`"
    # What the teacher itself gives as its answer is gold only where the dataset has no column for it: it may be wrong.
    if not layout.answers and not layout.solutions and (marked := stated(response)):
        return marked[0], OWN_ANSWER
    return None, "none"


def _marked(text: str) -> tuple[str, str] | None:
    """What a column marks as its answer; a text with thinking in it is a teacher's, whatever the column is called."""
    return None if has_thinking(text) else stated(text)


def _scalar(row: dict[str, Any], column: str, index: int) -> str | None:
    """Text as it is, a number as people write it (142.0 is "142"), None for blank text and NaN; of a list its one."""
    value = row[column]
    if isinstance(value, list) and len(value) < 2:
        value = value[0] if value else None
    if value is None or isinstance(value, str):
        return value if value and value.strip() else None
    if isinstance(value, float) and math.isfinite(value) and value.is_integer():
        return str(int(value))
    if isinstance(value, (int, float)):
        return None if math.isnan(value) else str(value)
    raise _wrong_type(value, index, column, "text or a number")


def _given_id(row: dict[str, Any], index: int, layout: Layout) -> str | None:
    if not layout.id:
        return None
    value = _scalar(row, layout.id, index)
    if value is None:
        raise SchemaError(
            f"Row {index}: the id column `{layout.id}` is empty, but an id names one row for good. Fill it, choose "
            f"another column with `columns={{'id': ...}}`, or pass `content_ids=True` to make ids from the content."
        )
    return value


def _filled(value: Any, what: str, index: int, column: str) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise _Dropped(f"{what} missing")
    if not isinstance(value, str):
        raise _wrong_type(value, index, column, "text")
    if not value.strip():
        raise _Dropped(f"{what} empty")
    return value


def _turns(value: Any) -> list[dict[str, Any]] | None:
    """The turns of a conversation, or None if the value is no conversation."""
    if isinstance(value, dict) and value and all(isinstance(items, list) for items in value.values()):
        # A legacy `Sequence` of turns arrives as a dict of columns.
        value = [dict(zip(value, items, strict=True)) for items in zip(*value.values(), strict=True)]
    if isinstance(value, list) and all(isinstance(turn, dict) for turn in value):
        return value
    return None


def _speech(turns: list[dict[str, Any]], wanted: str) -> list[dict[str, Any]]:
    """The turns of user (u) and assistant (a), if they are the ones wanted in that order; system prompts are left out.

    A longer conversation is dropped: which of its exchanges is the question and which the trace can't be told.
    """
    spoken, order = [], ""
    for turn in turns:
        role = str(turn.get("role") or turn.get("from")).lower()
        if role not in _IGNORED:
            spoken.append(turn)
            order += "u" if role in _USER else "a" if role in _ASSISTANT else "?"
    if order == wanted:
        return spoken
    for who, what in (("u", "question"), ("a", "trace")):
        if who in wanted and who not in order:
            raise _Dropped(f"{what} missing")
    raise _Dropped("not one question and one reply")


def _content(turn: dict[str, Any]) -> Any:
    return turn["content"] if turn.get("content") is not None else turn.get("value")


def _wrong_type(value: Any, index: int, column: str, wanted: str) -> SchemaError:
    return SchemaError(
        f"Row {index}: column `{column}` holds a `{type(value).__name__}` ({shown(repr(value))}), "
        f"but {wanted} is needed. "
        f"Choose another column with `columns={{...}}`, or convert it first with a `map`."
    )
