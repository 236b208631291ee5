"""Settings that have moved: an old name ends in one line that gives the new place."""

from collections.abc import Collection


# Old name -> the setting that it belongs to now, and how it is written there.
RENAMED = {
    "verdict": ("criterion", "criterion: {name: self-judge, verdict: generate}"),
    "judge_template": ("criterion", "criterion: {name: self-judge, template: FILE}"),
}


def renamed(name: object, known: Collection[str]) -> str | None:
    """What to write instead of an old name, where `known` has the setting that it belongs to; None for other names."""
    place, spelling = RENAMED.get(str(name), ("", ""))
    return f"`{name}` is now a parameter of `{place}`. Write `{spelling}`." if place in known else None
