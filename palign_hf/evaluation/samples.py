"""One evaluated output with its labels, as a dataclass and as the SAMPLES table. Pure, but for the table's features.

`strict`, `lenient`, `answer` and `error` are the grader's; the other labels are read from the text. An output with
nothing in it is wrong, whatever its gold answer: it has no box, and no draft that was ended.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from palign_hf.errors import UserError, shown
from palign_hf.grading import Grade, last_boxed
from palign_hf.loops import loops
from palign_hf.prompts import TagStyle
from palign_hf.schema import Table


NO_OUTPUT, EMPTY = "no output", "empty output"
_NAMED = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Output:
    """What a student wrote to a problem, before it is graded. `text` is None for one that crashed: `error` says why.

    `forced_at` is the number of tokens after which its draft was closed for it; None where it closed it by itself.
    `about` is what else is known of the problem, such as its difficulty, to report by.
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
    """What is to be known of a text.

    `draft`: it begins with a tagged draft. `closed`: that draft, if there is one, was ended. `cut`: its tokens ran out
    (None where nobody knows why it ended). `draft_share`: characters of the draft over those of the text.
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
        """What names the problem: ids are those of a benchmark."""
        return self.benchmark, self.id

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Self:
        """The sample of a row as `row` makes it: columns beyond the table are about the problem."""
        known = {name: row[name] for name in SAMPLES.columns}
        return cls(**known, about={name: value for name, value in row.items() if name not in SAMPLES.columns})

    def row(self) -> dict[str, Any]:
        """The row of the table, and what is told about the problem as further columns."""
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
    """The labels of a text: those of the grader and those that the text itself has."""
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
    said = text.lstrip()
    draft, _, closed = tags.split(said)
    return Labels(
        strict=grade.strict,
        lenient=grade.lenient,
        answer=grade.answer,
        error=grade.error,
        draft=bool(tags.open) and said.startswith(tags.open),
        closed=closed,
        boxed=last_boxed(text) is not None,
        loop=loops(text),
        cut=cut,
        draft_share=len(draft) / len(said),
    )


def ungraded(output: Output) -> Grade:
    """What stands for the grade of an output with nothing in it, which no grader sees."""
    return Grade(False, False, None, output.error)


def sampled(output: Output, grade: Grade, tags: TagStyle) -> Sample:
    """An output as a sample; one with nothing in it has no tokens, unless it is known what it cost."""
    known = {one.name: getattr(output, one.name) for one in fields(Output) if one.name not in ("error", "tokens")}
    tokens = 0 if output.tokens is None and output.blank else output.tokens
    return Sample(**known, tokens=tokens, **asdict(label(output.text, grade, output.finish_reason, tags)))


def check_complete(
    samples: Iterable[Output | Sample], problems: int | None = None, each: int | None = None
) -> dict[tuple[str, str], int]:
    """How many samples each problem has; refused unless there are so many problems, with so many samples each.

    To be called before anything is reported: what is missing would make any figure better than it is.
    """
    counts: Counter[tuple[str, str]] = Counter()
    seen: set[tuple[str, str, int]] = set()
    for one in samples:
        counts[one.benchmark, one.id] += 1
        key = (one.benchmark, one.id, one.sample)
        if key in seen:
            raise UserError(
                f"Sample {one.sample} of the problem `{shown(one.id)}` is there twice. Leave out what is there twice, "
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
    told = ", ".join(f"`{shown(key[1])}` has {counts[key]}" for key in wrong[:_NAMED])
    return told + (", ..." if len(wrong) > _NAMED else "")
