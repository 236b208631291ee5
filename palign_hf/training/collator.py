"""Segment ids in TRL's batches, and the metrics of each segment.

Metrics are kept as sums, so a logged value is the mean over all tokens since the last log, for any batching, and it is
the same on every process.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

import torch
from trl.trainer.sft_trainer import DataCollatorForLanguageModeling
from trl.trainer.utils import pad

from palign_hf.errors import UserError
from palign_hf.training.features import CLOSE_TAG, IGNORED, LEARNED, PROMPT


# Sums of a segment: tokens, negative log-likelihood, top-1 hits.
_SUMS = 3


@dataclass
class SegmentCollator(DataCollatorForLanguageModeling):
    """TRL's collator, with `segment_ids` in the batch, padded or packed like the tokens.

    Args:
        masked (`tuple[int, ...]`, *optional*, defaults to `()`):
            Segments of weight 0. Their labels are masked here, so their tokens skip the language model head and the
            mean, and the tokenized rows are the same for all weights.
        given ([`~trl.trainer.sft_trainer.DataCollatorForLanguageModeling`], *optional*):
            A user's subclass of TRL's collator, which makes the batch.
    """

    masked: tuple[int, ...] = ()
    given: DataCollatorForLanguageModeling | None = None

    @classmethod
    def like(cls, collator: DataCollatorForLanguageModeling, masked: Sequence[int]) -> "SegmentCollator":
        """A segment collator with all fields of `collator`, whatever fields this TRL release has."""
        own = type(collator) is not DataCollatorForLanguageModeling
        known = {one.name: getattr(collator, one.name) for one in fields(DataCollatorForLanguageModeling)}
        return cls(**known, masked=tuple(masked), given=collator if own else None)

    def torch_call(self, examples: list[dict[str, Any]]) -> dict[str, Any]:
        """Make a batch; rows without `segment_ids` (plain data) are collated by TRL alone."""
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
        """Pad the rows as TRL does, or join them into one (`padding_free`)."""
        rows = [torch.cat(rows)] if self.padding_free else rows
        padded: torch.Tensor = pad(
            rows, padding_value=filling, padding_side="right", pad_to_multiple_of=self.pad_to_multiple_of
        )
        return padded

    def _check(self, batch: dict[str, Any], examples: list[dict[str, Any]], segments: torch.Tensor) -> None:
        """Check that a user's collator puts each token where its segment id is."""
        here = self._padded([torch.ones(len(example["segment_ids"]), dtype=torch.long) for example in examples], 0)
        mask = batch.get("attention_mask", here)
        if batch["input_ids"].shape != segments.shape or not torch.equal(mask.to(here), here):
            raise UserError(
                f"`data_collator={type(self.given).__name__}` places tokens elsewhere than its base class, TRL's "
                f"collator, so their segments (prefix, continuation) are unknown. Let it pad on the right, or leave "
                f"it out."
            )


def with_segments(collator: Any, aligned: bool, masked: Sequence[int]) -> Any:
    """The collator of a trainer, extended by segment ids.

    Args:
        collator: TRL's default collator, or a user's.
        aligned (`bool`): Whether the training rows have segments. For plain data a user's collator is kept as is.
        masked (`Sequence[int]`): The segments of weight 0.

    Raises:
        UserError: If the collator isn't derived from TRL's, and so drops the segments.
    """
    own = isinstance(collator, DataCollatorForLanguageModeling) and not isinstance(collator, SegmentCollator)
    if own and (aligned or type(collator) is DataCollatorForLanguageModeling):
        return SegmentCollator.like(collator, masked)
    if aligned and not isinstance(collator, SegmentCollator):
        raise UserError(
            f"`data_collator={type(collator).__name__}` drops the segments of the rows, which separate prefix from "
            f"continuation. Leave it out (the default collator pads and packs), or derive it from the collator of "
            f"`SFTTrainer`."
        )
    return collator


def segment_sums(
    log_probs: torch.Tensor, is_top1: torch.Tensor, learned: torch.Tensor, segments: torch.Tensor
) -> torch.Tensor:
    """Sums over a batch, in the order that `SegmentMeter` reads.

    For each learned segment: tokens, loss and top-1 hits; then tokens and loss of all learned tokens; then the number
    of closing tags and the sum of their probabilities (of a whole tag each).
    """
    sums = []
    for segment in LEARNED:
        here = learned & (segments == segment)
        sums += [here.sum(), -(log_probs * here).sum(), (is_top1 * here).sum()]
    sums += [learned.sum(), -(log_probs * learned).sum()]
    tags = (learned & (segments == CLOSE_TAG)).flatten()
    # A tag is a run of tokens: each run has one slot, where the log-probabilities of its tokens are added.
    first = tags & ~torch.cat([tags.new_zeros(1), tags[:-1]])
    place = first.cumsum(0)
    whole = log_probs.new_zeros(tags.numel() + 1).index_add(0, place, log_probs.flatten() * tags)
    count = first.sum()
    numbers = torch.arange(whole.numel(), device=whole.device)
    probable = (whole.exp() * ((numbers > 0) & (numbers <= count))).sum()
    exact = torch.float32 if log_probs.device.type == "mps" else torch.float64  # MPS has no float64
    return torch.stack([each.to(exact) for each in (*sums, count, probable)])


class SegmentMeter:
    """Accumulates sums between two logs; token counts accumulate over the run, like `num_tokens` of TRL."""

    def __init__(self) -> None:
        self._sums: torch.Tensor | None = None
        self._tokens = dict.fromkeys(LEARNED, 0)

    def add(self, sums: torch.Tensor) -> None:
        """Add a batch, already summed over all processes; doesn't synchronize with the device."""
        self._sums = sums if self._sums is None else self._sums + sums

    def logged(self, logs: Mapping[str, Any], training: bool) -> dict[str, float]:
        """The metrics to log beside `logs`; those of an evaluation get its prefix (`eval_`, `eval_NAME_`)."""
        begins = [name.removesuffix("runtime") for name in logs if name.endswith("_runtime")]
        prefix = "" if training else next(iter(begins), "eval_")
        return {f"{prefix}{name}": value for name, value in self.take(keep_tokens=training).items()}

    def take(self, keep_tokens: bool) -> dict[str, float]:
        """The metrics since the last call; a segment without learned tokens has none."""
        if self._sums is None:
            return {}
        found, sums = {}, self._sums.tolist()
        self._sums = None
        for place, (segment, name) in enumerate(LEARNED.items()):
            tokens, loss, hits = sums[place * _SUMS : (place + 1) * _SUMS]
            if tokens:
                self._tokens[segment] += int(tokens)
                found[f"{name}/nll"] = loss / tokens
                found[f"{name}/token_accuracy"] = hits / tokens
                found[f"{name}/num_tokens"] = float(self._tokens[segment])
        tokens, loss, count, probable = sums[-4:]
        if tokens:
            found["nll"] = loss / tokens
        if count:
            found["close_tag/probability"] = probable / count
        if not keep_tokens:
            self._tokens = dict.fromkeys(LEARNED, 0)
        return found
