r"""Normalization of the LaTeX of an answer: layout, spaces, spellings, and its brackets. Pure.

`bare` keeps the structure that the parser needs; `compact` goes further and yields a key for equality of texts.
"""

import re
from collections.abc import Callable, Iterator
from functools import lru_cache


_SPACES = "\u00a0\u2002\u2003\u2005\u2007\u2008\u2009\u200a\u202f\u205f\u3000"
_SPELLED = {"×": r"\times ", "·": r"\cdot ", "⋅": r"\cdot ", "÷": "/", "⁄": "/", "∕": "/", "±": r"\pm ", "π": r"\pi "}
_SPELLED |= {"θ": r"\theta ", "∞": r"\infty ", "°": r"^\circ ", "∪": r"\cup ", "∩": r"\cap ", "≤": r"\leq "}
_SPELLED |= {"≥": r"\geq ", "≠": r"\neq ", "∈": r"\in ", "∅": r"\emptyset ", "≈": r"\approx "}
_SPELLED |= {"½": r"\frac{1}{2}", "¼": r"\frac{1}{4}", "¾": r"\frac{3}{4}", "⅓": r"\frac{1}{3}", "⅔": r"\frac{2}{3}"}
_SPELLED |= dict.fromkeys(_SPACES, " ") | dict.fromkeys("\u200b\u200c\u200d\u2060\ufeff", "")
_SPELLED |= dict.fromkeys("\u2212\u2010\u2011\u2012\u2013\u2014", "-")
_SPELLED |= {"∓": r"\mp ", "→": r"\to ", "↦": r"\mapsto ", "≡": r"\equiv ", "∖": r"\setminus ", "…": r"\ldots "}
_SPELLED |= {"⌊": r"\lfloor ", "⌋": r"\rfloor ", "⌈": r"\lceil ", "⌉": r"\rceil ", "⟨": r"\langle ", "⟩": r"\rangle "}
_SPELLED |= {"⅕": r"\frac{1}{5}", "⅖": r"\frac{2}{5}", "⅗": r"\frac{3}{5}", "⅘": r"\frac{4}{5}", "⅙": r"\frac{1}{6}"}
_SPELLED |= {"⅚": r"\frac{5}{6}", "⅛": r"\frac{1}{8}", "⅜": r"\frac{3}{8}", "⅝": r"\frac{5}{8}", "⅞": r"\frac{7}{8}"}
_SPELLED |= {sign: rf"\mathbb{{{letter}}}" for sign, letter in zip("ℝℤℕℚℂ", "RZNQC", strict=True)}
_SPELLED |= {"α": r"\alpha ", "β": r"\beta ", "γ": r"\gamma ", "δ": r"\delta ", "ε": r"\epsilon ", "λ": r"\lambda "}
_SPELLED |= {"μ": r"\mu ", "ρ": r"\rho ", "σ": r"\sigma ", "τ": r"\tau ", "φ": r"\phi ", "ϕ": r"\phi ", "ψ": r"\psi "}
_SPELLED |= {"ω": r"\omega ", "Γ": r"\Gamma ", "Δ": r"\Delta ", "Σ": r"\Sigma ", "Φ": r"\Phi ", "Ω": r"\Omega "}
_SPELLED |= {"′": "'", "″": "''", "∣": "|", "∠": r"\angle ", "。": ".", "、": ","}
# Bidirectional control characters, common in text copied from web pages.
_SPELLED |= dict.fromkeys("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069", "")
# Full-width characters of Chinese and Japanese texts.
_SPELLED |= {chr(code): chr(code - 0xFEE0) for code in range(0xFF01, 0xFF5F)}
_SIGNS = str.maketrans(_SPELLED)
_RAISED, _LOWERED = "⁰¹²³⁴⁵⁶⁷⁸⁹⁺⁻⁽⁾ⁿ", "₀₁₂₃₄₅₆₇₈₉₊₋₍₎ₙ"
_PLAIN_SCRIPTS = str.maketrans(_RAISED + _LOWERED, "0123456789+-()n" * 2)
_SCRIPTS = re.compile(f"(?P<up>[{_RAISED}]+)|[{_LOWERED}]+")
_ROOT = re.compile(r"(?P<sign>[√∛∜])\s*(?:\((?P<long>[^()]*)\)|(?P<short>\w+))")
_ROOTS = {"√": "", "∛": "[3]", "∜": "[4]"}

