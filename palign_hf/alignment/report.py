"""Report of an alignment: kept shares by source and length, flags, costs, and warnings, each with a remedy."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from palign_hf.alignment.counts import Tally, ValueShare
from palign_hf.errors import UserError, listed, nearest, shown
from palign_hf.generation.sampling import SamplingUsage
from palign_hf.runs.report import StageReport, often
from palign_hf.schema import PAIRS, check_table
from palign_hf.tables import escaped, figures, number, share, spread_text, table


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
        usage: SamplingUsage | None = None,
        settings: Mapping[str, Any] | None = None,
        by: Iterable[str] = (),
    ) -> "AlignmentReport":
        """Measure PAIRS, as one table or by splits.

        `usage` adds the costs of the run that made it, `by` names further columns whose values are compared.
        """
        splits = list(pairs.values()) if isinstance(pairs, Mapping) else [pairs]
        names = (by,) if isinstance(by, str) else tuple(by)
        for split in splits:
            check_table(split.select(range(0)), PAIRS)
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

    def _add_costs(self, usage: SamplingUsage) -> None:
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


# Fewest problems, and fewest problems with a value of a column, for a warning.
_FEWEST = 10
_KEPT = 0.1
_SKEW = (0.67, 1.5)
_MOST_NAMED = 5

# Highest share of samples with a flag or figure that needs no warning, and the warning beyond it.
_FLAGS = {
    "cut": (0.3, "were cut before they ended. Raise `max_tokens`, and the context of the engine with it."),
    "loop": (0.2, "repeat themselves (loop). Raise `temperature` or `repetition_penalty`, or take another student."),
    "no_box": (
        0.3,
        "have no box, so they can't be right strictly: the student doesn't box. Use another template, or "
        'take `right="lenient"`.',
    ),
    "leak": (
        0.2,
        "have a prefix that gives the answer away, so there is nothing left to find. Cut the traces shorter, or "
        "name `leak` in `refuse`.",
    ),
    "restart": (
        0.3,
        'solve from the start instead of continuing from the prefix. Set `mode="prefill"`: the student then '
        "continues the prefix as its own reply.",
    ),
}
_FIGURES = {
    "only_lenient": (
        0.1,
        "are right only leniently: the student finds answers that it doesn't box. Ask it to with another template, or "
        'take `right="lenient"`.',
    ),
    "grading_error_share": (
        0.05,
        "could not be graded and count as wrong. See the column `grading_error`, and correct those gold answers or "
        "take another grader.",
    ),
}
_PREFILLED = (
    "solve from the start although the prefix is the beginning of their answer. Look at some of them: the student may "
    "not follow such traces, or the cuts lie too early."
)


def warnings(report: "AlignmentReport") -> list[str]:
    """Return all warnings; figures of few problems give none, failed rows always do."""
    found = [*_of_problems(report), *_of_samples(report), *_of_values(report)]
    if report.failed:
        found.append(
            f"{report.failed} rows were skipped or ended in an error and gave no pair; see their `reason`. Run the "
            f"same command again to retry those with an error; skipped ones need a longer context, or a corrected row."
        )
    return found


def _of_problems(report: "AlignmentReport") -> Iterator[str]:
    kept = report.kept_problem_share
    if kept is not None and often(1 - kept, report.asked_problems, 1 - _KEPT, _FEWEST):
        yield (
            f"{f'Only {kept:.1%}' if kept else 'None'} of the sampled problems have a kept pair. Check the "
            f"reasons first; then draw more samples of each problem (`n`), let them fall back "
            f"(`fallback=longer_prefix`), or take a stronger student."
        )


def _of_samples(report: "AlignmentReport") -> Iterator[str]:
    shares = [(name, report.flags[name]["share"], *rule) for name, rule in _FLAGS.items()]
    shares += [(name, getattr(report, name), *rule) for name, rule in _FIGURES.items()]
    for name, part, limit, words in shares:
        if often(part, report.asked_problems, limit, _FEWEST):
            prefilled = name == "restart" and set(report.modes) == {"prefill"}
            yield f"{part:.0%} of the samples {_PREFILLED if prefilled else words}"


def _of_values(report: "AlignmentReport") -> Iterator[str]:
    least, most = _SKEW
    for column, values in report.kept_by.items():
        skewed = [
            f"{_quoted(found['value'])} ({found['skew']:.2f})"
            for found in values
            if found["values"] == 1 and found["problems"] >= _FEWEST and found["skew"] is not None
            if not least <= round(found["skew"], 9) <= most
        ]
        if skewed and report.asked_problems >= _FEWEST:
            more = f" and {len(skewed) - _MOST_NAMED} more" if len(skewed) > _MOST_NAMED else ""
            # There each length is a separate value, so a cap on values wouldn't balance lengths.
            way = "" if column == "trace_tokens" else f"Balance it with {_quoted(f'balance.per={column}')}, or draw"
            yield (
                f"Some values of {_quoted(column)} have a share of the pairs that is far from their share of the "
                f"problems (skew): {', '.join(skewed[:_MOST_NAMED])}{more}. {way or 'Draw'} more samples (`n`) of "
                f"what is seldom kept."
            )


def _quoted(text: str) -> str:
    """Put a value of a table in backticks, without backticks inside, so that it isn't read as markup."""
    return f"`{shown(text).replace('`', chr(39))}`"
