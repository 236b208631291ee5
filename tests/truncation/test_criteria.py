"""What sufficient means: labels read as a margin or as text, and what of a problem fits the context."""

import asyncio
from dataclasses import replace
from itertools import pairwise

import pytest
import tiny
from fake import FakeEngine
from hypothesis import given, settings
from hypothesis import strategies as st

from palign_hf.errors import UserError
from palign_hf.prompts import JUDGE, LABELS, SOLVE, Template
from palign_hf.truncation.criteria import ENOUGH, NOT_ENOUGH, UNPARSABLE, SelfJudge, read_verdict


STUDENT = tiny.fast(tiny.byte_level())
QUESTION, TRACE = "What is the sum of all odd numbers from 1 to 99?", tiny.PAGE
ENDS = [0, *(at for at, char in enumerate(TRACE, 1) if char == " "), len(TRACE)]


def bound(max_model_len: int = 4096, **settings):
    return SelfJudge(**settings).bind(STUDENT, "tiny", max_model_len)


def ask(judge, engine: FakeEngine, segments: int):
    return asyncio.run(judge.ask(engine, judge.open("one", QUESTION, TRACE, ENDS), segments))


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("[ENOUGH]", ENOUGH),
        ("[NOT_ENOUGH]", NOT_ENOUGH),
        ("I could go on from here: [ENOUGH].", ENOUGH),
        ("<think>\n\n</think>\n\n[NOT_ENOUGH]<|im_end|>", NOT_ENOUGH),
        ("[ENOUGH] [ENOUGH]", ENOUGH),
        ("[ENOUGH] or [NOT_ENOUGH]?", UNPARSABLE),
        ("[NOT_ENOUGH][ENOUGH]", UNPARSABLE),
        ("", UNPARSABLE),
        ("ENOUGH", UNPARSABLE),
        ("NOT_ENOUGH", UNPARSABLE),
        ("[enough]", UNPARSABLE),
        ("[ENOUGH", UNPARSABLE),
        ("[NOT ENOUGH]", UNPARSABLE),
    ],
)
def test_a_text_must_name_exactly_one_label(text, verdict):
    assert read_verdict(text, LABELS) == verdict


@pytest.mark.parametrize(
    ("text", "verdict"), [("ENOUGH", ENOUGH), ("NOT_ENOUGH", NOT_ENOUGH), ("NOT_ENOUGH, ENOUGH", UNPARSABLE)]
)
def test_a_label_inside_the_other_is_not_counted_for_it(text, verdict):
    assert read_verdict(text, ("ENOUGH", "NOT_ENOUGH")) == verdict
    swapped = {ENOUGH: NOT_ENOUGH, NOT_ENOUGH: ENOUGH, UNPARSABLE: UNPARSABLE}
    assert read_verdict(text, ("NOT_ENOUGH", "ENOUGH")) == swapped[verdict]


def test_a_label_that_begins_the_other_is_not_counted_for_it():
    assert read_verdict("so: YES_BUT", ("YES", "YES_BUT")) == NOT_ENOUGH
    assert read_verdict("so: YES", ("YES", "YES_BUT")) == ENOUGH


def test_labels_are_text_and_no_patterns():
    assert read_verdict("yes.", ("yes.", "(no")) == ENOUGH
    assert read_verdict("yes!", ("yes.", "(no")) == UNPARSABLE


@pytest.mark.parametrize("margin", [2.5, 1e-9, 0.0, -1e-9, -30.0])
def test_a_positive_margin_and_only_that_is_enough(margin):
    engine = FakeEngine(margin=lambda tokens: margin, mass=0.25)
    judge = bound()
    probe = ask(judge, engine, 7)
    assert probe.verdict == (ENOUGH if margin > 0 else NOT_ENOUGH)
    assert probe.margin == pytest.approx(margin, abs=1e-12)
    assert (probe.margin > 0) == (probe.verdict == ENOUGH)
    assert (probe.segments, probe.top_is_label, probe.label_mass) == (7, True, pytest.approx(0.25))


