"""TRL's collator, with the segment of each token beside its label."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling
from trl.trainer.utils import pad

from palign_hf.errors import UserError
from palign_hf.training.features import IGNORED
from palign_hf.training.segments import PROMPT


@dataclass
class SegmentCollator(DataCollatorForLanguageModeling):
    """Adds `segment_ids` to the batch, padded or in one row as the tokens are.

    `masked` are the segments whose weight is 0: they leave the labels here, so that their tokens cost no language
    model head and don't count in the mean, and the tokenised rows stay what they are for any weights. `given` is the
    collator of a user, a subclass of TRL's, which makes the batch.
    """

    masked: tuple[int, ...] = ()
    given: DataCollatorForLanguageModeling | None = None

    @classmethod
    def like(cls, collator: DataCollatorForLanguageModeling, masked: Sequence[int]) -> "SegmentCollator":
        """The same collator with segments, whatever fields this release of TRL gave it."""
        own = type(collator) is not DataCollatorForLanguageModeling
        known = {one.name: getattr(collator, one.name) for one in fields(DataCollatorForLanguageModeling)}
        return cls(**known, masked=tuple(masked), given=collator if own else None)

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """A batch; rows without segments, as plain data has them, become TRL's own."""
        batch: dict[str, Any] = super().torch_call(examples) if self.given is None else self.given(examples)
        if "segment_ids" not in examples[0]:
            return batch
        segments = self._padded([torch.tensor(example["segment_ids"]) for example in examples], PROMPT)
        if self.given is not None:
            self._check(batch, examples, segments)
        for segment in self.masked:
            batch["labels"][segments == segment] = IGNORED
        batch["segment_ids"] = segments
        return batch

    def _padded(self, rows: list[torch.Tensor], filling: int) -> torch.Tensor:
        """Rows as TRL pads them, or puts them into one."""
        rows = [torch.cat(rows)] if self.padding_free else rows
        padded: torch.Tensor = pad(
            rows, padding_value=filling, padding_side="right", pad_to_multiple_of=self.pad_to_multiple_of
        )
        return padded

    def _check(self, batch: dict[str, Any], examples: list[dict[str, Any]], segments: torch.Tensor) -> None:
        """A token of a user's collator must lie where its segment does."""
        here = self._padded([torch.ones(len(example["segment_ids"]), dtype=torch.long) for example in examples], 0)
        seen = batch.get("attention_mask", here)
        if batch["input_ids"].shape != segments.shape or not torch.equal(seen.to(here), here):
            raise UserError(
                f"`data_collator={type(self.given).__name__}` puts tokens in other places than TRL's collator, from "
                f"which it derives, so they can't be told apart as prefix and continuation. Let it pad on the right, "
                f"or leave it out."
            )


def with_segments(collator: Any, aligned: bool, masked: Sequence[int]) -> Any:
    """The collator of a trainer, so that its batches have the segments of their tokens.

    Args:
        collator: The default of TRL, or a user's.
        aligned (`bool`): Whether the training rows have segments. For plain data a user's collator stays as it is.
        masked: The segments whose weight is 0.

    Raises:
        UserError: If it is another collator than TRL's, which drops the segments.
    """
    own = isinstance(collator, DataCollatorForLanguageModeling) and not isinstance(collator, SegmentCollator)
    if own and (aligned or type(collator) is DataCollatorForLanguageModeling):
        return SegmentCollator.like(collator, masked)
    if aligned and not isinstance(collator, SegmentCollator):
        raise UserError(
            f"`data_collator={type(collator).__name__}` drops the segments of the rows, so prefix and continuation "
            f"could not be told apart. Leave it out: the default one pads and packs. Or derive it from the collator "
            f"of `SFTTrainer`."
        )
    return collator
