"""Numbers of JSON keep their digits, and depth is refused before a parser recurses."""

import json
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.data.exact import (
    MOST_LEVELS,
    LiteralNumber,
    check_nesting,
    load_json,
    load_numbers,
    may_be_inexact,
    number_text,
)


LITERALS = st.from_regex(r"-?(0|[1-9][0-9]{0,30})(\.[0-9]{1,25})?([eE][-+]?[0-9]{1,4})?", fullmatch=True)


@pytest.mark.parametrize(
    ("literal", "text"),
    [
        ("12345678901234567890123", "12345678901234567890123"),
        ("9007199254740993", "9007199254740993"),
        ("12345678901234567890123.00", "12345678901234567890123"),
        ("3.14159265358979323846", "3.14159265358979323846"),
        ("1e400", "1e400"),
        ("1e-400", "1e-400"),
        (f"1e{'9' * 30}", f"1e{'9' * 30}"),
        ("7" * 5000, "7" * 5000),
        ("5", "5"),
        ("5.0", "5"),
        ("0.50", "0.5"),
        ("-0.25", "-0.25"),
        ("1e3", "1000"),
    ],
)
def test_a_number_is_written_with_all_its_digits(literal, text):
    assert LiteralNumber(literal).text == text


@given(LITERALS)
def test_no_number_changes_its_value(literal):
    number = LiteralNumber(literal)
    assert Decimal(number.text) == Decimal(literal)
    if number.value is None:
        assert may_be_inexact(literal)
    else:
        assert Decimal(number.value) == Decimal(literal) or float(literal) == number.value
    read = load_json(f"[{literal}]")[0]
    assert Decimal(read if isinstance(read, str | int) else repr(read)) == Decimal(literal)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_float_is_the_number_that_it_was_written_as(value):
    assert float(number_text(value)) == value


def test_decimals_of_a_table_lose_only_their_zeros():
    assert number_text(Decimal("142.00")) == "142" and number_text(Decimal("0.250")) == "0.25"
    assert number_text(Decimal("1200")) == "1200" and number_text(Decimal(10**40)) == "1" + "0" * 40


@given(
    st.recursive(
        st.text() | st.none() | st.booleans(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
    )
)
def test_all_else_is_read_as_json_reads_it(value):
    text = json.dumps(value)
    assert load_json(text) == load_numbers(text) == value


def nested(levels: int) -> str:
    return "[" * levels + "]" * levels


@pytest.mark.parametrize(
    "text", [nested(MOST_LEVELS), json.dumps("[{" * 10_000), "[[],[]]" * 1000, '"' + '\\"[' * 9_999]
)
def test_what_is_not_deep_passes(text):
    check_nesting(text)


@pytest.mark.parametrize(
    "text", [nested(MOST_LEVELS + 1), "[" * 200_000, '{"a":' * 100_000, '{"a":"\\"",' + nested(300)]
)
def test_what_is_deep_is_refused_in_words(text):
    for read in (load_json, load_numbers, check_nesting):
        with pytest.raises(ValueError, match=r"^it is nested more than 200 levels deep"):
            read(text)
