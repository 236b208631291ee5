"""What goes wrong in silence otherwise: looked at before training, and tried after it.

A loss looks healthy while a student learns never to stop, or learns prompts that nobody will ask. So the first rows
are looked at as the model gets them, through the collator, and a trained student is let go on a few prompts.
"""

import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from os.path import commonprefix
from typing import TYPE_CHECKING, Any

from palign_hf.errors import UserError, listed, shown
from palign_hf.prompts import tag_style
from palign_hf.training.features import IGNORED, prompt_ids
from palign_hf.training.segments import PROMPT
from palign_hf.training.turns import Turns, turns_of


if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

# So many rows are looked at: what is wrong with a template or a setting is wrong with every row.
CHECKED_ROWS = 8
_WAY_OUT = "Or set `check=False` if it is meant to be so."
_QUESTIONS = ("1", "How many are there?", "Find all primes p.", "Zeige, dass es keine gibt")


@dataclass(frozen=True)
class Stops:
    """How a student ended its replies to some prompts: greedy, within a limit of tokens."""

    asked: int
    stopped: int
    opened: int
    closed: int
    tokens: float

    def __str__(self) -> str:
        return (
            f"Of {self.asked} replies {self.stopped} stop by themselves; {self.opened} open a draft, {self.closed} of "
            f"these close it; {self.tokens:.0f} tokens on average."
        )


def stop_ids(model: Any, tokenizer: "PreTrainedTokenizerBase") -> set[int]:
    """The tokens at which generation ends: the tokenizer's and those of the model's generation config."""
    config = getattr(model, "generation_config", None)
    told = getattr(config, "eos_token_id", None)
    ids = {tokenizer.eos_token_id, *(told if isinstance(told, (list, tuple)) else [told])}
    return {int(id) for id in ids if id is not None}


def check_template(turns: Turns) -> None:
    """A reply must stand in a conversation where the prompt left off; a thought may be opened in one of the two."""
    asked, replied = turns.around_reply
    if not asked.startswith(replied.rstrip()) and not replied.startswith(asked.rstrip()):
        same = len(commonprefix([asked, replied]))
        raise UserError(
            f"The chat template of `{turns.student}` asks with `{shown(asked[same:])}` at the end but renders a reply "
            f"behind `{shown(replied[same:])}`, so the student would learn replies in a place where it is never asked "
            f"for them. Give a template that renders both alike with `chat_template_path`. {_WAY_OUT}"
        )


def check_conversation(row: Mapping[str, Any], tokenizer: Any, student: str) -> None:
    """A conversation of plain data: its prompt's tokens must begin those of the whole, or TRL moves the border."""
    more = {"tools": _tools(row), **(row.get("chat_template_kwargs") or {})}
    asked = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=True, **more)
    whole = tokenizer.apply_chat_template([*row["prompt"], *row["completion"]], return_dict=True, **more)
    prompt = asked["input_ids"]
    if whole["input_ids"][: len(prompt)] != prompt:
        raise UserError(
            f"The chat template of `{student}` renders the prompt `{shown(tokenizer.decode(prompt)[-60:])}` in "
            f"another way once its reply follows, so the student would learn from a prompt that it is never given. "
            f"Give a template that renders both alike with `chat_template_path`. {_WAY_OUT}"
        )


@dataclass(frozen=True)
class Origin:
    """Where the rows of a batch come from, as far as it explains what they lack.

    Args:
        columns: Names of the columns of the dataset before its preparation.
        max_length: The length at which plain rows were truncated, or `None`.
        turns: What the chat template made of conversations, or `None` for rows without roles.
    """

    columns: frozenset[str] = frozenset()
    max_length: int | None = None
    turns: Turns | None = None