# The line break of a matrix comes first in these patterns, so that its second backslash starts no command.
_LAYOUT = re.compile(
    r"(?P<row>\\\\)(?:\[-?[\d.]+ ?[a-z]{2}\])?|\\!\s*|\\[$()\[\]]|\$|(?P<power>(?<=[\w)\]}])\*\*(?=[\w(\-{]))|\*\*"
    r"|\\(?:left|right)(?![A-Za-z])\.?"
    r"|\\(?:[bB]igg?[lrm]?|displaystyle|textstyle|limits|nolimits|strut|mathstrut|boxed|underline|rm|bf)(?![A-Za-z])"
    r"|\\(?:tiny|scriptsize|footnotesize|small|normalsize|large|Large|LARGE|huge|Huge)(?![A-Za-z])"
    r"|\\(?:textcolor|colorbox|color|hspace|vspace|phantom|vphantom|hphantom|tag)\*?\s*(?:\[[^\[\]]*\])?\s*\{[^{}]*\}"
)
_LONE_SIGN = re.compile(r"(?<![A-Za-z])\{([,:=<>+-])\}|\\mathrel\{([=<>])\}")
_ABOUT = re.compile(r"^\s*\\approx(?![A-Za-z])")
_SPACE = re.compile(r"(?P<row>\\\\)|\\[,;: ]|\\q?quad(?![A-Za-z])|~|\s+")
_COMMANDS: dict[re.Pattern[str], str] = {
    re.compile(r"\\cr(?![A-Za-z])\s*"): r"\\\\",
    re.compile(r"\\(?:[dtc]|nice|s)frac(?![A-Za-z])"): r"\\frac",
    re.compile(r"\\[dt]binom(?![A-Za-z])"): r"\\binom",
    re.compile(r"\\(?:mathbb|mathbf|Bbb)\s*\{?\s*([RZNQC])(?![A-Za-z])\s*\}?"): r"\\mathbb{\1}",
    re.compile(r"\\(?:[lr]vert|vert|mid)(?![A-Za-z])"): "|",
    re.compile(r"\\lbrack(?![A-Za-z])"): "[",
    re.compile(r"\\rbrack(?![A-Za-z])"): "]",
    re.compile(r"\\ge(?:q|qslant|qq)?(?![A-Za-z])"): r"\\geq",
    re.compile(r"\\le(?:q|qslant|qq)?(?![A-Za-z])"): r"\\leq",
    re.compile(r"\\neq?(?![A-Za-z])|\\not\s*="): r"\\neq",
}
_SHORT_FRAC = re.compile(r"\\frac\s*(?:(\d)|\{([^{}]*)\})\s*(?:(\d)|\{([^{}]*)\})")
_ENDS = ' \t\n\r*`".'
FONTS = r"(?:text(?:bf|it|rm|sf|tt|normal)?|math(?:rm|bf|it|sf)|mbox|hbox|operatorname|boldsymbol|bm|emph)"
_FONT = re.compile(rf"\\{FONTS}\*?\s*\{{([^{{}}]*)\}}")
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
# Closing brackets by their opening ones.
BRACKETS = {"(": ")", "[": "]", "\\{": "\\}", "\\langle": "\\rangle"}
_BRACKET = re.compile(
    r"\\langle(?![A-Za-z])|\\rangle(?![A-Za-z])|\\[{}]|[()\[\]{}]|\\begin\s*\{\w+\*?\}|\\end\s*\{\w+\*?\}"
)


@lru_cache(maxsize=8192)
def bare(text: str) -> str:
    r"""Remove the layout of an answer: `$\left(\dfrac12, 3\right)$.` becomes `(\frac{1}{2}, 3)`.

    Args:
        text (`str`): An answer in LaTeX, Unicode or plain text.

    Returns:
        `str`: The same answer in plain LaTeX.
    """
    text = _ROOT.sub(lambda root: rf"\sqrt{_ROOTS[root['sign']]}{{{root['long'] or root['short']}}}", text)
    text = _SCRIPTS.sub(_scripted, text).translate(_SIGNS)
    text = _LAYOUT.sub(lambda found: found["row"] or ("^" if found["power"] else ""), text)
    text = _LONE_SIGN.sub(lambda found: found[1] or found[2], text)
    text = _SPACE.sub(lambda found: found["row"] or " ", text)
    text = _ABOUT.sub("", text)
    for command, plain in _COMMANDS.items():
        text = command.sub(plain, text)
    text = _SHORT_FRAC.sub(_braced, text)
    return text.strip(_ENDS.replace(".", "")).rstrip(_ENDS + ",;:").strip()


