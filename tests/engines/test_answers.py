"""Answers of a server: whatever JSON it gives, a score or completion within what was asked, or the row's error."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.engines import answers
from palign_hf.engines.base import UNKNOWN, Completion, RequestFailed, Sampling, Score


LABELS, PROMPT_TOKENS, VOCABULARY = (7, 11), 3, 100
SAMPLING = Sampling(max_tokens=5, stop=("so",), stop_token_ids=(9,))
DEEP = "[" * 100_000 + "]" * 100_000
# Just within what can be parsed, so that writing it out again may not be possible.
NESTED = "[" * 900 + "]" * 900

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([-1, 0, 2**31, 2**63, 10**400, -(10**400)])
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["token_id:7", "token_id:11", "stop", "length", "abort", "so", "NaN", "1e308", "\ud800"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["choices", "usage", "token_ids", "finish_reason", "logprobs", "token_id:7", "id", "data"])
            | st.text(max_size=4),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


def scored(table=None, said="token_id:7", **usage):
    read = {"tokens": [said], "top_logprobs": [table or {"token_id:7": -0.25, "token_id:11": -1.75}]}
    return {"choices": [{"index": 0, "logprobs": read}], "usage": usage}


def written(ids=(4, 5, 2), reason="stop", **more):
    return {"choices": [{"index": 0, "token_ids": list(ids), "finish_reason": reason} | more], "usage": {}}


def parse(data):
    return answers.parsed((data if isinstance(data, str) else json.dumps(data)).encode())


def read_score(data):
    return answers.score(parse(data), PROMPT_TOKENS, LABELS)


def read_text(data, vocabulary=VOCABULARY, sampling=SAMPLING):
    return answers.text(parse(data), sampling, 1, vocabulary)


def refusal(read, *args):
    with pytest.raises(RequestFailed) as refused:
        read(*args)
    message = str(refused.value)
    assert len(message) < 500 and message.isprintable()
    return message


def within(read):
    """Whether an answer is one that a student could have given to what was asked."""
    if isinstance(read, Score):
        return (
            len(read.logprobs) == len(LABELS)
            and all(math.isfinite(one) and one <= 0.05 for one in read.logprobs)
            and read.label_mass <= 1.05
            and 0 <= read.cached_tokens <= read.prompt_tokens
        )
    return (
        1 <= len(read.token_ids) <= SAMPLING.max_tokens
        and all(type(token) is int and 0 <= token < VOCABULARY for token in read.token_ids)
        and read.finish_reason in ("stop", "length")
        and (read.stop is None or read.stop in (*SAMPLING.stop, *SAMPLING.stop_token_ids))
    )


def places(data, at=()):
    """Every place in an answer, by its path."""
    yield at
    children = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, child in children:
        yield from places(child, (*at, key))


def changed(data, path, value):
    """A copy of an answer with another value in one place."""
    if not path:
        return value
    key, *rest = path
    copy = dict(data) if isinstance(data, dict) else list(data)
    copy[key] = changed(copy[key], tuple(rest), value)
    return copy


GOOD = {
    read_score: scored(prompt_tokens=3, prompt_tokens_details={"cached_tokens": 2}),
    read_text: written((4, 5, 9), stop_reason="so"),
}


@pytest.mark.parametrize("read", GOOD)
@given(value=VALUES, data=st.data())
def test_any_json_in_any_place_is_within_what_was_asked_or_the_rows_error(read, value, data):
    path = data.draw(st.sampled_from(list(places(GOOD[read]))))
    try:
        # As JSON: a text in the place of the whole answer is a JSON string, and `parse` would send it as it is.
        result = read(json.dumps(changed(GOOD[read], path, value)))
    except RequestFailed as error:
        assert len(str(error)) < 600 and str(error).isprintable()
    else:
        assert within(result)


@pytest.mark.parametrize("read", GOOD)
def test_what_is_changed_above_is_a_good_answer(read):
    assert within(read(GOOD[read]))
    assert len(list(places(GOOD[read]))) >= 10


@given(st.binary(max_size=200) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_any_bytes_are_an_answer_or_the_rows_error(body):
    for read in (lambda one: answers.score(one, 3, LABELS), lambda one: answers.text(one, SAMPLING, 1, VOCABULARY)):
        try:
            assert within(read(answers.parsed(body)))
        except RequestFailed:
            pass
    try:
        assert all(isinstance(name, str) for name in answers.models(answers.parsed(body)))
        assert isinstance(answers.version(answers.parsed(body)), str)
    except RequestFailed:
        pass


# Log-probabilities


@pytest.mark.parametrize("value", [5.0, 0.5, 1e308, 1, 148])
def test_log_probabilities_above_0_are_refused(value):
    message = refusal(read_score, scored({"token_id:7": value, "token_id:11": -1.0}))
    assert "can't be any: they are at most 0" in message and "--logprobs-mode raw_logprobs" in message


@pytest.mark.parametrize("value", [-1e308, -1e7, -(10**300)])
def test_log_probabilities_that_no_softmax_gives_are_refused(value):
    assert "at least -1e+06" in refusal(read_score, scored({"token_id:7": value, "token_id:11": -1.0}))


def test_probabilities_that_add_up_to_more_than_1_are_refused():
    message = refusal(read_score, scored({"token_id:7": -0.1, "token_id:11": -0.1}))
    assert "add up to 1.81, more than 1" in message


@pytest.mark.parametrize("logprobs", [(0.0, -9999.0), (1e-6, -20.0), (-0.1, -2.0)])
def test_what_vllm_gives_at_the_ends_is_read(logprobs):
    assert read_score(scored(dict(zip(("token_id:7", "token_id:11"), logprobs, strict=True)))).logprobs == logprobs


@pytest.mark.parametrize("value", ["-0.25", True, None, [-0.25], {}, 10**400])
def test_a_log_probability_that_is_no_number(value):
    message = refusal(read_score, scored({"token_id:7": value, "token_id:11": -1.0}))
    assert message.startswith("the server's answer has no readable log-probabilities: ")


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999", "-1e999"])
def test_a_log_probability_that_is_not_finite(number):
    body = json.dumps(scored()).replace("-1.75", number)
    assert refusal(read_score, body).startswith("the labels' log-probabilities are no finite numbers: [-0.25, ")


def test_more_than_was_asked_for_is_refused():
    two = scored()["choices"] * 2
    assert refusal(read_score, {"choices": two}) == "the server gave 2 completions where 1 was asked for"
    both = scored()
    both["choices"][0]["logprobs"]["tokens"] *= 2
    assert refusal(read_score, both) == "the server gave 2 tokens where 1 was asked for"


# Texts


def test_more_tokens_than_asked_for_are_refused():
    assert refusal(read_text, written([4] * 2_000)) == "the engine gave 2000 tokens where at most 5 were asked for"
    assert read_text(written([4] * 5)).token_ids == (4,) * 5


@pytest.mark.parametrize("token", [-1, VOCABULARY, 2**31, 2**64, 10**400])
def test_ids_outside_the_vocabulary_are_refused(token):
    message = refusal(read_text, written((4, token)))
    assert message.startswith("the server gave the token id ") and "the student's ids are 0 to 99" in message


@pytest.mark.parametrize("token", [-1, 2**31, 2**64])
def test_ids_that_no_tokenizer_takes_are_refused_where_the_vocabulary_is_not_known(token):
    assert "the student's ids are 0 to 2147483647" in refusal(read_text, written((4, token)), None)


def test_the_first_and_the_last_id_are_read():
    assert read_text(written((0, VOCABULARY - 1))).token_ids == (0, VOCABULARY - 1)


@pytest.mark.parametrize("ids", [["4"], [4.0], [True], [None], "45", 4, {"0": 4}, [[4]]])
def test_ids_that_are_no_whole_numbers_are_refused(ids):
    answer = changed(written(), ("choices", 0, "token_ids"), ids)
    assert refusal(read_text, answer).startswith("the server's answer has no token ids (it must understand ")


@pytest.mark.parametrize("reason", ["stop", "length"])
def test_a_completion_without_a_token_is_none(reason):
    assert "without a token" in refusal(read_text, written((), reason))


@pytest.mark.parametrize("reason", ["content_filter", 3, True, [], {"a": "b" * 10_000}, "\x1b[2J" * 1_000])
def test_an_unknown_reason_is_refused_in_few_words(reason):
    assert refusal(read_text, written(reason=reason)).startswith("the server ended a completion with the reason ")


def test_a_stop_text_that_nobody_asked_for_is_refused():
    message = refusal(read_text, written(stop_reason="and\x1b[2J" * 100))
    assert "which was not among its stop texts" in message


def test_the_stop_text_of_a_cut_completion_means_nothing():
    assert read_text(written(reason="length", stop_reason="else")) == Completion((4, 5, 2), "length", 1)


# Bytes


@pytest.mark.parametrize("body", [DEEP, '{"choices": ' + DEEP + "}", '{"a":' * 50_000 + "1" + "}" * 50_000])
def test_json_that_is_nested_too_deeply(body):
    assert refusal(parse, body).startswith("the server's answer is nested too deeply to be read: '")


@pytest.mark.parametrize("place", [("choices",), ("choices", 0), ("choices", 0, "finish_reason")])
def test_what_can_be_parsed_and_not_be_written_is_refused_in_words(place):
    marked = json.dumps(changed(written(), place, "HERE"))
    assert refusal(read_text, marked.replace('"HERE"', NESTED)).startswith("the server")


@pytest.mark.parametrize("codec", ["utf-16", "utf-32", "latin-1", "cp1252"])
def test_only_utf_8_is_read(codec):
    body = json.dumps(written(text="é"), ensure_ascii=False).encode(codec)
    assert refusal(answers.parsed, body).startswith("the server's answer is no JSON: ")


@pytest.mark.parametrize("body", ["", "{", "1e", '{"a": 1} x', "9" * 5_000, "\x1b[2J"])
def test_what_is_no_json(body):
    assert refusal(parse, body).startswith("the server's answer is no JSON: '")


def test_the_largest_answer_grows_with_what_was_asked_and_has_a_bound():
    small, large = answers.most_bytes(1_000, 1, 2), answers.most_bytes(1_000, 40_000)
    assert small < large < 20 * 2**20
    # An answer in full length: ids, and the text of a student that repeats a long token.
    honest = written([151_000] * 40_000, "length", text=" " * 100 * 40_000, prompt_token_ids=[151_000] * 1_000)
    assert len(json.dumps(honest)) <= large
    # What took 2 million tokens where 40 were asked for.
    assert len("15000, ") * 2_000_000 > answers.most_bytes(1_000, 40)


# Counts, models, releases


@pytest.mark.parametrize("count", [-1, 4, 10**30, 1e308, 2.0, True, "2", None, [], {}])
def test_a_count_that_can_not_be_true_counts_as_none_given(count):
    answer = scored(prompt_tokens_details={"cached_tokens": count})
    assert read_score(answer).cached_tokens == 0


@pytest.mark.parametrize("count", [0, 2, 3])
def test_a_count_within_the_prompt_is_read(count):
    assert read_score(scored(prompt_tokens_details={"cached_tokens": count})).cached_tokens == count


@pytest.mark.parametrize("data", [[], {}, {"data": None}, {"data": [3]}, {"data": [{"id": 3}]}, {"data": ["id"]}, 3])
def test_a_list_of_models_that_is_none(data):
    assert refusal(lambda: answers.models(parse(data))).startswith("the server's list of models ")


@pytest.mark.parametrize(
    "said", [None, 3, [], {}, "", "  ", "0.32\n", "\x1b[2J", "\ud800", "9" * 65, {"release": "0.32"}]
)
def test_a_release_that_is_none_is_unknown(said):
    assert answers.version(parse({"version": said})) == UNKNOWN
    assert answers.version(answers.Answer(said, "")) == UNKNOWN


def test_a_release_is_read():
    assert answers.version(parse({"version": "0.32.1.dev3+g1a2b3c4"})) == "0.32.1.dev3+g1a2b3c4"
