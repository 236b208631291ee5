"""Stop texts in the transformers engine: where a row ends, whatever tokens the text is made of."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.engines.logits_processors import StopTexts
from palign_hf.students import load_tokenizer, resolve_student
from palign_hf.toy import student_folder


@pytest.fixture(scope="module")
def tokenizer():
    return load_tokenizer(resolve_student(str(student_folder())))


def ends(tokenizer, rows, texts, prompt=3):
    """As `generate` asks: after each token of all rows; what stands in the prompt doesn't count."""
    stops = StopTexts(tokenizer, texts, prompt)
    head = tokenizer.encode(texts[0], add_special_tokens=False)[:prompt]
    head = [5] * (prompt - len(head)) + head
    for length in range(1, max(map(len, rows)) + 1):
        told = stops(torch.tensor([head + (row + [0] * length)[:length] for row in rows]), None)
        assert told.tolist() == [row in stops.ends for row in range(len(rows))]
    return stops.ends


@pytest.mark.parametrize("text", ["The answer", "so we have", "\n\n", "12", "é", "𝕏 is", "}."])
def test_a_row_ends_with_the_token_that_completes_the_text(tokenizer, text):
    ids = tokenizer.encode(f"First we add. {text} and then some more.", add_special_tokens=False)
    found = ends(tokenizer, [ids], (text,))
    first = next(n for n in range(1, len(ids) + 1) if text in tokenizer.decode(ids[:n]))
    assert found == {0: (first, text)}


def test_rows_end_each_by_itself_and_the_first_complete_text_is_told(tokenizer):
    rows = [tokenizer.encode(text, add_special_tokens=False) for text in ("one two three", "three two one", "four")]
    found = ends(tokenizer, rows, ("two three", "one", "two"))
    assert {row: text for row, (_, text) in found.items()} == {0: "one", 1: "two"}


@given(st.lists(st.integers(3, 1279), min_size=1, max_size=40), st.data())
def test_every_text_of_the_tokens_is_found_where_it_is_complete(tokenizer, ids, data):
    """Any part of the whole text that is whole characters, after any tokens."""
    whole = tokenizer.decode(ids, skip_special_tokens=False)
    start = data.draw(st.integers(0, len(whole) - 1)) if whole else 0
    text = whole[start : start + data.draw(st.integers(1, 12))]
    if not text or "\ufffd" in whole:
        return
    first = next(n for n in range(1, len(ids) + 1) if text in tokenizer.decode(ids[:n], skip_special_tokens=False))
    assert ends(tokenizer, [ids], (text,))[0] == (first, text)
