"""Generation of one sample, in one piece or in pieces that close a draft or end a loop.

A student that doesn't end its draft never reaches an answer. With a budget, its draft is closed after that many tokens
and the student continues from there. Each piece has its own seed, so a sample in pieces differs from one in one piece.
"""

from collections.abc import Callable
from dataclasses import dataclass

from palign_hf.asking.drawing import Ask
from palign_hf.asking.samples import Sample
from palign_hf.asking.store import AnswerTable
from palign_hf.engines.base import sample_seed
from palign_hf.evaluation.settings import EvaluationSettings
from palign_hf.loops import loops


# Finish reason of a sample that was stopped in a loop; other samples have the engine's.
LOOPED = "loop"
# Tokens between two checks for a loop.
LOOK_EVERY = 512


@dataclass(frozen=True, slots=True)
class Written(Sample):
    """A sample; `forced_at` is the number of tokens after which its draft was closed, if it was."""

    forced_at: int | None = None


WRITTEN = AnswerTable(Written, "samples", key=("sample",), told_by="finish_reason")


class Writer:
    """Writes single samples; `text` turns tokens into text, `ids` the other way."""

    def __init__(
        self,
        settings: EvaluationSettings,
        ask: Ask,
        text: Callable[[list[int]], str],
        ids: Callable[[str], list[int]],
    ) -> None:
        self._settings, self._ask, self._text, self._ids = settings, ask, text, ids

    async def __call__(self, number: int, prompt: list[int], room: int, seed: int, problem: str) -> Written:
        """One sample of at most `room` tokens."""
        written: list[int] = []
        cached: int | None = None
        forced_at: int | None = None
        budget, piece = self._settings.max_draft_tokens, 0
        while True:
            most = room - len(written)
            stop: tuple[str, ...] = ()
            if budget is not None:
                most, stop = min(most, budget - len(written)), (self._close.rstrip("\n"),)
            if self._settings.stop_loops:
                most = min(most, LOOK_EVERY)
            sampling = self._settings.drawing(most, sample_seed(seed, piece), stop)
            reply = await self._ask(prompt + written, sampling, problem)
            (answer,) = reply.samples
            cached = reply.cached_tokens if cached is None else cached
            written += answer.token_ids
            piece += 1
            if answer.finish_reason == "stop" and answer.stop is None:
                reason = "stop"
                break
            if len(written) >= room:
                reason = "length"
                break
            if self._settings.stop_loops and loops(self._text(written)):
                reason = LOOPED
                break
            if budget is not None and not self._drafting(written):
                budget = None
            elif budget is not None and len(written) >= budget:
                closing = self._ids(self._close)
                budget = None
                if len(written) + len(closing) < room:
                    forced_at = len(written)
                    written += closing
        return Written(number, tuple(written), reason, seed, len(prompt), cached, forced_at)

    @property
    def _close(self) -> str:
        return self._settings.style.close

    def _drafting(self, written: list[int]) -> bool:
        """Whether a draft is open, or may be about to begin."""
        tags, text = self._settings.style, self._text(written).lstrip()
        return tags.open.startswith(text) or (text.startswith(tags.open) and not tags.split(text)[2])
