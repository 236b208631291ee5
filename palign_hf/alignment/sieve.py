"""Problems that are not to be asked, which only the whole table tells: copies of benchmark questions, and repeats."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from palign_hf.alignment.benchmarks import load_index
from palign_hf.alignment.decontamination import duplicates


def contaminated(
    ids: Sequence[str],
    questions: Sequence[str],
    benchmarks: Sequence[str],
    paths: Mapping[str, str | Path] | None = None,
) -> dict[str, str]:
    """By id, each question that a benchmark holds already, with where; `paths` are local copies of benchmarks."""
    index = load_index(benchmarks, paths, questions)
    found = ((row_id, index.find(question)) for row_id, question in zip(ids, questions, strict=True))
    return {
        row_id: f"contaminated: {match.kind} copy of {match.benchmark} question {match.row}"
        for row_id, match in found
        if match is not None
    }


def repeated(ids: Sequence[str], questions: Sequence[str]) -> dict[str, str]:
    """By id, each question that repeats an earlier one."""
    first = duplicates(questions)
    return {ids[at]: "repeats another problem" for at, leader in enumerate(first) if leader != at}
