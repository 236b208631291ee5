"""A row during truncation: a trace, its probes, and its PREFIXES columns.

A probe is read from the ledger or computed, then committed, and only then passed to the search. An error of a row
affects that row alone. All statuses are assigned here.
"""

import hashlib
import math
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from palign_hf.engines.base import EngineIdentity, RequestFailed
from palign_hf.errors import shown
from palign_hf.generation.jobs import broken, oversized
from palign_hf.generation.store import AnswerTable, content_key
from palign_hf.segmentation import Granularity, cuts
from palign_hf.truncation.criteria import UNPARSABLE, Case, Judge, Probe
from palign_hf.truncation.walk import CheckedWalk, Found, Search, SearchMistake


# A text without a verdict is kept for the record, and the next run probes again.
PROBES = AnswerTable(Probe, "probes", key=("segments",), provisional=f"verdict = '{UNPARSABLE}'", told_by="verdict")

# Evenly spaced cuts that an audit probes, both ends included.
_AUDIT_CUTS = 16
# Share of a trace that a search is expected to show, for admission: what it really shows is rarely more.
_EXPECTED_SHARE = 0.6

Ask = Callable[[Case, int], Awaitable[Probe]]


class ProbeMemory(Protocol):
    """The ledger interface that a search needs."""

    def recall(self, problem: bytes) -> dict[int, Probe]:
        """The stored probes of a problem."""

    async def record(self, problem: bytes, answer: Probe, engine: EngineIdentity | None = None) -> Probe:
        """Store a probe and return the stored one."""


@dataclass(slots=True)
class TruncationRow:
    """A trace being searched: a job (`key`, `weight`), and the state of its search.

    It ends with `found`, or with `error`, or with neither where nothing fits the context; a row that no search can
    start with has no `case` and its reason in `skipped`.
    """

    source: Mapping[str, Any]
    key: bytes
    case: Case | None
    skipped: str | None = None
    audited: bool = False
    found: Found | None = None
    error: str | None = None
    probes: list[Probe] = field(default_factory=list)
    asked: int = 0

    @property
    def weight(self) -> int:
        """Tokens of cache that its search is expected to hold."""
        if self.case is None:
            return 0
        return self.case.head_tokens + int(_EXPECTED_SHARE * self.case.tokens[-1]) + self.case.suffix_tokens

    @property
    def floor_tokens(self) -> int:
        """Minimum tokens of any search: head, shortest sufficient prefix (or all that fits), one question."""
        if self.case is None or self.found is None or not self.probes:
            return 0
        cut = self.found.segments if self.found.sufficient else max(self.case.reach, 0)
        return self.case.head_tokens + self.case.tokens[cut] + self.case.suffix_tokens


def open_row(judge: Judge, source: Mapping[str, Any], granularity: Granularity, audit: float) -> TruncationRow:
    """Cut a trace into segments and prepare it for the judge; `audit` is the share of rows whose whole curve is
    probed.
    """
    question, trace = source["question"], source["trace"]
    if not question or not trace:
        return TruncationRow(source, b"", None, skipped=f"the {'question' if not question else 'trace'} is empty")
    key = content_key(question, trace)
    for what, text in (("question", question), ("trace", trace)):
        if why := oversized(text):
            return TruncationRow(source, key, None, skipped=f"the {what} {why}")
    if why := broken(question) or broken(trace):
        return TruncationRow(source, key, None, skipped=f"the text is broken: {why}")
    ends = [0, *cuts(trace, granularity)]
    return TruncationRow(source, key, judge.open(key.hex(), question, trace, ends), audited=_drawn(key, audit))


