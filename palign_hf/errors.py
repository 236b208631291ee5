"""The base of errors that a user can act on, and the phrases their messages are made of.

A command prints a `UserError` in one line, without a traceback: what was given (in backticks), why it can't work, what
to do.
"""

import difflib
import unicodedata
from collections.abc import Iterable
from typing import Any

from palign_hf.redact import redact


class UserError(ValueError):
    """What was given, why it can't work, what to do: all of it is in the message, and no secret."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(redact(one) if isinstance(one, str) else one for one in args))


def nearest(word: object, known: Iterable[str]) -> str:
    """` (nearest match: `x`)` or nothing: the end of every message about a misspelt name."""
    match = difflib.get_close_matches(str(word), [str(name) for name in known], n=1, cutoff=0.5)
    return f" (nearest match: `{match[0]}`)" if match else ""


def listed(names: Iterable[object], nothing: str = "none") -> str:
    """Names as they stand in a message."""
    return ", ".join(f"`{name}`" for name in names) or nothing


def visible(text: str) -> str:
    """Text as it may be shown: control, direction and zero-width characters by their number, lines as they are.

    A terminal obeys some of these, and others hide what stands beside them.
    """
    if text.isprintable():
        return text
    return "".join(char if _is_plain(char) else f"<U+{ord(char):04X}>" for char in text)


def _is_plain(char: str) -> bool:
    return char.isprintable() or char in "\n\t" or (char.isspace() and unicodedata.category(char) == "Zs")


def shown(value: Any, most: int = 60) -> str:
    """A value as it stands in a message: on one line, and cut where it would fill the screen."""
    text = value if isinstance(value, str) else repr(value)
    # Before it is cut to what is shown: half a secret is known by nothing.
    text = redact(text[: 8 * most + 4096])
    flat = "".join(char if char.isprintable() else " " for char in text)
    return flat if len(flat) <= most else f"{flat[: most - 3]}..."
