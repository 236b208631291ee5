"""Write `docs/settings.md` from the declarations that constructors, recipes and options are read off: `make docs`."""

from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any

from palign_hf.config import settings_table
from palign_hf.config.values import hints_of, type_name
from palign_hf.pipeline.recipe import Head
from palign_hf.runs.stages import all_stages


PAGE = Path(__file__).with_suffix(".md")


def page() -> str:
    """The whole page."""
    parts = [
        "# Settings",
        "One table a stage. Each setting is a key of the stage's recipe (dots reach into sections) and an option of "
        "its command: `traces.max_samples` is `--traces.max-samples 100`, or `--set traces.max_samples=100`. Options "
        "win over `--set`, both over the recipe. Settings without a dot are arguments of the transform, too, except "
        "those about files.",
        "Made by `make docs` from the declarations in the package: change those, not this page.",
    ]
    parts += ["## `palign run`", "The head of a chain's recipe; its sections have the keys of their stages."]
    parts.append(settings_table(Head).strip())
    for stage in all_stages():
        parts += [f"## `palign {stage.name}`", _what(stage), settings_table(stage.settings).strip()]
        parts += _forwarded(stage)
    return "\n\n".join(parts) + "\n"


def _what(stage: Any) -> str:
    """The help line of a stage, and its tables."""
    tables = [f"{verb} {table.name}" for verb, table in (("reads", stage.reads), ("writes", stage.writes)) if table]
    flow = f" It {' and '.join(tables)}." if tables else ""
    return f"{stage.help[0].upper()}{stage.help[1:]}.{flow}"


def _forwarded(stage: Any) -> Iterator[str]:
    """The sections that are passed on to the dataclass of another library."""
    forwarded = stage.forwarded() if hasattr(stage, "forwarded") else {}
    for section, kind in forwarded.items():
        base = next(one for one in kind.__mro__[1:] if is_dataclass(one))
        theirs = [one.name for one in fields(base) if one.name in ("learning_rate", "max_length", "packing")]
        named = ", ".join(f"`{section}.{name}`" for name in theirs)
        yield f"### Fields of `{section}`"
        library = base.__module__.split(".")[0]
        yield (
            f"All fields of `{base.__name__}` of {library}, by the same names ({named}, ...), and what "
            f"`{kind.__name__}` adds to them. Names, types and values are checked before anything is loaded."
        )
        yield added_fields(section, kind).strip()


def added_fields(section: str, kind: type) -> str:
    """The fields that a dataclass adds to its base, as a table."""
    hints, rows = hints_of(kind), ["| setting | what it is | type | default |", "|---|---|---|---|"]
    for one in fields(kind):
        if one.name in kind.__annotations__ and one.default is not MISSING:
            default = str(one.default).lower() if isinstance(one.default, bool) else one.default
            cells = [f"`{section}.{one.name}`", one.metadata["help"], type_name(hints[one.name]), f"`{default}`"]
            rows.append("| " + " | ".join(cells) + " |")
    return "\n".join(rows) + "\n"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
