"""Report of an alignment: kept and rejected samples with their reasons, costs, and selection skew.

Computed from the PAIRS table itself, so it works for any published pairs; the costs come from the run's counters,
where there was a run. Shares are of samples unless a line names problems.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from palign_hf.alignment.advice import warnings
from palign_hf.alignment.shares import ValueShare
from palign_hf.alignment.tally import Tally
from palign_hf.asking.usage import Usage
from palign_hf.errors import UserError, listed, nearest, shown
from palign_hf.runs.report import StageReport
from palign_hf.schema import PAIRS, check
from palign_hf.statistics import share
from palign_hf.tables import escaped, figures, number, spread_text, table


if TYPE_CHECKING:
    from datasets import Dataset

_BATCH = 10_000

_TERMS = {
    "sample": "one continuation that the student wrote from a prefix; a row that is kept or rejected.",
    "kept": "a sample that is trained on, together with its prefix: a pair.",
    "rejected": "a sample that a rule rejected, such as a wrong or cut one.",
    "left_out": "a problem that is not sampled: no gold answer, no prefix, a copy of a benchmark question.",
    "skipped, error": "a problem that could not be sampled, and one whose sampling failed.",
    "asked": "problems with a sample or an error; shares of problems are of these.",
    "right, strict": "the box of the sample holds the gold answer.",
    "right, lenient": "the sample's answer is the gold answer, boxed or not.",
    "first sample right": "problems that are right (strict) by their first sample, of those with a graded one.",
    "problems with a right sample": "problems that are right (strict) by any of their samples.",
    "grading error": "a sample that the grader could not judge; it counts as wrong.",
    "finished": "the student ended the sample itself, it was not cut.",
    "cut": "a flag: the sample reached its token limit.",
    "loop": "a flag: the sample repeats itself.",
    "leak": "a flag: the prefix already states the gold answer.",
    "no_box": "a flag: no complete box holds an answer.",
    "restart": "a flag: the sample solves from the start instead of continuing.",
    "language": "a flag: the sample leaves the script of the question and the prefix.",
    "prefix share of the target": "tokens of the prefix over those of prefix and continuation.",
    "longer_prefix, full_trace": "problems without a kept sample, sampled again from more of the trace.",
    "others": "the values with the fewest problems, where there are too many to list them all.",
    "kept rate": "problems with a kept pair over those asked.",
    "skew": "share of the kept pairs over the share of all problems: 1 means no skew.",
}


@dataclass
class AlignmentReport(StageReport):
    """Figures of a PAIRS table; `None` where nothing was measured."""

    stage = "align"
    terms = _TERMS

    problems: int
    asked_problems: int
    kept_problems: int
    kept_problem_share: float | None
    samples: int
    samples_a_problem: float | None
    first_right: float | None
    problem_right: float | None
    graded: int
    strict: float | None
    lenient: float | None
    only_lenient: float | None
    grading_errors: int
    grading_error_share: float | None
    finished: float | None
    modes: dict[str, int]
    flags: dict[str, dict[str, Any]]
    tokens: dict[str, float] | None
    kept_tokens: dict[str, float] | None
    prefix_share: dict[str, float] | None
    fallbacks: dict[str, dict[str, int]]
    kept_by: dict[str, list[ValueShare]]
    asked: int | None = None
    computed_tokens: int | None = None
    cached_tokens: int | None = None
    cached_share: float | None = None
    generated_tokens: int | None = None
    asked_tokens: int | None = None

    @classmethod
    def of(
        cls,
        pairs: "Dataset | Mapping[str, Dataset]",
        usage: Usage | None = None,
        settings: Mapping[str, Any] | None = None,
        by: Iterable[str] = (),
    ) -> "AlignmentReport":
        """Measure PAIRS, as one table or by splits.

        `usage` adds the costs of the run that made it, `by` names further columns whose values are compared.
        """
        splits = list(pairs.values()) if isinstance(pairs, Mapping) else [pairs]
        names = (by,) if isinstance(by, str) else tuple(by)
        for split in splits:
            check(split.select(range(0)), PAIRS)
            _check_by(split, names)
        tally = Tally(names)
        for split in splits:
            columns = split.select_columns(list(tally.columns)).with_format("arrow")
            for batch in columns.iter(batch_size=_BATCH):
                tally.add(batch)
        report = cls(settings=dict(settings or {}), **tally.figures())
        if usage is not None and usage.samples:
            report._add_costs(usage)
        return report

    @property
    def pairs(self) -> int:
        """Number of kept samples."""
        return self.statuses["kept"]

    @property
    def failed(self) -> int:
        """Rows that were skipped or failed: a run with any of them is not a full success."""
        return self.statuses["skipped"] + self.statuses["error"]

    def warnings(self) -> list[str]:
        """Warnings about few, poor or skewed pairs, each with a remedy."""
        return warnings(self)

    def lines(self) -> list[tuple[str, str]]:
        """The figures as (name, value) pairs in reading order."""
        flags = {name: found for name, found in self.flags.items() if found["samples"]}
        went = {name: found for name, found in self.fallbacks.items() if found["problems"]}
        lines = [
            *self.counted(),
            ("problems", f"{self.problems:,}"),
            ("problems asked", f"{self.asked_problems:,}"),
            *_of(self.kept_problems, self.kept_problem_share, "problems with a kept pair", "of those asked"),
            ("samples", f"{self.samples:,}"),
            *figures(
                ("samples a problem", self.samples_a_problem, ".2f"),
                ("first sample right", self.first_right, ".1%"),
                ("problems with a right sample", self.problem_right, ".1%"),
                ("right, strict", self.strict, ".1%"),
                ("right, lenient", self.lenient, ".1%"),
                ("right only leniently", self.only_lenient, ".1%"),
            ),
            *_of(self.grading_errors, self.grading_error_share if self.grading_errors else None, "grading errors"),
            *figures(("finished", self.finished, ".1%")),
            *((f"flag {name}", _flagged(found)) for name, found in flags.items()),
            *_spread("continuation tokens", self.tokens, ",.0f"),
            *_spread("continuation tokens, kept", self.kept_tokens, ",.0f"),
            *_spread("prefix share of the target, kept", self.prefix_share, ".3f"),
            *(
                (f"fell back to {name}", f"{n['problems']:,} problems, {n['pairs']:,} pairs")
                for name, n in went.items()
            ),
        ]
        return lines + figures(
            ("samples drawn in this run", self.asked, ","),
            ("tokens generated in this run", self.asked_tokens, ","),
            ("tokens generated", self.generated_tokens, ","),
            ("prompt tokens computed", self.computed_tokens, ","),
            ("prompt tokens from the cache", self.cached_tokens, ","),
            ("cached share", self.cached_share, ".1%"),
        )

    def title(self) -> str:
        """Heading of the page, unescaped."""
        student = self.settings.get("student_name", "?")
        return f"{self.pairs} pairs out of {self.problems} problems, continued by {student}"

    def facts(self) -> dict[str, Any]:
        """The page's facts about the run."""
        about = self.settings
        source = about.get("input", {})
        return {
            "student": about.get("student_name"),
            "mode": about.get("mode") or ", ".join(self.modes),
            "prefixes": source.get("source"),
            "revision": source.get("revision"),
        } | self.made_by()

    def sections(self) -> list[str]:
        """One table for each column whose kept shares are compared."""
        head = ("problems", "share of problems", "asked", "with a kept pair", "kept rate", "share of pairs", "skew")
        groups = [(shown(column), values) for column, values in self.kept_by.items() if values]
        return [
            "\n".join([f"## Kept by {escaped(column)}", "", *table((column, *head), map(_cells, values)), ""])
            for column, values in groups
        ]

    def _add_costs(self, usage: Usage) -> None:
        self.asked, self.asked_tokens, self.generated_tokens = usage.asked, usage.asked_tokens, usage.generated_tokens
        self.computed_tokens, self.cached_tokens = usage.computed_tokens, usage.cached_tokens
        self.cached_share = share(usage.cached_tokens, usage.prompt_tokens)


