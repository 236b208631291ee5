"""What figures are drawn with: a page of pixels with a pen, its colours, and the PNG that comes of it.

Drawn with Pillow alone, so the same figures give the same bytes on any machine with the same release of it. A page is
white, or has no ground of its own: then its ink is a grey that stands out from a light page and from a dark one.
"""

import io
from typing import Any

from palign_hf.errors import UserError


# Colours that people with any kind of sight tell apart.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
# In pixels; everything is drawn large enough for a page of a paper.
TEXT, LINE, GAP = 24, 40, 60
DOT, BAR = 9, 4


class Canvas:
    """A page of some size in pixels, with (0, 0) at its upper left."""

    def __init__(self, width: int, height: int, *, ground: bool = True) -> None:
        needs_pillow("pictures")
        from PIL import Image, ImageDraw, ImageFont

        self.width, self.height = width, height
        self.ink, self.pale = ("#222222", "#d8d8d8") if ground else ("#7d8590", "#7d859055")
        self._image = Image.new("RGB", (width, height), "white") if ground else Image.new("RGBA", (width, height))
        self._pen: Any = ImageDraw.Draw(self._image)
        self._font = ImageFont.load_default(TEXT)

    def text(self, x: int, y: int, words: str, anchor: str = "la") -> None:
        """Words in ink; the anchor says which of their corners is at (x, y), as Pillow names it."""
        self._pen.text((x, y), words, fill=self.ink, font=self._font, anchor=anchor)

    def line(self, start: tuple[int, int], end: tuple[int, int], colour: str, width: int = BAR) -> None:
        """From one point to another."""
        self._pen.line((*start, *end), fill=colour, width=width)

    def dot(self, x: int, y: int, colour: str) -> None:
        """A figure's place."""
        self._pen.ellipse((x - DOT, y - DOT, x + DOT, y + DOT), fill=colour)

    def box(self, left: int, top: int, right: int, bottom: int, colour: str) -> None:
        """A bar, edges included."""
        self._pen.rectangle((left, top, right, bottom), fill=colour)

    def png(self) -> bytes:
        """The page as a file."""
        written = io.BytesIO()
        self._image.save(written, format="PNG", optimize=True)
        return written.getvalue()


def colour(number: int) -> str:
    """Of the first, second, ... thing that is told apart."""
    return COLOURS[number % len(COLOURS)]


def needs_pillow(what: str) -> None:
    """Refuse now, before any work, what couldn't be drawn later."""
    try:
        import PIL.ImageDraw  # noqa: F401
    except ImportError as error:
        raise UserError(
            f"`{what}` can't be drawn here: {error}. Install what draws, `pip install pillow`, or leave them out."
        ) from error
