"""Conversations of pairs: the problem in the solve prompt, then the target as the reply.

A null prefix, as in baselines, has no tags; an empty prefix is a found prefix of a problem that needs none, and has
tags.
"""

from collections.abc import Mapping
from typing import Any

from palign_hf.prompts import TagStyle, Template


Turns = list[dict[str, str]]


def target_text(row: Mapping[str, Any], style: TagStyle) -> str:
    """The training target: the tagged prefix and the continuation, or the continuation alone."""
    if row["prefix"] is None:
        return str(row["continuation"])
    return style.wrap(row["prefix"], row["continuation"])


def tag_inside(row: Mapping[str, Any], style: TagStyle) -> str | None:
    """A tag that occurs in the prefix or the continuation itself, so that the target would have it twice.

    A target without a prefix has no tags, so nothing can be confused with one.
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
