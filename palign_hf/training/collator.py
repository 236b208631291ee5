"""TRL's collator, with the segment of each token beside its label."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling
from trl.trainer.utils import pad

from palign_hf.training.features import IGNORED
from palign_hf.training.segments import PROMPT


@dataclass
class SegmentCollator(DataCollatorForLanguageModeling):
    """Adds `segment_ids` to the batch, padded or in one row as the tokens are.

    `masked` are the segments whose weight is 0: they leave the labels here, so that their tokens cost no language
    model head and don't count in the mean, and the tokenised rows stay what they are for any weights.
    """

    masked: tuple[int, ...] = ()

    @classmethod
    def like(cls, collator: DataCollatorForLanguageModeling, masked: Sequence[int]) -> "SegmentCollator":
        """The same collator with segments, whatever fields this release of TRL gave it."""
        given = {one.name: getattr(collator, one.name) for one in fields(collator)}
        return cls(**given, masked=tuple(masked))

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """A batch; rows without segments, as plain data has them, become TRL's own."""
        batch = super().torch_call(examples)
        if "segment_ids" not in examples[0]:
            return batch
        rows = [torch.tensor(example["segment_ids"]) for example in examples]
        if self.padding_free:
            rows = [torch.cat(rows)]
        segments = pad(rows, padding_value=PROMPT, padding_side="right", pad_to_multiple_of=self.pad_to_multiple_of)
        for segment in self.masked:
            batch["labels"][segments == segment] = IGNORED
        batch["segment_ids"] = segments
        return batch
