"""Acceptance rules: a sample's grade and flags decide whether it is kept, with a reason for each rejection."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from palign_hf.grading import Grade, last_boxed
from palign_hf.repetition import loops


# The first words of the continuation are compared, in three-word runs, with the question and the prefix's first words.
OPENING, BEGINNING, RUN = 80, 150, 3
# An opening that repeats at least this share is a restart, whatever its phrase; the same holds for its first words,
# since a question may be short. One in a hundred true continuations of real traces begins so, where it restates the
# question.
REPEATED = 0.6
FIRST, REPEATED_FIRST = 20, 0.75
# With an opening phrase a smaller share suffices; below it the phrase introduces a next step ("Let's solve for a").
REPEATED_AFTER_PHRASE = 0.12
# Fewest runs for a decision.
FEWEST_RUNS = 8

_CHARACTERS_A_WORD = 20
_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+|[+\-*/=^]+")
_PHRASE = re.compile(
    r"""
    (?: \W*+ (?:okay|ok|alright|so|well|sure|hmm|certainly|now)\b )*+ \W*+
    (?: let(?:'s|’s|\ us|\ me)\ (?: (?:try\ to\ )?(?:solve|tackle|figure\ out|work\ out|read|begin|start)(?!\ for\b)
                               | break\ | work\ (?:through|on) | see\b | think\ about\ th(?:is|e)\ problem )
      | to\ (?:solve|answer|tackle)\b
      | i(?:\ have|'ve\ got|’ve\ got|\ need\ to\ (?:find|solve|figure|evaluate|compute|determine))\b
      | we\ (?:are\ given|are\ asked|need\ to|want\ to|must)\b
      | (?:the|this)\ (?:problem|question)\ (?:asks|says|states|is\ (?:asking|about|to))\b
      | given\b | (?:solution|step\ 1|problem)\b
    )
    """,
    re.IGNORECASE | re.VERBOSE,
)


def restarts(question: str, prefix: str, continuation: str) -> bool:
    """Whether a continuation starts over; never without a prefix."""
    if not prefix.strip():
        return False
    opening = _runs(continuation, OPENING)
    if len(opening) < FEWEST_RUNS:
        return False
    earlier = {*_runs(question, len(question)), *_runs(prefix, BEGINNING)}
    repeated, at_first = _share(opening, earlier), _share(opening[: FIRST - RUN + 1], earlier)
    if repeated >= REPEATED or at_first >= REPEATED_FIRST:
        return True
    return repeated >= REPEATED_AFTER_PHRASE and _PHRASE.match(continuation) is not None


def _share(runs: list[tuple[str, ...]], earlier: set[tuple[str, ...]]) -> float:
    return sum(run in earlier for run in runs) / len(runs)


def _runs(text: str, most: int) -> list[tuple[str, ...]]:
    """The first runs of words; only as much of a long text is read as needed."""
    words = _WORD.findall(text[: most * _CHARACTERS_A_WORD].casefold())[:most]
    return list(zip(*(words[start:] for start in range(RUN)), strict=False))


VERSION = 1  # raise it when any continuation may be flagged otherwise
FLAGS = ("cut", "loop", "leak", "no_box", "restart", "language")

# Letters from which a script counts as used: a single foreign sign is a symbol or a name.
FEWEST_LETTERS = 6
# Latin letters are in every formula, program and unit, so among other scripts only a text that is mostly Latin left.
LATIN_SHARE = 0.5
FEWEST_LATIN = 60

_SCRIPTS = {
    "cyrillic": r"[\u0400-\u052f]+",
    "han": r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]+",
    "kana": r"[\u3041-\u30fa\u30fd-\u30ff]+",
    "hangul": r"[\u1100-\u11ff\u3130-\u318f\uac00-\ud7af]+",
    "arabic": r"[\u0620-\u064a\u066e-\u06d3\ufb50-\ufdff\ufe70-\ufefc]+",
    "hebrew": r"[\u05d0-\u05ea]+",
    "indic": r"[\u0904-\u0939\u0980-\u0dff]+",
    "thai": r"[\u0e01-\u0e30\u0e40-\u0e46]+",
    # Single Greek letters are symbols.
    "greek": r"[\u0370-\u03ff\u1f00-\u1fff]{3,}",
}
_LETTERS = {name: re.compile(pattern) for name, pattern in _SCRIPTS.items()}
# Words only: no commands, variables or units.
_LATIN = re.compile(r"(?<![\\A-Za-z])[A-Za-z\u00c0-\u024f]{3,}")

# What may stand inside a value without changing it, and around it; white space is made single spaces before.
_INSIDE = r"(?:\\(?:left|right)(?![A-Za-z])|\\[,;:!>]|[ $*~]){0,8}"
_AROUND = (
    r"(?:\\(?:left|right)(?![A-Za-z])|\\(?:text|mathrm|mathbf|boxed|fbox) ?\{|\\[(\[,;:!> ]|[A-Za-z] ?="
    r"|[ $*~:=({\[]){0,12}+"
)
_THOUSANDS = r"(?:,|\{,\}|\\,|,\\!)?"
# "The answer is", also with a verb of doubt, and "Answer:"; "the answer is not 5" and "is above 5" don't state a 5.
_STATED = (
    r"\banswer\b[*_]*(?: (?:to|for|of) [^.,;:]{1,40}?)?"
    r"(?: ?[:=]| (?:is|was|(?:must|should|would|will|could|may) be)\b)"
    r"(?: (?:indeed|simply|just|therefore|thus|then|clearly|still)\b,?)?"
)
# A value ends where nothing that belongs to it follows: `5` is not stated by 51, 5.2, 5/3, 5x or 5 + 1.
_END = r"(?!\w|[.,]\d| ?[/^_!]|(?: |\\[,;:!> ]|\$){0,4}(?:[-+*=<>] ?[\w\\]|\\(?:frac|sqrt|pi|cdot|times|pm)))"
_CLOSED = r"(?:\\(?:text|mathrm) ?\{[^{}]{0,40}\}|\\right|\\[)\],;:!>% ]|[.)\]% $]){0,12}+\}"
# A longer gold answer is a proof or an essay, which no prefix states in a few words.
_LONGEST_GOLD = 300


def flags(
    question: str, prefix: str, continuation: str, finish_reason: str | None, gold: str | None
) -> tuple[str, ...]:
    """Return the names of all flags that apply, in the order of `FLAGS`."""
    found = {
        "cut": cut(finish_reason),
        "loop": loops(continuation),
        "leak": leaks(prefix, gold),
        "no_box": no_box(continuation),
        "restart": restarts(question, prefix, continuation),
        "language": leaves_script(question + "\n" + prefix, continuation),
    }
    return tuple(name for name in FLAGS if found[name])


def cut(finish_reason: str | None) -> bool:
    """Whether the continuation ended because no more tokens were allowed."""
    return finish_reason == "length"


def no_box(continuation: str) -> bool:
    """Whether no complete box holds an answer."""
    return last_boxed(continuation) is None


def leaks(prefix: str, gold: str | None) -> bool:
    """Whether the prefix states the gold answer; never without a gold answer."""
    wanted = _bare(gold or "")
    if not wanted or len(wanted) > _LONGEST_GOLD:
        return False
    value, text = _pattern(wanted), re.sub(r"\s+", " ", prefix)
    boxed = r"\\(?:boxed|fbox) ?\{" + _AROUND + value + _CLOSED
    return any(re.search(stated, text, re.IGNORECASE) for stated in (boxed, rf"{_STATED}{_AROUND}{value}{_END}"))


def _bare(gold: str) -> str:
    """A gold answer without its decoration; 142.0 is 142."""
    bare = re.sub(r"\s+", " ", gold.replace("$", "").replace(r"\left", "").replace(r"\right", "")).strip().rstrip(".")
    if wrapped := re.fullmatch(r"\\(?:text|mathrm|mathbf|boxed) ?\{([^{}]*)\}", bare):
        bare = wrapped[1].strip()
    return re.sub(r"^(-?\d+)\.0+$", r"\1", bare)


def _pattern(bare: str) -> str:
    """A regular expression for a value in any typesetting; repetitions are bounded, so matching stays fast."""
    parts = []
    # Opening brackets are taken as what stands around it.
    for part in re.findall(r"\d+|\\[A-Za-z]+|[A-Za-z]+|[^\s\w]|\w", bare.lstrip("([{")):
        if part.isdigit():
            head = len(part) % 3 or 3
            parts.append(_THOUSANDS.join([part[:head], *(part[at : at + 3] for at in range(head, len(part), 3))]))
        elif part in (r"\frac", r"\dfrac", r"\tfrac"):
            parts.append(r"\\[dt]?frac")
        else:
            parts.append(re.escape(part))
    value = _INSIDE.join(parts)
    return value + r"(?:\.0+(?!\d))?" if bare.lstrip("-").isdigit() else value


def leaves_script(before: str, continuation: str) -> bool:
    """Whether a continuation is written, at least in part, in a script that neither question nor prefix uses."""
    used, wrote = _letters(before), _letters(continuation)
    if any(wrote[script] >= FEWEST_LETTERS > used[script] for script in _LETTERS):
        return True
    latin_before, latin = _count(_LATIN, before), _count(_LATIN, continuation)
    was_latin = latin_before >= LATIN_SHARE * (latin_before + sum(used.values()))
    return latin >= max(FEWEST_LATIN, LATIN_SHARE * (latin + sum(wrote.values()))) and not was_latin


def _letters(text: str) -> dict[str, int]:
    return {script: _count(letters, text) for script, letters in _LETTERS.items()}


def _count(letters: re.Pattern[str], text: str) -> int:
    return sum(map(len, letters.findall(text)))


@dataclass(frozen=True)
class Rules:
    """Keeps a sample if its answer is right by `grade` and it has none of the refused flags."""

    right: Literal["strict", "lenient"] = "strict"
    refuse: tuple[str, ...] = ("cut", "loop")

    def against(self, grade: Grade, flags: Sequence[str]) -> tuple[str, ...]:
        """Reasons to reject a sample, that of its answer first; empty if it is kept."""
        found = [] if (grade.strict if self.right == "strict" else grade.lenient) else [_fault(grade)]
        return (*found, *(flag for flag in flags if flag in self.refuse))

    def describe(self) -> dict[str, Any]:
        """Return a JSON-able description for fingerprints."""
        return {"right": self.right, "refuse": list(self.refuse)}


def _fault(grade: Grade) -> str:
    """Reason why an answer doesn't count."""
    if grade.error is not None:
        return "not graded"
    if grade.lenient:
        return "right only outside a box"
    return "no answer" if grade.answer is None else "wrong answer"
