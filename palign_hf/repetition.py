"""Repetition detection in generated text, in linear time."""

import re
from collections import Counter


# Characters that are checked, from the end: a period longer than a third of the first, or a loop that ended this long
# ago, is irrelevant for a student with a budget of some ten thousand tokens.
TAIL = 24_000
CHECKED = 200_000
# Fewest exact repeats of a tail, and their fewest characters: `10 10 10 10` is a row of numbers, and the four equal
# lines of a matrix are mathematics.
ROUNDS, TAIL_LENGTH = 3, 120
# Without a letter or digit in it, it may be the rule of a table, up to this length.
RULE = 600
# Near repeats: among this many words in a row, this share is in four-word runs that occurred at least three times
# before. In real traces, with all their checking, the largest share is .43 (the toy teacher's: .09), in code and lists
# of cases it is .36; a repeated sentence of fifteen words with one number changed has .74.
RUN, SEEN, WINDOW, SHARE = 4, 3, 200, 0.6

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+|[+\-*/=^]+")


def loops(text: str) -> bool:
    """Whether the text ends in a loop, or contains one that it left."""
    return _periodic_tail(text[-TAIL:].rstrip()) or _repeated_words(text[-CHECKED:])


def _periodic_tail(tail: str) -> bool:
    """Whether the end is one passage several times over, the last time possibly cut off."""
    back = tail[::-1]
    spoken = next((at for at, char in enumerate(back) if char.isalnum()), len(back))
    # agree[period]: how far the text and itself shifted by a period agree, from the end on (the Z-function).
    agree, left, right = [0] * len(back), 0, 0
    for period in range(1, len(back)):
        length = min(right - period, agree[period - left]) if period < right else 0
        while period + length < len(back) and back[length] == back[period + length]:
            length += 1
        if period + length > right:
            left, right = period, period + length
        agree[period] = length
        whole = period + length
        if whole >= max(ROUNDS * period, TAIL_LENGTH) and (period > spoken or whole >= RULE):
            return True
    return False


def _repeated_words(text: str) -> bool:
    """Whether most of some passage occurred several times before."""
    words = _WORD.findall(text.casefold())
    seen: Counter[tuple[str, ...]] = Counter()
    again: list[bool] = []
    inside = 0
    for run in zip(*(words[start:] for start in range(RUN)), strict=False):
        again.append(seen[run] >= SEEN)
        seen[run] += 1
        inside += again[-1] - (again[-1 - WINDOW] if len(again) > WINDOW else 0)
        if inside >= SHARE * WINDOW:
            return True
    return False