def check_batch(
    rows: Sequence[Mapping[str, Any]],
    collator: Any,
    model: Any,
    tokenizer: "PreTrainedTokenizerBase",
    continuation_weight: float,
    origin: Origin | None = None,
) -> None:
    """What ends the student's turn must be among the labels of these rows as a batch, and padding must not."""
    batch = collator([dict(row) for row in rows])
    ids, labels = batch["input_ids"], batch["labels"]
    padding = batch["attention_mask"] == 0 if "attention_mask" in batch else ids != ids
    if bool((labels[padding] != IGNORED).any()):
        raise UserError(
            f"`data_collator={type(collator).__name__}` leaves padding among the labels, so the student would learn "
            f"to say `{tokenizer.pad_token}`. Set them to {IGNORED} there, or leave `data_collator` out."
        )
    stops = stop_ids(model, tokenizer)
    if not stops & set(labels[labels != IGNORED].tolist()):
        why = _why_no_end(rows, stops, tokenizer, continuation_weight, origin or Origin())
        raise UserError(f"{why} {_WAY_OUT}")


def _tools(row: Mapping[str, Any]) -> Any:
    tools = row.get("tools")
    return json.loads(tools) if isinstance(tools, str) else tools


def check_prompts(rows: Iterable[Mapping[str, Any]], turns: Turns) -> None:
    """The first rows must ask as evaluation does, whatever they were made of."""
    try:
        begin, end = _fixed_ids(turns)
    except UserError as error:  # a student that can't be asked as a chat
        raise UserError(f"{error} {_WAY_OUT}") from error
    for number, prompt in enumerate(islice(_prompts(rows), CHECKED_ROWS), 1):
        if prompt[: len(begin)] != begin or prompt[len(prompt) - len(end) :] != end:
            raise UserError(
                f"The prompt of training row {number} isn't the one with which the student is asked in evaluation: it "
                f"is `{shown(turns.decode(prompt), 160)}`, not `{shown(turns.decode([*begin, *end]), 160)}` with the "
                f"problem in it. Give the problem as `question`, and the prompt is made of it. {_WAY_OUT}"
            )


def stops(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    rows: Iterable[Mapping[str, Any]],
    *,
    tags: str = "prefix",
    prompts: int = 8,
    max_new_tokens: int = 512,
) -> Stops:
    """Let the student reply to the first prompts of `rows`, and count how often it stops and closes its draft.

    `rows` have a `question`, a `prompt`, or tokens with segments, as a trainer's `train_dataset` has.
    """
    turns, style = turns_of(tokenizer, tokenizer.chat_template), tag_style(tags)
    ends = stop_ids(model, tokenizer)
    asked = [_asked(row, turns) for row in islice(rows, prompts)]
    if not asked:
        raise UserError("`rows` has none, so the student can't be asked anything.")
    replies = _greedy(model, asked, ends, max_new_tokens)
    opened = closed = 0
    for reply in replies:
        text = turns.decode([id for id in reply if id not in ends])
        if style.open and text.startswith(style.open):
            opened += 1
            closed += style.split(text)[2]
    found = Stops(
        asked=len(replies),
        stopped=sum(bool(ends & set(reply)) for reply in replies),
        opened=opened,
        closed=closed,
        tokens=sum(map(len, replies)) / len(replies),
    )
    logger.log(logging.INFO if found.stopped == found.asked else logging.WARNING, "%s", found)
    return found


def _greedy(model: Any, asked: Sequence[list[int]], ends: set[int], most: int) -> list[list[int]]:
    """The likeliest replies, each up to its end token."""
    import torch
    from transformers import GenerationConfig

    width = max(map(len, asked))
    fill = min(ends, default=0)
    ids = torch.tensor([[fill] * (width - len(prompt)) + prompt for prompt in asked], device=model.device)
    seen = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in asked], device=model.device)
    config = GenerationConfig(
        do_sample=False,
        repetition_penalty=1.0,
        max_new_tokens=most,
        use_cache=True,
        eos_token_id=sorted(ends) or None,
        pad_token_id=fill,
    )
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            whole = model.generate(input_ids=ids, attention_mask=seen, generation_config=config)
    finally:
        model.train(training)
    replies = []
    for reply in whole[:, width:].tolist():
        end = next((at for at, id in enumerate(reply) if id in ends), len(reply) - 1)
        replies.append(reply[: end + 1])
    return replies


def _asked(row: Mapping[str, Any], turns: Turns) -> list[int]:
    if "segment_ids" in row:
        return next(_prompts([row]))
    return prompt_ids(row, turns, "question" if "question" in row else "prompt")


