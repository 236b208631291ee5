"""Does a continuation solve the problem from the start, as if nothing had been said yet? Pure."""

import re


# Its first words decide, and whether their three-word runs are those of the question and of the prefix's first words.
OPENING, BEGINNING, RUN = 80, 150, 3
# So much of the opening said before is a restart whatever it begins with, and so is so much of its very first words,
# since a question may be short: of true continuations of real traces one in a hundred begins so, where it reads the
# question again.
REPEATED = 0.6
FIRST, REPEATED_FIRST = 20, 0.75
# With an opening phrase less is enough; below this the phrase introduces a next step ("Let's solve for a").
REPEATED_AFTER_PHRASE = 0.12
# Fewer runs than these say nothing.
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
    """Whether a continuation begins at the beginning; without a prefix there is nothing to ignore."""
    if not prefix.strip():
        return False
    opening = _runs(continuation, OPENING)
    if len(opening) < FEWEST_RUNS:
        return False
    said = {*_runs(question, len(question)), *_runs(prefix, BEGINNING)}
    repeated, at_first = _share(opening, said), _share(opening[: FIRST - RUN + 1], said)
    if repeated >= REPEATED or at_first >= REPEATED_FIRST:
        return True
    return repeated >= REPEATED_AFTER_PHRASE and _PHRASE.match(continuation) is not None


def _share(runs: list[tuple[str, ...]], said: set[tuple[str, ...]]) -> float:
    return sum(run in said for run in runs) / len(runs)


def _runs(text: str, most: int) -> list[tuple[str, ...]]:
    """The first runs of words; of a long text no more is read than they need."""
    words = _WORD.findall(text[: most * _CHARACTERS_A_WORD].casefold())[:most]
    return list(zip(*(words[start:] for start in range(RUN)), strict=False))
