"""Write `docs/settings.md` from the declarations that constructors, recipes and options are read off: `make docs`."""

from pathlib import Path

from palign_hf.alignment.run import ALIGN
from palign_hf.config import settings_table
from palign_hf.evaluation.run import EVALUATE
from palign_hf.truncation.run import TRUNCATE


STAGES = [TRUNCATE, ALIGN, EVALUATE]
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
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
