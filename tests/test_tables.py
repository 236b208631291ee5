"""Tables and formats of numbers, and the statistics that stand in them."""

import numpy as np
import pytest

from palign_hf.evaluation.summary import WORDS
from palign_hf.tables import (
    UNKNOWN,
    aligned,
    figures,
    interval_text,
    number,
    quantiles,
    share,
    spread,
    spread_text,
    style_of,
    table,
)


def test_a_spread_is_the_mean_and_the_quantiles_in_any_order_of_the_values():
    values = np.random.default_rng(0).random(1001)
    found = spread(values, (0.1, 0.5))
    assert found == spread(values[::-1], (0.1, 0.5)) and list(found) == ["mean", "p10", "p50"]
    assert found == pytest.approx({"mean": values.mean(), "p10": np.quantile(values, 0.1), "p50": np.median(values)})
    assert {name: found[name] for name in ("p10", "p50")} == quantiles(values, (0.1, 0.5))


def test_of_nothing_there_are_no_statistics():
    assert spread(None, (0.5,)) is spread([], (0.5,)) is spread(np.array([]), (0.5,)) is quantiles([], (0.5,)) is None
    assert share(1, 0) is None and share(0, 2) == 0


def test_columns_of_a_terminal_end_where_the_longest_cell_does():
    rows = [("name", "one", "two"), ("a", "1", ""), ("longer", "100", "22")]
    assert aligned(rows) == ["name    one  two", "a       1", "longer  100  22"]
    assert aligned(rows, right=True) == ["name    one  two", "a         1", "longer  100   22"]


def test_cells_are_escaped_unless_they_are_markdown_already():
    assert table(("a|b", ""), [("`x`", "y")]) == ["| a\\|b | |", "|---|---|", "| \\`x\\` | y |"]
    assert table(("a",), [("`x`",)], str)[-1] == "| `x` |"


def test_numbers_have_one_format():
    assert number(None, ".1%") == "-" and number(0.5, ".1%") == "50.0%" and number(None, ",", UNKNOWN) == UNKNOWN
    assert figures(("a", 1234, ","), ("b", None, ",")) == [("a", "1,234")]
    assert spread_text({"mean": 0.5, "p50": 0.25}, ".2f") == "mean 0.50 · p50 0.25"


def test_an_interval_stands_in_brackets_where_it_has_both_ends():
    assert interval_text(0.5, 0.4, 0.6, ".3f") == "0.500 [0.400, 0.600]"
    assert interval_text(0.5, None, 0.6, ".3f") == interval_text(0.5, None, None, ".3f") == "0.500"


def test_tokens_are_whole_and_all_other_measures_are_shares():
    assert [name for name in WORDS if style_of(name) == ".0f"] == ["tokens", "draft_tokens"]
    assert style_of("strict pass@1") == style_of("") == ".3f"
