"""A row during alignment: a problem, the samples that continue its prefix, and their PAIRS rows.

A sample is read from the ledger or generated, then committed, and only then graded. An error of a row affects that row
alone. All statuses and reasons of problems and samples are assigned here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palign_hf.data.benchmarks import load_index
from palign_hf.data.decontamination import duplicates
from palign_hf.errors import shown
from palign_hf.generation.jobs import broken, oversized, plain_rows
from palign_hf.generation.store import content_key
from palign_hf.grading import Grade
from palign_hf.schema import STATUSES


if TYPE_CHECKING:
    from datasets import Dataset


# Columns of PREFIXES that decide whether a problem is sampled.
_READ = ("id", "question", "trace", "answer", "prefix", "prefix_end", "status")


def sieved(
    prefixes: "Dataset",
    benchmarks: Sequence[str],
    paths: Mapping[str, str | Path] | None = None,
    drop_duplicates: bool = False,
) -> dict[str, str]:
    """Return the ids of a table of PREFIXES that are not sampled, with their reasons.

    A problem that is left out for another reason (it has no answer, say) doesn't count as the first of its repeats.
    """
    if not benchmarks and not drop_duplicates:
        return {}
    ids: list[str] = []
    questions: list[str] = []
    asked: list[int] = []
    for row in plain_rows(prefixes.select_columns(list(_READ))):
        if row["question"]:
            asked += [len(ids)] if closed(row, {}) is None else []
            ids.append(row["id"])
            questions.append(row["question"])
    found = repeated([ids[at] for at in asked], [questions[at] for at in asked]) if drop_duplicates else {}
    return found | (contaminated(ids, questions, benchmarks, paths) if benchmarks else {})


def contaminated(
    ids: Sequence[str],
    questions: Sequence[str],
    benchmarks: Sequence[str],
    paths: Mapping[str, str | Path] | None = None,
) -> dict[str, str]:
    """Return the ids of questions that a benchmark contains, with the match; `paths` are local copies of some."""
    index = load_index(benchmarks, paths, questions)
    found = ((row_id, index.find(question)) for row_id, question in zip(ids, questions, strict=True))
    return {
        row_id: f"contaminated: {match.kind} copy of {match.benchmark} question {match.row}"
        for row_id, match in found
        if match is not None
    }


def repeated(ids: Sequence[str], questions: Sequence[str]) -> dict[str, str]:
    """Return the ids of questions that repeat an earlier one."""
    first = duplicates(questions)
    return {ids[at]: "repeats another problem" for at, leader in enumerate(first) if leader != at}


@dataclass(frozen=True, slots=True)
class Beginning:
    """A prefix to continue: its text, end in the trace, and prompt; `fallback` where it isn't the found prefix."""

    prefix: str
    end: int | None
    tokens: int
    prompt: list[int]
    fallback: str | None = None


@dataclass(frozen=True, slots=True)
class Drawn:
    """A sample with its text, cost, grade and flags; `fresh` if it was generated in this run. `error` is set without a
    sample.
    """

    number: int
    beginning: Beginning
    seed: int
    text: str = ""
    finish_reason: str | None = None
    tokens: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    grade: Grade | None = None
    flags: tuple[str, ...] = ()
    against: tuple[str, ...] = ()
    engine: str | None = None
    fresh: bool = False
    error: str | None = None

    @property
    def kept(self) -> bool:
        """Whether it is trained on."""
        return self.grade is not None and not self.against


@dataclass(slots=True)
class AlignmentRow:
    """A problem being continued: a job (`key`, `weight`), and its samples.

    A row that isn't sampled has no `beginning`; `reason` explains why it was `left_out` or `skipped`.
    """

    source: Mapping[str, Any]
    key: bytes = b""
    beginning: Beginning | None = None
    status: str | None = None
    reason: str | None = None
    expected: int = 0
    drawn: list[Drawn] = field(default_factory=list)
    asked: int = 0

    @property
    def weight(self) -> int:
        """Tokens of KV cache that it is expected to hold."""
        return len(self.beginning.prompt) + self.expected if self.beginning is not None else 0

    @property
    def kept(self) -> bool:
        """Whether one of its samples is kept."""
        return any(one.kept for one in self.drawn)


