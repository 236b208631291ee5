"""Gold answers: known answer columns, and the marked answer in their text."""

import re
from collections.abc import Container, Sequence
from typing import Any

from palign_hf.grading import last_boxed
from palign_hf.traces.text import has_thinking


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
