r"""Parser of formulas in LaTeX or plain text: `\frac\pi4 x^2` and `pi*x^2/4` yield the same tree. Pure.

It covers the formulas of final answers in linear time and rejects sums, integrals, limits and matrices, which need a
computer algebra system. A tree consists of nested tuples whose first item is the operation.
"""

import re
from fractions import Fraction
from functools import lru_cache
from typing import Any

from palign_hf.grading.units import CONSTANTS, FUNCTIONS


Tree = tuple[Any, ...]
# Deepest nesting of brackets and powers.
DEEPEST = 60

_PLAIN_NAMES = sorted([*FUNCTIONS, *CONSTANTS], key=len, reverse=True)
_TOKEN = re.compile(
    r"\s*(?:(?P<number>\d{1,3}(?:,\d{3})+(?![\d,])(?:\.\d+)?|\d+(?:\.\d*)?|\.\d+)"
    r"|(?P<bar>\\overline\s*\{\s*(?P<again>\d+)\s*\})"
    r"|(?P<command>\\[A-Za-z]+\*?|\\.)"
    rf"|(?P<named>{'|'.join(_PLAIN_NAMES)})"
    r"|(?P<letter>[^\W\d_]'*)"
    r"|(?P<sign>[-+*/^_!|()\[\]{},=<>:]))"
)
_FUNCTIONS = set(FUNCTIONS) - {"sqrt", "cbrt", "gcd", "lcm", "max", "min", "binom"}
_RENAMED = {"asin": "arcsin", "acos": "arccos", "atan": "arctan", "infinity": "infty", "oo": "infty", "inf": "infty"}
_GREEK = "alpha beta gamma delta epsilon varepsilon zeta eta theta vartheta iota kappa lambda mu nu xi rho sigma tau"
_GREEK += " upsilon phi varphi chi psi omega Gamma Delta Theta Lambda Xi Sigma Phi Psi Omega ell hbar"
_SYMBOLS = set(_GREEK.split()) | {"infty", "emptyset"}
_SAME = {"varepsilon": "epsilon", "vartheta": "theta", "varphi": "phi", "ell": "l"}
_ACCENTS = {"vec", "hat", "bar", "tilde", "overline", "overrightarrow", "mathcal", "widehat", "dot"}
_FONTS = {"text", "textbf", "textit", "textrm", "mathrm", "mathbf", "mathit", "mathsf", "operatorname", "mbox", "bm"}
_FONTS |= {"boldsymbol", "hbox", "emph", "textnormal"}
# Letters that are functions before brackets, and no factors.
_APPLIED = {"f", "g", "h", "F", "G", "H"}
_STARTS = _SYMBOLS | _ACCENTS | _FONTS | set(FUNCTIONS)
_STARTS |= set("frac sqrt binom lfloor lceil pi mathbb imath jmath angle circ lg".split())
_MULTIPLY = {"*", "\\times", "\\cdot", "\\ast", "\\cdotp"}
_DIVIDE = {"/", "\\div", "\\over"}
_DIGITS = set("0123456789.")
_CLOSING = {"(": ")", "[": "]", "{": "}", "\\lfloor": "\\rfloor", "\\lceil": "\\rceil", "\\{": "\\}"}


class NoFormulaError(Exception):
    """The text is no formula, or none that this parser supports."""


@lru_cache(maxsize=8192)
def parsed(text: str) -> Tree | None:
    """Parse a formula.

    Args:
        text (`str`): The `core` of a `Piece`.

    Returns:
        `Tree`, *optional*: Its tree; `None` if this parser doesn't support it.
    """
    try:
        return _Parser(text).whole()
    except (NoFormulaError, RecursionError):
        return None


def names(tree: Tree) -> frozenset[str]:
    """Collect the variables of a tree; an unknown function counts as one.

    Args:
        tree (`Tree`): A formula.

    Returns:
        `frozenset[str]`: Their names.
    """
    if tree[0] == "sym":
        return frozenset([tree[1]])
    inner = [names(part) for part in tree[1:] if isinstance(part, tuple)]
    found = frozenset().union(*inner)
    return found | {tree[1]} if tree[0] == "apply" else found


def operations(tree: Tree) -> frozenset[str]:
    """Collect the operations and functions of a tree.

    Args:
        tree (`Tree`): A formula.

    Returns:
        `frozenset[str]`: Their names.
    """
    inner = [operations(part) for part in tree[1:] if isinstance(part, tuple)]
    own = tree[1] if tree[0] == "call" else tree[0]
    return frozenset([own]).union(*inner)


