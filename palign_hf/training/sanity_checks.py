"""Sanity checks of the first rows before training.

A loss looks healthy while a student learns never to stop, or learns prompts that it never gets. So the first rows are
checked as the model gets them, through the collator. For rows with a prefix a failed check is an error. Plain data
trains as in `SFTTrainer`: its first failed check is logged as a warning.
"""

import json
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import islice
from os.path import commonprefix
from typing import TYPE_CHECKING, Any

from palign_hf.errors import UserError, listed, shown
from palign_hf.training.config import PAlignConfig
from palign_hf.training.features import IGNORED, Layout, tokenized_prompts
from palign_hf.training.rows import Rows, column_names
from palign_hf.training.turns import Turns


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from trl import SFTTrainer

logger = logging.getLogger(__name__)

# Rows that are checked: an error in a template or a setting is in every row.
CHECKED_ROWS = 8
_WAY_OUT = "Or set `sanity_checks=False` if this is intended."
_QUESTIONS = ("1", "How many are there?", "Find all primes p.", "Zeige, dass es keine gibt")


def stop_ids(model: Any, tokenizer: "PreTrainedTokenizerBase") -> set[int]:
    """The end tokens of generation: the tokenizer's and those of the model's generation config."""
    config = getattr(model, "generation_config", None)
    ends = getattr(config, "eos_token_id", None)
    ids = {tokenizer.eos_token_id, *(ends if isinstance(ends, (list, tuple)) else [ends])}
    return {int(id) for id in ids if id is not None}


def check_template(turns: Turns) -> None:
    """Check that a reply is rendered where the generation prompt ends; one of the two may open a thought."""
    prompt, before = turns.around_reply
    if not prompt.startswith(before.rstrip()) and not before.startswith(prompt.rstrip()):
        same = len(commonprefix([prompt, before]))
        raise UserError(
            f"The chat template of `{turns.student}` ends a generation prompt with `{shown(prompt[same:])}` but "
            f"renders a reply after `{shown(before[same:])}`, so the student would learn replies to a prompt that it "
            f"never gets. Set `chat_template_path` to a template that renders both alike. {_WAY_OUT}"
        )


def check_conversation(row: Mapping[str, Any], tokenizer: Any, student: str) -> None:
    """Check of plain data that a prompt's tokens begin those of the whole conversation; else TRL moves the border."""
    more = {"tools": _tools(row), **(row.get("chat_template_kwargs") or {})}
    begun = tokenizer.apply_chat_template(row["prompt"], add_generation_prompt=True, return_dict=True, **more)
    whole = tokenizer.apply_chat_template([*row["prompt"], *row["completion"]], return_dict=True, **more)
    prompt = begun["input_ids"]
    if whole["input_ids"][: len(prompt)] != prompt:
        raise UserError(
            f"The chat template of `{student}` renders the prompt `{shown(tokenizer.decode(prompt)[-60:])}` "
            f"differently once a reply follows, so the student would learn from a prompt that it never gets. Set "
            f"`chat_template_path` to a template that renders both alike. {_WAY_OUT}"
        )


