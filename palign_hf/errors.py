"""Base class of errors that a user can act on, and helpers for their messages.

A command prints a `UserError` in one line, without a traceback: what was given (in backticks), why it can't work, what
to do.
"""

import difflib
import unicodedata
from collections.abc import Iterable
from typing import Any

from palign_hf.redact import redact


class UserError(ValueError):
    """An error with a message for the user: what was given, why it can't work, what to do; without secrets."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(redact(one) if isinstance(one, str) else one for one in args))


def nearest(word: object, known: Iterable[str]) -> str:
    """` (nearest match: `x`)` or empty: the end of a message about a misspelt name."""
    match = difflib.get_close_matches(str(word), [str(name) for name in known], n=1, cutoff=0.5)
    return f" (nearest match: `{match[0]}`)" if match else ""


def listed(names: Iterable[object], nothing: str = "none") -> str:
    """Names as a list in a message."""
    return ", ".join(f"`{name}`" for name in names) or nothing


def visible(text: str) -> str:
    """Text with control, direction and zero-width characters replaced by their numbers; line ends stay.

    Terminals execute some of these characters, and others hide the text beside them.
    """
    if text.isprintable():
        return text
    return "".join(char if _is_plain(char) else f"<U+{ord(char):04X}>" for char in text)


def _is_plain(char: str) -> bool:
    return char.isprintable() or char in "\n\t" or (char.isspace() and unicodedata.category(char) == "Zs")


def shown(value: Any, most: int = 60) -> str:
    """A value for a message: on one line, at most `most` characters."""
    text = value if isinstance(value, str) else repr(value)
    # Masked before it is cut: a cut secret isn't recognized.
    text = redact(text[: 8 * most + 4096])
    flat = "".join(char if char.isprintable() else " " for char in text)
    return flat if len(flat) <= most else f"{flat[: most - 3]}..."
