"""Logits processors and stopping criteria of the transformers engine: one seed for each sample, stop texts.

`model.generate` draws all rows of a batch from one generator, so a sample would depend on its neighbours. Here every
row has its own generator: Gumbel noise is added to the logits, and the argmax is a draw from their softmax.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    StoppingCriteria,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from palign_hf.engines.base import Sampling


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


class Draw(LogitsProcessor):
    """Adds seeded noise so that the drawn token has the largest logit; noise is made on the CPU, the same for every
    device.
    """

    def __init__(self, seeds: Sequence[int | None]) -> None:
        self._generators = [torch.Generator() for _ in seeds]
        for generator, seed in zip(self._generators, seeds, strict=True):
            generator.seed() if seed is None else generator.manual_seed(seed)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        noise = torch.empty(scores.shape, dtype=torch.float32)
        for row, generator in zip(noise, self._generators, strict=True):
            row.exponential_(generator=generator)
        return scores - noise.clamp_min_(torch.finfo(torch.float32).tiny).log_().to(scores.device)


def processors(sampling: Sampling) -> LogitsProcessorList:
    """The logits processors, in vLLM's order."""
    steps: list[LogitsProcessor] = []
    if sampling.repetition_penalty != 1:
        steps.append(RepetitionPenaltyLogitsProcessor(float(sampling.repetition_penalty)))
    if sampling.drawn:
        steps.append(TemperatureLogitsWarper(float(sampling.temperature)))
        if sampling.min_p:
            steps.append(MinPLogitsWarper(float(sampling.min_p)))
        if sampling.top_k:
            steps.append(TopKLogitsWarper(sampling.top_k))
        if sampling.top_p < 1:
            steps.append(TopPLogitsWarper(float(sampling.top_p)))
        steps.append(Draw(sampling.seeds))
    return LogitsProcessorList(steps)


class StopTexts(StoppingCriteria):
    """Ends a row at the token that completes a stop text, and records the position and the text."""

    def __init__(self, tokenizer: "PreTrainedTokenizerBase", texts: Sequence[str], prompt_tokens: int) -> None:
        self._tokenizer, self._texts, self._prompt = tokenizer, texts, prompt_tokens
        # A token is at least one byte, which bounds the tokens of a completed text; the rest is for characters that
        # begin before, and for tokens without text.
        self._window = max(len(text.encode()) for text in texts) + 16
        self.ends: dict[int, tuple[int, str]] = {}

    def __call__(self, input_ids: torch.Tensor, scores: object, **_: object) -> torch.Tensor:
        for row, ids in enumerate(input_ids[:, self._prompt :].tolist()):
            if row not in self.ends and (text := self._completed(ids)) is not None:
                self.ends[row] = len(ids), text
        return torch.tensor([row in self.ends for row in range(len(input_ids))], device=input_ids.device)

    def _completed(self, ids: list[int]) -> str | None:
        recent = ids[-self._window :]
        text = str(self._tokenizer.decode(recent, skip_special_tokens=False, clean_up_tokenization_spaces=False))
        # The one that was complete first, as if the characters had come one by one.
        found = [(at + len(stop), order) for order, stop in enumerate(self._texts) if (at := text.find(stop)) >= 0]
        return self._texts[min(found)[1]] if found else None
