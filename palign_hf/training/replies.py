"""Greedy replies of a trained student: whether it stops, and whether it closes its draft."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, Any

from palign_hf.errors import UserError
from palign_hf.prompts import tag_style as style_of
from palign_hf.training.features import prompt_ids, tokenized_prompts
from palign_hf.training.sanity_checks import stop_ids
from palign_hf.training.turns import Turns, turns_of


if TYPE_CHECKING:
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Stops:
    """Counts over greedy replies of a student, each at most `max_new_tokens` long.

    Args:
        replies (`int`): Number of replies.
        stopped (`int`): Replies that end with an end token.
        opened (`int`): Replies that begin with the opening tag.
        closed (`int`): Of these, replies that close it.
        tokens (`float`): Mean tokens of a reply.
    """

    replies: int
    stopped: int
    opened: int
    closed: int
    tokens: float

    def __str__(self) -> str:
        return (
            f"Of {self.replies} replies {self.stopped} stop by themselves; {self.opened} open a draft, {self.closed} "
            f"of these close it; {self.tokens:.0f} tokens on average."
        )


def stops(
    model: "PreTrainedModel",
    tokenizer: "PreTrainedTokenizerBase",
    rows: Iterable[Mapping[str, Any]],
    *,
    tag_style: str = "prefix",
    prompts: int = 8,
    max_new_tokens: int = 512,
) -> Stops:
    """Generate replies to the first prompts of `rows`; count how many stop and close their draft.

    Args:
        model ([`~transformers.PreTrainedModel`]): The student.
        tokenizer ([`~transformers.PreTrainedTokenizerBase`]): Its tokenizer.
        rows: Rows with a `question`, a `prompt`, `messages` that end with a reply, or tokens with segment ids (a
            trainer's `train_dataset`).
        tag_style (`str`, *optional*, defaults to `"prefix"`): How a target marks the prefix.
        prompts (`int`, *optional*, defaults to `8`): Number of prompts.
        max_new_tokens (`int`, *optional*, defaults to `512`): Maximum tokens of a reply.

    Returns:
        [`Stops`]: The counts.
    """
    turns, style = turns_of(tokenizer, tokenizer.chat_template), style_of(tag_style)
    ends = stop_ids(model, tokenizer)
    ids = [_prompt_of(row, turns) for row in islice(rows, prompts)]
    if not ids:
        raise UserError("`rows` is empty, so there is no prompt to reply to. Give at least one row.")
    replies = _greedy(model, ids, ends, max_new_tokens)
    opened = closed = 0
    for reply in replies:
        text = turns.decode([id for id in reply if id not in ends])
        if style.open and text.startswith(style.open):
            opened += 1
            closed += style.split(text)[2]
    found = Stops(
        replies=len(replies),
        stopped=sum(bool(ends & set(reply)) for reply in replies),
        opened=opened,
        closed=closed,
        tokens=sum(map(len, replies)) / len(replies),
    )
    logger.log(logging.INFO if found.stopped == found.replies else logging.WARNING, "%s", found)
    return found


def has_prompt(row: Mapping[str, Any]) -> bool:
    """Whether `stops` knows a row's prompt: a row of one whole text has none."""
    if "input_ids" in row:
        return "segment_ids" in row
    return "question" in row or "prompt" in row or len(row.get("messages") or []) > 1


def _prompt_of(row: Mapping[str, Any], turns: Turns) -> list[int]:
    """The token ids of a row's prompt."""
    if "segment_ids" in row:
        return next(tokenized_prompts([row]))
    if "question" not in row and "prompt" not in row:
        return prompt_ids({**row, "prompt": row["messages"][:-1]}, turns, "prompt")
    return prompt_ids(row, turns, "question" if "question" in row else "prompt")


def _greedy(model: Any, prompts: Sequence[list[int]], ends: set[int], most: int) -> list[list[int]]:
    """Greedy completions, each up to its end token."""
    import torch
    from transformers import GenerationConfig

    width = max(map(len, prompts))
    fill = min(ends, default=0)
    ids = torch.tensor([[fill] * (width - len(prompt)) + prompt for prompt in prompts], device=model.device)
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=model.device)
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
            whole = model.generate(input_ids=ids, attention_mask=mask, generation_config=config)
    finally:
        model.train(training)
    replies = []
    for reply in whole[:, width:].tolist():
        end = next((at for at, id in enumerate(reply) if id in ends), len(reply) - 1)
        replies.append(reply[: end + 1])
    return replies
