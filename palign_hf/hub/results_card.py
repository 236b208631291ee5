"""The card of a repository of evaluations: a section for each student and run, with its figures and how to load it."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from palign_hf.hub.model_card import evaluation_blocks
from palign_hf.hub.plain_card import updated_plain


logger = logging.getLogger("palign_hf")

_TAGS = ("palign-hf", "evaluation", "reasoning")
_WHAT = (
    "Solutions that students wrote to benchmark problems, with the verdict on every sample. A row is a sample: the "
    "problem's `id` and `benchmark`, its `gold` answer, the `text`, its finish reason, its tokens and its seed, the "
    "grader's verdicts `strict` (the last complete box, or the boxes that end the text together) and `lenient` (any "
    "reader finds the right answer), and whether it has a box, a draft, a loop. Samples that failed are rows, too, "
    "and count as wrong. lighteval's own results and details lie in `lighteval/`, reports in `reports/`. The problems "
    "are those of the benchmarks, under their own licenses."
)


def render(
    evaluation: Mapping[str, Any], repo_id: str, config: str, splits: Sequence[str], existing: str | None
) -> str:
    """The card with this evaluation, made from the existing one; sections that stay as edited are logged."""
    card, notes = updated(evaluation, repo_id, config, splits, existing)
    for note in notes:
        logger.warning("%s: %s.", repo_id, note)
    return card


def updated(
    evaluation: Mapping[str, Any], repo_id: str, config: str, splits: Sequence[str], existing: str | None
) -> tuple[str, list[str]]:
    """The card with this evaluation, and notes of the sections that were edited and stay as they are."""
    blocks = evaluation_blocks(evaluation)
    return updated_plain(_WHAT, blocks, repo_id, config, splits, existing, tags=_TAGS, variable="samples")
