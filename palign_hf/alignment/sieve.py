"""Prefilter of problems by the whole table: copies of benchmark questions, and repeated questions."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from palign_hf.alignment.benchmarks import load_index
from palign_hf.alignment.decontamination import duplicates
from palign_hf.alignment.rows import closed
from palign_hf.asking.batches import plain_rows


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
