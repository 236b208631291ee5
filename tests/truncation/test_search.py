"""Every search against its definition: the linear scan, the paper's loop, and what may be given for one."""

import json
import math
import pickle
from collections.abc import Callable
from dataclasses import fields

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from walks import evenly, explore, problems, rising

from palign_hf.errors import UserError
from palign_hf.truncation.schedule import Prior
from palign_hf.truncation.search import (
    SEARCHES,
    Ascend,
    Binary,
    Every,
    Fixed,
    Found,
    Linear,
    Search,
    make_search,
)


JUDGED = ["ascend", "ascend(confirm=1, caution=0)", "ascend(confirm=4, caution=3, probe_cost=5)", "binary", "linear"]
JUDGED += ["every"]


@pytest.mark.parametrize("spec", JUDGED)
@given(problem=problems(), data=st.data())
def test_a_monotone_judge_gets_the_answer_of_the_linear_scan(spec, problem, data):
    tokens, limit, margins = problem
    answer = data.draw(st.integers(0, len(tokens)), label="answer")
    curve = rising(margins, answer)
    reach = len(tokens) - 1 if limit is None else limit
    expected = Found(answer, True) if answer <= reach else Found(len(tokens) - 1, False)
    asked, found = explore(make_search(spec), tokens, curve.__getitem__, limit)
    assert found == expected
    assert max(asked) <= reach


@pytest.mark.parametrize("spec", JUDGED)
@given(problem=problems())
def test_any_judge_ends_the_walk_without_a_cut_asked_twice(spec, problem):
    tokens, limit, margins = problem
    asked, found = explore(make_search(spec), tokens, margins.__getitem__, limit)
    assert len(set(asked)) == len(asked)
    assert all(0 <= cut <= (len(tokens) - 1 if limit is None else limit) for cut in asked)
    if found.sufficient:
        assert found.segments in asked and margins[found.segments] > 0
    else:
        assert found.segments == len(tokens) - 1


def paper_loop(segments: int, enough: Callable[[int], bool]) -> tuple[list[int], int | None]:
    """The reference's search, written down on its own."""
    low, high = 1, segments
    visits: list[int] = []
    answer = None
    while not low > high:
        k = (low + high) // 2
        visits.append(k)
        if enough(k):
            answer = k
            high = k - 1
        else:
            low = k + 1
    return visits, answer


@given(problem=problems())
def test_binary_visits_what_the_paper_visits_for_any_judge(problem):
    tokens, limit, margins = problem
    visits, answer = paper_loop(len(tokens) - 1 if limit is None else limit, lambda k: margins[k] > 0)
    asked, found = explore(Binary(), tokens, margins.__getitem__, limit)
    assert [cut for cut in asked if cut] == visits
    assert (0 in asked) == (answer == 1 or not visits)
    if answer is not None and answer > 1:
        assert found == Found(answer, True)


def test_binary_asks_cut_zero_last_and_only_when_nothing_implies_its_answer():
    assert explore(Binary(), evenly(7), lambda cut: 1.0)[0] == [4, 2, 1, 0]
    assert explore(Binary(), evenly(7), lambda cut: cut - 0.5) == ([4, 2, 1, 0], Found(1, True))
    assert explore(Binary(), evenly(7), lambda cut: cut - 1.5) == ([4, 2, 1], Found(2, True))


@pytest.mark.parametrize("spec", JUDGED)
def test_the_shortest_traces_have_an_answer(spec):
    search = make_search(spec)
    assert explore(search, [0], lambda cut: 1.0) == ([0], Found(0, True))
    assert explore(search, [0], lambda cut: -1.0) == ([0], Found(0, False))
    assert explore(search, [0, 9], lambda cut: 1.0)[1] == Found(0, True)
    assert explore(search, [0, 9], lambda cut: cut - 0.5)[1] == Found(1, True)
    assert explore(search, [0, 9], lambda cut: -1.0)[1] == Found(1, False)
    assert explore(search, evenly(50), lambda cut: -1.0, limit=0) == ([0], Found(50, False))


def test_linear_asks_every_cut_up_to_the_first_that_suffices():
    assert explore(Linear(), evenly(9), lambda cut: cut - 2.5) == ([0, 1, 2, 3], Found(3, True))


def test_every_asks_all_and_ends_where_the_fit_of_all_margins_crosses():
    assert explore(Every(), evenly(5), lambda cut: cut - 2.5) == (list(range(6)), Found(3, True))
    assert explore(Every(), evenly(5), lambda cut: cut - 2.5, limit=4)[0] == list(range(5))
    spiky = [-1.0, 2.0, -3.0, -1.0, 1.0, 2.0]
    assert explore(Every(), evenly(5), spiky.__getitem__) == (list(range(6)), Found(4, True))
    assert explore(Linear(), evenly(5), spiky.__getitem__)[1] == Found(1, True)
    assert explore(Every(), evenly(5), lambda cut: -math.inf)[1] == Found(5, False)


