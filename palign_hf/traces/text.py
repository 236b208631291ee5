"""Thinking and reply of a teacher's text."""

from typing import NamedTuple


_TAGS = (("<think>", "</think>"), ("<|begin_of_thought|>", "<|end_of_thought|>"))


class Thinking(NamedTuple):
    """A teacher's text split into thinking (byte for byte) and reply, with notes about irregularities."""

    trace: str
    response: str
    notes: tuple[str, ...]


def has_thinking(text: str) -> bool:
    """Whether `text` holds a thinking tag of a known kind."""
    return any(tag in text for pair in _TAGS for tag in pair)


def split_thinking(text: str) -> Thinking:
    """Split a text at its thinking tags; a text without tags is all trace, and its own response.

    A missing closing tag makes everything after the opening one thinking (without a response: the teacher was cut
    off); a missing opening tag, which chat templates put in the prompt, makes everything before the closing one
    thinking.
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
