r"""What doesn't count in an answer: how it is set, spaced and spelt, and its units. Pure."""

import re
from collections.abc import Callable
from functools import lru_cache


_SPACES = "\u00a0\u2002\u2003\u2005\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_SPELLED = {"×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "⁄": "/", "∕": "/", "±": r"\pm ", "π": r"\pi "}
_SPELLED |= {"θ": r"\theta ", "∞": r"\infty ", "°": r"^\circ ", "∪": r"\cup ", "∩": r"\cap ", "≤": r"\leq "}
_SPELLED |= {"≥": r"\geq ", "≠": r"\neq ", "∈": r"\in ", "∅": r"\emptyset ", "≈": r"\approx "}
_SPELLED |= {"½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}"}
_SPELLED |= dict.fromkeys(_SPACES, " ") | dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", "")
_SPELLED |= dict.fromkeys("\u2212\u2010\u2011\u2012\u2013\u2014", "-")
_SPELLED |= {sign: f"^{digit}" for digit, sign in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")}
_SPELLED |= {sign: f"_{digit}" for digit, sign in enumerate("₀₁₂₃₄₅₆₇₈₉")}
# Full-width characters, as Chinese and Japanese texts have them.
_SPELLED |= {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
_SIGNS = str.maketrans(_SPELLED)
_ROOT = re.compile(r"√\s*(?:\((?P<long>[^()]*)\)|(?P<short>\w+))")

# A line break of a matrix comes first in each of these, so that its second backslash begins nothing.
_LAYOUT = re.compile(
    r"(?P<row>\\\\)|\\!\s*|\\(?:left|right|[bB]igg?[lr]?|displaystyle|textstyle)(?![A-Za-z])|\\[$()\[\]]|\$|\*\*|\\boxed(?![A-Za-z])"
)
_ABOUT = re.compile(r"^\s*\\approx(?![A-Za-z])")
_SPACE = re.compile(r"(?P<row>\\\\)|\\[,;: ]|\\q?quad(?![A-Za-z])|~|\s+")
_FRAC = re.compile(r"\\[dtc]frac(?![A-Za-z])")
_SHORT_FRAC = re.compile(r"\\frac\s*(?:(\d)|\{([^{}]*)\})\s*(?:(\d)|\{([^{}]*)\})")
_ENDS = ' \t\n\r*`".'
_FONT = re.compile(
    r"\\(?:text(?:bf|it|rm|sf|tt|normal)?|math(?:rm|bf|it|sf)|mbox|hbox|operatorname|boldsymbol|bm|emph)\s*\{([^{}]*)\}"
)
_NO_SPACE = re.compile(r"(?<!\d)\s+|\s+(?!\d)")
_LONE = re.compile(r"([_^])\{(\w|\\circ)\}")
_SPELT: dict[re.Pattern[str], str | Callable[[re.Match[str]], str]] = {
    re.compile(r"\\(?:times|cdot|ast)(?![A-Za-z])"): "*",
    re.compile(r"\\le(?:q|qslant)?(?![A-Za-z])"): "<=",
    re.compile(r"\\ge(?:q|qslant)?(?![A-Za-z])"): ">=",
    re.compile(r"\\lt(?![A-Za-z])"): "<",
    re.compile(r"\\gt(?![A-Za-z])"): ">",
    re.compile(r"\\neq?(?![A-Za-z])"): "!=",
    re.compile(r"\\varnothing(?![A-Za-z])"): r"\\emptyset",
    re.compile(r"\\[lr]brace(?![A-Za-z])"): lambda found: r"\{" if found[0][1] == "l" else r"\}",
    re.compile(r"\\sqrt(\w)"): r"\\sqrt{\1}",
    re.compile(r"^\(([A-Za-z])\)$"): r"\1",
}

_PERCENT = re.compile(r"\s*(?:\\?%|\bper ?cent|\\text\{\s*(?:per ?cent|\\?%)\s*\})$", re.IGNORECASE)
_DEGREE = re.compile(r"\s*(?:\^\s*\{?\s*\\circ\s*\}?|\\degree|\\circ)\s*[CF]?$")
_TEXT_UNIT = re.compile(r"\s*\\(?:text|mbox|textrm|mathrm|textit|textbf|hbox)\s*\{[^{}]*\}\s*(?:\^\s*(?:\d|\{\d\}))?$")
_SHORT_UNITS = "cm mm km kg mg gm ft in hr mi lb oz ml mL yd am pm hrs min mins sec secs mph kmh kph lbs deg rad rads"
_SHORT_UNITS += " day days men cup cups way ways yrs usd inch feet foot m g s h L l N J W V K"
_SHORT = "|".join(sorted(_SHORT_UNITS.split(), key=len, reverse=True))
_WORD_UNIT = re.compile(
    rf"(?:(?<=\d)(?:cm|mm|km|kg|ft|in|lbs?|oz|mph|hrs?|mins?)|\s+(?:sq\.?|square|cubic|(?:{_SHORT})|[A-Za-z]{{4,}}))"
    r"(?:\^\{?\d\}?|\.|/[A-Za-z]+)?$"
)
# These are no units: they change what the number before them means.
_MEANING = re.compile(
    r"\b(?:more|less|than|least|most|not|and|plus|minus|times|over|sqrt|sinh?|cosh?|tanh?|hundred|thousand|million|billion"
    r"|trillion|dozen|half|halves|third|thirds|squared|cubed|factorial|base|infinity|choose|divided|about|approximately"
    r"|theta|alpha|beta|gamma|mod|modulo)$",
    re.IGNORECASE,
)
_CURRENCY = re.compile(r"^([-+]?)\s*(?:[€£¥₹]|\\(?:pounds|euro|text\{\s*(?:USD|\\?\$)\s*\}))\s*")


@lru_cache(maxsize=8192)
def bare(text: str) -> str:
    """An answer without its layout, in plain LaTeX: `$\\left(\\dfrac12, 3\\right)$.` is `(\\frac{1}{2}, 3)`."""
    text = _ROOT.sub(lambda root: rf"\sqrt{{{root['long'] or root['short']}}}", text).translate(_SIGNS)
    text = _LAYOUT.sub(lambda found: found["row"] or "", text.replace("{,}", ","))
    text = _SPACE.sub(lambda found: found["row"] or " ", text)
    text = _ABOUT.sub("", text)
    text = _FRAC.sub(r"\\frac", text)
    text = _SHORT_FRAC.sub(_braced, text)
    return text.strip(_ENDS.replace(".", "")).rstrip(_ENDS + ",;:").strip()


def _braced(frac: re.Match[str]) -> str:
    over, under = (frac[1] or frac[2] or "").strip(), (frac[3] or frac[4] or "").strip()
    return rf"\frac{{{over}}}{{{under}}}"


@lru_cache(maxsize=8192)
def compact(text: str) -> str:
    """A bare answer in the shortest spelling: what is alike in it is the same answer."""
    text = without_fonts(text)
    for spelt, short in _SPELT.items():
        text = spelt.sub(short, text.strip())
    text = _LONE.sub(r"\1\2", _NO_SPACE.sub("", text))
    return text.casefold() if text.isalpha() and (len(text) > 2 or text in ("No", "NO")) else text


def without_fonts(text: str) -> str:
    r"""The words of `\text{...}` and its like."""
    for _ in range(3):
        text, found = _FONT.subn(r"\1", text)
        if not found:
            break
    return text.strip()


def without_units(text: str) -> tuple[str, bool]:
    """A bare answer without what follows its number, and whether that said percent."""
    text, percent = _CURRENCY.sub(r"\1", text), False
    for _ in range(4):
        if _MEANING.search(without_fonts(text)):
            break
        before = text
        if found := _PERCENT.search(text):
            text, percent = text[: found.start()], True
        else:
            for unit in (_DEGREE, _TEXT_UNIT, _WORD_UNIT):
                if (found := unit.search(text)) and found.start() > 0:
                    text = text[: found.start()]
                    break
        if text == before:
            break
    text = text.strip()
    inner = without_fonts(text) if text.startswith("\\") else text
    return inner, percent


def is_words(text: str) -> bool:
    r"""Whether an answer is a word or some: said so by `\text{}`, or a word of four letters or more among them."""
    plain = without_fonts(text)
    letters = re.sub(r"[ \-']", "", plain)
    return letters.isalpha() and len(letters) > 1 and (plain != text or any(len(word) > 3 for word in plain.split()))
