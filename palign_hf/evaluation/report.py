"""The report of an evaluation: figures with 95 % intervals, a table a benchmark, and what is reproducible."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from palign_hf.evaluation.grade import unjudged
from palign_hf.evaluation.metrics import LOOPED, VERDICTS, Measures, measure, shown_ks
from palign_hf.evaluation.samples import PARTIAL, Sample, heading
from palign_hf.evaluation.statistics import Interval, intervals
from palign_hf.evaluation.summary import TOKENS_AT, WORDS, Summary, figure_text, grouped
from palign_hf.generation.sampling import SamplingUsage
from palign_hf.redact import redacted
from palign_hf.runs.report import StageReport
from palign_hf.tables import UNKNOWN, escaped, spread, table


# Reproducibility with the same seed, by engine.
ENGINES = {
    "transformers": "All batches have the same shape, so on a CPU the same seed gives the same samples, whatever else "
    "is in the run; a GPU may round differently, and then a sample may differ where two tokens are near.",
    "vllm": "vLLM's rounding depends on the rest of its batch, so a sample that is drawn again with the same seed may "
    "differ where two tokens are near.",
    "server": "Each request carries the sample's seed; whether the server uses it depends on the server.",
}
LEDGER = (
    "A sample stays in the ledger as it was first drawn, by any run, so the same command with the same ledger "
    "gives the same table."
)
GRADES = "The same text gets the same grade, unless grading it takes longer than {seconds:g} s."
INTERVALS = "Intervals are resampled with a fixed seed: the same samples give the same ones."


def repeatable(engines: Iterable[str], seed: int, seconds: float) -> dict[str, str]:
    """The notes by topic; `engines` begin with the names of those that drew the samples."""
    names = dict.fromkeys(one.split()[0] for one in engines)
    return {
        "seed": f"The seed is {seed}; each sample has its own, made of that one, the problem's text and the sample's "
        f"number, so neither order nor the number of processes matters.",
        **{name: ENGINES.get(name, f"The reproducibility of `{name}` is unknown.") for name in names},
        "ledger": LEDGER,
        "grades": GRADES.format(seconds=seconds),
        "intervals": INTERVALS,
    }


# A column of problems with more values than this is no way to group them.
_MOST_GROUPS = 12
TERMS = {
    "strict": "the last complete box, or the boxes that end the text together, hold the right answer",
    "lenient": "any reader finds the right answer, which is often a number in a text that was cut off",
    "pass@k": "the chance that one of k samples is right, estimated without bias from the n of each problem",
    "maj@n": "the most frequent of n answers is right",
    "no draft left open": "the output has no draft, or one that was ended",
    "[a, b]": "95 % interval by resampling problems (BCa)",
}


@dataclass
class EvaluationReport(StageReport):
    """The figures of an evaluation.

    A row is a sample: its status is `right` (strict), `wrong`, `unjudged` or `failed`. `drawn_by` counts samples by
    the engine that drew them; `forced` and `looped` are whether drafts had a budget, and loops were stopped.
    """

    stage = "evaluate"
    terms = TERMS

    samples: Sequence[Sample]
    usage: SamplingUsage
    drawn_by: Mapping[str, int] = field(default_factory=dict)
    forced: bool = False
    looped: bool = False

    @classmethod
    def of(
        cls,
        samples: Sequence[Sample],
        usage: SamplingUsage,
        settings: Mapping[str, Any] | None = None,
        *,
        drawn_by: Mapping[str, int] | None = None,
        forced: bool = False,
        looped: bool = False,
    ) -> "EvaluationReport":
        """Count graded samples.

        Args:
            samples (`Sequence[Sample]`): All samples of the evaluation; those without text count as wrong.
            usage (`Usage`): The costs of the run.
            settings (`Mapping`, *optional*): What was run.
            drawn_by (`Mapping[str, int]`, *optional*): Samples by the engine that drew them.
            forced (`bool`, *optional*, defaults to `False`): Whether drafts were closed after a budget.
            looped (`bool`, *optional*, defaults to `False`): Whether samples that repeat themselves were stopped.

        Returns:
            `EvaluationReport`: The report.
        """
        statuses = Counter(dict.fromkeys(("right", "wrong", "unjudged", "failed"), 0))
        statuses.update(map(_status, samples))
        reasons = Summary(samples, measure(samples), unjudged=unjudged(samples)).counted_as_wrong()
        return cls(
            len(samples),
            dict(statuses),
            dict(reasons.most_common()),
            samples,
            usage,
            dict(drawn_by or {}),
            forced,
            looped,
            settings=dict(settings or {}),
        )

    def __post_init__(self) -> None:
        """Mask secrets in the names of engines, too."""
        super().__post_init__()
        self.drawn_by = redacted(self.drawn_by)

    @property
    def failed(self) -> int:
        """Samples without any text, because their request failed."""
        return self.statuses["failed"]

    @cached_property
    def summary(self) -> Summary:
        """The figures over all problems."""
        return Summary(self.samples, measure(self.samples), unjudged=unjudged(self.samples))

    @cached_property
    def benchmarks(self) -> dict[str, Measures]:
        """The figures of each benchmark."""
        return {name: measure(of) for name, of in grouped(self.samples, lambda one: one.benchmark).items()}

    @cached_property
    def intervals(self) -> dict[str, dict[str, Interval]]:
        """The intervals of each benchmark, and of all problems."""
        found = {name: intervals(one) for name, one in self.benchmarks.items()}
        return found if len(found) == 1 else found | {"all problems": self.summary.intervals}

    def figures(self) -> dict[str, Any]:
        """The figures as plain data, over all problems and for each benchmark."""
        alone = {name: Summary(of, measure(of)) for name, of in grouped(self.samples, lambda s: s.benchmark).items()}
        return self.summary.as_dict() | {
            "rows": self.rows,
            "statuses": dict(self.statuses),
            "reasons": dict(self.reasons),
            "benchmarks": {name: one.as_dict() for name, one in alone.items()},
            "failed": self.failed,
            "drafts_closed_by_force": self._forced if self.forced else None,
            "stopped_in_a_loop": self._looped if self.looped else None,
            "usage": self.usage.as_dict(),
            "drawn_by": dict(self.drawn_by),
            "repeatable": self._repeatable(),
            "settings": dict(self.settings),
        }

    def lines(self) -> list[tuple[str, str]]:
        """The figures over all problems as (name, value) pairs."""
        lines = self.summary.lines()
        if self.forced:
            lines.append(("drafts closed after the budget", str(self._forced)))
        if self.looped:
            lines.append(("samples stopped in a loop", str(self._looped)))
        return lines

    def warnings(self) -> list[str]:
        """What limits the figures."""
        return self.summary.warnings()

    def title(self) -> str:
        """The heading of the page, before it is escaped."""
        return f"Evaluation of {self.settings.get('student_name')}"

    def facts(self) -> dict[str, Any]:
        """What was run."""
        about = self.settings
        drawn = about.get("sampling", {})
        return {
            "student": about.get("student_name"),
            "tasks": ", ".join(f"{name} ({where})" for name, where in about.get("tasks", {}).items()),
            "max_samples": about.get("max_samples") and f"the first {about['max_samples']} problems of each task",
            "sampling": ", ".join(f"{name} {value}" for name, value in drawn.items() if value or name == "seed"),
            "draft": about.get("draft") and f"closed after {about['draft']['tokens']} tokens",
            "loops": about.get("loops"),
            "grader": about.get("grader", {}).get("name"),
            "drawn by": ", ".join(f"{name}: {count} samples" for name, count in self.drawn_by.items()),
            "result": about.get("fingerprint"),
            "date": about.get("date"),
            "command": about.get("command"),
        }

    def sections(self) -> list[str]:
        """A table a benchmark, tables by the columns of the problems, and what is reproducible."""
        partial = self.summary.partial
        whole = [name for name in self.benchmarks if name not in partial]
        heads = [name if name in whole else heading(name, partial) for name in self.intervals]
        blocks = ["## By benchmark", "", *table(("measure", *heads), self._rows()), ""]
        for name in self._about():
            head = (heading(name, partial), "problems", "pass@1, strict", "pass@1, lenient")
            blocks += [*table(head, self._by(name)), ""]
        blocks += ["## Reproducibility", ""]
        blocks += [*(f"- **{escaped(name)}**: {sentence}" for name, sentence in self._repeatable().items()), ""]
        return ["\n".join(blocks)]

    def _repeatable(self) -> dict[str, str]:
        drawing, grader = self.settings.get("sampling", {}), self.settings.get("grader", {})
        return repeatable(self.drawn_by, drawing.get("seed", 0), grader.get("seconds", 0.0))

    def _rows(self) -> list[tuple[str, ...]]:
        n = self.summary.measures.n
        counted = [self.benchmarks.get(name, self.summary.measures) for name in self.intervals]
        rows = [("problems", *(str(len(one.problems)) for one in counted))]
        for verdict in VERDICTS:
            for name in (*(f"pass@{k}" for k in shown_ks(n)), "maj@n"):
                cells = (figure_text(of[f"{verdict} {name}"]) for of in self.intervals.values())
                rows.append((f"{name.replace('@n', f'@{n}')}, {verdict}", *cells))
        for name, words in WORDS.items():
            cells = (figure_text(of.get(name), name) for of in self.intervals.values())
            rows.append((words, *cells))
        tokens = [spread(one.tokens, TOKENS_AT) for one in counted]
        rows.append(("tokens, p50 / p95", *(f"{t['p50']:.0f} / {t['p95']:.0f}" if t else UNKNOWN for t in tokens)))
        return rows

    def _by(self, name: str) -> list[tuple[str, ...]]:
        known = [one for one in self.samples if one.about.get(name) is not None]
        rows = []
        for value, samples in grouped(known, lambda one: one.about[name]).items():
            found = measure(samples)
            ends = intervals(found)
            cells = (figure_text(ends[f"{verdict} pass@1"]) for verdict in VERDICTS)
            rows.append((value, str(len(found.problems)), *cells))
        return rows

    def _about(self) -> list[str]:
        """What problems can be grouped by."""
        names = dict.fromkeys(name for one in self.samples for name in one.about if name != PARTIAL)
        values = {name: {one.about.get(name) for one in self.samples} - {None} for name in names}
        return [name for name, of in values.items() if 1 < len(of) <= _MOST_GROUPS]

    @property
    def _forced(self) -> int:
        return sum(one.forced_at is not None for one in self.samples)

    @property
    def _looped(self) -> int:
        return sum(one.finish_reason == LOOPED for one in self.samples)


def _status(sample: Sample) -> str:
    """How a sample ended."""
    if sample.text is None:
        return "failed"
    if sample.error is not None and sample.text.strip():
        return "unjudged"
    return "right" if sample.strict else "wrong"
