"""How far found cuts lie from the true ones, drawn with bars: as text for a terminal, as SVG for a page."""

from collections import Counter
from collections.abc import Sequence
from html import escape


# Distances beyond this share a bar: what matters is how many, not how far.
_FAR = 6


def bars(distances: Sequence[int]) -> list[tuple[str, int]]:
    """Each distance from far too short to far too long with its count; the ends gather all that is farther."""
    counts = Counter(max(-_FAR, min(_FAR, distance)) for distance in distances)
    names = {-_FAR: f"{_FAR} or more short", _FAR: f"{_FAR} or more long", 0: "exact"}
    return [(names.get(step, f"{step:+d}"), counts[step]) for step in range(-_FAR, _FAR + 1)]


def as_text(distances: Sequence[int], width: int = 40) -> str:
    """One line a bar."""
    drawn = bars(distances)
    most = max(count for _, count in drawn) or 1
    side = max(len(name) for name, _ in drawn)
    return "\n".join(
        f"{name:>{side}} {'█' * -(-count * width // most) if count else '·'} {count}" for name, count in drawn
    )


def as_svg(distances: Sequence[int], title: str) -> str:
    """A picture that any browser and the Hub's pages show."""
    drawn = bars(distances)
    most = max(count for _, count in drawn) or 1
    column, height, top, bottom = 48, 200, 48, 44
    width = column * len(drawn) + 32
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height + top + bottom}" '
        f'font-family="sans-serif" font-size="12" fill="#333">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        f'<text x="16" y="24" font-size="15">{escape(title)}</text>',
    ]
    labels = [f"≤ -{_FAR}", *(name for name, _ in drawn[1:-1]), f"≥ {_FAR}"]
    for place, ((name, count), label) in enumerate(zip(drawn, labels, strict=True)):
        left, tall = 16 + column * place, round(height * count / most)
        middle, ground = left + column // 2, top + height
        color = "#2a7f62" if name == "exact" else "#8fb8a8"
        parts += [
            f'<rect x="{left + 6}" y="{ground - tall}" width="{column - 12}" height="{tall}" fill="{color}"/>',
            f'<text x="{middle}" y="{ground - tall - 5}" text-anchor="middle">{count}</text>',
            f'<text x="{middle}" y="{ground + 16}" text-anchor="middle">{escape(label)}</text>',
        ]
    parts.append(f'<text x="16" y="{top + height + 36}" fill="#777">found minus true cut, in segments</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"
