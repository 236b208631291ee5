"""Search comparison on toy traces: distance from the true cut, and cost.

All searches share one judge, one ledger and one engine, so each question is answered once. The tokens of each search
are counted as if it had run alone, by the rules of `truncation.cost`, with a separate cache for each trace; a real
cache also shares the instruction before all problems, so an engine computes somewhat fewer.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from palign_hf.segmentation import cuts
from palign_hf.toy.world.truth import CutSkill, JudgeSkill, curves_of, cut_skill, judge_skill
from palign_hf.truncation.cost import BlockCache
from palign_hf.truncation.criteria import Judge


if TYPE_CHECKING:
    from datasets import Dataset

    from palign_hf.truncation.transform import PrefixTruncation

# The baseline without a judge keeps the mean sufficient ratio of this world.
BLIND = ("fixed(ratio=0.38)", "none", "full")
SEARCHES = ("ascend", "binary", "linear", "every", *BLIND)
# The default search's answers cover most probes of the paper's search; the others need several times as many.
QUICK = ("ascend", "binary", *BLIND)
# Block size of the prefix cache on most GPUs; vLLM on CPUs has larger blocks.
BLOCK = 16


@dataclass(frozen=True)
class Measured:
    """Cut quality of one search, and the mean prompt tokens that an engine computes for a trace."""

    search: str
    skill: CutSkill
    tokens: float


def measure_searches(
    truncation: "PrefixTruncation", traces: "Dataset", searches: Sequence[str] = SEARCHES
) -> tuple[list[Measured], JudgeSkill | None]:
    """Run each search over `traces`; if `every` is among them it runs first, and its probes give the judge's skill.

    The engine of `truncation` is used, and closed at the end.
    """
    judge = truncation.judge()
    found: dict[str, Measured] = {}
    skill = None
    with truncation:
        for search in sorted(searches, key=lambda search: search != "every"):
            one = truncation.with_search(search)
            one.expect(len(traces), f"search {search}")
            rows = traces.map(one, batched=True, load_from_cache_file=False)
            found[search] = Measured(search, cut_skill(rows), computed_tokens(judge, rows))
            if search == "every":
                skill = judge_skill(curves_of(rows))
    return [found[search] for search in searches], skill


def figures(measured: Sequence[Measured], judge: JudgeSkill | None) -> dict[str, float | None]:
    """Return the headline figures of demo and benchmark: the first search against the truth, None for missing
    measures.
    """
    first = measured[0].skill
    paper = next((one.skill.probes for one in measured if one.search == "binary"), None)
    found = {
        "median_distance": first.median_distance,
        "too_short": first.too_short,
        "too_long": first.too_long,
        "judge_auroc": judge.auroc if judge else None,
        "judge_accuracy": judge.accuracy if judge else None,
        "questions_over_binary": first.probes / paper if first.probes is not None and paper else None,
    }
    # A few hundred traces support no more than four digits.
    return {name: None if value is None else round(value, 4) for name, value in found.items()}


def computed_tokens(judge: Judge, rows: "Dataset") -> float:
    """Mean prompt tokens of a row that an engine computes for its probes, with an initially empty prefix cache."""
    total = 0
    for row in rows:
        if not row["probes"]:
            continue
        case = judge.open(row["id"], row["question"], row["trace"], [0, *cuts(row["trace"])])
        cache = BlockCache(BLOCK)
        for probe in row["probes"]:
            prompt = len(case.prompt.ids(case.ends[probe["segments"]]))
            total += cache.ask(prompt, min(prompt, case.head_tokens + case.tokens[probe["segments"]]))
    return total / len(rows)