def test_infinite_margins_are_verdicts():
    for spec in JUDGED:
        found = explore(make_search(spec), evenly(90), lambda cut: math.inf if cut >= 33 else -math.inf)[1]
        assert found == Found(33, True)


def test_walks_side_by_side_are_the_walks_alone():
    rng = np.random.default_rng(4)
    curves = [(0.1 * (np.arange(121) - 50) + rng.normal(size=121)).tolist() for _ in range(8)]
    alone = [explore(Ascend(), evenly(120), curve.__getitem__) for curve in curves]
    search = Ascend()
    walks, asked = [search.start(evenly(120)) for _ in curves], [[] for _ in curves]
    while any(walk.next() is not None for walk in walks):
        for walk, curve, cuts in zip(reversed(walks), reversed(curves), reversed(asked), strict=True):
            if (cut := walk.next()) is not None:
                cuts.append(cut)
                walk.tell(cut, curve[cut])
    assert [(cuts, walk.result()) for cuts, walk in zip(asked, walks, strict=True)] == alone


@pytest.mark.parametrize("spec", JUDGED)
def test_a_walk_takes_only_usable_answers_to_what_it_asked(spec):
    walk = make_search(spec).start(evenly(20))
    with pytest.raises(RuntimeError, match="isn't finished"):
        walk.result()
    cut = walk.next()
    assert walk.next() == cut
    with pytest.raises(ValueError, match="wasn't asked"):
        walk.tell(cut + 1, 1.0)
    with pytest.raises(ValueError, match="no verdict"):
        walk.tell(cut, math.nan)
    assert walk.next() == cut
    walk.tell(cut, -1.0)
    with pytest.raises(ValueError, match="wasn't asked"):
        walk.tell(cut, 1.0)
    while (cut := walk.next()) is not None:
        walk.tell(cut, -1.0)
    with pytest.raises(ValueError, match="finished"):
        walk.tell(20, 1.0)


@pytest.mark.parametrize("tokens", [[], [3, 9]])
def test_tokens_start_at_the_empty_prefix(tokens):
    with pytest.raises(ValueError, match="empty prefix"):
        Ascend().start(tokens)


@pytest.mark.parametrize("limit", [-1, 6])
def test_a_limit_is_a_cut(limit):
    with pytest.raises(ValueError, match="is no cut"):
        Ascend().start(evenly(5), limit)


@pytest.mark.parametrize(
    ("spec", "segments"),
    [
        ("full", 10),
        ("none", 0),
        ("fixed(ratio=0.25)", 2),  # 100 of 400 tokens: 80 and 120 are equally near
        ("fixed(ratio=0.26)", 3),
        ("fixed(ratio=1)", 10),
        ("fixed(ratio=0)", 0),
        ("fixed(tokens=139)", 3),
        ("fixed(tokens=141)", 4),
        ("fixed(tokens=9999)", 10),
    ],
)
def test_rules_ask_nothing_and_claim_nothing(spec, segments):
    search = make_search(spec)
    assert not search.judged
    assert explore(search, evenly(10), lambda cut: pytest.fail("asked a judge")) == ([], Found(segments, False))
    assert explore(search, [0], lambda cut: pytest.fail("asked a judge"))[1] == Found(0, False)


def test_fixed_takes_no_segments_that_add_no_token():
    assert explore(Fixed(tokens=5), [0, 0, 5, 5, 9], lambda cut: 0.0)[1].segments == 2
    assert explore(Fixed(tokens=6), [0, 0, 5, 5, 9], lambda cut: 0.0)[1].segments == 2


@pytest.mark.parametrize(
    ("spec", "search"),
    [
        ("ascend", Ascend()),
        (" ascend ( confirm = 3 , probe_cost=24 ) ", Ascend(confirm=3, probe_cost=24)),
        ("ascend()", Ascend()),
        ("fixed(tokens=512)", Fixed(tokens=512)),
        ({"name": "ascend", "prior": {"knots": [[0, 0], [0.5, 0.9], [1, 1]], "never": 0.1}}, None),
        (Binary(), Binary()),
    ],
)
def test_a_search_survives_text_json_and_pickle(spec, search):
    made = make_search(spec)
    assert search is None or made == search
    assert isinstance(made, Search)
    assert make_search(json.loads(json.dumps(made.describe()))) == made
    copy = pickle.loads(pickle.dumps(made))
    assert copy == made and hash(copy) == hash(made)


