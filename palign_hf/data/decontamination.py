"""Detection of benchmark copies and of repeated questions.

A copy is *exact* if its words are those of a benchmark question (`wording`: case, spacing, LaTeX and punctuation
don't count), and *near* if it contains nearly all of that question in one place. A shared n-gram alone proves nothing,
since contests share boilerplate; so each word of the benchmark question is weighted by the rarity of the n-grams
around it, and the score is the share of this weight that shared n-grams cover. The numbers must agree too: the same
wording with other numbers is another problem.
"""

import math
import re
import unicodedata
from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal


# Commands for style, spacing or layout: a copy with other typesetting has others.
_DRESS = (
    r"left|right|bigg?[lr]?|[tdc]?frac|over|displaystyle|textstyle|limits|text(?:bf|it|rm|sc|up)?"
    r"|math(?:rm|bf|it|cal|bb|sf)|boldsymbol|operatorname|emph|mbox|hbox|q?quad|[hv]space|[hv]?phantom|circ|degree|cdot|times|not|hline"
)
_ARRANGED = r"[a-z]?matrix|array|align(?:ed|at)?|gather(?:ed)?|equation|cases|center|enumerate|itemize"
_DRESSED = re.compile(
    rf"\\(?:{_DRESS})(?![a-z])\*?|\\(?:begin|end)\s*\{{(?:{_ARRANGED})\*?\}}|\\[,;:!> ]", re.IGNORECASE
)
_TIGHT_FRACTION = re.compile(r"\\[tdc]?frac\s*(\d)\s*(\d)", re.IGNORECASE)
_THOUSANDS = re.compile(r"(?<=\d)(?:,|\{,\}|\\,|,\\!)(?=\d{3}(?!\d))")
_DRAWING = re.compile(r"\[asy\](.*?)(?:\[/asy\]|\Z)", re.DOTALL | re.IGNORECASE)
# Chinese, Japanese and Korean put no spaces between words: each of their characters is one.
_SPACELESS = r"\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af"
_WORD = re.compile(rf"\d+(?:\.\d+)?|[{_SPACELESS}]|[^\W\d_{_SPACELESS}]+|[+<>=≤≥≠]|-+|\.\.+")
_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—−", "-"))
_SAME = {
    "leq": "≤", "leqslant": "≤", "le": "≤", "geq": "≥", "geqslant": "≥", "ge": "≥", "neq": "≠", "ne": "≠",
    "dots": "ldots", "cdots": "ldots", "lt": "<", "gt": ">", "two": "2", "three": "3", "four": "4", "five": "5",
    "six": "6", "seven": "7", "eight": "8", "nine": "9", "ten": "10", "eleven": "11", "twelve": "12",
}  # fmt: skip


def words(text: str) -> list[str]:
    """The words of a question, drawings (`[asy]`) left out, in linear time."""
    return _split(_DRAWING.sub(" ", text))


def drawing_words(text: str) -> list[str]:
    """The words of a question's drawings, which distinguish questions with the same wording."""
    return _split(" ".join(_DRAWING.findall(text)))


def is_number(word: str) -> bool:
    """Whether a word of `words` is a number."""
    return word[0].isdigit()


def _split(text: str) -> list[str]:
    text = _THOUSANDS.sub("", _TIGHT_FRACTION.sub(r" \1 \2 ", text.translate(_DASHES)))
    plain = unicodedata.normalize("NFKC", _DRESSED.sub(" ", text)).casefold()
    return [_same(word) for word in _WORD.findall(plain)]


def _same(word: str) -> str:
    if word[0] in "-.":
        return "-" if word[0] == "-" else "ldots"
    if "\u0370" <= word[0] <= "\u03ff" and len(word) == 1:  # α is \alpha
        return unicodedata.name(word, word).rpartition(" ")[2].casefold()
    return _SAME.get(word, word)


VERSION = 1  # raise it when any question may be classified otherwise

