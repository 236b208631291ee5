"""An engine without a model: it answers by rule."""

import asyncio
import math
from collections.abc import Callable
from dataclasses import dataclass, field

from palign_hf.engines.base import Completion, EngineIdentity, Generation, RequestFailed, Sampling, Score


@dataclass
class FakeEngine:
    """Answers by rule: `margin(tokens of the prompt)`, or `text` for a free verdict; counts what it is asked."""

    margin: Callable[[int], float] = lambda tokens: tokens - 300.5
    text: Callable[[int], list[int]] = lambda tokens: []
    mass: float = 0.9
    asked: list[tuple[str, int]] = field(default_factory=list)
    starts: int = 0
    closes: int = 0
    name = "fake"
    capacity = (64, 1_000_000)
    identity = EngineIdentity("fake", "1", "float64")

    async def start(self) -> None:
        self.starts += 1

    async def score(self, prompt_ids: list[int], label_ids: tuple[int, ...], problem: str) -> Score:
        self.asked.append((problem, len(prompt_ids)))
        await asyncio.sleep(0)
        margin = self.margin(len(prompt_ids))
        if math.isnan(margin):
            raise RequestFailed("the request was refused | by rule")
        # Two log-probabilities with that difference, and the mass asked for.
        low = math.log(self.mass) - math.log1p(math.exp(abs(margin)))
        high = low + abs(margin)
        return Score((high, low) if margin > 0 else (low, high), True, len(prompt_ids), len(prompt_ids) // 2)

    async def generate(self, prompt_ids: list[int], sampling: Sampling, problem: str) -> Generation:
        self.asked.append((problem, len(prompt_ids)))
        ids = tuple(self.text(len(prompt_ids)))
        samples = tuple(Completion(ids[: sampling.max_tokens], "stop", seed) for seed in sampling.seeds)
        return Generation(samples, len(prompt_ids), 0)

    async def close(self) -> None:
        self.closes += 1
