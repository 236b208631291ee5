"""Forecast of a truncation for `--dry-run`: rows, tokens and costs, before an engine is started.

The search itself runs on some of the rows, with a judge that never wavers and prefixes that end as the prior
predicts. So the figures are those of the rows' own lengths and of this search; only the ends of the prefixes are
assumed.
"""

import asyncio
import bisect
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

from palign_hf.located import Uncalled
from palign_hf.truncation.cost import BlockCache
from palign_hf.truncation.criteria import ENOUGH, NOT_ENOUGH, Case, Probe
from palign_hf.truncation.rows import Ask, Searcher, open_row
from palign_hf.truncation.search import Ascend, Prior


if TYPE_CHECKING:
    from datasets import Dataset

    from palign_hf.truncation.transform import PrefixTruncation

# Rows that are tokenized; the forecast extrapolates from them.
_SAMPLE = 200
# Neighbours in the sample get quantiles far from each other, and all of them together are spread evenly.
_GOLDEN = 0.6180339887498949


@dataclass
class Forecast:
    """Sums over the sample."""

    trace_tokens: int = 0
    skipped: int = 0
    questions: int = 0
    computed: int = 0

    def judge(self, ends: float) -> Ask:
        """Answers for a problem whose shortest sufficient prefix has that share of its tokens; above 1 it has none."""
        cache = BlockCache()

        async def ask(case: Case, cut: int) -> Probe:
            shared = case.head_tokens + case.tokens[cut]
            prompt = shared + case.suffix_tokens
            self.questions += 1
            computed = cache.ask(prompt, shared)
            self.computed += computed
            enough = case.tokens[cut] >= ends * case.tokens[-1]
            verdict, margin = (ENOUGH, 1.0) if enough else (NOT_ENOUGH, -1.0)
            return Probe(cut, verdict, margin, None, None, prompt, prompt - computed)

        return ask


def forecast(truncation: "PrefixTruncation", traces: "Dataset") -> str:
    """Describe rows and tokens, and estimate what a prefix-caching engine has to compute."""
    search, settings = truncation.search, truncation.settings
    rows = len(traces)
    sample = traces.select(range(0, rows, -(-rows // _SAMPLE)))
    prior = search.prior if isinstance(search, Ascend) else Prior()
    # A user's own search or criterion is not called for a forecast calls no custom code, so its questions are unknown.
    own = next((one for one in (search, truncation.criterion) if isinstance(one, Uncalled)), None)
    known = own is None
    judge, sums = truncation.judge(), Forecast()
    for at, source in enumerate(sample):
        row = open_row(judge, source, settings.granularity, settings.audit)
        if row.case is None or row.case.reach < 0:
            sums.skipped += 1
            continue
        sums.trace_tokens += row.case.tokens[-1]
        if search.judged and known:
            asyncio.run(Searcher(search, sums.judge(_ends(prior, (at + 1) * _GOLDEN % 1)))(row))
    scale = rows / len(sample)
    about = "" if len(sample) == rows else f"about (from {len(sample)} of them) "
    skipped = (
        f", {about}{round(sums.skipped * scale):,} of them empty or too long to be judged" if sums.skipped else ""
    )
    lines = [
        f"student    {settings.student}",
        f"search     {search.name}" + (f"; result {truncation.fingerprint}" if known else ""),
        f"rows       {rows:,}{skipped}",
        f"traces     {about}{round(sums.trace_tokens * scale):,} tokens",
    ]
    if not search.judged:
        return "\n".join([*lines, "computed   nothing: this search asks no judge"])
    if own is not None:
        return "\n".join([*lines, f"computed   not known: `{own.name}` is your own, and `--dry-run` doesn't call it"])
    whose = "as in published data; a pilot is more precise" if prior == Prior() else "by the prior of this search"
    return "\n".join(
        [
            *lines,
            f"questions  about {round(sums.questions * scale):,} (an estimate, as the next line)",
            f"computed   about {round(sums.computed * scale):,} prompt tokens with a prefix cache, if prefixes end at "
            f"{_mean(prior):.0%} of a trace on average, {whose}, and the judge doesn't waver",
            "time       not known before the engine runs: divide by the prompt tokens a second that it reads",
            f"ledger     {truncation.ledger_path}: what it holds already isn't computed again",
        ]
    )


def _ends(prior: Prior, quantile: float) -> float:
    """The share at which a prefix of that quantile ends; above 1 where nothing suffices."""
    below = quantile / (1 - prior.never)
    if below > 1:
        return 2.0
    at = max(1, bisect.bisect_left([fraction for _, fraction in prior.knots], below))
    (low, start), (high, end) = prior.knots[at - 1], prior.knots[at]
    return low + (high - low) * (below - start) / (end - start) if end > start else high


def _mean(prior: Prior) -> float:
    """The mean of a prior: what its distribution leaves above each share, added up."""
    below = pairwise(prior.knots)
    return sum((high - low) * (1 - (start + end) / 2) for (low, start), (high, end) in below)