# With three words a changed one costs little more than itself, while three in a row are rarely shared by accident.
GRAM = 3
# Between the labelled pairs that are copies (.93 and more) and those that aren't but agree in numbers (up to .79, and
# one at .92; the train questions of GSM8K: up to .72). `benchmarks/decontamination.py` chooses it from half the pairs.
NEAR = 0.85
# Share of the numbers that must agree: of few all of them; of eight one may have changed.
NUMBERS = 0.8
# A stricter choice that drops any row with the wording of a test: other numbers, other questions about the same story.
LOOSE = {"near": 0.6, "numbers": 0.0}
# A shorter question must stand in the other word by word; one of less than `SHORTEST` stands in many by accident.
FEWEST_WORDS, SHORTEST = 8, 5
# Share of their code that two equal figures have in common.
DRAWING = 0.5
# N-grams of more questions than this point to none in particular; without a good part of the others there is no copy.
_COMMON, _COMMON_SHARE, _ENOUGH = 50, 0.02, 0.3

Gram = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Match:
    """The benchmark question that another one copies; `score` and `numbers` are the shares of it that were found."""

    kind: Literal["exact", "near"]
    benchmark: str
    row: int
    question: str
    score: float
    numbers: float


class _Entry:
    """A benchmark question, prepared for search."""

    def __init__(self, benchmark: str, row: int, question: str) -> None:
        self.benchmark, self.row, self.question = benchmark, row, question
        self.words = words(question)
        self.figure = set(_grams(drawing_words(question)))
        self.numbers = sum(map(is_number, self.words))
        self.places: dict[Gram, list[int]] = defaultdict(list)
        for place, gram in enumerate(_grams(self.words)):
            self.places[gram].append(place)
        self.rarity: dict[Gram, float] = {}
        self.weights = [0.0] * len(self.words)
        self.distinctive = 0.0

    def weigh(self, seen: Mapping[Gram, int], questions: int) -> None:
        """Give each word the mean rarity of its n-grams."""
        around = [0] * len(self.words)
        for gram, places in self.places.items():
            self.rarity[gram] = math.log(1 + questions / seen[gram])
            for place in places:
                for at in range(place, place + GRAM):
                    self.weights[at] += self.rarity[gram]
                    around[at] += 1
        self.weights = [weight / count if count else 0.0 for weight, count in zip(self.weights, around, strict=True)]


class Index:
    """Searchable benchmark questions, by benchmark name: `Index({"mine": [...]}).find(question)`.

    `corpus` are the questions that will be searched for; their frequent n-grams count as boilerplate. The order of
    questions has no effect on the result.
    """

    def __init__(
        self,
        benchmarks: Mapping[str, Sequence[str]],
        corpus: Iterable[str] = (),
        near: float = NEAR,
        numbers: float = NUMBERS,
    ) -> None:
        self._near, self._numbers = near, numbers
        self._entries = [
            _Entry(name, row, text) for name, texts in benchmarks.items() for row, text in enumerate(texts)
        ]
        self._exact: dict[tuple[str, ...], _Entry] = {}
        self._holders: dict[Gram, list[_Entry]] = defaultdict(list)
        for entry in self._entries:
            if entry.words:
                self._exact.setdefault(_whole(entry.question), entry)
            for gram in entry.places:
                self._holders[gram].append(entry)
        seen = Counter({gram: len(holders) for gram, holders in self._holders.items()})
        known, questions = set(seen), len(self._entries)
        for questions, text in enumerate(corpus, len(self._entries) + 1):  # noqa: B007
            seen.update(known.intersection(_grams(words(text))))
        for entry in self._entries:
            entry.weigh(seen, questions)
        most = max(_COMMON, _COMMON_SHARE * len(self._entries))
        self._telling = {gram: holders for gram, holders in self._holders.items() if len(holders) <= most}
        for gram, holders in self._telling.items():
            for entry in holders:
                entry.distinctive += entry.rarity[gram]

    def find(self, question: str) -> Match | None:
        """Return the benchmark question that this one copies, the nearest of several."""
        if exact := self._exact.get(_whole(question)):
            return Match("exact", exact.benchmark, exact.row, exact.question, 1.0, 1.0)
        near = [match for match in self.scores(question) if self._is_copy(match)]
        return min(near, key=lambda match: (-match.score, match.benchmark, match.row), default=None)

    def _is_copy(self, match: Match) -> bool:
        return match.score >= self._near and match.numbers >= self._numbers

    def scores(self, question: str) -> Iterator[Match]:
        """Yield all benchmark questions that share distinctive n-grams with this one, copied or not."""
        own, figure = words(question), set(_grams(drawing_words(question)))
        grams = _grams(own)
        found: dict[_Entry, float] = defaultdict(float)
        for gram in set(grams):
            for entry in self._telling.get(gram, ()):
                found[entry] += entry.rarity[gram]
        for entry, distinctive in found.items():
            if distinctive < _ENOUGH * entry.distinctive:
                continue
            if entry.figure and figure and len(entry.figure & figure) < DRAWING * len(entry.figure):
                continue
            if len(entry.words) < FEWEST_WORDS:
                if len(entry.words) < SHORTEST or not _stands_in(entry.words, own):
                    continue
            score, numbers = _covered(entry, grams)
            yield Match("near", entry.benchmark, entry.row, entry.question, score, numbers)