def test_a_description_tells_apart_what_can_differ_and_nothing_else():
    def text(search: Search) -> str:
        return json.dumps(search.describe(), sort_keys=True)

    assert text(make_search("ascend(probe_cost=32)")) == text(Ascend(probe_cost=32.0)) == text(Ascend())
    different = [
        "ascend",
        "ascend(confirm=3)",
        "ascend(caution=1)",
        "ascend(probe_cost=9)",
        "binary",
        "linear",
        "full",
    ]
    described = {text(make_search(spec)) for spec in different} | {text(Ascend(prior=Prior(never=0.2)))}
    assert len(described) == len(different) + 1


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("binery", r"`binery` is no search \(nearest match: `binary`\).*`ascend`.*`none`"),
        ("ascend(confrim=2)", r"nearest match: `confirm`.*`probe_cost`"),
        ("binary(confirm=2)", "It takes none"),
        ("ascend(confirm=two)", "is no number"),
        ("ascend(confirm=2, confirm=3)", "gives `confirm` twice"),
        ("ascend(confirm=0)", "`confirm=0`: must be a whole number of ENOUGH, at least 1"),
        ("ascend(confirm=1.5)", "`confirm=1.5`: must be a whole number"),
        ("ascend(caution=-1)", "`caution=-1`: must be a number"),
        ("ascend(probe_cost=0)", "`probe_cost=0`: must be a number of tokens above 0"),
        ("ascend(prior=3)", "`prior=3`: must be a `Prior`"),
        ("fixed", "give one of them"),
        ("fixed(ratio=0.2, tokens=3)", "give one of them"),
        ("fixed(ratio=1.5)", "`ratio=1.5`: must be a share of the trace"),
        ("fixed(tokens=1.5)", "`tokens=1.5`: must be a whole number of tokens"),
        ("ascend(", "names no search"),
        (7, "`7` is no search: it lacks `name`"),
        (Binary, "is no search: it is a class. Give one of"),
        ({"confirm": 2}, "`None` is no search"),
        ({"name": ["x"]}, r"`\['x'\]` is no search"),
        ({"name": "binary", "version": 99}, "version 99 isn't in this release"),
        ({"name": "ascend", "confirm": True}, "`confirm=True`: must be a whole number"),
        ({"name": "ascend", "caution": [1]}, r"`caution=\[1\]`: must be a number"),
        ({"name": "ascend", "caution": 10**400}, "`caution=1000.*: must be a number"),
        ({"name": "ascend", "prior": {"knots": 5}}, "`knots=5` is no CDF"),
        ({"name": "ascend", "prior": {"knot": 5}}, r"`knot` is no parameter of `prior` \(nearest match: `knots`\)"),
        ({"name": "ascend", "prior": {"never": "a"}}, "`never=a`: must be a share"),
        ({"name": "fixed", "ratio": "a"}, "`ratio=a`: must be a share"),
        ({"name": "fixed", "ratio": False}, "`ratio=False`: must be a share"),
        ({"name": "fixed", "tokens": True}, "`tokens=True`: must be a whole number"),
    ],
)
def test_what_cannot_be_a_search_is_refused_with_what_to_write(spec, message):
    with pytest.raises(UserError, match=message):
        make_search(spec)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.integers(10**308, 10**312),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
# Every parameter there is, and where it stands in a description.
PLACES = [(name, item.name) for name, kind in SEARCHES.items() for item in fields(kind)]
PLACES += [("ascend", "prior.knots"), ("ascend", "prior.never"), ("binary", "name"), ("ascend", "version")]


def makes_a_search_or_says_why_not(spec: object) -> None:
    """Refused in one line, or a search that works and can be written down."""
    try:
        search = make_search(spec)  # type: ignore[arg-type]
    except UserError as error:
        assert len(str(error).splitlines()) == 1
        return
    assert make_search(json.loads(json.dumps(search.describe()))) == search
    found = explore(search, evenly(12), lambda cut: cut - 4.5)[1]
    assert found == Found(5, True) if search.judged else not found.sufficient


@pytest.mark.parametrize(("name", "place"), PLACES)
@given(value=anything)
def test_any_value_of_a_parameter_is_taken_or_refused_in_one_line(name, place, value):
    outer, _, inner = place.partition(".")
    makes_a_search_or_says_why_not({"name": name, outer: {inner: value} if inner else value})


@given(value=st.floats(min_value=0, exclude_min=True), place=st.sampled_from(["caution", "probe_cost"]))
def test_any_number_of_the_default_search_is_taken_or_refused_in_one_line(place, value):
    makes_a_search_or_says_why_not({"name": "ascend", place: value})


@given(anything | st.from_regex(r"(ascend|fixed)\((confirm|caution|ratio|tokens|\w*)=[^)]{0,9}\)", fullmatch=True))
def test_anything_may_be_given_for_a_search(spec):
    makes_a_search_or_says_why_not(spec)
