"""Does a text go round in circles? Pure, and linear in the length of what is looked at."""

import re
from collections import Counter


# What is looked at, from the end: a circle longer than a third of the first, or one left this long ago, is none that a
# student with a budget of some ten thousand tokens was caught in.
TAIL = 24_000
LOOKED_AT = 200_000
# A tail that repeats itself exactly so often, over so many characters: `10 10 10 10` is a row of numbers, and the four
# equal lines of a matrix are mathematics.
ROUNDS, TAIL_LENGTH = 3, 120
# Without a letter or digit in it, it may be the rule of a table, up to this length.
RULE = 600
# Near repeats: in so many words in a row, this share stands in four-word runs that were said at least three times
# before. In real traces, with all their checking, the largest share is .43 (the toy teacher's: .09), in code and lists
# of cases it is .36; a sentence of fifteen words said over and over with one number changed makes .74.
RUN, SAID, WINDOW, SHARE = 4, 3, 200, 0.6

_WORD = re.compile(r"[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af]|\w+|[+\-*/=^]+")


def loops(text: str) -> bool:
    """Whether the text ends in a loop, or has one in it that it came out of."""
    return _periodic_tail(text[-TAIL:].rstrip()) or _said_again(text[-LOOKED_AT:])


def _periodic_tail(tail: str) -> bool:
    """Whether the end is one passage several times over, the last time perhaps cut off."""
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


def _said_again(text: str) -> bool:
    """Whether most of some passage was said several times before."""
    said = _WORD.findall(text.casefold())
    seen: Counter[tuple[str, ...]] = Counter()
    again: list[bool] = []
    inside = 0
    for run in zip(*(said[start:] for start in range(RUN)), strict=False):
        again.append(seen[run] >= SAID)
        seen[run] += 1
        inside += again[-1] - (again[-1 - WINDOW] if len(again) > WINDOW else 0)
        if inside >= SHARE * WINDOW:
            return True
    return False
