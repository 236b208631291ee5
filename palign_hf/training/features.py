"""Training features of a row: token ids, labels and the segment of each token. Pure.

    prompt | opening tag, prefix | closing tag | continuation, end of turn | white space of the template

The target is tokenized once, as one text, and a token belongs to the segment in which its first character stands. No
token is forced to end at a border, so the student learns the text that it will generate.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from palign_hf.data.views import tag_inside as inside_of_pair
from palign_hf.errors import UserError, listed, shown
from palign_hf.prompts import TagStyle
from palign_hf.prompts import tag_style as style_of
from palign_hf.segmentation import cuts
from palign_hf.training.turns import Turns, turns_of


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

# `datasets` caches by the name of a function: raise this whenever a row would get other tokens.
VERSION = 1
# Segment ids. The rows hold ids and no weights, so that other weights need no new tokenization.
PROMPT, PREFIX, CLOSE_TAG, CONTINUATION = range(4)
# The learned segments, as metrics name them. The opening tag is part of the prefix, the end of the turn part of the
# continuation.
LEARNED = {PREFIX: "prefix", CLOSE_TAG: "close_tag", CONTINUATION: "continuation"}
COLUMNS = ("input_ids", "labels", "segment_ids")
# Columns that exist only while rows are prepared; PAIRS have a column `tokens` of their own.
LENGTH, SHORTENED = "row_tokens", "row_shortened"
IGNORED = -100

# How a row gives prefix and continuation: with a `question` or a `prompt` beside them; as one `completion` with tags;
# as tokens with segment ids.
Layout = Literal["question", "prompt", "completion", "tokens"]


@dataclass(frozen=True, slots=True)
class Target:
    """The text that the student learns to generate, and where its closing tag starts and ends."""

    text: str
    close_start: int
    close_end: int

    @classmethod
    def of(cls, prefix: str | None, continuation: str, style: TagStyle) -> "Target":
        """The target of a prefix and its continuation; a null prefix gets no tags."""
        if prefix is None:
            return cls(continuation, 0, 0)
        start = len(style.open) + len(prefix)
        return cls(style.wrap(prefix, continuation), start, start + len(style.close))

    @classmethod
    def read(cls, completion: str, style: TagStyle) -> "Target":
        """The target of a completion, which has its tags already, or none."""
        if not style.open or not completion.startswith(style.open):
            return cls(completion, 0, 0)
        prefix, continuation, closed = style.split(completion)
        if not closed:
            raise UserError(
                f"The completion `{shown(completion)}` opens its prefix with `{style.open.strip()}` and never closes "
                f"it, so the student would learn to end inside a draft. Close it with `{style.close.strip()}`, or "
                f"remove the row."
            )
        return cls(completion, len(style.open) + len(prefix), len(completion) - len(continuation))

    def prefix(self, style: TagStyle) -> str:
        """The text between the tags."""
        return self.text[len(style.open) : self.close_start]

    def segments(self, starts: np.ndarray) -> np.ndarray:
        """The segment of each token, by its first character."""
        parts = np.array([PREFIX, CLOSE_TAG, CONTINUATION], dtype=np.int8)
        return parts[np.searchsorted([self.close_start, self.close_end], starts, side="right")]


def build_features(
    batch: Mapping[str, Sequence[Any]],
    indices: Sequence[int],
    *,
    tokenizer: "PreTrainedTokenizerBase",
    layout: Layout,
    tag_style: str,
    max_length: int | None,
    shorten: bool,
    version: int = VERSION,
) -> dict[str, list[Any]]:
    """The features of a batch of rows, for `Dataset.map(batched=True, with_indices=True)`.

    With `shorten`, the prefix of a row longer than `max_length` is cut at an earlier sentence, if the row fits then.
    `row_tokens` is the length of each row, `row_shortened` whether its prefix was cut.
    """
    style = style_of(tag_style)
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
    """The features of one row of texts; with `most`, the prefix is shortened to fit that many tokens."""
    prompt, (learned, after) = _prompt(row, turns, layout)
    target = _target(row, layout, style, turns)
    ids, starts = turns.encode_reply(target.text)
    around = len(prompt) + len(learned) + len(after)
    shortened = False
    if most is not None and around + len(ids) > most:
        if shorter := _shorter(target, turns, style, starts, most - around):
            target, shortened = shorter, True
            ids, starts = turns.encode_reply(target.text)
    reply = [*ids, *learned]
    segments = [*target.segments(starts).tolist(), *[CONTINUATION] * len(learned)]
    return {
        "input_ids": [*prompt, *reply, *after],
        "labels": [*[IGNORED] * len(prompt), *reply, *[IGNORED] * len(after)],
        "segment_ids": [*[PROMPT] * len(prompt), *segments, *[PROMPT] * len(after)],
        "tokens": around + len(ids),
        "shortened": shortened,
    }


def given_features(row: Mapping[str, Any]) -> dict[str, Any]:
    """The features of one tokenized row; without labels, all but the prompt is learned."""
    ids, segments = list(row["input_ids"]), list(row["segment_ids"])
    learned = [id if segment != PROMPT else IGNORED for id, segment in zip(ids, segments, strict=False)]
    labels = list(row["labels"]) if row.get("labels") is not None else learned
    if len({len(ids), len(segments), len(labels)}) > 1:
        raise UserError(
            f"`input_ids`, `segment_ids` and `labels` have {len(ids)}, {len(segments)} and {len(labels)} entries, but "
            f"each token needs one of each. Make them equally long."
        )
    if (lengths := row.get("seq_lengths")) is not None and sum(lengths) != len(ids):
        raise UserError(
            f"`seq_lengths` add up to {sum(lengths)} tokens, but `input_ids` has {len(ids)}, so the borders of the "
            f"packed rows are unknown. Make them agree."
        )
    if unknown := set(segments) - {PROMPT, *LEARNED}:
        names = ", ".join(f"{segment} ({name})" for segment, name in LEARNED.items())
        raise UserError(
            f"`segment_ids` holds {listed(sorted(unknown))}, which is no segment. Use {PROMPT} (prompt), {names}."
        )
    return {
        "input_ids": ids,
        "labels": labels,
        "segment_ids": segments,
        "tokens": len(ids),
        "shortened": False,
    }


def prompt_ids(row: Mapping[str, Any], turns: Turns, layout: Layout) -> list[int]:
    """The token ids of a row's prompt."""
    return _prompt(row, turns, layout)[0]


