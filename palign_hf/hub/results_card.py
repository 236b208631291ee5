"""The card of a repository of evaluations: one part for each student and run, with its figures and how to load it.

Parts and keys survive as those of `palign_hf.hub.dataset_card` do.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from palign_hf.hub.frontmatter import FrontMatter, named
from palign_hf.hub.marks import parts, with_parts
from palign_hf.hub.model_card import evaluation_blocks
from palign_hf.tables import escaped


logger = logging.getLogger("palign_hf")

_TAGS = ("palign-hf", "evaluation", "reasoning")
_ABOUT = "about"
_WHAT = (
    "What students wrote to the problems of benchmarks, with the verdict on every sample. A row is a sample: the "
    "problem's `id` and `benchmark`, its `gold` answer, the `text`, why it ended, its tokens and its seed, the "
    "grader's verdicts `strict` (the last complete box) and `lenient` (any reader's find), and whether it has a box, "
    "a draft, a loop. Samples that failed are rows, too, and count as wrong. lighteval's own results and details lie "
    "in `lighteval/`, reports in `reports/`. The problems are those of the benchmarks, under their own licences."
)


def render(
    evaluation: Mapping[str, Any], repo_id: str, config: str, splits: Sequence[str], existing: str | None
) -> str:
    """The card with this evaluation, from the one that is there; what was left as it is, is logged."""
    card, notes = updated(evaluation, repo_id, config, splits, existing)
    for note in notes:
        logger.warning("%s: %s.", repo_id, note)
    return card


def updated(
    evaluation: Mapping[str, Any], repo_id: str, config: str, splits: Sequence[str], existing: str | None
) -> tuple[str, list[str]]:
    """The same, with notes of what a person has changed and is left as it is."""
    top = FrontMatter(existing or "")
    fresh, own = not parts(top.body), f"config:{config}"
    listed = top.data.get("configs")
    new = fresh or not any(named(one) == config for one in (listed if isinstance(listed, list) else []))
    top.setdefault("pretty_name", repo_id.partition("/")[2])
    if fresh:
        top.add("tags", _TAGS)
    files = [{"split": split, "path": f"{config}/{split}-*"} for split in splits]
    top.put("configs", config, {"config_name": config, "data_files": files})
    if not top.body.strip():
        top.body = f"\n# {escaped(repo_id.partition('/')[2])}\n"
    made = {_ABOUT: f"{_WHAT}\n", own: _part(evaluation, repo_id, config, splits)}
    behind = [name for name in parts(top.body) if name.startswith("config:")] or [_ABOUT]
    top.body, notes = with_parts(top.body, made, set(made) if fresh else {own} if new else (), {own: behind[-1]}.get)
    return top.card(), notes


def _part(evaluation: Mapping[str, Any], repo_id: str, config: str, splits: Sequence[str]) -> str:
    loading = [
        "```python",
        "from datasets import load_dataset",
        "",
        *(f'samples = load_dataset("{repo_id}", "{config}", split="{split}")' for split in splits),
        "```",
        "",
    ]
    return "\n".join([f"## {config}", "", *loading, *evaluation_blocks(evaluation)])
