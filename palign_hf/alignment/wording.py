r"""Question normalization: the words of a question without case, spacing, LaTeX and punctuation.

Numbers, variables and signs are kept, since they define the problem. `\frac{1}{2}` and `1/2` are equal, as are
`24,\!000` and `24000`, `four` and `4`, `\leq` and `≤`.
"""

import re
import unicodedata


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
