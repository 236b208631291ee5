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
    """Adds seeded noise so that the drawn token has the largest logit."""

    def __init__(self, seeds: Sequence[int | None]) -> None:
        self._generators = [generator(seed) for seed in seeds]

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        return add_noise(scores, self._generators)


def generator(seed: int | None) -> torch.Generator:
    """The source of a sample's noise, which is made on the CPU: it is the same for every device."""
    made = torch.Generator()
    made.seed() if seed is None else made.manual_seed(seed)
    return made


def add_noise(scores: torch.Tensor, generators: Sequence[torch.Generator | None]) -> torch.Tensor:
    """Logits with Gumbel noise, each row's from its own generator."""
    noise = torch.empty(scores.shape, dtype=torch.float32)
    for row, source in zip(noise, generators, strict=True):
        row.exponential_(generator=source)
    return scores - noise.clamp_min_(torch.finfo(torch.float32).tiny).log_().to(scores.device)


def penalized(sampling: Sampling, ids: Sequence[Sequence[int]], scores: torch.Tensor) -> torch.Tensor:
    """Logits with the repetition penalty, each row's for its own tokens."""
    if sampling.repetition_penalty == 1:
        return scores
    penalty = RepetitionPenaltyLogitsProcessor(float(sampling.repetition_penalty))
    rows = [torch.tensor([row], device=scores.device) for row in ids]
    return torch.cat([penalty(row, own[None]) for row, own in zip(rows, scores, strict=True)])


def warpers(sampling: Sampling) -> list[LogitsProcessor]:
    """The limits of what may be drawn, in vLLM's order."""
    steps: list[LogitsProcessor] = []
    if sampling.drawn:
        steps.append(TemperatureLogitsWarper(float(sampling.temperature)))
        if sampling.min_p:
            steps.append(MinPLogitsWarper(float(sampling.min_p)))
        if sampling.top_k:
            steps.append(TopKLogitsWarper(sampling.top_k))
        if sampling.top_p < 1:
            steps.append(TopPLogitsWarper(float(sampling.top_p)))
    return steps


def processors(sampling: Sampling) -> LogitsProcessorList:
    """The logits processors of `model.generate`, in vLLM's order."""
    steps: list[LogitsProcessor] = []
    if sampling.repetition_penalty != 1:
        steps.append(RepetitionPenaltyLogitsProcessor(float(sampling.repetition_penalty)))
    return LogitsProcessorList([*steps, *warpers(sampling), *([Draw(sampling.seeds)] if sampling.drawn else [])])


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
            if row not in self.ends and (text := self.completed(ids)) is not None:
                self.ends[row] = len(ids), text
        return torch.tensor([row in self.ends for row in range(len(input_ids))], device=input_ids.device)

    def completed(self, ids: list[int]) -> str | None:
        """The stop text that the last token completes."""
        recent = ids[-self._window :]
        text = str(self._tokenizer.decode(recent, skip_special_tokens=False, clean_up_tokenization_spaces=False))
        # The one that was complete first, as if the characters had come one by one.
        found = [(at + len(stop), order) for order, stop in enumerate(self._texts) if (at := text.find(stop)) >= 0]
        return self._texts[min(found)[1]] if found else None