def closed(source: Mapping[str, Any], left_out: Mapping[str, str]) -> tuple[str, str] | None:
    """Why a problem isn't sampled, as (status, reason), as far as no tokenizer is needed."""
    if (reason := left_out.get(source["id"])) is not None:
        return "left_out", reason
    if source["status"] in ("skipped", "error"):
        return "left_out", f"it has no prefix: its row is `{source['status']}`"
    if source["status"] not in STATUSES:
        return "skipped", f"its status is `{shown(source['status'])}`, which no row of PREFIXES has"
    for name in ("question", "trace", "prefix"):
        value = source[name]
        if value is None or not isinstance(value, str):
            return "skipped", f"the {name} is {'null' if value is None else type(value).__name__}, not text"
        if why := oversized(value):
            return "skipped", f"the {name} {why}"
        if why := broken(value):
            return "skipped", f"the {name} is broken: {why}"
    if not source["question"].strip():
        return "skipped", "the question is empty"
    if not source["trace"].startswith(source["prefix"]):
        return "skipped", "the prefix is not the beginning of its trace"
    if source["prefix_end"] != len(source["prefix"]):
        return "skipped", f"`prefix_end` is {source['prefix_end']}, but the prefix ends at {len(source['prefix'])}"
    if source["answer"] is None or not str(source["answer"]).strip():
        return "left_out", "it has no gold answer, so nothing can be verified"
    if why := broken(str(source["answer"])):
        return "skipped", f"the answer is broken: {why}"
    return None


def problem_key(question: str, prefix: str) -> bytes:
    """Key of a prefix in the ledger: the same texts have the same samples."""
    return content_key(question, prefix)


def pair_rows(row: AlignmentRow, mode: str, carry: tuple[str, ...]) -> Iterator[dict[str, Any]]:
    """The PAIRS rows of a problem: one per sample, or one with the reason why there is none."""
    source = row.source
    shared = {name: _writable(source[name]) for name in ("id", "question", "answer", "source")}
    shared |= {"trace_tokens": source["trace_tokens"], "mode": mode}
    shared |= {name: _writable(source[name]) if isinstance(source[name], str) else source[name] for name in carry}
    if not row.drawn:
        given = {"prefix": _writable(source["prefix"]) or "", "prefix_end": source["prefix_end"]}
        given |= {"prefix_tokens": source["prefix_tokens"], "status": row.status, "reason": row.reason}
        yield _NOTHING | shared | given | {"continuation": "", "sample": 0}
    for one in row.drawn:
        at = one.beginning
        columns = _NOTHING | shared | {"prefix": at.prefix, "prefix_end": at.end, "prefix_tokens": at.tokens}
        columns |= {"fallback": at.fallback, "sample": one.number, "seed": one.seed, "continuation": one.text}
        if one.grade is None:
            yield columns | {"status": "error", "reason": _writable(one.error)}
            continue
        yield columns | {
            "status": "kept" if one.kept else "rejected",
            "reason": "; ".join(one.against) or None,
            "finish_reason": one.finish_reason,
            # A custom grader may return any text.
            "answer_found": _writable(one.grade.answer),
            "strict": bool(one.grade.strict),
            "lenient": bool(one.grade.lenient),
            "grading_error": _writable(one.grade.error),
            "flags": list(one.flags),
            "tokens": one.tokens,
            "engine": one.engine,
        }


# Columns of a row without a sample: null where a value could be mistaken for a result.
_NOTHING: dict[str, Any] = {
    "reason": None,
    "fallback": None,
    "seed": None,
    "finish_reason": None,
    "answer_found": None,
    "strict": None,
    "lenient": None,
    "grading_error": None,
    "flags": [],
    "tokens": None,
    "engine": None,
}


def _writable(value: Any) -> Any:
    """A text that a table can hold: invalid Unicode is replaced."""
    if value is None:
        return None
    return str(value).encode("utf-8", "replace").decode()
