"""A pair as a conversation of two turns: the problem in the solve prompt, then what the student is to write.

A null prefix, as baselines have, is no prefix and gets no tags; an empty one is a prefix that was found to need
nothing, and gets them.
"""

from collections.abc import Mapping
from typing import Any

from palign_hf.prompts import TagStyle, Template


Turns = list[dict[str, str]]


def target_text(row: Mapping[str, Any], style: TagStyle) -> str:
    """What the student learns to write: the tagged prefix and the continuation, or the latter alone."""
    if row["prefix"] is None:
        return str(row["continuation"])
    return style.wrap(row["prefix"], row["continuation"])


def tag_inside(row: Mapping[str, Any], style: TagStyle) -> str | None:
    """A tag that stands in the prefix or the continuation itself: the target would have it twice.

    A target without a prefix has no tags, so there is nothing to mistake one for.
    """
    if row["prefix"] is None:
        return None
    return style.tag_in(row["prefix"]) or style.tag_in(row["continuation"] or "")


def prompt_and_completion(row: Mapping[str, Any], style: TagStyle, template: Template) -> dict[str, Turns]:
    """Two conversations of one message each, as TRL's trainers take them."""
    return {"prompt": user_turn(row["question"], template), "completion": assistant_turn(target_text(row, style))}


def user_turn(question: str, template: Template) -> Turns:
    """The problem, in its prompt."""
    return [{"role": "user", "content": template.message(question)}]


def assistant_turn(text: str) -> Turns:
    """A reply to it."""
    return [{"role": "assistant", "content": text}]
