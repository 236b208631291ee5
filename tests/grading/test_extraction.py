"""Extraction of boxes and of lenient readings, in linear time."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.grading import last_boxed
from palign_hf.grading.extraction import Boxes, read_boxes, readings


# Balanced by construction: text without braces or backslashes, escaped braces, and groups of the same.
balanced = st.recursive(
    st.one_of(st.text(st.characters(exclude_characters="{}\\", exclude_categories=["Cs"])), st.just("\\{ x")),
    lambda inner: st.lists(inner, max_size=4).map(lambda parts: "".join(f"\\frac{{{part}}}" for part in parts)),
    max_leaves=12,
)


class TestLastBoxed:
    @pytest.mark.parametrize(
        ("text", "content"),
        [
            ("no box", None),
            ("", None),
            ("\\boxed{5}", "5"),
            ("\\boxed{ 5 }", "5"),
            ("\\boxed {5}", "5"),
            ("\\fbox{five}", "five"),
            ("\\boxed{1} then \\boxed{2}.", "2"),
            ("\\boxed{\\frac{1}{2}}", "\\frac{1}{2}"),
            ("\\boxed{x = \\boxed{5}}", "5"),
            ("\\boxed{\\{1, 2\\}}", "\\{1, 2\\}"),
            ("\\boxed{\\left\\{ x \\right.}", "\\left\\{ x \\right."),
            ("$\\boxed 5$", "5"),
            ("so \\boxed -3.5.", "-3.5"),
            ("\\boxed A", "A"),
            ("a \\boxed notation", None),
            ("\\boxedtext{5}", None),
            ("put it within \\boxed{}.", None),
            ("\\boxed{7}, within \\boxed{}", "7"),
            ("\\boxed{1} and \\boxed{2", "1"),
            ("} \\boxed{3} }", "3"),
            ("line \\\\\\boxed{4}", "4"),
            ("escaped twice \\\\boxed{4}", "4"),
        ],
    )
    def test_examples(self, text, content):
        assert last_boxed(text) == content

    @given(balanced, st.sampled_from(["", "} ", "so \\boxed{1} ", "\\boxed{ "]), st.sampled_from(["", "$.", " {a}"]))
    def test_nested_braces_come_back_whole(self, content, before, after):
        expected = content.strip() or ("1" if "{1}" in before else None)
        assert last_boxed(f"{before}\\boxed{{{content}}}{after}") == expected

    @given(st.text(st.sampled_from("\\boxed{} 5A$")))
    def test_any_text_gives_a_piece_of_it_or_none(self, text):
        found = last_boxed(text)
        assert found is None or (found and found in text)

    @pytest.mark.parametrize(
        "unit", ["\\boxed{", "{", "}", "\\", "\\boxed", "\\boxed{1", "\\boxed{}", "\\boxed 5", "\\boxed \t", "a{b}"]
    )
    def test_a_megabyte_of_anything_is_linear(self, unit):
        text = unit * (1_000_000 // len(unit))
        started = time.process_time()
        last_boxed(text)
        last_boxed(text + "}" * (len(text) // len(unit)))
        assert time.process_time() - started < 10  # quadratic work would take minutes

    def test_a_million_nested_braces_are_linear(self):
        deep = 1_000_000
        started = time.process_time()
        assert last_boxed("\\boxed{" + "{" * deep + "5" + "}" * deep + "}") == "{" * deep + "5" + "}" * deep
        assert last_boxed("\\boxed{1}" + "{" * deep) == "1"
        assert time.process_time() - started < 20

    @given(
        st.lists(balanced.filter(str.strip), min_size=1, max_size=5), st.text(st.characters(exclude_characters="{}\\"))
    )
    def test_the_last_of_several_counts(self, contents, between):
        text = between.join(f"\\boxed{{{content}}}" for content in contents)
        assert last_boxed(text) == contents[-1].strip()


class TestReadBoxes:
    @pytest.mark.parametrize(
        ("text", "boxes"),
        [
            ("\\boxed{1} and \\boxed{2}", Boxes("2", ("1", "2"), None)),
            ("$\\boxed{1}$, $\\boxed{2}$, and $\\boxed{3}$", Boxes("3", ("1", "2", "3"), None)),
            ("\\boxed{1}\\text{ or }\\boxed{2}", Boxes("2", ("1", "2"), None)),
            ("\\boxed{1}. So \\boxed{2}", Boxes("2", ("2",), None)),
            ("\\boxed{1}\n\n\\boxed{2}", Boxes("2", ("2",), None)),
            ("\\boxed{1} and then, by a check, and again, \\boxed{2}", Boxes("2", ("2",), None)),
            ("\\boxed{1} so \\boxed{2", Boxes("1", ("1",), "2")),
            ("\\boxed{\\frac{1}{2", Boxes(None, (), "\\frac{1}{2")),
            ("\\boxed{2$ and more", Boxes(None, (), "2")),
            ("\\boxed{2\nand more", Boxes(None, (), "2")),
            ("\\boxed{ ", Boxes(None, (), None)),
            ("\\boxed{1 \\boxed{2}", Boxes("2", ("2",), None)),
        ],
    )
    def test_examples(self, text, boxes):
        assert read_boxes(text) == boxes

    def test_an_unclosed_box_is_not_read_to_the_end_of_the_world(self):
        unclosed = read_boxes("\\boxed{" + "7" * 100_000).unclosed
        assert unclosed and len(unclosed) < 1000


def read(text: str) -> list[str]:
    return list(readings(text, read_boxes(text)))


class TestReadings:
    @pytest.mark.parametrize(
        ("text", "found"),
        [
            ("", []),
            ("\\boxed{5}", []),
            ("\\boxed{5} and \\boxed{6}", []),
            ("the answer is 7 but \\boxed{5", ["5"]),
            ("The answer is 7 cm.", ["7", "7 cm"]),
            ("The answer is 3.5.", ["3.5", "3.5"]),
            ("The answer is $x$ or $y$.", ["x"]),
            ("The answer is x + 1.\nReally.", ["x + 1"]),
            ("Answers are 3", ["3", "3"]),
            ("12 and $13$ and \\[14\\] and \\(15\\)", ["15"]),
            ("$13$ and 12", ["12"]),
            ("it is $13$ and $12", ["12"]),
            ("x2 and -1,234.50", ["-1,234.50"]),
        ],
    )
    def test_examples(self, text, found):
        assert read(text) == found

    @given(st.text(st.sampled_from("$\\()[]{}answer is:5.\n*#,/-%")))
    def test_any_text_gives_pieces_of_it(self, text):
        assert all(piece and piece in text for piece in readings(text, read_boxes(text)))

    @pytest.mark.parametrize(
        "unit", ["answer ", "answer is ", "$", "\\(", "\\[ ", "7", "7,", "####", "* ", "\n", "answer to the ", " "]
    )
    def test_a_megabyte_of_anything_is_linear(self, unit):
        text = unit * (1_000_000 // len(unit))
        started = time.process_time()
        read(text)
        assert time.process_time() - started < 10  # quadratic work would take minutes
