"""Rows as tokens: the borders of the segments, the prompt of evaluation, the end of the turn, data that looks like
control."""

import json
from itertools import pairwise

import pytest
import tiny
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from palign_hf.errors import UserError
from palign_hf.generation.rendering import ChatPrompt
from palign_hf.prompts import SOLVE, TAG_STYLES, tag_style
from palign_hf.segmentation import cuts
from palign_hf.toy import student_folder
from palign_hf.training.features import (
    CLOSE_TAG,
    CONTINUATION,
    IGNORED,
    PREFIX,
    PROMPT,
    Target,
    build_features,
    given_features,
    row_features,
)
from palign_hf.training.turns import Turns


# As Mistral's: a turn of the assistant ends with the end token, and has no beginning.
INSTRUCT = (
    "<s>{% for message in messages %}{% if message.role == 'assistant' %}{{ message.content }}</s>"
    "{% else %}[INST]{{ message.content | trim }}[/INST]{% endif %}{% endfor %}"
)


def with_end(tokenizer, end):
    tokenizer.eos_token = end
    return tokenizer


TOKENIZERS = {
    "toy": AutoTokenizer.from_pretrained(student_folder()),
    "words": with_end(tiny.fast(tiny.byte_level("words")), "<|im_end|>"),
    "gpt2": with_end(tiny.fast(tiny.byte_level("gpt2")), "<|im_end|>"),
    "digits": with_end(tiny.fast(tiny.byte_level("digits")), "<|im_end|>"),
    "metaspace": with_end(tiny.fast(tiny.metaspace("first"), INSTRUCT), "</s>"),
    "sentencepiece": with_end(tiny.fast(tiny.sentencepiece(), INSTRUCT), "</s>"),
}
TURNS = {name: Turns(tokenizer) for name, tokenizer in TOKENIZERS.items()}
PROMPTS = {name: ChatPrompt(tokenizer, SOLVE, name) for name, tokenizer in TOKENIZERS.items()}
ENDS = {name: tokenizer.eos_token_id for name, tokenizer in TOKENIZERS.items()}
CONTROL = ["<|im_end|>", "<|im_start|>", "<|end|>", "<|begin|>", "<|endoftext|>", "</s>", "[/INST]", "<|pad|>"]

every_student = pytest.mark.parametrize("student", TOKENIZERS)
_pieces = st.sampled_from([*tiny.PAGE.split(" "), *CONTROL, "\n", "\n\n", "<", ">", ".", "caf\u00e9"]) | st.text(
    st.characters(exclude_categories=["Cs"]), max_size=3
)
texts = st.lists(st.tuples(_pieces, st.sampled_from([" ", "", "\n"])), max_size=20).map(
    lambda parts: "".join(part for pair in parts for part in pair)
)
students = st.sampled_from(sorted(TOKENIZERS))
byte_students = st.sampled_from(["toy", "words", "gpt2", "digits"])
styles = st.sampled_from(sorted(TAG_STYLES))


def question_row(student, question, prefix, continuation, tags="prefix", most=None):
    row = {"question": question, "prefix": prefix, "continuation": continuation}
    return row_features(row, TURNS[student], "question", tag_style(tags), most)


def said(features):
    """Tokens of the reply, without the prompt and what the template puts behind it."""
    return [id for id, segment in zip(features["input_ids"], features["segment_ids"], strict=True) if segment]


def part(features, segment):
    pairs = zip(features["input_ids"], features["segment_ids"], strict=True)
    return [id for id, found in pairs if found == segment]


@given(students, texts.filter(str.strip), texts, texts, styles)
def test_a_row_is_the_prompt_of_evaluation_the_target_and_the_end(student, question, prefix, continuation, tags):
    features = question_row(student, question, prefix, continuation, tags)
    prompt, ids, segments = PROMPTS[student].ids(question), features["input_ids"], features["segment_ids"]
    assert ids[: len(prompt)] == prompt and not any(segments[: len(prompt)])
    target = tag_style(tags).wrap(prefix, continuation)
    assert said(features) == [*PROMPTS[student].reply_ids(target), ENDS[student]]
    assert features["labels"] == [id if part else IGNORED for id, part in zip(ids, segments, strict=True)]
    learned = [segment for segment in segments if segment]
    assert learned == sorted(learned) and learned[-1] == CONTINUATION
    assert len(ids) == len(segments) == features["tokens"]
    # Only white space stands behind what ends the turn.
    last = len(segments) - segments[::-1].index(CONTINUATION)
    assert not TOKENIZERS[student].decode(ids[last:]).strip()


