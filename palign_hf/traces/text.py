"""What a teacher's text is made of: the thinking between its tags, and the boxed answer. Pure, no dependencies."""

import re
from typing import NamedTuple


_TAGS = (("<think>", "</think>"), ("<|begin_of_thought|>", "<|end_of_thought|>"))

# One pass over everything that matters to brace matching: a box with the brace or the bare value behind it, an
# escaped character (`\{` is text, not a brace), a brace. `\\boxed` after a LaTeX line break is still a box.
_BOX_TOKENS = re.compile(
    r"""
    \\(?:boxed|fbox)(?![A-Za-z])[\ \t]*
        (?:(?P<open>\{)|(?P<bare>[-+]?\d[^\s\\{}$]*|[A-Z](?![A-Za-z])))?
    |   \\(?!\\(?:boxed|fbox)).
    |   (?P<brace>[{}])
    """,
    re.VERBOSE | re.DOTALL,
)


class Thinking(NamedTuple):
    """A teacher's text taken apart: the thinking byte for byte, what follows it, and what was odd about it."""

    trace: str
    response: str
    notes: tuple[str, ...]


def has_thinking(text: str) -> bool:
    """Whether `text` holds a thinking tag of a known kind."""
    return any(tag in text for pair in _TAGS for tag in pair)


def split_thinking(text: str) -> Thinking:
    """Take the thinking out of its tags; a text without tags is all trace, and its own response.

    A missing closing tag leaves everything after the opening one (and no response: the teacher was cut off); a missing
    opening tag, which chat templates put in the prompt, leaves everything before the closing one.
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


def last_boxed(text: str) -> str | None:
    r"""The content of the last non-blank `\boxed{}` or `\fbox{}` of `text`, its braces balanced; else None.

    Linear in the length of the text. `\boxed 5` counts for numbers and single capital letters; a box that is
    never closed does not count.
    """
    last_start, answer = -1, None
    open_braces: list[tuple[int, int] | None] = []
    for token in _BOX_TOKENS.finditer(text):
        content = None
        start = token.start()
        if token["open"]:
            open_braces.append((start, token.end()))
        elif token["bare"]:
            content = token["bare"].rstrip(".,;:")
        elif token["brace"] == "{":
            open_braces.append(None)
        elif token["brace"] and open_braces and (box := open_braces.pop()):
            # Boxes close from the inside out: without this test the copies of nested boxes add up to O(n^2).
            start = box[0]
            if start > last_start:
                content = text[box[1] : token.start()].strip()
        if content and start > last_start:
            last_start, answer = start, content
    return answer
