"""Searches side by side on toy traces: distance from the truth, and what each costs.

All searches share one judge, one ledger and one engine, so nothing is asked twice. The tokens of each are counted as
if it had run alone, by the rules of `truncation.cost`, each trace with a cache of its own; a real cache also shares
the instruction before all problems, so an engine computes somewhat fewer.
"""

from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from palign_hf.segmentation import cuts
from palign_hf.toy.world.truth import CutSkill, JudgeSkill, curves_of, cut_skill, judge_skill
from palign_hf.truncation.cost import BlockCache
from palign_hf.truncation.criteria import Judge
from palign_hf.truncation.search import make_search


if TYPE_CHECKING:
    from datasets import Dataset

    from palign_hf.truncation.transform import PrefixTruncation

# The baseline that needs no judge keeps what the mean sufficient prefix of this world is.
SEARCHES = ("ascend", "binary", "linear", "every", "fixed(ratio=0.38)", "none", "full")
# Tokens that a prefix cache keeps or forgets together on most GPUs; vLLM on CPUs has larger blocks.
BLOCK = 16


@dataclass(frozen=True)
class Measured:
    """One search: how well it cuts, and the prompt tokens a trace that an engine computes for it."""

    search: str
    skill: CutSkill
    tokens: float

    def as_dict(self) -> dict[str, Any]:
        """Plain data for JSON."""
        return {"search": self.search, "tokens": self.tokens, **self.skill.as_dict()}


def measure_searches(
    truncation: "PrefixTruncation", traces: "Dataset", searches: Sequence[str] = SEARCHES, curves: bool = True
) -> tuple[list[Measured], JudgeSkill | None]:
    """Run each search over `traces`; with `curves`, every cut is asked first and the judge's skill measured on it.

    The engine of `truncation` is used, and closed when all is done.
    """
    judge = truncation.judge()
    found: dict[str, Measured] = {}
    skill = None
    with ExitStack() as engines:
        engines.enter_context(truncation)
        for search in dict.fromkeys(["every", *searches] if curves else searches):
            one = engines.enter_context(truncation.with_search(search))
            if make_search(search).judged:
                truncation = one  # the engine went over
            one.expect(len(traces), f"search {search}")
            rows = traces.map(one, batched=True, load_from_cache_file=False)
            found[search] = Measured(search, cut_skill(rows), computed_tokens(judge, rows))
            if search == "every":
                skill = judge_skill(curves_of(rows))
    return [found[search] for search in searches], skill


def computed_tokens(judge: Judge, rows: "Dataset | Iterable[dict[str, Any]]", block: int = BLOCK) -> float:
    """Prompt tokens a row that an engine computes for its probes, with a prefix cache that holds nothing before."""
    total = count = 0
    for row in rows:
        count += 1
        if not row["probes"]:
            continue
        case = judge.open(row["id"], row["question"], row["trace"], [0, *cuts(row["trace"])])
        cache = BlockCache(block)
        for probe in row["probes"]:
            cut = probe["segments"]
            prompt = len(case.prompt.ids(case.ends[cut]))
            total += cache.ask(prompt, min(prompt, case.head_tokens + case.tokens[cut]))
    return total / count if count else 0.0
