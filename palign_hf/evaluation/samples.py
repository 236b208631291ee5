"""Samples with their labels, and partial benchmarks, which are marked beside every figure.

A benchmark is partial if only some of its problems were asked, or if a copy has other content. Each sample has the
reason in the column `partial`, so that reports, comparisons and cards can show it. Where the column is missing or
empty, a benchmark is complete as far as known.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from palign_hf.errors import UserError, shown
from palign_hf.grading import Grade, last_boxed
from palign_hf.prompts import TagStyle
from palign_hf.repetition import loops
from palign_hf.schema import Table


NO_OUTPUT, EMPTY = "no output", "empty output"
_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class StudentOutput:
    """A student's output for a problem, before grading. `text` is None for a crashed one, with the reason in `error`.

    `forced_at` is the number of tokens after which its draft was closed by a budget; None where the student closed it.
    `about` are other columns of the problem, such as its difficulty, to report by.
    """

    id: str
    benchmark: str
    sample: int
    question: str | None
    gold: str
    text: str | None
    finish_reason: str | None = None
    tokens: int | None = None
    draft_tokens: int | None = None
    forced_at: int | None = None
    seed: int | None = None
    error: str | None = None
    about: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def blank(self) -> bool:
        """Whether nothing was written."""
        return not (self.text or "").strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Labels:
    """Labels of a text.

    `draft`: it begins with a tagged draft. `closed`: that draft, if any, was ended. `cut`: it reached its token limit
    (None where the finish reason is unknown). `draft_share`: characters of the draft over those of the text.
    """

    strict: bool
    lenient: bool
    answer: str | None
    error: str | None
    draft: bool
    closed: bool
    boxed: bool
    loop: bool
    cut: bool | None
    draft_share: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample(Labels):
    """An output, graded: a row of SAMPLES."""

    id: str
    benchmark: str
    sample: int
    question: str | None
    gold: str
    text: str | None
    finish_reason: str | None
    tokens: int | None
    draft_tokens: int | None
    forced_at: int | None = None
    seed: int | None
    about: Mapping[str, str | None]

    @property
    def problem(self) -> tuple[str, str]:
        """Key of the problem: ids are unique within a benchmark."""
        return self.benchmark, self.id

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """The sample of a row as `row` makes it: columns beyond the table are about the problem."""
        known = {name: row[name] for name in SAMPLES.columns}
        return cls(**known, about={name: value for name, value in row.items() if name not in SAMPLES.columns})

    def row(self) -> dict[str, Any]:
        """The row of the table, with the problem's other columns."""
        return {name: getattr(self, name) for name in SAMPLES.columns} | dict(self.about)


SAMPLES = Table(
    "SAMPLES",
    1,
    {
        "id": "string",
        "benchmark": "string",
        "sample": "int32",
        "question": "string",
        "gold": "string",
        "text": "string",
        "finish_reason": "string",
        "tokens": "int32",
        "draft_tokens": "int32",
        "forced_at": "int32",
        "seed": "int64",
        "strict": "bool",
        "lenient": "bool",
        "answer": "string",
        "error": "string",
        "draft": "bool",
        "closed": "bool",
        "boxed": "bool",
        "loop": "bool",
        "cut": "bool",
        "draft_share": "float64",
    },
    unique=("benchmark", "id", "sample"),
    required=("id", "benchmark", "sample", "gold", "strict", "lenient", "draft", "closed", "boxed", "loop"),
)


def label(text: str | None, grade: Grade, finish_reason: str | None, tags: TagStyle) -> Labels:
    """The labels of a text, by the grader and from the text itself."""
    cut = finish_reason == "length" if finish_reason is not None else None
    if text is None or not text.strip():
        nothing = NO_OUTPUT if text is None else EMPTY
        return Labels(
            strict=False,
            lenient=False,
            answer=None,
            error=grade.error or nothing,
            draft=False,
            closed=False,
            boxed=False,
            loop=False,
            cut=bool(cut),
            draft_share=0.0,
        )
    stripped = text.lstrip()
    draft, _, closed = tags.split(stripped)
    return Labels(
        strict=grade.strict,
        lenient=grade.lenient,
        answer=grade.answer,
        error=grade.error,
        draft=bool(tags.open) and stripped.startswith(tags.open),
        closed=closed,
        boxed=last_boxed(text) is not None,
        loop=loops(text),
        cut=cut,
        draft_share=len(draft) / len(stripped),
    )


def ungraded(output: StudentOutput) -> Grade:
    """The grade of an empty output, which no grader sees."""
    return Grade(False, False, None, output.error)


def sampled(output: StudentOutput, grade: Grade, tags: TagStyle) -> Sample:
    """Combine an output and its grade; an empty output has no tokens unless its cost is known."""
    known = {
        one.name: getattr(output, one.name) for one in fields(StudentOutput) if one.name not in ("error", "tokens")
    }
    tokens = 0 if output.tokens is None and output.blank else output.tokens
    return Sample(**known, tokens=tokens, **asdict(label(output.text, grade, output.finish_reason, tags)))


def check_complete(
    samples: Iterable[StudentOutput | Sample], problems: int | None = None, each: int | None = None
) -> dict[tuple[str, str], int]:
    """Count the samples of each problem; raise unless there are `problems` problems with `each` samples each.

    Call it before anything is reported: missing samples would make figures better than they are.
    """
    counts: Counter[tuple[str, str]] = Counter()
    seen: set[tuple[str, str, int]] = set()
    for one in samples:
        counts[one.benchmark, one.id] += 1
        key = (one.benchmark, one.id, one.sample)
        if key in seen:
            raise UserError(
                f"Sample {one.sample} of the problem `{shown(one.id)}` occurs twice. Remove the duplicate, "
                f"or number the samples of each problem."
            )
        seen.add(key)
    if problems is not None and len(counts) != problems:
        raise UserError(
            f"There are {len(counts)} problems, and {problems} were expected. Each counts: give the outputs of all, "
            f"empty ones for those without."
        )
    wrong = [key for key, count in counts.items() if each is not None and count != each]
    if wrong:
        raise UserError(
            f"{len(wrong)} of {len(counts)} problems don't have the {each} samples that were expected: "
            f"{_few(wrong, counts)}. Each sample counts: give all, empty ones for those that failed."
        )
    return dict(counts)


def _few(wrong: Sequence[tuple[str, str]], counts: Mapping[tuple[str, str], int]) -> str:
    named = ", ".join(f"`{shown(key[1])}` has {counts[key]}" for key in wrong[:_NAMED])
    return named + (", ..." if len(wrong) > _NAMED else "")


PARTIAL = "partial"


def partial_of(samples: Iterable[Sample]) -> dict[str, str]:
    """Map each partial benchmark to its reason."""
    found: dict[str, str] = {}
    for sample in samples:
        if reason := sample.about.get(PARTIAL):
            found.setdefault(sample.benchmark, reason)
    return found


def partial_words(reasons: Mapping[str, str]) -> str:
    """All reasons in one line."""
    return ", ".join(f"{name} {reason}" for name, reason in reasons.items())


def heading(name: str, reasons: Mapping[str, str]) -> str:
    """Heading of figures: of the benchmark of that name, else of all benchmarks."""
    if not reasons:
        return name
    return f"{name} (partial: {reasons.get(name) or partial_words(reasons)})"


def remarks(reasons: Mapping[str, str]) -> list[str]:
    """Remarks below the figures."""
    return [
        f"{name} is partial ({reason}): these are no figures of the whole benchmark, and no leaderboard gets them"
        for name, reason in reasons.items()
    ]
