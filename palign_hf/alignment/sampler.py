"""Sampler of one problem: draws from its prefix, then from fallbacks, until a sample is kept or all are drawn."""

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_args

from palign_hf.alignment.acceptance import Rules, flags
from palign_hf.alignment.rows import AlignmentRow, Beginning, Drawn, problem_key
from palign_hf.alignment.settings import AlignmentSettings
from palign_hf.engines.base import EngineIdentity, RequestFailed, side_by_side
from palign_hf.generation.rendering import ChatPrompt
from palign_hf.generation.sampling import Ask, Remembered, SampleMemory, StoredSample, seed_of
from palign_hf.grading import Grade
from palign_hf.prompts import Template, tag_style
from palign_hf.segmentation import Granularity, cuts


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase


def longer_ends(row: Mapping[str, Any], most: int) -> list[int]:
    """Ends of the next probed cuts above the prefix, the nearest first."""
    segments = row["prefix_segments"]
    probed = [probe["segments"] for probe in row["probes"] or () if probe is not None]
    above = sorted({cut for cut in probed if None not in (cut, segments) and cut > segments})
    ends = _ends(row) if above else None
    return [ends[cut] for cut in above[:most] if cut < len(ends)] if ends else []


def full_end(row: Mapping[str, Any]) -> list[int]:
    """The end of the trace, if the row has more of it than the prefix."""
    whole = len(row["trace"])
    return [whole] if row["status"] != "published" and row["prefix_end"] < whole else []


def _ends(row: Mapping[str, Any]) -> Sequence[int] | None:
    """The cut points of the row's truncation: those that match its number of segments and the end of its prefix."""
    tried: Iterable[list[int]] = ([0, *cuts(row["trace"], granularity)] for granularity in get_args(Granularity))
    for ends in tried:
        if len(ends) - 1 == row["n_segments"] and row["prefix_end"] in ends:
            if ends.index(row["prefix_end"]) == row["prefix_segments"]:
                return ends
    return None


# Tokens of a started reply that are decoded again with what follows them.
_ANCHOR = 4


class BeginningPrompt:
    """One student's prompts in one mode: the prefix in the user's turn, or as the started reply.

    A started reply follows the solve prompt and has the tags of a training target, so the sample continues exactly the
    text that the student will be trained on.
    """

    def __init__(
        self,
        settings: AlignmentSettings,
        template: Template,
        tokenizer: "PreTrainedTokenizerBase",
        student: str,
        max_model_len: int,
    ) -> None:
        self._chat = ChatPrompt(tokenizer, template, student)
        self._template_ids = Counter(self._chat.head_ids + self._chat.tail_ids)
        self._settings, self._max_model_len, self._tokenizer = settings, max_model_len, tokenizer
        # In the user's turn a prefix has no tags; those of the training target are the usual ones.
        self._begun = settings.style
        self._style = self._begun or tag_style("prefix")

    def found(self, source: Mapping[str, Any]) -> Beginning:
        """The prefix of the row."""
        tokens = source["prefix_tokens"]
        if tokens is None:
            tokens = len(self._chat.texts.encode(source["prefix"]))
        return Beginning(source["prefix"], source["prefix_end"], tokens, self._ids(source, source["prefix"]))

    def fallbacks(self, source: Mapping[str, Any]) -> list[Beginning]:
        """Fallback prefixes in the order in which they are tried; those that don't fit are left out."""
        kind = self._settings.fallback
        if kind == "drop":
            return []
        ends = full_end(source) if kind == "full_trace" else longer_ends(source, self._settings.fallback_cuts)
        counts = self._chat.texts.count_before(source["trace"], ends) if ends else []
        tried = []
        for end, tokens in zip(ends, counts, strict=True):
            prefix = source["trace"][:end]
            one = Beginning(prefix, end, tokens, self._ids(source, prefix), kind)
            if self.refused(one) is None:
                tried.append(one)
        return tried

    def refused(self, one: Beginning) -> str | None:
        """Why the student can't continue from this prefix, or None."""
        if tag := self.tag_in(one.prefix):
            return f"the prefix holds `{tag}` itself, which would be taken for its border"
        # More of them than the template has: the text's own.
        if control := self._chat.control((Counter(one.prompt) - self._template_ids).elements()):
            return f"this student's tokenizer can't distinguish {', '.join(control)} in the text from control tokens"
        if self.room(one) < 1:
            return f"the prompt has {len(one.prompt)} tokens, and the context holds {self._max_model_len}"
        return None

    def tag_in(self, text: str) -> str | None:
        """The tag of the training target that occurs in a text, or None."""
        return self._style.tag_in(text)

    def room(self, one: Beginning) -> int:
        """Token limit of a continuation."""
        left = self._max_model_len - len(one.prompt)
        return left if self._settings.max_tokens is None else min(left, self._settings.max_tokens)

    def text(self, ids: Sequence[int], one: Beginning) -> str:
        """The student's text, without the token that ended it."""
        if self._goes_on:
            # Some tokenizers take the space off a text that comes first, and this one comes behind another.
            before = one.prompt[-_ANCHOR:]
            known, whole = self._decoded(before), self._decoded([*before, *ids])
            if whole.startswith(known):
                return whole[len(known) :]
        return self._decoded(ids)

    def controls(self, ids: Sequence[int], finish_reason: str) -> list[str]:
        """Special tokens before the end of the student's turn, which decoding would drop."""
        return self._chat.control(ids[:-1] if finish_reason == "stop" else ids)

    @property
    def _goes_on(self) -> bool:
        """Whether a reply continues from the prefix's last word."""
        return self._begun is not None and not self._begun.close

    def _decoded(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))

    def _ids(self, source: Mapping[str, Any], prefix: str) -> list[int]:
        if self._begun is not None:
            return self._chat.ids(source["question"], begun=self._begun.wrap(prefix, ""))
        return self._chat.ids(source["question"], prefix)


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
        ledger: Callable[[], SampleMemory[StoredSample]],
        engine: Callable[[], EngineIdentity | None],
    ) -> None:
        """`ledger` and `engine` are called when a row needs them."""
        self._settings, self._prompts, self._rules = settings, prompts, rules
        self._ask, self._judge, self._ledger, self._engine = ask, judge, ledger, engine

    async def __call__(self, row: AlignmentRow) -> AlignmentRow:
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

    async def _draw(self, row: AlignmentRow, at: Beginning) -> None:
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
        row: AlignmentRow,
        at: Beginning,
        key: bytes,
        number: int,
        sample: int,
        known: Remembered[StoredSample],
    ) -> Drawn:
        """Draw and grade one sample, or record the error."""
        seed = seed_of(key, self._settings.seed, sample)

        async def draw() -> StoredSample:
            sampling = self._settings.drawing(self._prompts.room(at), seed)
            reply = await self._ask(at.prompt, sampling, row.source["id"])
            (answer,) = reply.samples
            return StoredSample(
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
