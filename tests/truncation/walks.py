"""Walks of searches over judges that are lists of margins, and problems of any shape for them."""

from collections.abc import Callable
from itertools import accumulate

import numpy as np
from hypothesis import strategies as st

from palign_hf.truncation.schedule import BlockCache
from palign_hf.truncation.search import Found, Search


HEAD, SUFFIX = 220, 11


def explore(
    search: Search, tokens: list[int], margin: Callable[[int], float], limit: int | None = None
) -> tuple[list[int], Found]:
    """The cuts asked, in order, and what was found; a walk that never ends fails instead of hanging."""
    walk, asked = search.start(tokens, limit), []
    while (cut := walk.next()) is not None:
        assert cut not in asked
        asked.append(cut)
        walk.tell(cut, margin(cut))
    return asked, walk.result()


def evenly(segments: int, size: int = 40) -> list[int]:
    return [size * cut for cut in range(segments + 1)]


@st.composite
def problems(draw):
    """Any trace of 0..400 segments (some of no token), a limit, and a margin of any size and sign for each cut."""
    segments = draw(st.integers(0, 400))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    high = draw(st.sampled_from([1, 3, 80, 5000]))
    tokens = [0, *accumulate(rng.integers(0, high, segments).tolist())]
    limit = draw(st.none() | st.integers(0, segments))
    scale = draw(st.sampled_from([1e-9, 1.0, 1e12]))
    margins = (rng.standard_t(2, segments + 1) * scale).tolist()
    return tokens, limit, margins


def rising(margins: list[float], answer: int) -> list[float]:
    """The same sizes, negative below the answer and positive from it on: a monotone judge."""
    sizes = [max(abs(margin), 1e-300) for margin in margins]
    return [-size if cut < answer else size for cut, size in enumerate(sizes)]


def computed(tokens: list[int], asked: list[int]) -> int:
    """Tokens that an engine computes for these questions, with whole blocks of 16 cached."""
    cache = BlockCache(16)
    return sum(cache.ask(HEAD + tokens[cut] + SUFFIX, HEAD + tokens[cut]) for cut in asked)


def wavering(tokens: list[int], answer: int, sigma: float, rng: np.random.Generator) -> list[float]:
    """Margins that rise by .1 a segment through 0 just before the answer, plus AR(1) noise (correlation .7)."""
    noise = [rng.normal()]
    for fresh in rng.normal(size=len(tokens) - 1):
        noise.append(0.7 * noise[-1] + (1 - 0.7**2) ** 0.5 * fresh)
    return [0.1 * (cut - answer + 0.5) + sigma * noise[cut] for cut in range(len(tokens))]
