"""Report of a truncation run, with diagnostics of its judge.

Computed from the PREFIXES table itself, so it works for any published dataset; the costs come from the run's counters,
where there was a run. Fallbacks (`full_trace`) are always counted apart from findings.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from palign_hf.generation.sampling import Counters
from palign_hf.prompts import tag_style
from palign_hf.runs.report import Reasons, StageReport, often
from palign_hf.schema import PREFIXES, STATUSES, check_columns
from palign_hf.tables import figures, quantiles, share, spread_text
from palign_hf.truncation.criteria import ENOUGH, NOT_ENOUGH, UNPARSABLE, Probe
from palign_hf.truncation.walk import violations


if TYPE_CHECKING:
    from datasets import Dataset


@dataclass
class ProbeUsage(Counters):
    """Counts over all probes of the rows; `asked` were computed in this run, the others in earlier ones."""

    probes: int = 0
    asked: int = 0
    unparsable: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    floor_tokens: int = 0
    mass_sum: float = 0.0
    mass_probes: int = 0
    top_is_label: int = 0

    def add(self, probes: Iterable[Probe], asked: int, floor_tokens: int) -> None:
        """Count one problem."""
        self.asked += asked
        self.floor_tokens += floor_tokens
        for probe in probes:
            self.probes += 1
            self.unparsable += probe.verdict == UNPARSABLE
            self.prompt_tokens += probe.prompt_tokens
            self.cached_tokens += probe.cached_tokens
            if probe.label_mass is not None:
                self.mass_sum += probe.label_mass
                self.mass_probes += 1
                self.top_is_label += bool(probe.top_is_label)

    @property
    def computed_tokens(self) -> int:
        """Prompt tokens that no cache saved."""
        return self.prompt_tokens - self.cached_tokens


QUANTILES = (0.1, 0.25, 0.5, 0.75, 0.9)

# Limits for warnings about a judge: both ends of the scale saturated, unlikely labels, or wavering.
_LOW_MASS = 0.5
_ENOUGH_AT_NOTHING = 0.3
_NOT_ENOUGH_AT_ALL = 0.3
_WAVERING = 0.5

# That of the usual training target.
_STYLE = tag_style("prefix")
_TAGGED = "the prefix holds a tag of the training target itself"

_TERMS = {
    "sufficient": "the student judged a shorter beginning of the trace to be enough to finish alone.",
    "full_trace": "nothing shorter than the whole trace was judged enough; never counted among the findings.",
    "fixed": "cut by a rule, without a judge.",
    "skipped, error": "a row that no search could start with, and one with a failed probe.",
    "prefix ratio": "tokens of the prefix over those of its trace.",
    "probe": "one question to the judge: is this beginning enough?",
    "tokens over floor": "prompt tokens computed over the least possible: the found prefix shown once.",
    "verdict taken back": "an ENOUGH that turned into NOT_ENOUGH when more was shown.",
    "label mass": "probability of the two labels together; near 0 if the student would write something else.",
}


@dataclass
class Report(StageReport):
    """Figures of one run; `None` where nothing was measured."""

    stage = "truncate"
    terms = _TERMS

    ratio_quantiles: dict[str, float] | None
    ratio_mean: float | None
    no_prefix_share: float | None
    never_sufficient_share: float | None
    probes_a_problem: float | None
    unparsable: int
    enough_at_nothing: float | None
    asked_at_nothing: int
    enough_at_all: float | None
    asked_at_all: int
    violation_share: float | None
    violation_pairs: int
    asked_twice: int
    computed_tokens: int | None = None
    cached_tokens: int | None = None
    cached_share: float | None = None
    tokens_over_floor: float | None = None
    asked: int | None = None
    label_mass: float | None = None
    top_is_label: float | None = None

    @classmethod
    def of(
        cls, prefixes: "Dataset", usage: ProbeUsage | None = None, settings: Mapping[str, Any] | None = None
    ) -> "Report":
        """Measure a PREFIXES table; `usage` adds the costs of the run that made it."""
        check_columns(prefixes.column_names, PREFIXES)
        columns = prefixes.with_format(None).select_columns(
            ["status", "reason", "prefix", "prefix_ratio", "n_segments", "probes"]
        )
        count = _Count()
        for batch in columns.iter(batch_size=1000):
            for row in zip(*(batch[name] for name in columns.column_names), strict=True):
                count.add(**dict(zip(columns.column_names, row, strict=True)))
        report = cls(settings=dict(settings or {}), **count.figures())
        if usage is not None and usage.probes:
            report._add_costs(usage)
        return report

    @property
    def failed(self) -> int:
        """Rows that ended in an error: a run with any of them is not a success."""
        return self.statuses["error"]

    def warnings(self) -> list[str]:
        """Warnings that the judge is not measuring sufficiency, each with a remedy."""
        found = []
        if self.label_mass is not None and self.label_mass < _LOW_MASS:
            found.append(
                f"The two labels have {self.label_mass:.1%} of the probability on average: the student would "
                f"rather write something else, so its margins mean little. Use an instruction-tuned student or "
                f"another wording (`template` of the criterion)."
            )
        if often(self.enough_at_nothing, self.asked_at_nothing, _ENOUGH_AT_NOTHING):
            found.append(
                f"The judge answers ENOUGH for {self.enough_at_nothing:.0%} of the problems without any prefix: "
                f"either they are easy for this student, or it answers ENOUGH to anything. Check with rollouts first."
            )
        if self.enough_at_all is not None and often(1 - self.enough_at_all, self.asked_at_all, _NOT_ENOUGH_AT_ALL):
            found.append(
                f"The judge answers NOT_ENOUGH for {1 - self.enough_at_all:.0%} of the whole traces it saw: those "
                f"rows fall back to the full trace. The student may be too small to judge, or the context too short."
            )
        if often(self.violation_share, self.asked_twice, _WAVERING):
            found.append(
                f"In {self.violation_share:.0%} of the problems the judge takes an ENOUGH back when it is shown more: "
                f"the cut is uncertain by several segments. Measure it with `audit=0.02`."
            )
        if tagged := self.reasons.get(_TAGGED):
            found.append(
                f"{tagged} prefixes hold `{_STYLE.open.strip()}` or `{_STYLE.close.strip()}` in their own text, "
                f"which would be taken for their border: alignment skips them, and training leaves them out."
            )
        if self.failed:
            found.append(
                f"{self.failed} rows ended in an error and have no prefix; `palign truncate` and the recipes ask them "
                f"again when you run again, `map` does with `load_from_cache_file=False`."
            )
        return found

    def lines(self) -> list[tuple[str, str]]:
        """The figures as (name, value) pairs in reading order."""
        pairs = self.counted()
        if self.ratio_quantiles:
            ratios = {"mean": self.ratio_mean or 0.0, **self.ratio_quantiles}
            pairs.append(("prefix ratio (sufficient rows, tokens)", spread_text(ratios, ".3f")))
        return pairs + figures(
            ("needs no prefix", self.no_prefix_share, ".1%"),
            ("never sufficient", self.never_sufficient_share, ".1%"),
            ("probes a problem", self.probes_a_problem, ".2f"),
            ("probes asked in this run", self.asked, ","),
            ("tokens computed", self.computed_tokens, ","),
            ("tokens from the cache", self.cached_tokens, ","),
            ("cached share", self.cached_share, ".1%"),
            ("tokens over floor", self.tokens_over_floor, ".2f"),
            (f"ENOUGH without prefix ({self.asked_at_nothing} rows known)", self.enough_at_nothing, ".1%"),
            (f"ENOUGH at the whole trace ({self.asked_at_all} asked)", self.enough_at_all, ".1%"),
            (f"verdict taken back ({self.asked_twice} asked twice or more)", self.violation_share, ".1%"),
            ("label mass", self.label_mass, ".3f"),
            ("label is the top token", self.top_is_label, ".1%"),
            ("unparsable verdicts", self.unparsable or None, ","),
        )

    def title(self) -> str:
        """Heading of the page, unescaped."""
        return f"{self.rows} traces, cut where {self.settings.get('student_name', '?')} says enough"

    def facts(self) -> dict[str, Any]:
        """The page's facts about the run."""
        about = self.settings
        search, source = about.get("search", {}), about.get("input", {})
        return {
            "student": about.get("student_name"),
            "search": search.get("name"),
            "traces": source.get("source"),
            "revision": source.get("revision"),
        } | self.made_by()

    def _add_costs(self, usage: ProbeUsage) -> None:
        self.asked = usage.asked
        self.computed_tokens, self.cached_tokens = usage.computed_tokens, usage.cached_tokens
        # A criterion of the user's own may ask the student nothing.
        self.cached_share = usage.cached_tokens / usage.prompt_tokens if usage.prompt_tokens else None
        self.tokens_over_floor = usage.computed_tokens / usage.floor_tokens if usage.floor_tokens else None
        if usage.mass_probes:
            self.label_mass = usage.mass_sum / usage.mass_probes
            self.top_is_label = usage.top_is_label / usage.mass_probes


