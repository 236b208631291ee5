"""Sampler of one problem: draws from its prefix, then from fallbacks, until a sample is kept or all are drawn."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from palign_hf.alignment.prompts import BeginningPrompt
from palign_hf.alignment.quality import flags
from palign_hf.alignment.rows import Beginning, Drawn, Row, problem_key
from palign_hf.alignment.rules import Rules
from palign_hf.alignment.settings import AlignmentSettings
from palign_hf.asking.drawing import Ask
from palign_hf.asking.samples import Memory, Remembered, Sample, seed_of
from palign_hf.engines.base import EngineIdentity, RequestFailed, side_by_side
from palign_hf.grading import Grade


Judge = Callable[[str, str], Coroutine[Any, Any, Grade]]


class Drawer:
    """Draws samples for rows until one of each is kept, or until the limit is reached."""

    def __init__(
        self,
        settings: AlignmentSettings,
        prompts: BeginningPrompt,
        rules: Rules,
        ask: Ask,
        judge: Judge,
        ledger: Callable[[], Memory[Sample]],
        engine: Callable[[], EngineIdentity | None],
    ) -> None:
        """`ledger` and `engine` are called when a row needs them."""
        self._settings, self._prompts, self._rules = settings, prompts, rules
        self._ask, self._judge, self._ledger, self._engine = ask, judge, ledger, engine

    async def __call__(self, row: Row) -> Row:
        """Draw for one row: from its prefix, then from the fallbacks until a sample is kept."""
        if row.beginning is None:
            return row
        await self._draw(row, row.beginning)
        if not row.kept and not any(one.error for one in row.drawn):
            for beginning in self._prompts.fallbacks(row.source):
                await self._draw(row, beginning)
                if row.kept:
                    break
        return row

    async def _draw(self, row: Row, at: Beginning) -> None:
        """Draw the samples of one prefix: one by one until one is kept, or all at once."""
        key = problem_key(row.source["question"], at.prefix)
        known = Remembered(self._ledger(), key, self._engine)
        first, count = len(row.drawn), self._settings.n

        def one(sample: int) -> Coroutine[Any, Any, Drawn]:
            return self._one(row, at, key, first + sample, sample, known)

        if self._settings.sampling == "all":
            row.drawn += await side_by_side(map(one, range(count)))
            return
        for sample in range(count):
            row.drawn.append(await one(sample))
            if row.drawn[-1].kept or row.drawn[-1].error:
                return

    async def _one(
        self,
        row: Row,
        at: Beginning,
        key: bytes,
        number: int,
        sample: int,
        known: Remembered[Sample],
    ) -> Drawn:
        """Draw and grade one sample, or record the error."""
        seed = seed_of(key, self._settings.seed, sample)

        async def draw() -> Sample:
            sampling = self._settings.drawing(self._prompts.room(at), seed)
            reply = await self._ask(at.prompt, sampling, row.source["id"])
            (answer,) = reply.samples
            return Sample(
                sample, answer.token_ids, answer.finish_reason, seed, reply.prompt_tokens, reply.cached_tokens
            )

        try:
            drawn = await known.get(sample, draw)
        except RequestFailed as error:
            return Drawn(number, at, seed, error=f"no answer to sample {sample}: {error}")
        kept, engine = drawn.sample, drawn.engine
        row.asked += drawn.fresh
        source, text = row.source, self._prompts.text(kept.token_ids, at)
        grade = await self._judge(text, source["answer"])
        # Flags of a long text take time: other rows run run first.
        await asyncio.sleep(0)
        found = flags(source["question"], at.prefix, text, kept.finish_reason, source["answer"])
        control = self._prompts.controls(kept.token_ids, kept.finish_reason)
        return Drawn(
            number,
            at,
            seed,
            text,
            finish_reason=kept.finish_reason,
            tokens=len(kept.token_ids),
            prompt_tokens=kept.prompt_tokens,
            cached_tokens=kept.cached_tokens,
            grade=grade,
            flags=found,
            against=(
                *self._rules.against(grade, found),
                *(["control tokens"] if control else []),
                *(["a tag of the training target"] if self._prompts.tag_in(text) else []),
            ),
            engine=None if engine is None else engine.label,
            fresh=drawn.fresh,
        )
