"""How a sample is written: in one go, with a draft that is closed in time, or ended in a loop.

A student of these tests writes a given text, one character a token, whatever it is shown.
"""

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.engines.base import Completion, Generation, Sampling, sample_seed
from palign_hf.errors import UserError
from palign_hf.evaluation.metrics import LOOK_EVERY, LOOPED, Writer, Written
from palign_hf.evaluation.settings import EvaluationSettings
from palign_hf.prompts import tag_style


TAGS = tag_style("prefix")
STOP = TAGS.close.rstrip("\n")
END = 0
PROMPT = [7, 7]


class Student:
    """Says `text` and ends; behind a draft that was closed for it, it says `answer`."""

    def __init__(self, text: str, answer: str = "so 4") -> None:
        self.text, self.answer = text, answer
        self.asked: list[tuple[int, Sampling]] = []

    async def __call__(self, prompt: list[int], sampling: Sampling, problem: str) -> Generation:
        said = spelled(prompt[len(PROMPT) :])
        self.asked.append((len(said), sampling))
        whole = (
            self.text if self.text.startswith(said) else said[: said.index(TAGS.close) + len(TAGS.close)] + self.answer
        )
        left = whole[len(said) :]
        ids, stop = [ord(one) for one in left] + [END], None
        for text in sampling.stop:
            if (at := left.find(text)) >= 0:
                ids, stop = ids[: at + len(text)], text
        reason = "stop"
        if len(ids) > sampling.max_tokens:
            ids, reason, stop = ids[: sampling.max_tokens], "length", None
        return Generation((Completion(tuple(ids), reason, sampling.seed, stop),), len(prompt), 1)


def spelled(ids) -> str:
    return "".join(chr(one) for one in ids if one != END)


def write(student: Student, room: int = 10_000, **settings) -> Written:
    told = EvaluationSettings("x", **settings)
    writer = Writer(told, student, spelled, lambda text: [ord(one) for one in text])
    return asyncio.run(writer(2, PROMPT, room, 99, "p"))


def test_without_a_budget_a_sample_is_one_request():
    student = Student(TAGS.wrap("d" * 50, "so 4"))
    one = write(student)
    assert spelled(one.token_ids) == student.text and one.finish_reason == "stop" and one.forced_at is None
    ((_, sampling),) = student.asked
    assert (sampling.seed, sampling.stop, sampling.n, sampling.temperature) == (99, (), 1, 0.6)
    assert (one.sample, one.seed, one.prompt_tokens, one.cached_tokens) == (2, 99, 2, 1)


def test_a_draft_that_is_open_when_its_budget_is_spent_is_closed_and_the_student_goes_on():
    student = Student(TAGS.open + "d" * 500)
    one = write(student, max_draft_tokens=60)
    assert spelled(one.token_ids) == student.text[:60] + TAGS.close + "so 4"
    assert (one.forced_at, one.finish_reason) == (60, "stop")
    assert [sampling.seed for _, sampling in student.asked] == [99, sample_seed(99, 1)]


def test_a_draft_that_is_closed_in_time_is_left_alone():
    student = Student(TAGS.wrap("short", "then 4"))
    one = write(student, max_draft_tokens=60)
    assert spelled(one.token_ids) == student.text and one.forced_at is None
    # The first piece ended with the tag, the rest has all the room that there is.
    assert [at for at, _ in student.asked] == [0, len(TAGS.open + "short" + STOP)]
    assert student.asked[1][1].stop == () and student.asked[1][1].max_tokens > 9000


def test_a_text_that_begins_no_draft_has_no_budget():
    student = Student("plain " * 50)
    one = write(student, max_draft_tokens=60)
    assert spelled(one.token_ids) == student.text and one.forced_at is None


def test_a_draft_is_not_closed_where_nothing_could_follow():
    one = write(Student(TAGS.open + "d" * 500), room=60 + len(TAGS.close), max_draft_tokens=60)
    assert one.forced_at is None and one.finish_reason == "length" and len(one.token_ids) == 60 + len(TAGS.close)


@given(
    draft=st.integers(0, 300),
    rest=st.integers(0, 300),
    closed=st.booleans(),
    tagged=st.booleans(),
    budget=st.integers(1, 400),
    room=st.integers(1, 700),
    stop_loops=st.booleans(),
)
def test_whatever_is_written_fits_and_is_what_the_student_said(draft, rest, closed, tagged, budget, room, stop_loops):
    text = "".join(chr(97 + k * k % 26) for k in range(draft))
    text = TAGS.open + text + (TAGS.close if closed else "") if tagged else text
    student = Student(text + "".join(chr(65 + k * k % 26) for k in range(rest)))
    one = write(student, room, max_draft_tokens=budget, stop_loops=stop_loops)
    said = spelled(one.token_ids)
    assert len(one.token_ids) <= room
    if one.forced_at is None:
        assert student.text.startswith(said)
        assert one.finish_reason in (LOOPED, "length") or said == student.text
    else:
        assert said.startswith(student.text[: one.forced_at] + TAGS.close) and one.forced_at >= budget
        assert tagged and TAGS.split(said)[2]


def test_a_sample_that_goes_round_in_circles_is_ended_where_that_is_asked_for():
    student = Student("The same again and again. " * 300)
    one = write(student, stop_loops=True)
    assert one.finish_reason == LOOPED and LOOK_EVERY <= len(one.token_ids) < len(student.text) / 2
    whole = write(Student(student.text))
    assert whole.finish_reason == "stop" and spelled(whole.token_ids) == student.text


def test_a_text_without_a_loop_is_written_to_its_end():
    text = " ".join(str(k * k) for k in range(1000))
    student = Student(text)
    one = write(student, stop_loops=True)
    assert spelled(one.token_ids) == text and one.finish_reason == "stop" and len(student.asked) > 5
    assert len({sampling.seed for _, sampling in student.asked}) == len(student.asked)


def test_a_budget_without_tags_is_refused():
    with pytest.raises(UserError, match="without tags there is no draft to close"):
        EvaluationSettings("x", tag_style="none", max_draft_tokens=5)
