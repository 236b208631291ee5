"""Restart detection: whether a continuation solves the problem from the start."""

import re


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