def duplicates(questions: Sequence[str], near: float = NEAR, numbers: float = NUMBERS) -> list[int]:
    """Return for each question the position of the first one that it repeats, its own if none.

    Two questions repeat each other if each is a copy of the other, or if both repeat a third. The grouping doesn't
    depend on the order.
    """
    first: dict[tuple[str, ...], int] = {}
    leader = [first.setdefault(_whole(question) or (question,), at) for at, question in enumerate(questions)]
    different = sorted(set(leader))
    index = Index({"": [questions[at] for at in different]}, near=near, numbers=numbers)
    copies = {
        (at, different[match.row])
        for at in different
        for match in index.scores(questions[at])
        if different[match.row] != at and index._is_copy(match)
    }
    for one, other in copies:
        if (other, one) in copies:
            low, high = sorted((_root(leader, one), _root(leader, other)))
            leader[high] = low
    return [_root(leader, at) for at in range(len(questions))]


def _root(leader: list[int], at: int) -> int:
    while leader[at] != at:
        leader[at] = at = leader[leader[at]]
    return at


def _grams(tokens: Sequence[str]) -> list[Gram]:
    return list(zip(*(tokens[start:] for start in range(GRAM)), strict=False))


def _whole(question: str) -> tuple[str, ...]:
    return (*words(question), *drawing_words(question))


def _stands_in(short: Sequence[str], long: Sequence[str]) -> bool:
    return f" {' '.join(short)} " in f" {' '.join(long)} "


def _covered(entry: _Entry, grams: Sequence[Gram]) -> tuple[float, float]:
    """Shares of a benchmark question and of its numbers that the best place of another question covers."""
    place_length = 2 * len(entry.words)
    covers = [0] * len(entry.words)
    inside: Counter[Gram] = Counter()
    hits: deque[tuple[int, Gram]] = deque()
    weight, numbers, best = 0.0, 0, (0.0, 0)
    for at, gram in enumerate(grams):
        if gram not in entry.places:
            continue
        changes = [(gram, 1)]
        hits.append((at, gram))
        while hits[0][0] < at - place_length:
            changes.append((hits.popleft()[1], -1))
        for changed, step in changes:
            inside[changed] += step
            if inside[changed] != (step == 1):
                continue
            for place in entry.places[changed]:
                for word in range(place, place + GRAM):
                    covers[word] += step
                    if covers[word] == (step == 1):
                        weight += step * entry.weights[word]
                        numbers += step * is_number(entry.words[word])
        best = max(best, (weight, numbers))
    total = sum(entry.weights)
    return min(1.0, best[0] / total) if total else 0.0, best[1] / entry.numbers if entry.numbers else 1.0
