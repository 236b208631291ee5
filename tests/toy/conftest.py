"""A tokenizer like the shipped one, learnt from fewer problems."""

import pytest

from examples.toy.student.build import tokenizer_texts
from examples.toy.student.lessons import LessonPlan, Teacher
from examples.toy.student.tokenizer import make_tokenizer


@pytest.fixture(scope="module")
def one_thread():
    """Two threads wait for each other at every layer of so small a model, and for long where the cores are busy."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def tokenizer():
    """Learnt in two seconds."""
    return make_tokenizer(tokenizer_texts(LessonPlan(texts=300)), 1000)


@pytest.fixture(scope="session")
def teacher(tokenizer):
    """Lessons in its tokens."""
    return Teacher(tokenizer)