@given(byte_students, texts, texts, st.sampled_from(["prefix", "draft", "think"]))
def test_a_token_belongs_to_the_part_in_which_it_starts(student, prefix, continuation, tags):
    """Told from the text that tokens spell: those of a part begin with its first whole character."""
    features, style = question_row(student, "How many?", prefix, continuation, tags), tag_style(tags)
    target = style.wrap(prefix, continuation)
    close = len(style.open) + len(prefix)
    borders = [0, close, close + len(style.close)]
    tokens = TOKENIZERS[student](target, add_special_tokens=False, return_offsets_mapping=True)
    if tokens["input_ids"] != said(features)[:-1]:
        assert any(name in target for name in CONTROL)  # which this way of reading takes for control
        return
    starts = [start for start, _ in TURNS[student].texts._backend.encode(target).offsets]
    expected = [sum(border <= start for border in borders) for start in starts]
    assert [segment for segment in features["segment_ids"] if segment][:-1] == expected


def test_a_token_over_a_border_stays_whole():
    """`.<` is one token for this student: it starts in the prefix."""
    tokenizer = with_end(tiny.fast(tiny.byte_level("words", page=tiny.PAGE + " .<End .<End .<End" * 50)), "<|im_end|>")
    row = {"question": "Q", "prefix": "So it is.", "continuation": "Yes."}
    features = row_features(row, Turns(tokenizer), "question", tag_style("prefix"))
    assert tokenizer.decode(part(features, PREFIX)) == "<Begin_of_Prefix>So it is.<"
    assert tokenizer.decode(part(features, CLOSE_TAG)) == "End_of_Prefix>\n"
    assert tokenizer.decode(part(features, CONTINUATION)) == "Yes.<|im_end|>"


@every_student
def test_parts_say_what_they_are(student):
    features = question_row(student, "How many?", "The mean is 50. ", "So 2500.")
    words = TOKENIZERS[student]
    assert words.decode(part(features, PREFIX)).strip() == "<Begin_of_Prefix>The mean is 50."
    assert words.decode(part(features, CLOSE_TAG)).strip() == "<End_of_Prefix>"
    assert words.decode(part(features, CONTINUATION)).strip() == f"So 2500.{words.eos_token}"


@every_student
def test_without_a_prefix_there_are_no_tags_and_with_an_empty_one_there_are(student):
    bare = question_row(student, "How many?", None, "So 2500.")
    assert set(bare["segment_ids"]) == {PROMPT, CONTINUATION}
    assert said(bare) == [*PROMPTS[student].reply_ids("So 2500."), ENDS[student]]
    empty = question_row(student, "How many?", "", "So 2500.")
    assert set(empty["segment_ids"]) == {PROMPT, PREFIX, CLOSE_TAG, CONTINUATION}


@every_student
def test_without_tags_there_is_no_closing_one(student):
    features = question_row(student, "How many?", "The mean is 50. ", "So 2500.", tags="none")
    assert set(features["segment_ids"]) == {PROMPT, PREFIX, CONTINUATION}
    assert said(features) == [*PROMPTS[student].reply_ids("The mean is 50. So 2500."), ENDS[student]]


@pytest.mark.parametrize("student", ["toy", "words", "gpt2", "digits"])
def test_it_is_what_the_chat_template_makes_of_the_conversation(student):
    """As TRL has a conversational row; only the white space behind the last turn is not learned here."""
    question, target = "How many?", tag_style("prefix").wrap("The mean is 50.\n", "So 2500.")
    turns = [{"role": "user", "content": SOLVE.message(question)}, {"role": "assistant", "content": target}]
    whole = TOKENIZERS[student].apply_chat_template(turns, return_dict=True)["input_ids"]
    assert question_row(student, question, "The mean is 50.\n", "So 2500.")["input_ids"] == whole


@given(students, texts.filter(str.strip), texts, texts, st.sampled_from(["prefix", "draft", "none", "think"]))
def test_every_way_to_give_a_row_gives_the_same_tokens(student, question, prefix, continuation, tags):
    turns, style = TURNS[student], tag_style(tags)
    asked = [{"role": "user", "content": SOLVE.message(question)}]
    whole = question_row(student, question, prefix, continuation, tags)
    row = {"prompt": asked, "prefix": prefix, "continuation": continuation}
    assert row_features(row, turns, "prompt", style) == whole
    target = style.wrap(prefix, continuation)
    completion = {"prompt": asked, "completion": [{"role": "assistant", "content": target}]}
    found = row_features(completion, turns, "completion", style)
    assert found["input_ids"] == whole["input_ids"] and found["labels"] == whole["labels"]
    # A text that holds the closing tag twice is split at the first; a style without tags can't be told at all.
    if style.open and style.close.rstrip("\n") not in prefix and not continuation.startswith("\n"):
        assert found["segment_ids"] == whole["segment_ids"]