def _scripted(signs: re.Match[str]) -> str:
    plain = signs[0].translate(_PLAIN_SCRIPTS)
    return f"{'^' if signs['up'] else '_'}{plain if len(plain) == 1 else f'{{{plain}}}'}"


def _braced(frac: re.Match[str]) -> str:
    over, under = (frac[1] or frac[2] or "").strip(), (frac[3] or frac[4] or "").strip()
    return rf"\frac{{{over}}}{{{under}}}"


@lru_cache(maxsize=8192)
def compact(text: str) -> str:
    """Reduce a bare answer to its shortest spelling.

    Args:
        text (`str`): An answer from `bare`.

    Returns:
        `str`: A text that is equal only for equal answers.
    """
    text = without_fonts(text)
    for spelt, short in _SPELT.items():
        text = spelt.sub(short, text.strip())
    text = _LONE.sub(r"\1\2", _NO_SPACE.sub("", text))
    return text.casefold() if text.isalpha() and (len(text) > 2 or text in ("No", "NO")) else text


def without_fonts(text: str) -> str:
    r"""Remove the font commands of a text, such as `\text{...}`.

    Args:
        text (`str`): An answer from `bare`.

    Returns:
        `str`: The text without font commands.
    """
    for _ in range(3):
        text, found = _FONT.subn(r"\1", text)
        if not found:
            break
    return text.strip()


def is_words(text: str) -> bool:
    r"""Whether an answer consists of words.

    Args:
        text (`str`): An answer from `bare`.

    Returns:
        `bool`: `True` for letters only, if `\text{}` marks them as words or one has at least four letters.
    """
    plain = without_fonts(text)
    letters = re.sub(r"[ \-']", "", plain)
    return letters.isalpha() and len(letters) > 1 and (plain != text or any(len(word) > 3 for word in plain.split()))


def split_outside(text: str, pattern: re.Pattern[str]) -> Iterator[tuple[str, re.Match[str] | None]]:
    """Split a text at the matches of a pattern that lie outside of all brackets.

    Args:
        text (`str`): A text.
        pattern (`re.Pattern`): What separates the parts.

    Yields:
        `tuple[str, re.Match]`: Each part, and the match behind it; `None` behind the last part.
    """
    brackets = [*_BRACKET.finditer(text)]
    depth, last, k = 0, 0, 0
    for found in pattern.finditer(text):
        while k < len(brackets) and brackets[k].start() < found.end():
            depth += 1 if _opens(brackets[k][0]) else -1
            k += 1
        if depth == 0:
            yield text[last : found.start()], found
            last = found.end()
    yield text[last:], None


def closes_last(text: str, at: int) -> bool:
    """Whether the last bracket of a text closes the bracket at a position.

    Args:
        text (`str`): A text.
        at (`int`): The position of an opening bracket.

    Returns:
        `bool`: `True` if nothing follows the closing bracket.
    """
    depth = 0
    for found in _BRACKET.finditer(text, at):
        depth += 1 if _opens(found[0]) else -1
        if depth <= 0:
            return found.end() == len(text) and depth == 0
    return False


def unwrapped(text: str) -> tuple[str, str]:
    """Split a text into the brackets around it and its content.

    Args:
        text (`str`): A text.

    Returns:
        `tuple[str, str]`: The brackets, such as `(]`, and the content; an empty text and `text` without brackets.
    """
    opening = next((one for one in BRACKETS if text.startswith(one)), "")
    closing = next((one for one in BRACKETS.values() if text.endswith(one)), "")
    if not (opening and closing and len(text) >= len(opening) + len(closing) and closes_last(text, 0)):
        return "", text
    if {opening, closing} & {"\\{", "\\}", "\\langle", "\\rangle"} and BRACKETS[opening] != closing:
        return "", text
    return {"\\{": "{", "\\langle": "("}.get(opening, opening) + {"\\}": "}", "\\rangle": ")"}.get(
        closing, closing
    ), text[len(opening) : len(text) - len(closing)].strip()


def _opens(bracket: str) -> bool:
    return bracket in ("(", "[", "{", "\\{", "\\langle") or bracket.startswith("\\begin")
