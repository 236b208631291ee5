"""A plain dataset card: what the rows are, and for each configuration how to load it and its figures.

It has no template, so any stage can use it. Sections and YAML keys that a person has edited survive the next push.
"""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from palign_hf.hub.frontmatter import FrontMatter, named
from palign_hf.hub.marks import parts, with_parts
from palign_hf.tables import escaped, table


logger = logging.getLogger("palign_hf")

_ABOUT = "about"
_PLAIN_TAGS = ("palign-hf",)


def render_plain(
    about: str, blocks: Sequence[str], repo_id: str, config: str, splits: Sequence[str], existing: str | None
) -> str:
    """The card with this configuration, made from the existing one; sections that stay as edited are logged."""
    card, notes = updated_plain(about, blocks, repo_id, config, splits, existing)
    for note in notes:
        logger.warning("%s: %s.", repo_id, note)
    return card


def updated_plain(
    about: str,
    blocks: Sequence[str],
    repo_id: str,
    config: str,
    splits: Sequence[str],
    existing: str | None,
    *,
    tags: Sequence[str] = _PLAIN_TAGS,
    variable: str = "rows",
) -> tuple[str, list[str]]:
    """The card with this configuration, and notes of the sections that were edited and stay as they are.

    Args:
        about (`str`): What the rows are.
        blocks (`Sequence[str]`): Lines of Markdown with the figures of the configuration.
        repo_id (`str`): The repository.
        config (`str`): The name of the configuration.
        splits (`Sequence[str]`): Its splits.
        existing (`str` or `None`): The card that the repository holds.
        tags (`Sequence[str]`, *optional*): Tags of a new card.
        variable (`str`, *optional*, defaults to `"rows"`): The variable of the loading code.

    Returns:
        `tuple[str, list[str]]`: The card and the notes.
    """
    top = FrontMatter(existing or "")
    fresh, own = not parts(top.body), f"config:{config}"
    listed = top.data.get("configs")
    new = fresh or not any(named(one) == config for one in (listed if isinstance(listed, list) else []))
    top.setdefault("pretty_name", repo_id.partition("/")[2])
    if fresh:
        top.add("tags", tags)
    files = [{"split": split, "path": f"{config}/{split}-*"} for split in splits]
    top.put("configs", config, {"config_name": config, "data_files": files})
    if not top.body.strip():
        top.body = f"\n# {escaped(repo_id.partition('/')[2])}\n"
    made = {_ABOUT: f"{about}\n"} if about else {}
    made[own] = _section(blocks, repo_id, config, splits, variable)
    behind = [name for name in parts(top.body) if name.startswith("config:")] or [_ABOUT]
    top.body, notes = with_parts(top.body, made, set(made) if fresh else {own} if new else (), {own: behind[-1]}.get)
    return top.card(), notes


def report_blocks(report: Mapping[str, Any]) -> list[str]:
    """The figures, reasons and warnings of a report as lines of Markdown."""
    lines = [(str(name), str(value)) for name, value in report.get("lines") or ()]
    reasons = [f"- {count} rows: {escaped(str(reason))}" for reason, count in report.get("reasons", {}).items()]
    warnings = [f"> **Warning.** {escaped(str(line))}\n" for line in report.get("warnings") or ()]
    return [*table(("measured", "value"), lines), "", *reasons, *([""] if reasons else []), *warnings]


def _section(blocks: Sequence[str], repo_id: str, config: str, splits: Sequence[str], variable: str) -> str:
    loading = [
        "```python",
        "from datasets import load_dataset",
        "",
        *(f'{variable} = load_dataset("{repo_id}", "{config}", split="{split}")' for split in splits),
        "```",
        "",
    ]
    return "\n".join([f"## {config}", "", *loading, *blocks])
