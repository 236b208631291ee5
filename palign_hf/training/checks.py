"""What goes wrong in silence otherwise: looked at before training, and tried after it.

A loss looks healthy while a student learns never to stop, or learns prompts that nobody will ask. So the first rows
are looked at as the model gets them, through the collator, and a trained student is let go on a few prompts.
"""

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
    more = row.get("chat_template_kwargs") or {}
    asked = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=True, **more)
    whole = tokenizer.apply_chat_template([*row["prompt"], *row["completion"]], return_dict=True, **more)
    prompt = asked["input_ids"]
    if whole["input_ids"][: len(prompt)] != prompt:
        raise UserError(
            f"The chat template of `{student}` renders the prompt `{shown(tokenizer.decode(prompt)[-60:])}` in "
            f"another way once its reply follows, so the student would learn from a prompt that it is never given. "
            f"Give a template that renders both alike with `chat_template_path`. {_WAY_OUT}"
        )


def check_batch(
    rows: Sequence[Mapping[str, Any]],
    collator: Any,
    model: Any,
    tokenizer: "PreTrainedTokenizerBase",
    continuation_weight: float,
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
        given = [row.get("labels", row["input_ids"]) for row in rows]
        labelled = any(stops & set(each) for each in given)
        said = any(stops & set(row["input_ids"]) for row in rows)
        raise UserError(f"{_why_no_end(stops, said, labelled, tokenizer, continuation_weight)} {_WAY_OUT}")


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


def _why_no_end(stops: set[int], said: bool, labelled: bool, tokenizer: Any, continuation_weight: float) -> str:
    """Why nothing of the first rows teaches the student to stop, and what to do."""
    if not stops:
        return (
            "Neither the tokenizer nor the model's generation config has an end token, so the student can't be taught "
            "to stop. Set `eos_token` to the token with which the chat template ends a turn."
        )
    names = listed(tokenizer.convert_ids_to_tokens(sorted(stops)))
    if not said:
        return (
            f"No row ends with {names}, where the student stops, so it would never learn to. Set `eos_token` to the "
            f"token with which the chat template ends the assistant's turn, or give a template that ends it so with "
            f"`chat_template_path`."
        )
    if not labelled:
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
