"""Comparison without algebra: symmetric, total, and exact where it decides."""

import time
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.grading.compare import LONGEST
from palign_hf.grading.graders import same
from palign_hf.grading.numerals import read_number


pieces = [
    "1",
    "2",
    "0",
    ",",
    ".",
    "/",
    "-",
    "\\frac",
    "{",
    "}",
    "(",
    ")",
    "[",
    "]",
    "\\{",
    "\\}",
    "x",
    "=",
    " ",
    "%",
    "^\\circ",
]
pieces += ["\\text{", "cm", "and", "E", "_8", "\\in ", "\\pm", "1,234", "\\times10^", "million", "−", "½", "\\\\", "C"]
scraps = st.lists(st.sampled_from(pieces), max_size=10).map("".join)
values = st.fractions(min_value=-1000, max_value=1000, max_denominator=50)


@given(st.one_of(scraps, st.text(max_size=30)), st.one_of(scraps, st.text(max_size=30)))
def test_it_is_symmetric_and_never_raises(one, other):
    assert same(one, other) is same(other, one)


@pytest.mark.parametrize(
    "unit", [*pieces, "(1,", "\\frac{1}{", "x\\in ", "x=", "√(", "\\text{ ", "1/", "a ", "{,}", "1 ", "1e", "(,", "),"]
)
@pytest.mark.parametrize("end", ["", "x", ")", "5", "$"])
def test_no_answer_takes_long_or_raises(unit, end):
    text = unit * (LONGEST // len(unit) - 2)
    started = time.process_time()
    same(text + end, f"{text}{end}1")
    same(text + end, "(5, 6)")
    same(text + end, "5")
    assert time.process_time() - started < 3  # some hundredths


@given(scraps)
def test_an_answer_equals_itself(answer):
    assert same(answer, answer) in (True, False)
    assert same(f"{answer}1", f"{answer}1") is True


@given(values, values)
def test_fractions_are_equal_exactly_if_their_values_are(one, other):
    verdict = same(f"\\frac{{{one.numerator}}}{{{one.denominator}}}", f"{other.numerator}/{other.denominator}")
    assert verdict is (one == other)


@given(st.integers(-(10**6), 10**6), st.integers(0, 6))
def test_decimals_are_read_exactly(number, places):
    value = Fraction(number, 10**places)
    text = (
        f"{'-' * (number < 0)}{abs(number) // 10**places}.{abs(number) % 10**places:0{places}d}"
        if places
        else str(number)
    )
    read = read_number(text)
    assert read and read.value == value and read.decimals == places and not read.percent


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1,234,567.5", "2469135/2"),
        ("-1\\frac{1}{2}", "-3/2"),
        ("--5", "5"),
        ("\\frac{-1}{-3}", "1/3"),
        ("2.5\\times 10^{-3}", "1/400"),
        ("7\\text{ cm}^2", "7"),
        ("£3", "3"),
        ("1.5 million", "1500000"),
    ],
)
def test_numbers(text, value):
    read = read_number(text)
    assert read and read.value == Fraction(value)


@pytest.mark.parametrize(
    "text", ["", "x", "1/0", "5x", "1..2", "1,23", "9" * 1000, "1e99999", "٣", "\\frac{1}{}", "5 pi", "-"]
)
def test_no_numbers(text):
    assert read_number(text) is None


@pytest.mark.parametrize(
    ("one", "other"), [("x^2", "x^3"), ("12", "12\\pi"), ("[1,x)", "[1,2x)"), ("abc", "bca"), ("2x", "2")]
)
def test_algebra_stays_undecided(one, other):
    assert same(one, other) is None


def test_long_ones_are_compared_letter_for_letter():
    long = "7" * (LONGEST + 1)
    assert same(long, f" {long}") is True and same(long, f"0{long}") is False and same(long, "7") is False
    assert same(" " * (LONGEST + 1), " " * (LONGEST + 1)) is False
