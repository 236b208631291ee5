"""A draw by hash, which no order of rows can change. Pure."""

import hashlib


def draw(seed: int, *names: object) -> bytes:
    """The place of something in a draw, by its names alone: the smallest is drawn first."""
    text = "\0".join(map(str, (seed, *names)))
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
