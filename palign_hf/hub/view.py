"""A view of kept pairs for any trainer: a configuration of `prompt` and `completion` beside that of PAIRS.

    SFTTrainer(model, train_dataset=load_dataset("me/pairs", "small-pairs-prompt-sft", split="train"))

A row a kept pair, by its `id`, without this package; its texts are those of `to_sft`.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palign_hf.hub.names import VIEW, view_name
from palign_hf.hub.plan import Item
from palign_hf.pairs.conversation import prompt_and_completion, tag_inside
from palign_hf.prompts import SOLVE, TAG_STYLES, TagStyle, tag_style


if TYPE_CHECKING:
    import pyarrow as pa

logger = logging.getLogger("palign_hf")

SPLIT = "train"
_READ = ("id", "question", "prefix", "continuation")


def view_entry(config: str) -> dict[str, Any]:
    """The view of a configuration, as a card lists it."""
    return {
        "config_name": view_name(config),
        "data_files": [{"split": SPLIT, "path": f"{VIEW}/{config}/{SPLIT}-*"}],
    }


def view_items(config: str, shards: Mapping[str, Path], settings: Mapping[str, Any]) -> list[Item]:
    """The view's files: one for each shard of kept pairs, with the tags that the run has used."""
    style = _style(settings.get("tags"))
    return [Item(f"{VIEW}/{config}/{name}", _view(file, style)) for name, file in shards.items()]


def _view(file: Path, style: TagStyle) -> bytes:
    import pyarrow as pa
    import pyarrow.parquet as pq

    given = pq.read_table(file, columns=list(_READ)).to_pylist()
    rows = [row for row in given if tag_inside(row, style) is None]
    if len(rows) < len(given):
        logger.warning(
            "%d of %d rows of `%s` left out of the view for trainers: their text holds a tag of the target itself",
            len(given) - len(rows),
            len(given),
            file.name,
        )
    made = [{"id": row["id"], **prompt_and_completion(row, style, SOLVE)} for row in rows]
    buffer = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist(made, schema=_schema()), buffer)
    return bytes(buffer.getvalue().to_pybytes())


def _schema() -> "pa.Schema":
    import pyarrow as pa

    turns = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
    return pa.schema([("id", pa.string()), ("prompt", turns), ("completion", turns)])


def _style(tags: Any) -> TagStyle:
    """That of a begun reply, as a report has it; with the paper's way of asking no tags are shown to the student."""
    if not tags:
        return tag_style("prefix")
    begin, end = tags
    known = (style for style in TAG_STYLES.values() if (style.open, style.close) == (begin, end))
    return next(known, None) or TagStyle("its own", begin, end)