def test_the_engine_is_asked_for_the_labels_after_the_prompt_of_the_cut():
    given_to = []

    class Watched(FakeEngine):
        async def score(self, prompt_ids, label_ids, problem):
            given_to.append((prompt_ids, label_ids, problem))
            return await super().score(prompt_ids, label_ids, problem)

    judge = bound()
    probe = ask(judge, Watched(), 5)
    ((ids, labels, problem),) = given_to
    assert ids == judge.prompt.problem(QUESTION, TRACE).ids(ENDS[5])
    assert (labels, problem) == (judge.prompt.label_ids, "one")
    assert (probe.prompt_tokens, probe.cached_tokens) == (len(ids), len(ids) // 2)


@pytest.mark.parametrize(
    ("text", "verdict", "margin"),
    [
        ("[ENOUGH]<|im_end|>", ENOUGH, 1.0),
        ("well: [NOT_ENOUGH]", NOT_ENOUGH, -1.0),
        ("hard to say", UNPARSABLE, None),
        ("[ENOUGH] [NOT_ENOUGH]", UNPARSABLE, None),
    ],
)
def test_free_text_is_read_for_its_label(text, verdict, margin):
    engine = FakeEngine(text=lambda tokens: STUDENT(text).input_ids)
    probe = ask(bound(verdict="generate"), engine, 3)
    assert (probe.verdict, probe.margin, probe.label_mass, probe.top_is_label) == (verdict, margin, None, None)


def test_free_text_starts_at_the_student_s_first_token():
    free, read = bound(verdict="generate"), bound()
    ids = free.prompt.problem(QUESTION, TRACE).ids(ENDS[4])
    assert ids + read.prompt.forced_ids == read.prompt.problem(QUESTION, TRACE).ids(ENDS[4])


def test_free_text_gets_the_tokens_it_may_have():
    asked_for = []

    class Watched(FakeEngine):
        async def generate(self, prompt_ids, sampling, problem):
            asked_for.append(sampling)
            return await super().generate(prompt_ids, sampling, problem)

    ask(bound(verdict="generate", max_tokens=17), Watched(), 3)
    assert (asked_for[0].max_tokens, asked_for[0].temperature, asked_for[0].n) == (17, 0.0, 1)


def test_an_opened_problem_knows_its_tokens():
    case = bound().open("one", QUESTION, TRACE, ENDS)
    assert (case.tokens[0], case.reach, case.refused) == (0, len(ENDS) - 1, None)
    assert all(a <= b for a, b in pairwise(case.tokens))
    full = len(case.prompt.ids(ENDS[-1]))
    assert abs(full - (case.head_tokens + case.tokens[-1] + case.suffix_tokens)) <= 3
    assert case.shortest == len(case.prompt.ids(0)) + 1


JUDGES = {verdict: bound(verdict=verdict, max_tokens=9) for verdict in ("margin", "generate")}


@given(
    cuts=st.lists(st.integers(1, len(TRACE)), unique=True, max_size=40),
    spare=st.integers(-40, 400),
    verdict=st.sampled_from(["margin", "generate"]),
)
@settings(max_examples=200, deadline=None)
def test_the_reach_is_the_last_cut_that_fits(cuts, spare, verdict):
    judge, room = JUDGES[verdict], 9 if verdict == "generate" else 1
    max_model_len = judge.open("one", QUESTION, TRACE, [0]).shortest + spare
    judge._max_model_len = max_model_len  # binding again for each would take most of the time
    ends = [0, *sorted(cuts)]
    case = judge.open("one", QUESTION, TRACE, ends)
    fits = [len(case.prompt.ids(end)) + room <= max_model_len for end in ends]
    if not fits[0]:
        assert case.reach == -1
        return
    assert all(fits[: case.reach + 1])
    assert case.reach == len(ends) - 1 or not fits[case.reach + 1]


def test_a_problem_that_does_not_fit_at_all_says_what_it_needs():
    needs = bound().open("one", QUESTION, TRACE, ENDS).shortest
    assert bound(needs).open("one", QUESTION, TRACE, ENDS).reach >= 0
    case = bound(needs - 1).open("one", QUESTION, TRACE, ENDS)
    assert (case.reach, case.shortest) == (-1, needs)
    free = bound(needs - 1, verdict="generate", max_tokens=50).open("one", QUESTION, TRACE, ENDS)
    assert free.shortest == needs - 1 + 50 - len(bound().prompt.forced_ids)


def test_a_text_that_can_not_be_told_from_control_tokens_is_refused():
    page = tiny.PAGE + "ENOUGH NOT"
    student = tiny.fast(tiny.metaspace("first", "unigram", page=page), tiny.INSTRUCT)
    judge = SelfJudge().bind(student, "unigram", 4096)
    case = judge.open("one", "Is </s> closed?", TRACE, ENDS)
    assert case.reach == -1
    assert case.refused == "this student's tokenizer can't distinguish </s> in the text from control tokens"


def test_a_description_changes_with_everything_that_can_change_a_margin():
    other = Template("judge", JUDGE.text + "!", JUDGE.slots)
    criteria = [
        SelfJudge(),
        SelfJudge(template=other),
        SelfJudge(labels=("yes", "no")),
        SelfJudge(labels=("no", "yes")),
        SelfJudge(verdict="generate"),
        SelfJudge(verdict="generate", max_tokens=9),
        SelfJudge(verdict="generate", template=other),
    ]
    described = [repr(criterion.describe()) for criterion in criteria]
    assert len(set(described)) == len(criteria)
    assert SelfJudge(max_tokens=9).describe() == SelfJudge().describe()  # a margin needs no text
    renamed = replace(JUDGE, name="mine")
    assert SelfJudge(template=renamed).describe() == SelfJudge().describe()


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"verdict": "margins"}, r"`verdict='margins'` is unknown \(nearest match: `margin`\)"),
        ({"labels": ("yes", "yes")}, "can't tell a verdict"),
        ({"labels": ("yes", "")}, "can't tell a verdict"),
        ({"labels": ("yes", "no", "perhaps")}, "can't tell a verdict"),
        ({"max_tokens": 0}, "`max_tokens=0` must be a whole number"),
        ({"template": SOLVE}, r"The `solve` template has the slots \['question'\]"),
    ],
)
def test_a_judge_that_could_not_judge_is_refused(settings, said):
    with pytest.raises(UserError, match=said):
        SelfJudge(**settings)
