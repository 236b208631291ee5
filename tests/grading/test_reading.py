"""What a lenient reader takes for the answer, in linear time."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.grading.boxes import read_boxes
from palign_hf.grading.reading import readings


def read(text: str) -> list[str]:
    return list(readings(text, read_boxes(text)))


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
def test_examples(text, found):
    assert read(text) == found


@given(st.text(st.sampled_from("$\\()[]{}answer is:5.\n*#,/-%")))
def test_any_text_gives_pieces_of_it(text):
    assert all(piece and piece in text for piece in readings(text, read_boxes(text)))


@pytest.mark.parametrize(
    "unit", ["answer ", "answer is ", "$", "\\(", "\\[ ", "7", "7,", "####", "* ", "\n", "answer to the ", " "]
)
def test_a_megabyte_of_anything_is_linear(unit):
    text = unit * (1_000_000 // len(unit))
    started = time.process_time()
    read(text)
    assert time.process_time() - started < 10  # quadratic work would take minutes
