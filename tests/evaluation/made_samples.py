"""Samples for tests, made from their verdicts alone."""

from collections.abc import Mapping, Sequence

from palign_hf.evaluation.samples import Sample


NOTHING = {"question": None, "text": "x", "finish_reason": None, "tokens": None, "draft_tokens": None, "seed": None}
NOTHING |= {"answer": None, "error": None, "draft": False, "closed": True, "boxed": False, "loop": False}
NOTHING |= {"cut": None, "draft_share": 0.0, "about": {}, "gold": "1", "benchmark": "b"}


def sample(problem: str, number: int, right: bool = False, **known: object) -> Sample:
    """A sample that is right in any reading, or in none."""
    return Sample(**{**NOTHING, "id": problem, "sample": number, "strict": right, "lenient": right, **known})


def answered(answers: Mapping[str, Sequence[str | None]], gold: str = "1") -> list[Sample]:
    """The samples of problems by their boxed answers; None answered nothing."""
    return [
        sample(problem, number, answer == gold, answer=answer, boxed=answer is not None)
        for problem, given in answers.items()
        for number, answer in enumerate(given)
    ]


def verdicts(rows: Sequence[Sequence[bool]], **known: object) -> list[Sample]:
    """A row of verdicts a problem."""
    return [
        sample(f"p{at:03d}", number, right, **known) for at, row in enumerate(rows) for number, right in enumerate(row)
    ]