def comparable(pairs: "Dataset", names: Iterable[str]) -> list[str]:
    """Those of the named columns that hold values; lists and structs can be carried, but not compared."""
    from datasets import ClassLabel, Value

    return [name for name in names if isinstance(pairs.features[name], ClassLabel | Value)]


def _check_by(split: "Dataset", by: Iterable[str]) -> None:
    from datasets import ClassLabel, Value

    for name in by:
        if name not in split.column_names:
            raise UserError(
                f"`by={shown(name)}`: the pairs have no such column{nearest(name, split.column_names)}. They have "
                f"{listed(split.column_names)}; name one of them, or join yours to the pairs by `id` first."
            )
        if not isinstance(split.features[name], ClassLabel | Value):
            raise UserError(
                f"`by={shown(name)}`: its rows hold lists or structs, which can't be compared. Name a column of "
                f"texts or numbers, or make one with `dataset.map`."
            )


def _of(count: int, part: float | None, name: str, of: str = "") -> list[tuple[str, str]]:
    """A count with its share; nothing without a share."""
    return [] if part is None else [(name, f"{count:,} ({part:.1%}{f' {of}' if of else ''})")]


def _flagged(found: Mapping[str, Any]) -> str:
    kept = "" if found["kept_share"] is None else f" · of the kept {found['kept']:,} ({found['kept_share']:.1%})"
    return f"{found['samples']:,} ({found['share']:.1%}){kept}"


def _spread(name: str, values: Mapping[str, float] | None, style: str) -> list[tuple[str, str]]:
    return [(name, spread_text(values, style))] if values else []


def _cells(found: ValueShare) -> list[str]:
    return [
        found["value"],
        number(found["problems"], ","),
        number(found["problem_share"], ".1%"),
        number(found["asked"], ","),
        number(found["kept_problems"], ","),
        number(found["kept_rate"], ".1%"),
        number(found["pair_share"], ".1%"),
        number(found["skew"], ".2f"),
    ]