def tokenized_prompts(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[int]]:
    """The token ids of the prompts of tokenized rows; a packed row has several."""
    for row in rows:
        ids, segments, start = list(row["input_ids"]), list(row["segment_ids"]), 0
        for length in row.get("seq_lengths") or [len(ids)]:
            parts = segments[start : start + length]
            end = next((at for at, part in enumerate(parts) if part != PROMPT), length)
            yield ids[start : start + end]
            start += length


def _prompt(row: Mapping[str, Any], turns: Turns, layout: Layout) -> tuple[list[int], tuple[list[int], list[int]]]:
    """The token ids of a row's prompt, and those that end a reply to it."""
    if layout == "question":
        question = _text(row, "question")
        if not question.strip():
            raise UserError("`question` is empty, so the row has no problem to solve. Remove the row.")
        return turns.solve.ids(question), turns.ending
    prompt = row["prompt"]
    more = {**(row.get("chat_template_kwargs") or {})}
    if tools := row.get("tools"):
        more["tools"] = json.loads(tools) if isinstance(tools, str) else tools
    return turns.encode_prompt(prompt, more), turns.text_ending if isinstance(prompt, str) else turns.ending


def _target(row: Mapping[str, Any], layout: Layout, style: TagStyle, turns: Turns) -> Target:
    if layout != "completion":
        prefix = row["prefix"]
        return Target.of(None if prefix is None else _text(row, "prefix"), _text(row, "continuation"), style)
    text = completion_text(row["completion"])
    if text is None:
        raise UserError(
            f"The completion `{shown(repr(row['completion']))}` is neither a text nor a single assistant message. "
            f"Make one row of each turn that the student should learn."
        )
    end = turns.end_token if isinstance(row["prompt"], str) else ""
    return Target.read(text.removesuffix(end), style)


def completion_text(completion: Any) -> str | None:
    """The text of a completion: a string, or a single assistant message."""
    if isinstance(completion, (list, tuple)) and len(completion) == 1 and isinstance(completion[0], Mapping):
        completion = completion[0].get("content") if completion[0].get("role") == "assistant" else None
    return completion if isinstance(completion, str) else None


def tag_inside(row: Mapping[str, Any], layout: Layout, style: TagStyle) -> str | None:
    """A tag inside the prefix or continuation itself, or None."""
    if layout == "tokens" or not style.open:
        return None
    if layout != "completion":
        return inside_of_pair(row, style)
    text = completion_text(row["completion"])
    if text is None or not text.startswith(style.open):
        return None
    prefix, continuation, closed = style.split(text)
    return style.tag_in(prefix) or style.tag_in(continuation) if closed else None


def _shorter(target: Target, turns: Turns, style: TagStyle, starts: np.ndarray, room: int) -> Target | None:
    """The target with the most sentences of its prefix that fit into `room` tokens, or None."""
    prefix, before = target.prefix(style), len(style.open)
    ends = cuts(prefix)
    # An estimate of the tokens that a cut saves: tokens around it may merge differently, so the result is counted.
    saved = np.searchsorted(starts, target.close_start) - np.searchsorted(starts, [before + end for end in ends])
    for cut, fewer in reversed(list(zip(ends, saved.tolist(), strict=True))):
        if cut < len(prefix) and len(starts) - fewer <= room:
            shorter = Target.of(prefix[:cut], target.text[target.close_end :], style)
            if len(turns.encode_reply(shorter.text)[0]) <= room:
                return shorter
    return None


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row[name]
    if not isinstance(value, str):
        raise UserError(f"`{name}` is `{shown(repr(value))}`, not a text. Fill it, or remove the row.")
    return value


def _named(row: Mapping[str, Any]) -> str:
    return f" (`id` {shown(row['id'])})" if row.get("id") is not None else ""