class Searcher:
    """Searches rows with a search, a judge and a ledger."""

    def __init__(
        self,
        search: Search,
        ask: Ask,
        ledger: Callable[[], ProbeMemory | None] = lambda: None,
        engine: Callable[[], EngineIdentity | None] = lambda: None,
        extra_cuts: Callable[[TruncationRow], Iterable[int]] | None = None,
    ) -> None:
        """`ledger` and `engine` are called when a row needs them: many runs need neither. `extra_cuts` are probed
        after a search has ended; by default those of an audit, if the row was drawn for one.
        """
        self._search, self._ask, self._ledger, self._engine = search, ask, ledger, engine
        self._extra_cuts = extra_cuts or _audit_cuts

    async def __call__(self, row: TruncationRow) -> TruncationRow:
        """Search one row to its end."""
        case = row.case
        if case is None or case.reach < 0:
            return row
        ledger = self._ledger()
        known = ledger.recall(row.key) if ledger is not None else {}
        try:
            walk = CheckedWalk(self._search, case.tokens, case.reach)
            while (cut := walk.next()) is not None:
                margin = await self._answer(row, case, cut, known)
                if margin is None:
                    return row
                walk.tell(cut, margin)
            row.found = walk.result()
        except SearchMistake as mistake:
            row.error = str(mistake)
            return row
        seen = {probe.segments for probe in row.probes}
        for cut in dict.fromkeys(self._extra_cuts(row)) if self._search.judged else ():
            if cut not in seen and await self._answer(row, case, cut, known) is None:
                # The search itself succeeded: a failed audit is no error of the row.
                row.error = None
                break
        return row

    async def _answer(self, row: TruncationRow, case: Case, cut: int, known: Mapping[int, Probe]) -> float | None:
        """A margin from the ledger or the engine; None, with the reason in `row.error`, without a verdict."""
        probe = known.get(cut)
        if probe is None:
            try:
                fresh = await self._ask(case, cut)
            except RequestFailed as error:
                row.error = f"no answer at {cut} segments: {error}"
                return None
            if fresh.margin is not None and not _is_number(fresh.margin):
                row.error = f"the margin at {cut} segments is no number but {shown(repr(fresh.margin))}"
                return None
            if fresh.margin is not None and math.isnan(fresh.margin):
                # Not stored: SQLite knows no such number, and a NULL would be read back as another kind of answer.
                row.error = f"the margin at {cut} segments is not a number (both labels impossible, or an overflow)"
                return None
            if fresh.margin is not None:
                fresh = replace(fresh, margin=float(fresh.margin))
            if (ledger := self._ledger()) is not None:
                fresh = await ledger.record(row.key, fresh, self._engine())
            probe = fresh
            row.asked += 1
        row.probes.append(probe)
        if probe.verdict == UNPARSABLE:
            row.error = f"no verdict in the judge's text at {cut} segments"
            return None
        if probe.margin is None:
            row.error = f"the answer at {cut} segments is `{shown(probe.verdict)}` without a margin"
            return None
        return probe.margin


def _is_number(value: Any) -> bool:
    """Whether it is a number, also of numpy or torch."""
    try:
        return not isinstance(value, str | bytes) and isinstance(float(value), float)
    except (TypeError, ValueError, OverflowError):
        return False


def _audit_cuts(row: TruncationRow) -> list[int]:
    if not row.audited or row.case is None:
        return []
    reach = row.case.reach
    steps = min(_AUDIT_CUTS - 1, reach)
    return sorted({round(step * reach / steps) for step in range(steps + 1)}) if steps > 0 else [0]


def _drawn(key: bytes, share: float) -> bool:
    """Whether a problem is audited, decided by its content alone."""
    return int.from_bytes(hashlib.sha256(b"audit" + key).digest()[:8], "big") < share * 2**64


# Columns of a row without a finding: no prefix, and null where a number could be mistaken for a measurement.
_NOTHING: dict[str, Any] = {
    "prefix": "",
    "prefix_end": 0,
    "n_segments": None,
    "prefix_segments": None,
    "prefix_ratio": None,
    "trace_tokens": None,
    "prefix_tokens": None,
}


def prefix_columns(row: TruncationRow, search: Search, max_model_len: int) -> dict[str, Any]:
    """The PREFIXES columns of a searched row."""
    case = row.case
    if case is None:
        return _NOTHING | {"status": "skipped", "reason": row.skipped, "probes": []}
    segments = len(case.ends) - 1
    columns = _NOTHING | {
        "n_segments": segments,
        "trace_tokens": case.tokens[-1],
        "probes": [{"segments": p.segments, "margin": p.margin, "verdict": p.verdict} for p in row.probes],
    }
    if row.error:
        return columns | {"status": "error", "reason": row.error}
    if row.found is None:
        needed = f"the judge needs {case.shortest} tokens even without any prefix, the context holds {max_model_len}"
        return columns | {"status": "skipped", "reason": case.refused or needed}
    cut, sufficient = row.found.segments, row.found.sufficient
    if search.judged and not sufficient and case.reach < segments:
        return columns | {
            "status": "skipped",
            "reason": (
                f"nothing sufficient in the first {case.reach} of {segments} segments, and more does not fit: "
                f"the trace has {case.tokens[-1]} tokens, the context holds {max_model_len}"
            ),
        }
    columns |= {
        "prefix": row.source["trace"][: case.ends[cut]],
        "prefix_end": case.ends[cut],
        "prefix_segments": cut,
        "prefix_ratio": case.tokens[cut] / case.tokens[-1] if case.tokens[-1] else 0.0,
        "prefix_tokens": case.tokens[cut],
    }
    if not search.judged:
        status = "full_trace" if search.name == "full" else "fixed"
        return columns | {"status": status, "reason": f"search `{search.name}` asks no judge"}
    if not sufficient:
        return columns | {"status": "full_trace", "reason": "nothing was judged sufficient, not even the whole trace"}
    if cut == segments:
        return columns | {"status": "full_trace", "reason": "only the whole trace was judged sufficient"}
    return columns | {"status": "sufficient", "reason": None}