class _Parser:
    """A recursive descent parser: each method consumes tokens from the current position."""

    def __init__(self, text: str) -> None:
        self.tokens: list[str] = []
        at, text = 0, text.strip()
        while at < len(text):
            found = _TOKEN.match(text, at)
            if not found:
                raise NoFormulaError
            self.tokens.append((found["bar"] or found[0]).strip())
            at = found.end()
        self.tokens = [token.replace(",", "") if token[:1].isdigit() else token for token in self.tokens]
        self.at, self.depth, self.bars = 0, 0, 0

    def whole(self) -> Tree:
        tree = self.sum()
        if self.at < len(self.tokens):
            raise NoFormulaError
        return tree

    @property
    def next(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        token = self.next
        if not token:
            raise NoFormulaError
        self.at += 1
        return token

    def expect(self, token: str) -> None:
        if self.take() != token:
            raise NoFormulaError

    def sum(self) -> Tree:
        self.depth += 1
        if self.depth > DEEPEST:
            raise NoFormulaError
        terms = [self.product(self.signs())]
        while self.next in ("+", "-"):
            terms.append(self.product(self.signs()))
        self.depth -= 1
        return terms[0] if len(terms) == 1 else ("add", *terms)

    def signs(self) -> bool:
        """Whether the plus and minus signs here negate the next term."""
        negative = False
        while self.next in ("+", "-"):
            negative ^= self.take() == "-"
        return negative

    def product(self, negative: bool) -> Tree:
        tree = self.factor(first=True)
        while self.next:
            if self.next in _MULTIPLY:
                self.take()
                minus = self.signs()
                tree = ("mul", tree, _negated(self.factor(first=True), minus))
            elif self.next == "\\over":
                self.take()
                return ("div", _negated(tree, negative), self.sum())
            elif self.next in _DIVIDE:
                self.take()
                minus = self.signs()
                tree = ("div", tree, _negated(self.factor(first=True), minus))
            elif self.next in ("\\bmod", "\\mod"):
                self.take()
                tree = ("mod", tree, self.factor(first=True))
            elif self.starts():
                if self.next[0] in _DIGITS and self.tokens[self.at - 1][0] in _DIGITS:
                    # Two adjacent numbers are no product.
                    raise NoFormulaError
                tree = ("mul", tree, self.factor())
            else:
                break
        return _negated(tree, negative)

    def starts(self) -> bool:
        """Whether the next token starts a factor."""
        token = self.next
        if token == "|":
            return self.bars == 0
        if token[0] == "\\":
            name = token[1:].rstrip("*")
            return token == "\\{" or name in _STARTS
        return token[0].isalnum() or token[0] in "({[."

    def factor(self, first: bool = False) -> Tree:
        tree = self.power(first)
        while self.next in ("!", "\\degree"):
            tree = ("fact", tree) if self.take() == "!" else ("deg", tree)
        return tree

    def power(self, first: bool = False) -> Tree:
        base = self.atom(first)
        while self.next == "^":
            self.take()
            if self.next == "\\circ" or self.tokens[self.at : self.at + 3] == ["{", "\\circ", "}"]:
                self.at += 1 if self.next == "\\circ" else 3
                base = ("deg", base)
                continue
            base = ("pow", base, self.exponent())
        return base

    def exponent(self) -> Tree:
        self.depth += 1
        if self.depth > DEEPEST:
            raise NoFormulaError
        minus = self.signs()
        tree = self.atom()
        if self.next == "^":
            self.take()
            tree = ("pow", tree, self.exponent())
        self.depth -= 1
        return _negated(tree, minus)

    def atom(self, first: bool = False) -> Tree:
        token = self.take()
        if token[0].isdigit() or token[0] == ".":
            return self.number(token, first)
        if token == "|":
            self.bars += 1
            inner = self.sum()
            self.expect("|")
            self.bars -= 1
            return ("call", "abs", inner)
        if token in _CLOSING:
            inner = self.inside(token)
            rounds = {"\\lfloor": "floor", "\\lceil": "ceil"}.get(token)
            return ("call", rounds, inner) if rounds else inner
        name = token.lstrip("\\").rstrip("*")
        if token[0] == "\\" or len(token.rstrip("'")) > 1:
            return self.command(name, token[0] == "\\")
        if token[0].isalpha():
            return self.variable(token)
        raise NoFormulaError

    def inside(self, opening: str) -> Tree:
        bars, self.bars = self.bars, 0
        inner = self.sum()
        self.expect(_CLOSING[opening])
        self.bars = bars
        return inner

    def number(self, token: str, first: bool) -> Tree:
        if self.next.startswith("\\overline"):
            again = re.sub(r"\D", "", self.take())
            whole, _, places = token.partition(".")
            if "." not in token:
                raise NoFormulaError
            value = Fraction(int(again), (10 ** len(again) - 1) * 10 ** len(places))
            return ("num", Fraction(f"{whole or 0}.{places or 0}") + value)
        if len(token) > 1200:
            raise NoFormulaError
        value = Fraction(token if token != "." else 0)
        tree: Tree = ("num", value)
        if first and value.denominator == 1 and self.next == "\\frac":
            # `1\frac{2}{3}` is a mixed number, `2\frac{x}{3}` a product.
            at = self.at
            part = self.atom()
            if part[0] == "div" and part[1][0] == part[2][0] == "num":
                return ("add", tree, part)
            self.at = at
        return tree

    def command(self, name: str, escaped: bool) -> Tree:
        name = _RENAMED.get(name, name)
        if name in ("frac", "binom"):
            upper = self.argument()
            return ("div" if name == "frac" else "binom", upper, self.argument())
        if name in ("sqrt", "cbrt"):
            degree: Tree = ("num", Fraction(3 if name == "cbrt" else 2))
            if self.next == "[":
                self.take()
                degree = self.inside("[")
            return ("root", self.argument(), degree)
        if name in ("pi", "infty"):
            return ("const", name)
        if name in ("imath", "jmath"):
            return ("const", "i")
        if name in _FUNCTIONS:
            return self.function(name)
        if name in ("gcd", "lcm", "max", "min"):
            return self.several(name)
        if name == "lg":
            return self.function("log", ("num", Fraction(10)))
        if name == "Gamma" and self.next == "(":
            self.take()
            return ("call", "gamma", self.inside("("))
        if name in _SYMBOLS:
            return self.variable(_SAME.get(name, name))
        if name in _FONTS and escaped:
            text = self.braced()
            if len(text) == 1:
                return self.variable(text)
            if text in FUNCTIONS:
                return self.command(text, False)
            return self.variable(f"'{text}'")
        if name in _ACCENTS and escaped:
            return self.variable(f"{'bar' if name == 'overline' else name} {self.braced()}")
        if name == "angle":
            return self.variable(f"angle {self.letters()}")
        raise NoFormulaError

    def letters(self) -> str:
        text = ""
        while self.next[:1].isalpha():
            text += self.take()
        if not text:
            raise NoFormulaError
        return text

    def braced(self) -> str:
        """The text in braces, or one token."""
        if self.next != "{":
            return self.take()
        depth, text = 0, ""
        while True:
            token = self.take()
            depth += (token == "{") - (token == "}")
            if not depth:
                return text[1:]
            text += token

    def argument(self) -> Tree:
        r"""The argument of a command: a group, the first digit of a number, or another token."""
        token = self.next
        if token[:1].isdigit() and len(token) > 1 and token.isdigit():
            self.tokens[self.at] = token[1:]
            return ("num", Fraction(int(token[0])))
        if token in ("{", "(", "["):
            self.take()
            return self.inside(token)
        if token in ("-", "+"):
            return _negated(self.argument(), self.signs())
        return self.atom()

    def function(self, name: str, base: Tree | None = None) -> Tree:
        power: Tree | None = None
        while self.next in ("^", "_"):
            if self.take() == "^":
                power = self.exponent()
            else:
                base = self.argument()
        if self.next in ("(", "{"):
            bracket = self.take()
            inner = self.inside(bracket)
            while bracket == "(" and self.next == "!":
                self.take()
                inner = ("fact", inner)
        else:
            inner = self.bare_argument()
        if base is not None:
            tree: Tree = ("call", "log", inner, base)
        elif power == ("num", Fraction(-1)) and name in ("sin", "cos", "tan", "cot", "sec", "csc"):
            return ("call", f"arc{name}", inner)
        else:
            tree = ("call", name, inner)
        return ("pow", tree, power) if power else tree

    def bare_argument(self) -> Tree:
        r"""The argument of a function without brackets: `2x` in `\sin 2x\cos x`."""
        minus = self.signs()
        tree = self.factor()
        while self.starts() if self.next else False:
            name = self.next.lstrip("\\")
            if name in FUNCTIONS and name != "sqrt" or self.next in ("(", "[", "{", "|", "\\lfloor", "\\{"):
                break
            if self.next[0].isdigit():
                raise NoFormulaError
            tree = ("mul", tree, self.factor())
        return _negated(tree, minus)

    def several(self, name: str) -> Tree:
        bracket = self.take()
        if bracket not in ("(", "\\{", "{"):
            raise NoFormulaError
        found = [self.sum()]
        while self.next == ",":
            self.take()
            found.append(self.sum())
        self.expect(_CLOSING[bracket])
        return ("several", name, *found)

    def variable(self, name: str) -> Tree:
        if self.next == "_":
            self.take()
            name += f"_{self.braced()}"
        if name in ("i", "e"):
            return ("const", name)
        primes = ""
        while self.next == "'":
            primes += self.take()
        if name.rstrip("'") in _APPLIED and self.next == "(":
            at = self.at
            self.take()
            inner = self.sum()
            if self.next == ")":
                self.take()
                return ("apply", name + primes, inner)
            self.at = at
            raise NoFormulaError
        return ("sym", name + primes)


def _negated(tree: Tree, negative: bool) -> Tree:
    if negative and tree[0] == "num":
        return ("num", -tree[1])
    return ("mul", ("num", Fraction(-1)), tree) if negative else tree
