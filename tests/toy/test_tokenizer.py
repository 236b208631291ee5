"""The toy student's words: numbers whole, any text back as it was, the assistant's part marked for trainers."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palign_hf.generation.rendering import JudgePrompt
from palign_hf.prompts import JUDGE, LABELS
from palign_hf.toy.world.problems import problems


MESSAGES = [
    {"role": "user", "content": "How many?"},
    {"role": "assistant", "content": "The answer is 7."},
    {"role": "user", "content": "Sure?"},
    {"role": "assistant", "content": "Yes."},
]


@pytest.mark.parametrize("form", [" {}", "{}"])
def test_every_number_up_to_99_is_one_token(tokenizer, form):
    ids = [tokenizer.encode(form.format(number), add_special_tokens=False) for number in range(100)]
    assert all(len(one) == 1 for one in ids) and len({one[0] for one in ids}) == 100


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60))
def test_any_text_comes_back_as_it_was(tokenizer, text):
    ids = tokenizer.encode(text, add_special_tokens=False)
    assert tokenizer.decode(ids, clean_up_tokenization_spaces=False) == text


def test_problems_take_few_tokens(tokenizer):
    for problem in problems("test", 50):
        assert len(tokenizer.encode(problem.trace)) < len(problem.trace) / 2.2


def test_the_template_marks_what_the_assistant_says(tokenizer):
    whole = tokenizer.apply_chat_template(MESSAGES, return_assistant_tokens_mask=True, return_dict=True)
    said = [id for id, mine in zip(whole["input_ids"], whole["assistant_masks"], strict=True) if mine]
    assert tokenizer.decode(said) == "The answer is 7.<|end|>Yes.<|end|>"


def test_a_generation_prompt_is_how_a_reply_begins(tokenizer):
    asked = tokenizer.apply_chat_template(MESSAGES[:1], add_generation_prompt=True, tokenize=False)
    answered = tokenizer.apply_chat_template(MESSAGES[:2], tokenize=False)
    assert answered == asked + "The answer is 7.<|end|>\n"


def test_the_end_of_a_reply_is_no_padding(tokenizer):
    assert tokenizer.eos_token == "<|end|>" and tokenizer.pad_token != tokenizer.eos_token


def test_the_judge_reads_exact_tokens_at_every_cut_and_one_token_tells_its_labels_apart(tokenizer):
    prompt = JudgePrompt(tokenizer, JUDGE, LABELS, "toy")
    assert prompt.exact and len(set(prompt.label_ids)) == 2
