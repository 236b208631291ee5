"""An engine without a model: it says what a rule tells it, by problem, prompt and seed."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from palign_hf.engines.base import Completion, EngineIdentity, Generation, Sampling


@dataclass
class Speaker:
    """Says `text(prompt, seed)`; what it raises is raised. Counts what it is asked, and how many at once."""

    tokenizer: Any
    text: Callable[[str, int], str] = lambda prompt, seed: r"So it is \boxed{4}."
    asked: list[tuple[str, str, Sampling]] = field(default_factory=list)
    at_once: int = 0
    most_at_once: int = 0
    name = "fake"
    capacity = (64, 1_000_000)
    identity = EngineIdentity("fake", "1", "float64")

    async def start(self) -> None:
        pass

    async def generate(self, prompt_ids: list[int], sampling: Sampling, problem: str) -> Generation:
        prompt = self.tokenizer.decode(prompt_ids)
        self.asked.append((problem, prompt, sampling))
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            for _ in range(3):
                await asyncio.sleep(0)
            ids = self.tokenizer.encode(self.text(prompt, sampling.seed), add_special_tokens=False)
        finally:
            self.at_once -= 1
        cut = len(ids) >= sampling.max_tokens
        ids = ids[: sampling.max_tokens] if cut else [*ids, self.tokenizer.convert_tokens_to_ids("<|im_end|>")]
        said = Completion(tuple(ids), "length" if cut else "stop", sampling.seed)
        return Generation((said,), len(prompt_ids), len(prompt_ids) // 2)

    async def close(self) -> None:
        pass
