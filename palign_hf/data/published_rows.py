"""Conversion of one row of a published prefix set to a row of PREFIXES."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from palign_hf.data.cells import Dropped, content, filled, given_id, scalar, speech, turns_of, wrong_type
from palign_hf.data.layouts import Layout
from palign_hf.data.trace_rows import content_id, gold_answer
from palign_hf.prompts import SOLVE, TAG_STYLES, TagStyle, tag_style
from palign_hf.schema import PREFIXES


# Raise it with any change of `read_published`'s output: `datasets` caches by the name of a function.
READER_VERSION = 2

_LEAD = SOLVE.text.partition("{question}")[0]
_INSTRUCTION = _LEAD.strip()
_NO_ID = "Fill it, or remove the column to have ids made from the content."
# Columns of a row of PREFIXES without a known search.
_UNKNOWN = dict.fromkeys(PREFIXES.columns) | {"status": "published", "probes": []}


@dataclass(frozen=True)
class PublishedRow:
    """Layout of a published set; strings only, so that its hash is the same in every process.

    `layout` has the columns of the question and of the prefix or, with `tags`, of the text that begins with the prefix
    in tags of one of these styles.
    """

    layout: Layout
    tags: tuple[str, ...] = ()
    continuation: str | None = None
    trace: str | None = None
    # The column of PAIRS that says which continuations were kept.
    outcome: str | None = None

    def columns(self) -> list[str]:
        """The distinct columns of the set that are read."""
        others = [name for name in (self.continuation, self.trace, self.outcome) if name]
        return list(dict.fromkeys([*self.layout.columns(), *others]))

    @property
    def continues(self) -> bool:
        """Whether the set has continuations."""
        return bool(self.tags or self.continuation)


def read_published(
    row: dict[str, Any], index: int, where: PublishedRow, name: str | None, version: int
) -> dict[str, Any]:
    """Return the row of PREFIXES and its `continuation`, plus `_dropped` (reason or None), `_answer_from` and
    `_notes`.
    """
    notes: list[str] = []
    out: dict[str, Any] = _UNKNOWN | {"continuation": None, "_dropped": None, "_answer_from": None, "_notes": notes}
    layout = where.layout
    try:
        question = _question(row, index, layout, notes)
        prefix, continuation = _texts(row, index, where, notes)
        trace = scalar(row, where.trace, index) if where.trace else None
        if trace is not None and not trace.startswith(prefix):
            raise Dropped("the trace doesn't begin with the prefix")
    except Dropped as reason:
        return out | {"_dropped": str(reason), "_notes": []}
    if not prefix.strip():
        notes.append("blank prefix")
    if trace is not None:
        out |= {"status": "fixed", "reason": "read from a table with traces: no judge has found this prefix"}
    answer, out["_answer_from"] = gold_answer(row, index, layout, "", notes)
    trace = prefix if trace is None else trace
    return out | {
        "id": given_id(row, index, layout.id, _NO_ID) or content_id(question, trace),
        "question": question,
        "trace": trace,
        "answer": answer,
        "source": (scalar(row, layout.source, index) if layout.source else None) or name,
        "prefix": prefix,
        "prefix_end": len(prefix),
        "continuation": continuation,
    }


def without_instruction(text: str) -> str:
    """Remove the usual instruction to solve before or after the problem of a user message."""
    if text.startswith(_LEAD):
        return text[len(_LEAD) :]
    if text.lstrip().startswith(_INSTRUCTION):
        return text.lstrip()[len(_INSTRUCTION) :].lstrip()
    if text.rstrip().endswith(_INSTRUCTION):
        return text.rstrip()[: -len(_INSTRUCTION)].rstrip()
    return text


def find_border(text: str, tags: tuple[str, ...], notes: list[str]) -> tuple[str, str]:
    """Split a target into prefix and continuation, byte for byte.

    The border is the first closing tag: a prefix that contains a closing tag can't be distinguished from a shorter
    one, and is read too short. A missing line break after the closing tag is noted.
    """
    for style in (TAG_STYLES[name] for name in tags):
        if text.startswith(style.open):
            prefix, continuation, closed = style.split(text)
            if not closed:
                raise Dropped("prefix never closed")
            if style.wrap(prefix, continuation) != text:
                notes.append("no line break after the closing tag")
            return prefix, continuation
    raise Dropped("no prefix in tags")


def _question(row: Mapping[str, Any], index: int, layout: Layout, notes: list[str]) -> str:
    value = row[layout.question]
    if (turns := turns_of(value)) is not None:
        value = content(speech(turns, "ua" if layout.trace == layout.question else "u", "output")[0])
    if layout.input and row[layout.input] not in (None, ""):
        if isinstance(value, str) and without_instruction(value).strip():
            notes.append("an instruction of its own left out")
        value = row[layout.input]
    return filled(without_instruction(filled(value, "question", index, layout.question)), "question", index, "")


def _texts(row: Mapping[str, Any], index: int, where: PublishedRow, notes: list[str]) -> tuple[str, str | None]:
    """The prefix and, where the row has one, the continuation."""
    column = where.layout.trace
    value = row[column]
    if where.tags:
        if (turns := turns_of(value)) is not None:
            value = content(speech(turns, "ua" if column == where.layout.question else "a", "output")[-1])
        text = filled(value, "output", index, column)
        style = next((TAG_STYLES[name] for name in where.tags if text.startswith(TAG_STYLES[name].open)), None)
        prefix, found = find_border(text, where.tags, notes)
        _refuse_tags(style, prefix, found)
        return prefix, found
    outcome = row[where.outcome] if where.outcome else "kept"
    if value is None:
        raise Dropped("prefix missing")
    if not isinstance(value, str):
        raise wrong_type(value, index, column, "text")
    if outcome not in ("kept", "rejected") and not value:
        raise Dropped(f"no prefix: its pair is `{outcome}`")
    continuation = row[where.continuation] if where.continuation and outcome == "kept" else None
    if continuation is not None and not isinstance(continuation, str):
        raise wrong_type(continuation, index, str(where.continuation), "text")
    _refuse_tags(tag_style("prefix"), value, continuation)
    return value, continuation


def _refuse_tags(style: TagStyle | None, prefix: str, continuation: str | None) -> None:
    """Drop a row whose text contains a tag: in a target the border would be ambiguous."""
    if style is not None and (tag := style.tag_in(prefix) or style.tag_in(continuation or "")):
        raise Dropped(f"`{tag}` inside the text, where it would be taken for the border")