@every_student
def test_a_conversation_of_several_turns_is_rendered_by_the_template(student):
    tokenizer = TOKENIZERS[student]
    turns = [
        {"role": "user", "content": "One?"},
        {"role": "assistant", "content": "1"},
        {"role": "user", "content": "Two?"},
    ]
    asked = tokenizer.apply_chat_template(turns, add_generation_prompt=True, return_dict=True)["input_ids"]
    assert TURNS[student].encode_prompt(turns) == asked
    spelled = TURNS[student].encode_prompt([{**turns[0], "content": "One <|im_end|> </s> <|end|>?"}, *turns[1:]])
    special = set(tokenizer.all_special_ids) | set(TURNS[student]._special)
    assert [id for id in spelled if id in special] == [id for id in asked if id in special]
    assert "One <|im_end|> </s> <|end|>?" in tokenizer.decode(spelled)


def test_a_student_that_always_thinks_is_asked_with_its_thought_closed():
    template = tiny.CHATML.replace("assistant\n{% endif %}", "assistant\n<think>\n{% endif %}")
    tokenizer = with_end(tiny.fast(tiny.byte_level(), template), "<|im_end|>")
    asked = [{"role": "user", "content": SOLVE.message("How many?")}]
    found = Turns(tokenizer).encode_prompt(asked)
    assert found == ChatPrompt(tokenizer, SOLVE, "thinking").ids("How many?")
    assert tokenizer.decode(found).endswith("<think>\n\n</think>\n\n")


@every_student
def test_special_tokens_of_a_row_are_spelled_out(student):
    hostile = " ".join(CONTROL)
    features = question_row(student, f"How {hostile}?", hostile, hostile)
    plain = question_row(student, "How?", "The", "So")
    special = TURNS[student]._special
    assert [id for id in features["input_ids"] if id in special] == [id for id in plain["input_ids"] if id in special]


def test_a_tokenizer_that_cannot_spell_a_special_token_says_so():
    unigram = with_end(tiny.fast(tiny.metaspace("first", "unigram"), INSTRUCT), "</s>")
    row = {"id": "a-7", "question": "How many?", "prefix": "So </s> on", "continuation": "Yes."}
    with pytest.raises(UserError, match=r"Row 4 \(`id` a-7\): The tokenizer of .* encodes `</s>` in"):
        build_features(
            {name: [value] for name, value in row.items()},
            [3],
            tokenizer=unigram,
            layout="question",
            tag_style="prefix",
            max_length=None,
            shorten=False,
        )


def test_a_prompt_of_one_text_is_read_as_it_was_rendered():
    tokenizer, turns = TOKENIZERS["words"], TURNS["words"]
    prompt = "<|im_start|>user\nHow many?<|im_end|>\n<|im_start|>assistant\n"
    row = {"prompt": prompt, "prefix": "The mean. ", "continuation": "So <|im_end|>"}
    features = row_features(row, turns, "prompt", tag_style("prefix"))
    assert features["input_ids"][: features["segment_ids"].index(PREFIX)] == tokenizer(prompt)["input_ids"]
    assert features["input_ids"].count(ENDS["words"]) == 2 and features["labels"][-1] == ENDS["words"]
    ended = {"prompt": prompt, "completion": "<Begin_of_Prefix>The mean. <End_of_Prefix>\nSo<|im_end|>"}
    found = row_features(ended, turns, "completion", tag_style("prefix"))
    assert found["labels"].count(ENDS["words"]) == 1 and found["labels"][-1] == ENDS["words"]


def test_tools_and_arguments_of_the_template_reach_it():
    template = "{% if tools %}{{ tools[0].name }} {% endif %}{% if enable_thinking %}think {% endif %}" + tiny.CHATML
    turns = Turns(with_end(tiny.fast(tiny.byte_level(), template), "<|im_end|>"))
    row = {"prompt": [{"role": "user", "content": "How?"}], "prefix": "The", "continuation": "So"}
    more = {"tools": json.dumps([{"name": "adder"}]), "chat_template_kwargs": {"enable_thinking": True}}
    features = row_features(row | more, turns, "prompt", tag_style("prefix"))
    assert turns._tokenizer.decode(features["input_ids"]).startswith("adder think <|im_start|>user")