def _prompts(rows: Iterable[Mapping[str, Any]]) -> Iterator[list[int]]:
    """The prompts of tokenised rows, each up to where the reply begins; packed rows have several."""
    for row in rows:
        ids, segments, start = list(row["input_ids"]), list(row["segment_ids"]), 0
        for length in row.get("seq_lengths") or [len(ids)]:
            parts = segments[start : start + length]
            end = next((at for at, part in enumerate(parts) if part != PROMPT), length)
            yield ids[start : start + end]
            start += length


def _fixed_ids(turns: Turns) -> tuple[list[int], list[int]]:
    """What every solve prompt begins and ends with: the tokens that prompts of unlike problems share."""
    prompts = [turns.solve.ids(question) for question in _QUESTIONS]
    begin = commonprefix(prompts)
    end = commonprefix([prompt[::-1] for prompt in prompts])[::-1]
    return list(begin), list(end)


def _why_no_end(
    rows: Sequence[Mapping[str, Any]],
    stops: set[int],
    tokenizer: Any,
    continuation_weight: float,
    origin: Origin,
) -> str:
    """Why nothing of the first rows teaches the student to stop, and what to do."""
    if not stops:
        return (
            "Neither the tokenizer nor the model's generation config has an end token, so the student can't be taught "
            "to stop. Set `eos_token` to the token with which the chat template ends a turn."
        )
    names = listed(tokenizer.convert_ids_to_tokens(sorted(stops)))
    most = origin.max_length
    if most is not None and all(len(row["input_ids"]) >= most for row in rows):
        return (
            f"`max_length={most}` cuts all of the first {len(rows)} rows before {names}, where the student stops, so "
            f"it would never learn to. Raise `max_length`, or leave long rows out."
        )
    if not any(stops & set(row["input_ids"]) for row in rows):
        return f"No row ends with {names}, where the student stops, so it would never learn to. {_end(names, origin)}"
    if not any(stops & set(row.get("labels", row["input_ids"])) for row in rows):
        if origin.columns and "labels" not in origin.columns:
            return (
                f"The rows say {names}, but the student learns none of it (`completion_only_loss`, "
                f"`assistant_only_loss`, masks of the dataset, `max_length`), so it would never learn to stop. Let "
                f"the masks and the chat template's `generation` part reach over what ends a turn."
            )
        return (
            f"The rows say {names}, but their `labels` mask it, so the student would never learn to stop. Set the "
            f"label where a turn ends, or leave the `labels` column out."
        )
    if continuation_weight == 0:
        return (
            f"`continuation_loss_weight=0` takes {names}, which ends the continuation, out of the labels, so the "
            f"student would never learn to stop. Give it a small weight."
        )
    pads = f"`{tokenizer.pad_token}`, with which it also pads," if tokenizer.pad_token_id in stops else names
    return (
        f"`data_collator` takes {pads} out of the labels, so the student would never learn to stop. Leave "
        f"`data_collator` out, whose default knows padding by its place, or set `tokenizer.pad_token` to a token that "
        f"ends nothing."
    )


def _end(names: str, origin: Origin) -> str:
    """What to do where rows don't end with an end token, by what they were made of."""
    if "input_ids" in origin.columns:
        return (
            "The rows were given as `input_ids`: put an end token behind each reply, with its label, or set "
            "`eos_token` to the token with which they end."
        )
    if origin.turns is None:
        return (
            "Set `eos_token` to the token with which the chat template ends the assistant's turn, or give a template "
            "that ends it so with `chat_template_path`."
        )
    ending = origin.turns.reply_end
    if not ending.text:
        return (
            "The chat template puts no token behind a reply. Give one that ends the assistant's turn with "
            "`chat_template_path`."
        )
    if ending.token is None:
        return (
            f"The chat template ends a reply with `{shown(ending.text)}`, which is no token of this tokenizer but "
            f"plain text, as where the template of another model is given to a base model. Set `chat_template_path` "
            f"to the tokenizer that the template belongs to (a name on the Hub or a folder, no `.jinja` file): its "
            f"tokens are added."
        )
    return (
        f"The chat template ends the assistant's turn with `{ending.token}`: set `eos_token` to it, or give a "
        f"template that ends it with {names} with `chat_template_path`."
    )