@dataclass(frozen=True)
class Origin:
    """Where the rows of a batch come from, for error messages.

    Args:
        columns: Names of the columns of the dataset before its preparation.
        max_length: The length at which plain rows were truncated, or `None`.
        turns: The encoder of conversations, or `None` for rows without roles.
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
    """Check that the labels of a batch include an end token and exclude padding."""
    batch = collator([dict(row) for row in rows])
    ids, labels = batch["input_ids"], batch["labels"]
    padding = batch["attention_mask"] == 0 if "attention_mask" in batch else ids != ids
    if bool((labels[padding] != IGNORED).any()):
        raise UserError(
            f"`data_collator={type(collator).__name__}` leaves padding in the labels, so the student would learn to "
            f"generate `{tokenizer.pad_token}`. Set its labels to {IGNORED}, or leave `data_collator` out."
        )
    ends = stop_ids(model, tokenizer)
    if not ends & set(labels[labels != IGNORED].tolist()):
        why = _why_no_end(rows, ends, tokenizer, continuation_weight, origin or Origin())
        raise UserError(f"{why} {_WAY_OUT}")


def _tools(row: Mapping[str, Any]) -> Any:
    tools = row.get("tools")
    return json.loads(tools) if isinstance(tools, str) else tools


def check_prompts(rows: Iterable[Mapping[str, Any]], turns: Turns) -> None:
    """Check that the first prompts are those of evaluation."""
    try:
        begin, end = _fixed_ids(turns)
    except UserError as error:  # no usable chat template
        raise UserError(f"{error} {_WAY_OUT}") from error
    for number, prompt in enumerate(islice(tokenized_prompts(rows), CHECKED_ROWS), 1):
        if prompt[: len(begin)] != begin or prompt[len(prompt) - len(end) :] != end:
            raise UserError(
                f"The prompt of training row {number} isn't the prompt of evaluation: it is "
                f"`{shown(turns.decode(prompt), 160)}`, not `{shown(turns.decode([*begin, *end]), 160)}` with the "
                f"problem in it. Give the problem as `question`, from which the prompt is made. {_WAY_OUT}"
            )


class FirstRows:
    """The sanity checks of one trainer.

    Args:
        wanted (`bool`): Whether to check at all: `sanity_checks` of the config.
    """

    def __init__(self, wanted: bool) -> None:
        self.wanted = wanted
        self._warned = False
        self._columns: frozenset[str] = frozenset()
        self._roles = False

    def before(self, trainer: "SFTTrainer", dataset: Rows, layout: Layout | None, name: str) -> None:
        """Check the chat template on a dataset that is not tokenized yet."""
        if not self.wanted:
            return
        row: dict[str, Any] = next(iter(dataset), {})
        tokenizer: Any = trainer._tokenizer
        if name == "train":
            self._columns = frozenset(row)
            self._roles = layout == "question" or any(
                isinstance(row.get(each), list) for each in ("messages", "conversations", "prompt")
            )
        if layout in ("question", "prompt", "completion") and not isinstance(row.get("prompt"), str):
            check_template(Turns(tokenizer))
        if layout is None and isinstance(row.get("prompt"), list) and isinstance(row.get("completion"), list):
            self._advise(lambda: check_conversation(row, tokenizer, str(tokenizer.name_or_path)))

    def ready(self, trainer: "SFTTrainer", config: PAlignConfig, aligned: bool) -> None:
        """Check the first prepared rows as a batch."""
        dataset: Any = trainer.train_dataset
        if not self.wanted or dataset is None or "input_ids" not in column_names(dataset):
            return  # images and the like are tokenized when they are batched
        used: Any = trainer._signature_columns
        rows = [
            {name: value for name, value in row.items() if name in used or not config.remove_unused_columns}
            for row in islice(iter(dataset), CHECKED_ROWS)
        ]
        tokenizer: Any = trainer._tokenizer
        turns = Turns(tokenizer) if self._roles else None
        most = None if aligned or trainer._skip_prepare_dataset else config.max_length
        weight = config.continuation_loss_weight if aligned else 1.0
        check = partial(
            check_batch,
            *(rows, trainer.data_collator, trainer.model, tokenizer),
            continuation_weight=weight,
            origin=Origin(self._columns, most, turns),
        )
        if not aligned:
            self._advise(check)
            return
        check()
        # With this packing only the first row starts with a prompt.
        wrapped = config.packing and config.packing_strategy == "wrapped"
        check_prompts(rows[:1] if wrapped else rows, Turns(tokenizer))

    def _advise(self, check: Callable[[], None]) -> None:
        """Run a check of plain data; log its error as a warning, once."""
        if self._warned:
            return
        try:
            check()
        except UserError as error:
            self._warned = True
            logger.warning("%s", error)
        except Exception:  # plain data of any kind: TRL decides whether it can be trained on
            logger.debug("The first rows could not be checked.", exc_info=True)


def _fixed_ids(turns: Turns) -> tuple[list[int], list[int]]:
    """The first and last tokens of every solve prompt: those that prompts of different problems share."""
    prompts = [turns.solve.ids(question) for question in _QUESTIONS]
    begin = commonprefix(prompts)
    end = commonprefix([prompt[::-1] for prompt in prompts])[::-1]
    return list(begin), list(end)


def _why_no_end(
    rows: Sequence[Mapping[str, Any]],
    ends: set[int],
    tokenizer: Any,
    continuation_weight: float,
    origin: Origin,
) -> str:
    """Why no label of the first rows is an end token, and what to do."""
    if not ends:
        return (
            "Neither the tokenizer nor the model's generation config has an end token, so the student can't learn to "
            "stop. Set `eos_token` to the token with which the chat template ends a turn."
        )
    names = listed(tokenizer.convert_ids_to_tokens(sorted(ends)))
    most = origin.max_length
    if most is not None and all(len(row["input_ids"]) >= most for row in rows):
        return (
            f"`max_length={most}` cuts all of the first {len(rows)} rows before {names}, where the student stops, so "
            f"it would never learn to. Raise `max_length`, or remove long rows."
        )
    if not any(ends & set(row["input_ids"]) for row in rows):
        return f"No row ends with {names}, where the student stops, so it would never learn to. {_end(names, origin)}"
    if not any(ends & set(row.get("labels", row["input_ids"])) for row in rows):
        if origin.columns and "labels" not in origin.columns:
            return (
                f"The rows have {names}, but no label of it (`completion_only_loss`, `assistant_only_loss`, masks of "
                f"the dataset, `max_length`), so the student would never learn to stop. Extend the masks and the chat "
                f"template's `generation` part to the end of the turn."
            )
        return (
            f"The rows have {names}, but their `labels` mask it, so the student would never learn to stop. Set the "
            f"label at the end of a turn, or leave the `labels` column out."
        )
    if continuation_weight == 0:
        return (
            f"`continuation_loss_weight=0` takes {names}, which ends the continuation, out of the labels, so the "
            f"student would never learn to stop. Give it a small weight."
        )
    pads = f"`{tokenizer.pad_token}`, which is also the padding," if tokenizer.pad_token_id in ends else names
    return (
        f"`data_collator` takes {pads} out of the labels, so the student would never learn to stop. Leave "
        f"`data_collator` out (the default finds padding by its position), or set `tokenizer.pad_token` to a token "
        f"that is no end token."
    )


def _end(names: str, origin: Origin) -> str:
    """What to do where rows don't end with an end token, by their origin."""
    if "input_ids" in origin.columns:
        return (
            "The rows were given as `input_ids`: put an end token after each reply, with its label, or set "
            "`eos_token` to the token with which they end."
        )
    if origin.turns is None:
        return (
            "Set `eos_token` to the token with which the chat template ends the assistant's turn, or set "
            "`chat_template_path` to a template that ends it so."
        )
    ending = origin.turns.reply_end
    if not ending.text:
        return (
            "The chat template puts no token after a reply. Set `chat_template_path` to one that ends the assistant's "
            "turn."
        )
    if ending.token is None:
        return (
            f"The chat template ends a reply with `{shown(ending.text)}`, which is no token of this tokenizer but "
            f"plain text, as where a base model gets the template of another model. Set `chat_template_path` to the "
            f"tokenizer that the template belongs to (a Hub id or a folder, no `.jinja` file): its special tokens are "
            f"added."
        )
    return (
        f"The chat template ends the assistant's turn with `{ending.token}`: set `eos_token` to it, or set "
        f"`chat_template_path` to a template that ends it with {names}."
    )
