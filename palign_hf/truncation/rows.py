"""From how a search ended to a row of the PREFIXES table: the one place that says what a status means."""

from typing import Any

from palign_hf.asking.jobs import Outcome
from palign_hf.asking.runner import Work
from palign_hf.truncation.search import Search


# What a row without a finding holds: no prefix, and nulls where a number would be mistaken for a measurement.
_NOTHING: dict[str, Any] = {
    "prefix": "",
    "prefix_end": 0,
    "n_segments": None,
    "prefix_segments": None,
    "prefix_ratio": None,
    "trace_tokens": None,
    "prefix_tokens": None,
}


def skipped_row(reason: str) -> dict[str, Any]:
    """A row that no search can start with."""
    return _NOTHING | {"status": "skipped", "reason": reason, "probes": []}


def prefix_row(trace: str, outcome: Outcome[Work], search: Search, context: int) -> dict[str, Any]:
    """The PREFIXES columns of one searched row."""
    case = outcome.problem.case
    segments = len(case.ends) - 1
    row = _NOTHING | {
        "n_segments": segments,
        "trace_tokens": case.tokens[-1],
        "probes": [{"segments": p.segments, "margin": p.margin, "verdict": p.verdict} for p in outcome.probes],
    }
    if outcome.error:
        return row | {"status": "error", "reason": outcome.error}
    if outcome.found is None:
        return row | {
            "status": "skipped",
            "reason": case.refused
            or f"the judge needs {case.shortest} tokens even without any prefix, the context holds {context}",
        }
    cut, sufficient = outcome.found.segments, outcome.found.sufficient
    if search.judged and not sufficient and case.reach < segments:
        return row | {
            "status": "skipped",
            "reason": (
                f"nothing sufficient in the first {case.reach} of {segments} segments, and more does not fit: "
                f"the trace has {case.tokens[-1]} tokens, the context holds {context}"
            ),
        }
    row |= {
        "prefix": trace[: case.ends[cut]],
        "prefix_end": case.ends[cut],
        "prefix_segments": cut,
        "prefix_ratio": case.tokens[cut] / case.tokens[-1] if case.tokens[-1] else 0.0,
        "prefix_tokens": case.tokens[cut],
    }
    if not search.judged:
        status = "full_trace" if search.name == "full" else "fixed"
        return row | {"status": status, "reason": f"search `{search.name}` asks no judge"}
    if not sufficient:
        return row | {"status": "full_trace", "reason": "nothing was judged sufficient, not even the whole trace"}
    if cut == segments:
        return row | {"status": "full_trace", "reason": "only the whole trace was judged sufficient"}
    return row | {"status": "sufficient", "reason": None}