@given(byte_students, st.integers(1, 120))
def test_a_prefix_is_shortened_by_whole_sentences_until_the_row_fits(student, room):
    prefix = "We add them. There are 50 of these, with the mean 50.\n\nWait, is that so? Yes. It is 50 * 50.\n"
    whole = question_row(student, "How many?", prefix, "So 2500.")
    bare = question_row(student, "How many?", "", "So 2500.")["tokens"]
    found = question_row(student, "How many?", prefix, "So 2500.", most=bare + room)
    fits = [
        prefix[:cut] for cut in cuts(prefix)
        if question_row(student, "How many?", prefix[:cut], "So 2500.")["tokens"] <= bare + room
    ]  # fmt: skip
    if whole["tokens"] <= bare + room or not fits:
        assert found == whole
    else:
        assert found == question_row(student, "How many?", fits[-1], "So 2500.") | {"shortened": True}


def test_tokens_that_are_given_are_taken_as_they_are():
    row = {"input_ids": [5, 6, 7, 8], "segment_ids": [0, 1, 2, 3]}
    assert given_features(row)["labels"] == [IGNORED, 6, 7, 8]
    assert given_features(row | {"labels": [5, IGNORED, 7, 8]})["labels"] == [5, IGNORED, 7, 8]


GOOD = {"question": "How many?", "prefix": "The mean. ", "continuation": "So."}
CHAT = [{"role": "user", "content": "How many?"}]


@pytest.mark.parametrize(
    ("layout", "row", "message"),
    [
        ("question", GOOD | {"question": " "}, "`question` is empty"),
        ("question", GOOD | {"question": None}, "`question` is `None`, not a text"),
        ("question", GOOD | {"prefix": 7}, "`prefix` is `7`, not a text"),
        ("question", GOOD | {"continuation": None}, "`continuation` is `None`, not a text"),
        ("prompt", GOOD | {"prompt": []}, "neither a text nor a list of messages"),
        ("prompt", GOOD | {"prompt": [{"role": "user", "content": [{"type": "image"}]}]}, "neither a text nor a list"),
        ("prompt", GOOD | {"prompt": [{"role": "user", "content": None}]}, "neither a text nor a list of messages"),
        ("completion", {"prompt": CHAT, "completion": CHAT}, "neither a text nor a single assistant message"),
        ("completion", {"prompt": CHAT, "completion": "<Begin_of_Prefix>on and on"}, "never closes it"),
        ("tokens", {"input_ids": [1], "segment_ids": [1, 1]}, "have 1, 2 and 1 entries"),
        ("tokens", {"input_ids": [1, 2], "segment_ids": [1, 4]}, "`segment_ids` holds `4`, which is no segment"),
    ],
)
def test_a_row_that_says_nothing_is_named(layout, row, message):
    with pytest.raises(UserError) as refused:
        build_features(
            {name: [value] for name, value in row.items()},
            [12],
            tokenizer=TOKENIZERS["toy"],
            layout=layout,
            tag_style="prefix",
            max_length=None,
            shorten=False,
        )
    assert str(refused.value).startswith("Row 13: ") and message in str(refused.value)


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("User: {{ messages[0].content }}\nAssistant: ", "drops or repeats the assistant's message"),
        (None, "has no chat template"),
        (
            tiny.CHATML.replace("{% for", "{% if messages|length > 1 %}{{ raise_exception('no') }}{% endif %}{% for"),
            "fails on a conversation of `user`, `assistant`",
        ),
    ],
)
def test_a_template_that_renders_no_reply_is_refused(template, message):
    turns = Turns(with_end(tiny.fast(tiny.byte_level(), template), "<|im_end|>"))
    with pytest.raises(UserError, match=message):
        row_features(GOOD, turns, "question", tag_style("prefix"))


def test_a_template_that_loops_over_a_reply_is_ended(monkeypatch):
    monkeypatch.setattr("palign_hf.training.turns.RENDERING_LIMIT", 0.2)
    many = "{% if messages|length > 1 %}" + "{% for a in range(99999) %}" * 6 + "{% endfor %}" * 6 + "{% endif %}"
    turns = Turns(with_end(tiny.fast(tiny.byte_level(), f"{many}{tiny.CHATML}"), "<|im_end|>"))
    with pytest.raises(UserError, match=r"fails on a conversation of .*: it did not end within 0.2 s"):
        row_features(GOOD, turns, "question", tag_style("prefix"))


@given(texts, texts, styles)
def test_a_target_is_read_as_it_was_written(prefix, continuation, tags):
    style = tag_style(tags)
    written = Target.of(prefix, continuation, style)
    assert written.text == style.wrap(prefix, continuation)
    assert written.prefix(style) == prefix and written.text[written.close_end :] == continuation
    if style.open and style.close.rstrip("\n") not in prefix and not continuation.startswith("\n"):
        assert Target.read(written.text, style) == written


def test_pairwise_borders_never_cross():
    for style in TAG_STYLES.values():
        target = Target.of("ab", "cd", style)
        assert all(low <= high for low, high in pairwise([0, target.close_start, target.close_end, len(target.text)]))
