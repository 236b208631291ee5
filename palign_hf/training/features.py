"""A row as the student learns it: tokens, labels, and the segment of each token. Pure.

    prompt | opening tag, prefix | closing tag | continuation, end of the turn | white space of the template

The target is tokenised once, as the text that it is, and its parts are told apart by the character at which a token
starts: a token that reaches over a border belongs to the part in which it starts. So no token is forced to end where
a part does, and the student learns the text that it will write.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from palign_hf.errors import UserError, listed, shown
from palign_hf.pairs.conversation import tag_inside as inside_of_pair
from palign_hf.prompts import TagStyle, tag_style
from palign_hf.segmentation import cuts
from palign_hf.training.segments import CLOSE_TAG, CONTINUATION, LEARNED, PREFIX, PROMPT
from palign_hf.training.turns import Turns, turns_of


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# The cache of `datasets` knows a function by its name alone: raise this whenever a row would become other tokens.
VERSION = 1
COLUMNS = ("input_ids", "labels", "segment_ids")
# What is only asked of a row before it is used; PAIRS have a column `tokens` of their own.
LENGTH, SHORTENED = "row_tokens", "row_shortened"
IGNORED = -100

# What the rows of a dataset say, by its columns: a problem; a prompt, prefix and continuation; a completion with the
# tags in it; tokens.
Layout = Literal["question", "prompt", "completion", "tokens"]


@dataclass(frozen=True, slots=True)
class Target:
    """What the student is to say, and where in it the closing tag starts and ends."""

    text: str
    close_start: int
    close_end: int

    @classmethod
    def of(cls, prefix: str | None, continuation: str, style: TagStyle) -> "Target":
        """A tagged prefix and its continuation; without a prefix there are no tags either."""
        if prefix is None:
            return cls(continuation, 0, 0)
        start = len(style.open) + len(prefix)
        return cls(style.wrap(prefix, continuation), start, start + len(style.close))

    @classmethod
    def read(cls, completion: str, style: TagStyle) -> "Target":
        """A completion that has its tags already, or none."""
        if not style.open or not completion.startswith(style.open):
            return cls(completion, 0, 0)
        prefix, continuation, closed = style.split(completion)
        if not closed:
            raise UserError(
                f"The completion `{shown(completion)}` opens its prefix with `{style.open.strip()}` and never closes "
                f"it, so the student would learn to end in a draft. Close it with `{style.close.strip()}`, or leave "
                f"the row out."
            )
        return cls(completion, len(style.open) + len(prefix), len(completion) - len(continuation))

    def prefix(self, style: TagStyle) -> str:
        """What stands between the tags."""
        return self.text[len(style.open) : self.close_start]

    def segments(self, starts: np.ndarray) -> np.ndarray:
        """The segment of each token, by where it starts."""
        parts = np.array([PREFIX, CLOSE_TAG, CONTINUATION], dtype=np.int8)
        return parts[np.searchsorted([self.close_start, self.close_end], starts, side="right")]


def build_features(
    batch: Mapping[str, Sequence[Any]],
    indices: Sequence[int],
    *,
    tokenizer: "PreTrainedTokenizerBase",
    layout: Layout,
    tags: str,
    max_length: int | None,
    shorten: bool,
    version: int = VERSION,
) -> dict[str, list[Any]]:
    """The features of a batch of rows, for `Dataset.map(batched=True, with_indices=True)`.

    With `shorten`, a row longer than `max_length` ends its prefix at an earlier sentence, if that helps; `row_tokens`
    tells those that are too long still, and `row_shortened` those that were changed.
    """
    style = tag_style(tags)
    columns = {name: name for name in COLUMNS} | {LENGTH: "tokens", SHORTENED: "shortened"}
    found: dict[str, list[Any]] = {name: [] for name in columns}
    turns = turns_of(tokenizer, tokenizer.chat_template) if layout != "tokens" else None
    for number, values in zip(indices, zip(*batch.values(), strict=True), strict=True):
        row = dict(zip(batch, values, strict=True))
        try:
            if turns is None:
                features = given_features(row)
            else:
                features = row_features(row, turns, layout, style, max_length if shorten else None)
        except UserError as error:
            raise UserError(f"Row {number + 1}{_named(row)}: {error}") from error
        for name, feature in columns.items():
            found[name].append(features[feature])
    return found


def row_features(
    row: Mapping[str, Any], turns: Turns, layout: Layout, style: TagStyle, most: int | None = None
) -> dict[str, Any]:
    """One row from its texts; `most` is the number of tokens for which a prefix is shortened."""
    prompt, (learned, after) = _asked(row, turns, layout)
    target = _target(row, layout, style, turns)
    ids, starts = turns.said(target.text)
    around = len(prompt) + len(learned) + len(after)
    shortened = False
    if most is not None and around + len(ids) > most:
        if shorter := _shorter(target, turns, style, starts, most - around):
            target, shortened = shorter, True
            ids, starts = turns.said(target.text)
    said = [*ids, *learned]
    segments = [*target.segments(starts).tolist(), *[CONTINUATION] * len(learned)]
    return {
        "input_ids": [*prompt, *said, *after],
        "labels": [*[IGNORED] * len(prompt), *said, *[IGNORED] * len(after)],
        "segment_ids": [*[PROMPT] * len(prompt), *segments, *[PROMPT] * len(after)],
        "tokens": around + len(ids),
        "shortened": shortened,
    }


def given_features(row: Mapping[str, Any]) -> dict[str, Any]:
    """One row that is tokens already; without labels, all that isn't prompt is learned."""
    ids, segments = list(row["input_ids"]), list(row["segment_ids"])
    learned = [id if segment != PROMPT else IGNORED for id, segment in zip(ids, segments, strict=False)]
    labels = list(row["labels"]) if row.get("labels") is not None else learned
    if len({len(ids), len(segments), len(labels)}) > 1:
        raise UserError(
            f"`input_ids`, `segment_ids` and `labels` have {len(ids)}, {len(segments)} and {len(labels)} entries, but "
            f"each token has one of each. Make them together."
        )
    if (lengths := row.get("seq_lengths")) is not None and sum(lengths) != len(ids):
        raise UserError(
            f"`seq_lengths` are those of {sum(lengths)} tokens, but `input_ids` has {len(ids)}, so the borders of the "
            f"packed rows can't be known. Make them together."
        )
    if unknown := set(segments) - {PROMPT, *LEARNED}:
        names = ", ".join(f"{segment} ({name})" for segment, name in LEARNED.items())
        raise UserError(f"{listed(sorted(unknown))} in `segment_ids` is no segment: {PROMPT} (prompt), {names}.")
    return {
        "input_ids": ids,
        "labels": labels,
        "segment_ids": segments,
        "tokens": len(ids),
        "shortened": False,
    }


