"""A tokenizer like the shipped one, learnt from fewer problems."""

import pytest

from palign_hf.toy.student.build import tokenizer_texts
from palign_hf.toy.student.lessons import Plan, Teacher
from palign_hf.toy.student.tokenizer import make_tokenizer


@pytest.fixture(scope="session")
def tokenizer():
    """Learnt in two seconds."""
    return make_tokenizer(tokenizer_texts(Plan(texts=300)), 1000)


@pytest.fixture(scope="session")
def teacher(tokenizer):
    """Lessons in its tokens."""
    return Teacher(tokenizer)
