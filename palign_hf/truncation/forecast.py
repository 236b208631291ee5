"""What a truncation would do and cost, said before an engine is started: for `--dry-run`."""

from itertools import pairwise
from typing import TYPE_CHECKING

from palign_hf.segmentation import cuts
from palign_hf.truncation.search import Ascend, Prior


if TYPE_CHECKING:
    from datasets import Dataset

    from palign_hf.truncation.transform import PrefixTruncation

# So many rows are tokenised; the rest is taken to be like them.
_SAMPLE = 200
# What a search computes over the least possible (`benchmarks/search_cost.py`), to the nearest tenth.
_OVER = {"ascend": 1.1, "binary": 1.9, "linear": 1.4}


def forecast(truncation: "PrefixTruncation", traces: "Dataset") -> str:
    """Rows, tokens, and an estimate of what a prefix-caching engine has to compute, marked as what it is."""
    rows = len(traces)
    sample = traces.select(range(0, rows, max(1, rows // _SAMPLE)))
    judge, search = truncation.judge(), truncation.search
    assert not isinstance(search, str | dict)
    whole = head = refused = 0.0
    for row in sample:
        ends = [0, *cuts(row["trace"], truncation.granularity)]
        case = judge.open(row["id"], row["question"], row["trace"], ends)
        whole += case.tokens[-1]
        head += case.head_tokens + case.suffix_tokens
        refused += case.reach < 0
    scale = rows / len(sample)
    about = "" if len(sample) == rows else f"about (from {len(sample)} of them) "
    lines = [
        f"student    {truncation.student}",
        f"search     {search.describe()['name']}; result {truncation.fingerprint}",
        f"rows       {rows:,}"
        + (f", {about}{round(refused * scale):,} of them too long to be judged" if refused else ""),
        f"traces     {about}{round(whole * scale):,} tokens",
    ]
    if not search.judged:
        return "\n".join([*lines, "computed   nothing: this search asks no judge"])
    prior = search.prior if isinstance(search, Ascend) else None
    share, name = _mean(prior if prior is not None else Prior()), search.name
    if name == "every":
        tokens, how = head + whole, "every cut is asked, so every trace is read whole"
    else:
        tokens = _OVER.get(name, 1.9) * (head + share * whole)
        how = f"if prefixes end at {share:.0%} of a trace on average, as in published data; a pilot tells more"
    lines.append(f"computed   about {round(tokens * scale):,} prompt tokens (an estimate: {how})")
    lines.append("time       not known before the engine runs: divide by the prompt tokens a second that it reads")
    lines.append(f"ledger     {truncation.ledger_path}: what it holds already isn't computed again")
    return "\n".join(lines)


def _mean(prior: Prior) -> float:
    """The mean of a prior: what its distribution leaves above each share, added up."""
    below = pairwise(prior.knots)
    return sum((high - low) * (1 - (start + end) / 2) for (low, start), (high, end) in below)
