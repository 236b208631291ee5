r"""Units and words around numbers: `5 \text{ cm}`, `20\% profit`, `3 hours 20 minutes`. Pure.

A unit is optional: 5 cm equals 5. Answers conflict if both have units and these differ (cm and km), or if only one has
a certain word that changes the meaning of its number (profit, loss, east, west, more, least).
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from palign_hf.grading.normalization import FONTS


SCALES = {"dozen": 12, "hundred": 100, "thousand": 10**3, "million": 10**6, "billion": 10**9, "trillion": 10**12}
# Names of functions and constants in plain text, which are neither words nor units.
FUNCTIONS = (
    "arcsin arccos arctan arccot arcsec arccsc asin acos atan sinh cosh tanh coth sin cos tan cot sec csc".split()
)
FUNCTIONS += "ln log exp sqrt cbrt gcd lcm max min abs floor ceil binom det sgn".split()
CONSTANTS = "infinity infty theta alpha beta gamma delta lambda sigma omega phi rho tau mu pi oo inf".split()

_DROPPABLE = "of the a an is are was about approximately approx roughly around exactly answer final total both either"
_DROPPABLE += " by at value values equal equals equally to per each every altogether there"
_DROPPED = frozenset(_DROPPABLE.split())
# Generic units, which agree with every other unit.
_GENERIC = {"unit", "unit^2", "unit^3", "square", "cubic", "number", "item", "thing", "object", "time"}
# Words that change the meaning of a number; both answers must have them.
_MEANING = "more less fewer greater smaller than least most not and plus minus times over half halves third thirds"
_MEANING += " squared cubed factorial base choose divided mod modulo profit loss gain increase decrease rise fall drop"
_MEANING += " east west north south left right up down above below before after ago early late later negative positive"
_MEANING += " even odd win lose win draw heads tails ahead behind faster slower longer shorter or none"
_MEANING += " infinite infinitely undefined northeast northwest southeast southwest clockwise counterclockwise"
MEANING = frozenset(_MEANING.split())
# Words before a number that count as units.
_EXTREMES = {"maximum", "minimum", "max", "min", "largest", "smallest", "first", "last"}
# Words that repeat the question before its number, which are ignored.
_ASKING = "area volume length width height perimeter sum product difference probability distance speed time cost price"
_ASKING += " angle amount age mean average median mode result we get have obtain has gives hence so thus number"
_ASKED = set(_ASKING.split()) - MEANING
_ALIASES = {
    "cm": "centimeter centimetre cms",
    "mm": "millimeter millimetre",
    "m": "meter metre mtr",
    "km": "kilometer kilometre kms",
    "kg": "kilogram kilo kgs",
    "g": "gram gm gms",
    "mg": "milligram",
    "ft": "foot feet",
    "in": "inch inches",
    "mi": "mile",
    "yd": "yard",
    "lb": "pound lbs",
    "oz": "ounce",
    "h": "hour hr hrs",
    "min": "minute mins",
    "s": "second sec secs",
    "day": "days",
    "yr": "year yrs",
    "l": "liter litre",
    "ml": "milliliter millilitre",
    "dollar": "usd dollars",
    "cent": "cents",
    "euro": "eur euros",
    "mph": "mi/h",
    "km/h": "kph kmh kmph",
    "deg": "degree degrees",
    "rad": "radian rads",
    "n": "newton",
    "j": "joule",
    "w": "watt",
    "v": "volt",
    "k": "kelvin",
    "hz": "hertz",
    "e": "east",
    "am": "a.m a.m.",
    "pm": "p.m p.m.",
    "loss": "losses lost",
    "increase": "increased increases",
    "decrease": "decreased decreases",
    "gal": "gallon",
    "person": "people persons",
}
_CANON = {alias: name for name, aliases in _ALIASES.items() for alias in (name, *aliases.split())}
_CANON |= {"e": "east", "east": "east", "percent": "%", "percentage": "%", "per cent": "%"}
_LETTERS = set("mgshLlNJWVKFCESPAT")
_UNIT_LIKE = set(_CANON) | set("usd men cup cups way ways".split())

_TEXT = re.compile(rf"\\{FONTS}\*?\s*\{{(?P<words>[^{{}}]*)\}}")
_CURRENCY = re.compile(r"[€£¥₹]|\\(?:pounds|euro)(?![A-Za-z])")
_PERCENT = re.compile(r"\s*\\?%\s*$|\\?%(?=\s*\x02)")
_DEGREE = re.compile(r"\s*(?:\^\s*\{?\s*\\circ\s*\}?|\\degree|\\circ)\s*([CF](?![A-Za-z]))?\s*$")
_ANGLED = re.compile(r"(?:sin|cos|tan|cot|sec|csc)(?![a-z])")
_RUN = re.compile(
    r"(?P<command>\\[A-Za-z]+|\\.)|(?P<open>[(\[{])|(?P<close>[)\]}])"
    r"|(?P<word>(?:per |sq\.? |square |cubic |cu\.? )*[A-Za-z]+(?:[.'-][A-Za-z]+)*(?:\.(?=\s|$))?)"
    r"(?P<power>\s*\^\s*\{?[23]\}?)?(?P<below>(?:/|\s+per\s+|\s*\\cdot\s*)[A-Za-z]+(?:\^\{?-?[0-9]\}?)?)?",
)
_MATH_WORDS = set(FUNCTIONS) | set(CONSTANTS)
_MARK = "\x02"


@dataclass(frozen=True, slots=True)
class Piece:
    """A number or formula with its unit.

    Args:
        core (`str`): The number or formula.
        words (`frozenset[str]`): Its units and other words, in their canonical form.
        percent (`bool`, defaults to `False`): Whether a percent sign follows.
        degree (`bool`, defaults to `False`): Whether a degree sign follows.
        scale (`int`, defaults to 1): The factor of words such as `million`.
    """

    core: str
    words: frozenset[str] = frozenset()
    percent: bool = False
    degree: bool = False
    scale: int = 1


def loosened(text: str) -> str:
    r"""Set the words in `\text{...}` and other font commands free.

    Args:
        text (`str`): An answer from `bare`.

    Returns:
        `str`: The text with these words between spaces.
    """
    for _ in range(3):
        text, found = _TEXT.subn(_freed, text)
        if not found:
            break
    return text.strip()


def _freed(found: re.Match[str]) -> str:
    words = found["words"]
    return f" {words} " if any(map(str.isalpha, words)) else words


def pieces(text: str) -> tuple[Piece, ...]:
    """Split a text into numbers and formulas with their units.

    Args:
        text (`str`): An answer from `loosened`.

    Returns:
        `tuple[Piece, ...]`: Each number or formula with the words behind it; the first also with the words before it.
    """
    text = _CURRENCY.sub(" ", text)
    marked, words = _without_words(text)
    if not words:
        return (_piece(marked.strip(), []),)
    found: list[tuple[str, list[str]]] = []
    before: list[str] = []
    following = iter(words)
    for k, part in enumerate(marked.split(_MARK)):
        if k:
            word = next(following)
            (found[-1][1] if found else before).append(word)
        if part.strip(" ,:"):
            found.append((part.strip(" ,:"), []))
    if not found:
        return ()
    # A unit follows its number. Words before it qualify it (`July 4`), unless they repeat the question.
    kept = MEANING | _EXTREMES | set(_CANON.values())
    lead = [word if word in kept else f"<{word}" for word in before if word not in _ASKED]
    found[0] = (found[0][0], lead + found[0][1])
    return tuple(_piece(core, words) for core, words in found)


def conflict(one: frozenset[str], other: frozenset[str]) -> bool:
    """Whether the words around two equal numbers make them different answers.

    Args:
        one (`frozenset[str]`): The words of a `Piece`.
        other (`frozenset[str]`): The words of another one.

    Returns:
        `bool`: Whether they conflict.
    """
    if one == other:
        return False
    meaning, meaning2 = ({word for word in some if word in MEANING or word[0] == "<"} for some in (one, other))
    if meaning != meaning2:
        return True
    one, other = one - meaning - _GENERIC, other - meaning - _GENERIC
    return bool(one and other) and not (one <= other or other <= one)


def _piece(core: str, words: list[str]) -> Piece:
    scale, percent, degree = 1, "%" in words, "deg" in words
    for word in words:
        scale *= SCALES.get(word, 1)
    if (found := _PERCENT.search(core)) and found.start() > 0:
        core, percent = core[: found.start()], True
    elif (found := _DEGREE.search(core)) and found.start() > 0 and not _ANGLED.search(core):
        core, degree = core[: found.start()].rstrip(), not found[1]
    units = frozenset(word for word in words if word not in SCALES and word not in ("%", "deg"))
    return Piece(core.strip(), units, percent, degree, scale)


def _without_words(text: str) -> tuple[str, list[str]]:
    """The text with a mark in place of each word outside of brackets, and the words in canonical form."""
    if not re.search(r"[A-Za-z]", text):
        return text, []
    kept, words, depth, last = [], [], 0, 0
    for run in _RUN.finditer(text):
        depth += bool(run["open"]) - bool(run["close"])
        if depth or not run["word"]:
            continue
        before = text[: run.start()]
        if before.endswith(("\\", "_", "^", "'")) or not _is_word(run["word"], before, text[run.end() :]):
            continue
        units = list(_canonical(run["word"] + (run["power"] or "").replace(" ", "") + (run["below"] or "")))
        kept.append(text[last : run.start()] + _MARK * len(units))
        words += units
        last = run.end()
    return "".join(kept) + text[last:], words


def _is_word(word: str, before: str, after: str) -> bool:
    plain = word.casefold().rstrip(".")
    if plain == "min" and re.search(r"\d\s*$", before):
        return not after.lstrip().startswith(("(", "\\{"))
    if plain in _MATH_WORDS or after.lstrip().startswith("(") and len(plain) < 4:
        return False
    if len(plain) == 1:
        # `5 m`, and not `5m`, which may be a product; `30^\circ E`.
        if word not in _LETTERS or not re.search(r"\d", before) or re.match(r"\s*[-+*/^=(\\]", after):
            return False
        return bool(
            re.search(r"\d\s+$|\\circ\s*\}?\s*$", before) or re.search(r"[})]\s+$", before) and not after.strip()
        )
    if plain in SCALES or plain in MEANING or plain in _UNIT_LIKE or plain in _DROPPED:
        return True
    if len(plain) < 4 and not re.search(r"\d", before + after):
        return False
    return len(plain) > 2 and before[-1:] in ("", " ")


def _canonical(run: str) -> Iterator[str]:
    """`square centimeters` is `cm^2`, `miles per hour` is `mi/h`, `Apples` is `apple`."""
    parts: list[str] = []
    for below, part in enumerate(re.split(r"/|\s+per\s+|\s*\\cdot\s*|^per ", run)):
        words = part.casefold().split()
        power = 3 if {"cubic", "cu", "cu."} & set(words) else 2 if {"square", "sq", "sq."} & set(words) else 1
        if power > 1 and len(words) > 1:
            words = [word for word in words if word not in ("square", "sq", "sq.", "cubic", "cu", "cu.")]
        for word in words:
            name, _, raised = word.partition("^")
            name = name.rstrip(".")
            name = _CANON.get(name) or _CANON.get(_singular(name)) or _singular(name)
            if name in _DROPPED:
                continue
            raised = raised.strip("{}") or (str(power) if power > 1 else "")
            parts.append(("/" if below and parts else "") + name + (f"^{raised}" if raised and raised != "1" else ""))
    joined = "".join(parts) if any("/" in part for part in parts) else " ".join(parts)
    yield from ([_CANON.get(joined, joined)] if "/" in joined else joined.split())


def _singular(word: str) -> str:
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word
