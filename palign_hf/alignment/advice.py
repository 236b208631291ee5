"""Warnings of an alignment report, each with a remedy."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from palign_hf.errors import shown
from palign_hf.runs.report import often


if TYPE_CHECKING:
    from palign_hf.alignment.report import AlignmentReport

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
    for name, share, limit, words in shares:
        if often(share, report.asked_problems, limit, _FEWEST):
            prefilled = name == "restart" and set(report.modes) == {"prefill"}
            yield f"{share:.0%} of the samples {_PREFILLED if prefilled else words}"


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