class _Count:
    """Goes over the rows once and keeps only counts and ratios."""

    def __init__(self) -> None:
        # Listed even where the count is 0, except statuses that this stage never writes.
        self.statuses = Counter({status: 0 for status in STATUSES if status != "published"})
        self.reasons = Reasons()
        self.ratios: list[float] = []
        self.rows = self.probes = self.searched = self.unparsable = 0
        self.nothing, self.whole = [0, 0], [0, 0]
        self.wavering = self.pairs = self.comparable = self.never = 0

    def add(
        self,
        status: str,
        reason: str | None,
        prefix: str | None,
        prefix_ratio: float | None,
        n_segments: int | None,
        probes: Iterable[Mapping[str, Any]] | None,
    ) -> None:
        """Count one row."""
        self.rows += 1
        self.statuses[status] += 1
        if _STYLE.tag_in(prefix or "") is not None:
            self.reasons.add(_TAGGED)
        if reason is not None:
            self.reasons.add(reason)
        if status == "sufficient" and prefix_ratio is not None:
            self.ratios.append(prefix_ratio)
        asked = list(probes or ())
        if not asked:
            return
        self.searched += 1
        self.probes += len(asked)
        verdicts = {probe["segments"]: probe["verdict"] for probe in asked}
        self.unparsable += sum(verdict == UNPARSABLE for verdict in verdicts.values())
        for ends, cut in ((self.nothing, 0), (self.whole, n_segments)):
            if cut in verdicts and verdicts[cut] != UNPARSABLE:
                ends[0] += verdicts[cut] == ENOUGH
                ends[1] += 1
        # Searches leave out what a NOT_ENOUGH to more implies; without these rows the share would look too high.
        self.nothing[1] += 0 not in verdicts and NOT_ENOUGH in verdicts.values()
        self.never += status in ("full_trace", "skipped") and ENOUGH not in verdicts.values()
        margins = [(probe["segments"], probe["margin"]) for probe in asked if probe["margin"] is not None]
        if len(margins) > 1:
            self.comparable += 1
            found = violations(margins)
            self.pairs += found
            self.wavering += found > 0

    def figures(self) -> dict[str, Any]:
        """The fields of a report that rows alone determine."""
        return {
            "rows": self.rows,
            "statuses": dict(self.statuses),
            "reasons": dict(self.reasons.counted().most_common()),
            "ratio_quantiles": quantiles(self.ratios, QUANTILES),
            "ratio_mean": float(np.mean(self.ratios)) if self.ratios else None,
            "no_prefix_share": share(sum(ratio == 0 for ratio in self.ratios), len(self.ratios)),
            "never_sufficient_share": share(self.never, self.searched),
            "probes_a_problem": share(self.probes, self.searched),
            "unparsable": self.unparsable,
            "enough_at_nothing": share(*self.nothing),
            "asked_at_nothing": self.nothing[1],
            "enough_at_all": share(*self.whole),
            "asked_at_all": self.whole[1],
            "violation_share": share(self.wavering, self.comparable),
            "violation_pairs": self.pairs,
            "asked_twice": self.comparable,
        }
