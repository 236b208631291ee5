"""Write `docs/settings.md` from the declarations that constructors, recipes and options are read off: `make docs`."""

from dataclasses import fields
from pathlib import Path

from palign_hf.alignment.run import ALIGN
from palign_hf.config import settings_table
from palign_hf.config.values import hints_of, type_name
from palign_hf.evaluation.run import EVALUATE
from palign_hf.training.config import PAlignConfig
from palign_hf.training.stage import TRAIN
from palign_hf.truncation.run import TRUNCATE


STAGES = [TRUNCATE, ALIGN, TRAIN, EVALUATE]
PAGE = Path(__file__).with_suffix(".md")


def page() -> str:
    """The whole page."""
    parts = [
        "# Settings",
        "One table a stage. Each setting is a key of the stage's recipe (dots reach into sections) and an option of "
        "its command: `traces.limit` is `--traces.limit 100`, or `--set traces.limit=100`. Options win over `--set`, "
        "both over the recipe. Those without a dot are arguments of the transform, too, but for the ones about files.",
        "Made by `make docs` from the declarations in the package: change those, not this page.",
    ]
    for stage in STAGES:
        parts += [f"## `palign {stage.name}`", settings_table(stage.settings).strip()]
    parts += [
        "### Fields of `training`",
        "All that TRL's `SFTConfig` has, by the same names (`training.learning_rate`, `training.max_length`, "
        "`training.packing`, ...), and what `PAlignConfig` adds to it. Names, types and values are checked before "
        "anything is loaded.",
        added_fields().strip(),
    ]
    return "\n\n".join(parts) + "\n"


def added_fields() -> str:
    """The fields that `PAlignConfig` has of its own, as a table."""
    hints, rows = hints_of(PAlignConfig), ["| setting | what it is | type | default |", "|---|---|---|---|"]
    for one in fields(PAlignConfig):
        if one.name in PAlignConfig.__annotations__:
            default = str(one.default).lower() if isinstance(one.default, bool) else one.default
            cells = [f"`training.{one.name}`", one.metadata["help"], type_name(hints[one.name]), f"`{default}`"]
            rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