def prompt_ids(row: Mapping[str, Any], turns: Turns, layout: Layout) -> list[int]:
    """The tokens of what a row asks."""
    return _asked(row, turns, layout)[0]


def _asked(row: Mapping[str, Any], turns: Turns, layout: Layout) -> tuple[list[int], tuple[list[int], list[int]]]:
    """A row's prompt, and what ends the reply to it."""
    if layout == "question":
        question = _text(row, "question")
        if not question.strip():
            raise UserError("`question` is empty, so there is nothing to solve. Leave the row out.")
        return turns.solve.ids(question), turns.ending
    prompt = row["prompt"]
    more = {**(row.get("chat_template_kwargs") or {})}
    if tools := row.get("tools"):
        more["tools"] = json.loads(tools) if isinstance(tools, str) else tools
    return turns.asked(prompt, more), turns.text_ending if isinstance(prompt, str) else turns.ending


def _target(row: Mapping[str, Any], layout: Layout, style: TagStyle, turns: Turns) -> Target:
    if layout != "completion":
        prefix = row["prefix"]
        return Target.of(None if prefix is None else _text(row, "prefix"), _text(row, "continuation"), style)
    said = completion_text(row["completion"])
    if said is None:
        raise UserError(
            f"The completion `{shown(repr(row['completion']))}` is neither a text nor one message of the assistant. "
            f"Make a row of each turn that the student is to learn."
        )
    end = turns.end_token if isinstance(row["prompt"], str) else ""
    return Target.read(said.removesuffix(end), style)


def completion_text(completion: Any) -> str | None:
    """The text of a completion, or of the one message that it is."""
    if isinstance(completion, (list, tuple)) and len(completion) == 1 and isinstance(completion[0], Mapping):
        completion = completion[0].get("content") if completion[0].get("role") == "assistant" else None
    return completion if isinstance(completion, str) else None


def tag_inside(row: Mapping[str, Any], layout: Layout, style: TagStyle) -> str | None:
    """A tag that stands in what is learned more often than the target's own borders do."""
    if layout == "tokens" or not style.open:
        return None
    if layout != "completion":
        return inside_of_pair(row, style)
    said = completion_text(row["completion"])
    if said is None or not said.startswith(style.open):
        return None
    prefix, continuation, closed = style.split(said)
    return style.tag_in(prefix) or style.tag_in(continuation) if closed else None


def _shorter(target: Target, turns: Turns, style: TagStyle, starts: np.ndarray, room: int) -> Target | None:
    """The target with the longest beginning of its prefix that leaves the rest whole; None if no sentence fits."""
    prefix, before = target.prefix(style), len(style.open)
    ends = cuts(prefix)
    # Tokens that a cut saves, nearly: those around it may merge in other ways, so the first that fits is taken.
    saved = np.searchsorted(starts, target.close_start) - np.searchsorted(starts, [before + end for end in ends])
    for cut, fewer in reversed(list(zip(ends, saved.tolist(), strict=True))):
        if cut < len(prefix) and len(starts) - fewer <= room:
            shorter = Target.of(prefix[:cut], target.text[target.close_end :], style)
            if len(turns.said(shorter.text)[0]) <= room:
                return shorter
    return None


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row[name]
    if not isinstance(value, str):
        raise UserError(f"`{name}` is `{shown(repr(value))}`, not a text. Fill it, or leave the row out.")
    return value


def _named(row: Mapping[str, Any]) -> str:
    return f" (`id` {shown(row['id'])})" if row.get("id") is not None else ""
