"""The first rows of what is to be trained on, looked at as a trainer has them: which check is for which rows."""

from itertools import islice
from typing import TYPE_CHECKING, Any

from palign_hf.training.checks import CHECKED_ROWS, check_batch, check_conversation, check_prompts, check_template
from palign_hf.training.config import PAlignConfig
from palign_hf.training.features import Layout
from palign_hf.training.rows import Rows, column_names
from palign_hf.training.turns import Turns


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase
    from trl import SFTTrainer


def check_conversations(dataset: Rows, layout: Layout | None, tokenizer: "PreTrainedTokenizerBase") -> None:
    """Before rows are tokenised: a reply must stand where the prompt left off."""
    row = next(iter(dataset))
    if layout in ("question", "prompt", "completion") and not isinstance(row.get("prompt"), str):
        check_template(Turns(tokenizer))
    if layout is None and isinstance(row.get("prompt"), list) and isinstance(row.get("completion"), list):
        check_conversation(row, tokenizer, str(tokenizer.name_or_path))


def check_rows(trainer: "SFTTrainer", config: PAlignConfig, aligned: bool) -> None:
    """The first rows, as they come out of preparation and would go into a batch."""
    dataset: Any = trainer.train_dataset
    if dataset is None or "input_ids" not in column_names(dataset):
        return  # images and the like, which are tokenised as they are batched
    used: Any = trainer._signature_columns
    rows = [
        {name: value for name, value in row.items() if name in used or not config.remove_unused_columns}
        for row in islice(iter(dataset), CHECKED_ROWS)
    ]
    weight = config.continuation_loss_weight if aligned else 1.0
    tokenizer: Any = trainer._tokenizer
    check_batch(rows, trainer.data_collator, trainer.model, tokenizer, weight)
    if aligned:
        # Rows of this packing begin wherever the one before ended.
        wrapped = config.packing and config.packing_strategy == "wrapped"
        check_prompts(rows[:1] if wrapped else rows, Turns(tokenizer))
