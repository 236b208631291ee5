"""Texts packed into a tree are learnt exactly as if each had been read alone."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from examples.toy.student.tree import Text, Tree, collate, grow, read


def text(ids: list[int], learn: int = 0) -> Text:
    """A text of which the last `learn` tokens are lessons."""
    return Text(ids, [0.0] * (len(ids) - learn) + [1.0] * learn)


texts = st.lists(
    st.tuples(st.integers(0, 8), st.lists(st.integers(3, 6), min_size=1, max_size=5)), min_size=1, max_size=6
)
TRUNK = [1, 7, 3, 5, 3, 6, 4, 4, 5]


def built(drawn) -> list[Text]:
    """Beginnings of one trunk, each with an end of its own."""
    return [text([*TRUNK[: shared + 1], *rest], len(rest)) for shared, rest in drawn]


def seen_by(tree: Tree, at: int) -> list[int]:
    """The places that a token may look at, by the mask itself."""
    (mask,) = collate(tree).attention_mask[0]
    return torch.nonzero(mask[at]).flatten().tolist()


@settings(max_examples=60, deadline=None)
@given(texts)
def test_the_last_token_of_each_text_sees_exactly_its_text(drawn):
    given_texts = built(drawn)
    tree = grow(given_texts)
    assert len(tree.ends) == len(given_texts)
    for end, one in zip(tree.ends, given_texts, strict=True):
        seen = seen_by(tree, end)
        assert [tree.ids[at] for at in seen] == list(one.ids)
        assert [tree.positions[at] for at in seen] == list(range(len(one.ids)))


@settings(max_examples=60, deadline=None)
@given(texts)
def test_every_lesson_is_taught_where_its_text_stands(drawn):
    given_texts = built(drawn)
    tree = grow(given_texts)
    taught = {(tuple(tree.ids[at] for at in seen_by(tree, place)), target) for place, target, _ in tree.lessons}
    wanted = {
        (tuple(one.ids[:at]), one.ids[at]) for one in given_texts for at in range(1, len(one.ids)) if one.weights[at]
    }
    assert taught == wanted


def test_a_shared_beginning_is_read_once():
    tree = grow([text([*range(100), 200 + k]) for k in range(5)])
    assert len(tree) == 100 + 5


def test_a_lesson_of_the_trunk_counts_once_with_the_largest_weight():
    tree = grow([Text([1, 2, 3], [0, 0.5, 1.0]), Text([1, 2, 4], [0, 0.25, 1.0])])
    assert sorted(tree.lessons) == [(0, 2, 0.5), (1, 3, 1.0), (1, 4, 1.0)]


@pytest.fixture(scope="module")
def model():
    """Random weights, rotary positions: any leak between branches would show."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=32, hidden_size=32, intermediate_size=48, num_hidden_layers=3, num_attention_heads=2
    )
    return LlamaForCausalLM(config).eval()


def test_logits_are_those_of_each_text_alone(model):
    texts = [text([*TRUNK[:6], 9, 8]), text([*TRUNK[:3], 9, 8, 7]), text(TRUNK), text(TRUNK[:4]), text([2, 2])]
    for members in (texts[:3], texts[2:]):
        tree = grow(members)
        with torch.inference_mode():
            packed = model.lm_head(read(model, collate(tree)))
            for end, one in zip(tree.ends, members, strict=True):
                alone = model(input_ids=torch.tensor([one.ids])).logits[0, -1]
                torch.testing.assert_close(packed[end], alone, atol=1e-5, rtol=1e-4)


def test_lessons_are_places_that_predict_a_token():
    batch = collate(grow([text([1, 2, 3, 4, 5], 2)]))
    ids = batch.input_ids[0].tolist()
    assert [(ids[at], target) for at, target in zip(batch.places.tolist(), batch.targets.tolist(), strict=True)] == [
        (3, 4),
        (4, 5),
    ]
