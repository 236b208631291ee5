"""The report of an evaluation: one table with 95 % intervals, a column a benchmark, and what is to be said of it."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from palign_hf.asking.usage import Usage
from palign_hf.evaluation.draft import LOOPED
from palign_hf.evaluation.grade import unjudged
from palign_hf.evaluation.intervals import Interval, intervals
from palign_hf.evaluation.metrics import VERDICTS, Measures, measure, shown_ks
from palign_hf.evaluation.partial import PARTIAL, heading
from palign_hf.evaluation.repeatable import repeatable
from palign_hf.evaluation.samples import Sample
from palign_hf.evaluation.summary import TOKENS_AT, WORDS, Summary, grouped, told
from palign_hf.redact import redacted
from palign_hf.runs.report import json_line
from palign_hf.statistics import spread
from palign_hf.tables import UNKNOWN, escaped, table


# A column of problems with more values than this is no way to group them.
_MOST_GROUPS = 12
TERMS = {
    "strict": "what the last complete box holds is right, or the boxes that end the text together",
    "lenient": "any reader finds the right answer, which is often a number in a text that was cut off",
    "pass@k": "the chance that one of k samples is right, estimated without bias from the n of each problem",
    "maj@n": "the most frequent of n answers is right",
    "no draft left open": "the output has no draft, or one that was ended",
    "[a, b]": "95 % interval by resampling problems (BCa)",
}


@dataclass(frozen=True)
class EvaluationReport:
    """What an evaluation came to."""

    samples: Sequence[Sample]
    usage: Usage
    settings: Mapping[str, Any] = field(default_factory=dict)
    drawn_by: Mapping[str, int] = field(default_factory=dict)  # engines, and how many of the samples are theirs
    forced: bool = False
    looped: bool = False

    def __post_init__(self) -> None:
        """Mask secrets in what was run, before any form of the report escapes them."""
        for name in ("settings", "drawn_by"):
            object.__setattr__(self, name, redacted(getattr(self, name)))

    @property
    def failed(self) -> int:
        """Samples without any text, because their request failed."""
        return sum(one.text is None for one in self.samples)

    @cached_property
    def summary(self) -> Summary:
        """The figures over all problems."""
        return Summary(
            samples=self.samples,
            measures=measure(self.samples),
            unjudged=unjudged(self.samples),
            notes=self._notes(),
            about={name: str(value) for name, value in self._facts().items() if value},
        )

    @cached_property
    def benchmarks(self) -> dict[str, Measures]:
        """The figures of each benchmark."""
        return {name: measure(of) for name, of in grouped(self.samples, lambda one: one.benchmark).items()}

    @cached_property
    def intervals(self) -> dict[str, dict[str, Interval]]:
        """Of each benchmark, and of all problems."""
        found = {name: intervals(one) for name, one in self.benchmarks.items()}
        return found if len(found) == 1 else found | {"all problems": self.summary.intervals}

    def as_dict(self) -> dict[str, Any]:
        """Plain data."""
        alone = {name: Summary(of, measure(of)) for name, of in grouped(self.samples, lambda s: s.benchmark).items()}
        return self.summary.as_dict() | {
            "benchmarks": {name: one.as_dict() for name, one in alone.items()},
            "failed": self.failed,
            "drafts_closed_by_force": self._forced if self.forced else None,
            "stopped_in_a_loop": self._looped if self.looped else None,
            "usage": self.usage.as_dict(),
            "drawn_by": dict(self.drawn_by),
            "repeatable": self._repeatable(),
            "settings": dict(self.settings),
        }

    def json(self) -> str:
        """One line."""
        return json_line(self.as_dict(), sort_keys=True)

    def text(self) -> str:
        """For a terminal."""
        return self.summary.text()

    def page(self) -> str:
        """As Markdown, on a page."""
        facts = [(name, str(value)) for name, value in self._facts().items() if value]
        blocks = [f"# Evaluation of {escaped(str(self.settings.get('student_name')))}", ""]
        partial = self.summary.partial
        whole = [name for name in self.benchmarks if name not in partial]
        heads = [name if name in whole else heading(name, partial) for name in self.intervals]
        blocks += [*table(("measure", *heads), self._rows()), ""]
        for name in self._about():
            blocks += [
                *table((heading(name, partial), "problems", "pass@1, strict", "pass@1, lenient"), self._by(name)),
                "",
            ]
        blocks += [f"- {escaped(note)}" for note in self.summary.remarks()] + [""]
        blocks += ["## Run", "", *table(("run", ""), facts), ""]
        blocks += ["## What comes again", ""]
        blocks += [*(f"- **{name}**: {sentence}" for name, sentence in self._repeatable().items()), ""]
        blocks += ["## Terms", "", *(f"- **{escaped(term)}**: {meaning}" for term, meaning in TERMS.items()), ""]
        return "\n".join(blocks)

    def _repeatable(self) -> dict[str, str]:
        drawing, grader = self.settings.get("sampling", {}), self.settings.get("grader", {})
        return repeatable(self.drawn_by, drawing.get("seed", 0), grader.get("seconds", 0.0))

    def _rows(self) -> list[tuple[str, ...]]:
        n = self.summary.measures.n
        counted = [self.benchmarks.get(name, self.summary.measures) for name in self.intervals]
        rows = [("problems", *(str(len(one.problems)) for one in counted))]
        for verdict in VERDICTS:
            for name in (*(f"pass@{k}" for k in shown_ks(n)), "maj@n"):
                cells = (told(of[f"{verdict} {name}"]) for of in self.intervals.values())
                rows.append((f"{name.replace('@n', f'@{n}')}, {verdict}", *cells))
        for name, words in WORDS.items():
            cells = (told(of.get(name), name) for of in self.intervals.values())
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
            cells = (told(ends[f"{verdict} pass@1"]) for verdict in VERDICTS)
            rows.append((value, str(len(found.problems)), *cells))
        return rows

    def _about(self) -> list[str]:
        """What problems can be grouped by."""
        names = dict.fromkeys(name for one in self.samples for name in one.about if name != PARTIAL)
        values = {name: {one.about.get(name) for one in self.samples} - {None} for name in names}
        return [name for name, of in values.items() if 1 < len(of) <= _MOST_GROUPS]

    def _notes(self) -> Counter[str]:
        notes: Counter[str] = Counter()
        if self.forced:
            notes["drafts were closed after the budget, and the student went on"] = self._forced
        if self.looped:
            notes["samples were stopped because they went round in circles"] = self._looped
        return notes

    @property
    def _forced(self) -> int:
        return sum(one.forced_at is not None for one in self.samples)

    @property
    def _looped(self) -> int:
        return sum(one.finish_reason == LOOPED for one in self.samples)

    def _facts(self) -> dict[str, Any]:
        about = self.settings
        drawn = about.get("sampling", {})
        return {
            "student": about.get("student_name"),
            "tasks": ", ".join(f"{name} ({where})" for name, where in about.get("tasks", {}).items()),
            "limit": about.get("limit") and f"the first {about['limit']} problems of each task",
            "sampling": ", ".join(f"{name} {value}" for name, value in drawn.items() if value or name == "seed"),
            "draft": about.get("draft") and f"closed after {about['draft']['tokens']} tokens",
            "loops": about.get("loops"),
            "grader": about.get("grader", {}).get("name"),
            "drawn by": ", ".join(f"{name}: {count} samples" for name, count in self.drawn_by.items()),
            "result": about.get("fingerprint"),
            "date": about.get("date"),
            "command": about.get("command"),
        }
