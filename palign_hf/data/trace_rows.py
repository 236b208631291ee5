"""Conversion of one source row to a row of TRACES."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from palign_hf.data.cells import (
    BARE_ANSWER,
    BARE_SOLUTION,
    Dropped,
    content,
    filled,
    given_id,
    has_thinking,
    is_bare,
    same,
    scalar,
    speech,
    split_thinking,
    stated,
    turns_of,
)
from palign_hf.data.layouts import Layout
from palign_hf.errors import listed
from palign_hf.schema import TRACES


# Origin of an answer that is used only because no better one exists.
OWN_ANSWER = "the teacher's own"
OWN_ADVICE = (
    "No column is known to hold a better one, and a wrong trace counts as right by its own answer. "
    "Name the gold column with `columns={'answer': ...}`, or add one to the dataset."
)


@dataclass
class TraceReport:
    """Counts of one reading; while streaming they grow as rows are consumed, and restart with the stream."""

    source: str | None = None
    layout: str = ""
    columns_left_out: tuple[str, ...] = ()
    rows_in: int = 0
    rows_out: int = 0
    # Reason -> rows.
    dropped: Counter[str] = field(default_factory=Counter)
    # Where the gold answer came from -> rows kept; "none" for those without one.
    answers_found: Counter[str] = field(default_factory=Counter)
    # Notes about kept rows -> rows.
    notes: Counter[str] = field(default_factory=Counter)

    @property
    def warning(self) -> str | None:
        """Warning about unreliable gold answers, with a remedy; None if there are none."""
        own = self.answers_found[OWN_ANSWER]
        if not own:
            return None
        return f"{own} of {self.rows_out} rows have the teacher's own answer as gold. {OWN_ADVICE}"

    def count(self, row: dict[str, Any]) -> None:
        """Add one row as `read_row` returned it."""
        self.rows_in += 1
        if row["_dropped"]:
            self.dropped[row["_dropped"]] += 1
            return
        self.rows_out += 1
        self.answers_found[row["_answer_from"]] += 1
        self.notes.update(row["_notes"])

    def restart(self) -> None:
        """Set the counts to zero: a stream is read from its start again."""
        self.rows_in = self.rows_out = 0
        for counts in (self.dropped, self.answers_found, self.notes):
            counts.clear()

    def summary(self) -> str:
        """The report in one line, its warning included."""
        rows = f"{self.rows_in} rows in, {self.rows_out} out" if self.rows_in else "no rows read yet"
        parts = [f"{self.source or 'dataset'} (layout `{self.layout}`): {rows}"]
        for title, counts in (("dropped", self.dropped), ("answers", self.answers_found), ("notes", self.notes)):
            if counts:
                parts.append(f"{title}: {', '.join(f'{name} {count}' for name, count in counts.most_common())}")
        if self.columns_left_out:
            parts.append(f"columns left out: {listed(self.columns_left_out)}")
        return "; ".join(parts) + (f". {self.warning}" if self.warning else "")


# Raise it with any change of `read_row`'s output: the cache key doesn't include the code.
READER_VERSION = 3

_NO_ID = (
    "Fill it, choose another column with `columns={'id': ...}`, or pass `content_ids=True` to make ids from the "
    "content."
)
_REASONING = ("reasoning_content", "reasoning", "thinking")


def read_row(row: dict[str, Any], index: int, layout: Layout, name: str | None) -> dict[str, Any]:
    """Return the row of TRACES, plus `_dropped` (reason or None), `_answer_from` and `_notes` for the report.

    A row that lacks a question or trace is dropped with a reason; a value of the wrong type raises `SchemaError`.
    """
    notes: list[str] = []
    out = dict.fromkeys(TRACES.columns) | {"_dropped": None, "_answer_from": None, "_notes": notes}
    try:
        question = _question(row, index, layout)
        trace, response = _trace(row, index, layout, notes)
    except Dropped as reason:
        return out | {"_dropped": str(reason), "_notes": []}
    answer, out["_answer_from"] = gold_answer(row, index, layout, response, notes)
    source = scalar(row, layout.source, index) if layout.source else None
    row_id = given_id(row, index, layout.id, _NO_ID) or content_id(question, trace)
    return out | {"id": row_id, "question": question, "trace": trace, "answer": answer, "source": source or name}


def content_id(question: str, trace: str) -> str:
    """16 hex digits of the SHA-256 of question and trace: the same on every machine and in every order of rows."""
    return hashlib.sha256(f"{question}\0{trace}".encode()).hexdigest()[:16]


def _question(row: dict[str, Any], index: int, layout: Layout) -> str:
    value = row[layout.question]
    turns = turns_of(value)
    if turns is not None:
        value = content(speech(turns, "ua" if layout.trace == layout.question else "u")[0])
    question = filled(value, "question", index, layout.question)
    if not layout.input or row[layout.input] in (None, ""):
        return question
    return f"{question}\n{filled(row[layout.input], 'input', index, layout.input)}"


def _trace(row: dict[str, Any], index: int, layout: Layout, notes: list[str]) -> tuple[str, str]:
    """The trace and the teacher's text after it."""
    value = row[layout.trace]
    turns = turns_of(value)
    if turns is not None:
        turn = speech(turns, "ua" if layout.trace == layout.question else "a")[-1]
        value = content(turn)
        reasoning = next((turn[key] for key in _REASONING if turn.get(key)), None)
        if reasoning is not None:
            response = value if isinstance(value, str) else ""
            return filled(reasoning, "trace", index, layout.trace), response
    elif isinstance(value, list):
        value = _pick(value, row[layout.correct] if layout.correct else None, notes)
    thinking = split_thinking(filled(value, "trace", index, layout.trace))
    notes.extend(thinking.notes)
    return filled(thinking.trace, "trace", index, layout.trace), thinking.response


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


def gold_answer(
    row: dict[str, Any], index: int, layout: Layout, response: str, notes: list[str]
) -> tuple[str | None, str]:
    """The gold answer and where it was found: in an answer column, else in a solution."""
    found = []
    for column in layout.answers:
        text = scalar(row, column, index)
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
        text = scalar(row, column, index)
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
    """The marked answer of a column; a text with thinking in it is a teacher's, whatever the column's name."""
    return None if has_thinking(text) else stated(text)
