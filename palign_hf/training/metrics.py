"""What is measured of each segment, from the numbers that the loss is made of anyway.

Sums and not means are kept, so that a figure is the mean over all tokens since the last one, however they were
batched, and it is the same on every process.
"""

from collections.abc import Mapping
from typing import Any

import torch

from palign_hf.training.segments import CLOSE_TAG, LEARNED


# Sums of a segment: tokens, negative log-likelihood, tokens that were the likeliest.
_SUMS = 3


def segment_sums(
    log_probs: torch.Tensor, is_top1: torch.Tensor, learned: torch.Tensor, segments: torch.Tensor
) -> torch.Tensor:
    """Sums over a batch, in the order in which `SegmentMeter` reads them.

    Tokens, loss and hits of each learned segment; then tokens and loss of all that is learned; then how many closing
    tags there are, and how probable each is as a whole, added up.
    """
    sums = []
    for segment in LEARNED:
        here = learned & (segments == segment)
        sums += [here.sum(), -(log_probs * here).sum(), (is_top1 * here).sum()]
    sums += [learned.sum(), -(log_probs * learned).sum()]
    tags = (learned & (segments == CLOSE_TAG)).flatten()
    # A tag is a run of tokens; each run has a place of its own, in which its tokens' logarithms are added up.
    first = tags & ~torch.cat([tags.new_zeros(1), tags[:-1]])
    place = first.cumsum(0)
    whole = log_probs.new_zeros(tags.numel() + 1).index_add(0, place, log_probs.flatten() * tags)
    count = first.sum()
    numbers = torch.arange(whole.numel(), device=whole.device)
    probable = (whole.exp() * ((numbers > 0) & (numbers <= count))).sum()
    exact = torch.float32 if log_probs.device.type == "mps" else torch.float64  # which Apple's chips don't have
    return torch.stack([each.to(exact) for each in (*sums, count, probable)])


class SegmentMeter:
    """Adds up sums until somebody asks for the figures; tokens are counted on, as `num_tokens` of TRL."""

    def __init__(self) -> None:
        self._sums: torch.Tensor | None = None
        self._tokens = dict.fromkeys(LEARNED, 0)

    def add(self, sums: torch.Tensor) -> None:
        """One batch, summed over all processes; nothing waits for the device here."""
        self._sums = sums if self._sums is None else self._sums + sums

    def logged(self, logs: Mapping[str, Any], training: bool) -> dict[str, float]:
        """The figures beside what is logged: those of an evaluation have its prefix, `eval_NAME` with several sets."""
        begins = [name.removesuffix("runtime") for name in logs if name.endswith("_runtime")]
        prefix = "" if training else next(iter(begins), "eval_")
        return {f"{prefix}{name}": value for name, value in self.take(keep_tokens=training).items()}

    def take(self, keep_tokens: bool) -> dict[str, float]:
        """The figures since the last time; a segment of which nothing was learned has none."""
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
