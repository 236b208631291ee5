"""Every search against its definition: the linear scan, the paper's loop, and the accounting of tokens."""

import json
import math
import pickle
from collections.abc import Callable
from itertools import accumulate

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.truncation.cost import BlockCache
from palign_hf.truncation.schedule import Prior
from palign_hf.truncation.search import Ascend, Binary, Every, Fixed, Found, Linear, Search, make_search


JUDGED = ["ascend", "ascend(confirm=1, caution=0)", "ascend(confirm=4, caution=3, probe_cost=5)", "binary", "linear"]
JUDGED += ["every"]
HEAD, SUFFIX = 220, 11


def explore(search: Search, tokens: list[int], margin: Callable[[int], float], limit: int | None = None):
    """The cuts asked, in order, and what was found; a walk that never ends fails instead of hanging."""
    walk, asked = search.start(tokens, limit), []
    while cuts := walk.next():
        assert cuts == sorted(set(cuts))
        for cut in cuts:
            asked.append(cut)
            walk.tell(cut, margin(cut))
        assert len(asked) <= len(tokens)
    return asked, walk.result()


def evenly(segments: int, size: int = 40) -> list[int]:
    return [size * cut for cut in range(segments + 1)]


@st.composite
def problems(draw):
    """Any trace of 0..400 segments (some of no token), a limit, and a margin of any size and sign for each cut."""
    segments = draw(st.integers(0, 400))
    seed = draw(st.integers(0, 2**32 - 1))
    rng = np.random.default_rng(seed)
    high = draw(st.sampled_from([1, 3, 80, 5000]))
    tokens = [0, *accumulate(rng.integers(0, high, segments).tolist())]
    limit = draw(st.none() | st.integers(0, segments))
    scale = draw(st.sampled_from([1e-9, 1.0, 1e12]))
    margins = (rng.standard_t(2, segments + 1) * scale).tolist()
    return tokens, limit, margins


def rising(margins: list[float], answer: int) -> list[float]:
    """The same sizes, negative below the answer and positive from it on: a monotone judge."""
    sizes = [max(abs(margin), 1e-300) for margin in margins]
    return [-size if cut < answer else size for cut, size in enumerate(sizes)]


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


@given(problem=problems(), confirm=st.integers(1, 4))
def test_ascend_looks_below_its_frontier_a_logarithmic_number_of_times(problem, confirm):
    tokens, limit, margins = problem
    asked, _ = explore(Ascend(confirm=confirm), tokens, margins.__getitem__, limit)
    below = sum(cut < max(asked[:place]) for place, cut in enumerate(asked) if place)
    assert below <= 3 * (len(tokens) - 1).bit_length() + 2 + confirm


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


def test_ascend_asks_cut_zero_first_and_shows_little_more_than_the_answer():
    asked, found = explore(Ascend(), evenly(200), lambda cut: cut - 59.5)
    assert asked[0] == 0 and found == Found(60, True)
    assert max(asked) <= 75


def test_ascend_goes_on_after_a_spike_that_the_first_crossing_takes():
    curve = [-3.0 + 0.05 * cut for cut in range(201)]  # crosses after cut 60
    first = Ascend(confirm=1, caution=0)
    spike = explore(first, evenly(200), curve.__getitem__)[0][2]
    assert spike < 40
    curve[spike] = 0.4
    assert explore(first, evenly(200), curve.__getitem__)[1] == Found(spike, True)
    assert explore(Ascend(), evenly(200), curve.__getitem__)[1] == Found(61, True)


def test_ascend_waits_for_as_many_enough_in_a_row_as_asked():
    curve = [5.0] + [-1.0] * 99 + [1.0] * 101  # a spike that outweighs the first few NOT_ENOUGH
    assert explore(Ascend(confirm=1, caution=0), evenly(200), curve.__getitem__) == ([0], Found(0, True))
    assert explore(Ascend(confirm=2, caution=0), evenly(200), curve.__getitem__)[1] == Found(100, True)


def test_ascend_asks_more_only_when_margins_fall():
    steady = [0.1 * (cut - 60) + 0.05 for cut in range(201)]
    wavering = [margin + (-1) ** cut for cut, margin in enumerate(steady)]
    plain = Ascend(confirm=1, caution=0)
    extra = [
        len(explore(Ascend(), evenly(200), curve.__getitem__)[0])
        - len(explore(plain, evenly(200), curve.__getitem__)[0])
        for curve in (steady, wavering)
    ]
    assert 0 <= extra[0] <= 1 < extra[1]


@given(problem=problems(), exponent=st.integers(-8, 8))
def test_the_unit_of_the_margins_changes_nothing(problem, exponent):
    tokens, limit, margins = problem
    scaled = [math.ldexp(margin, exponent) for margin in margins]
    assert explore(Ascend(), tokens, margins.__getitem__, limit) == explore(
        Ascend(), tokens, scaled.__getitem__, limit
    )


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
    while any(walk.next() for walk in walks):
        for walk, curve, cuts in zip(reversed(walks), reversed(curves), reversed(asked), strict=True):
            for cut in walk.next():
                cuts.append(cut)
                walk.tell(cut, curve[cut])
    assert [(cuts, walk.result()) for cuts, walk in zip(asked, walks, strict=True)] == alone


@pytest.mark.parametrize("spec", JUDGED)
def test_a_walk_takes_only_usable_answers_to_what_it_asked(spec):
    walk = make_search(spec).start(evenly(20))
    with pytest.raises(RuntimeError, match="isn't finished"):
        walk.result()
    [cut] = walk.next()
    assert walk.next() == [cut]
    with pytest.raises(ValueError, match="wasn't asked"):
        walk.tell(cut + 1, 1.0)
    with pytest.raises(ValueError, match="no verdict"):
        walk.tell(cut, math.nan)
    assert walk.next() == [cut]
    walk.tell(cut, -1.0)
    with pytest.raises(ValueError, match="wasn't asked"):
        walk.tell(cut, 1.0)
    while cuts := walk.next():
        walk.tell(cuts[0], -1.0)
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
        ("ascend(confirm=0)", "can't end a search"),
        ("ascend(confirm=1.5)", "can't end a search"),
        ("ascend(caution=-1)", "is no weight"),
        ("ascend(probe_cost=0)", "a probe costs tokens"),
        ("ascend(prior=3)", "is no prior"),
        ("fixed", "give one of them"),
        ("fixed(ratio=0.2, tokens=3)", "give one of them"),
        ("fixed(ratio=1.5)", "is no share"),
        ("fixed(tokens=1.5)", "is no length"),
        ("ascend(", "names no search"),
        (7, "names no search"),
        (Binary, "names no search"),
        ({"confirm": 2}, "`None` is no search"),
        ({"name": "binary", "version": 99}, "version 99 isn't in this release"),
    ],
)
def test_what_cannot_be_a_search_is_refused_with_what_to_write(spec, message):
    with pytest.raises(ValueError, match=message):
        make_search(spec)


def draws(ratios: np.ndarray, rng: np.random.Generator):
    for ratio in ratios:
        segments = int(rng.integers(120, 280))
        tokens = [0, *accumulate(rng.integers(10, 71, segments).tolist())]
        yield tokens, max(1, math.ceil(ratio * segments))


def computed(tokens: list[int], asked: list[int]) -> int:
    cache = BlockCache(16)
    return sum(cache.ask(HEAD + tokens[cut] + SUFFIX, HEAD + tokens[cut]) for cut in asked)


@pytest.mark.parametrize(("shape", "binary_over"), [((2, 6), 1.6), ((2.4, 3.6), 1.3)])
def test_ascend_computes_at_most_a_fifth_more_than_the_floor(shape, binary_over):
    rng = np.random.default_rng(11)
    spent, floor = {"ascend": 0, "binary": 0}, 0
    for tokens, answer in draws(rng.beta(*shape, 400), rng):
        floor += HEAD + tokens[answer] + SUFFIX
        for name in spent:
            spent[name] += computed(tokens, explore(make_search(name), tokens, lambda cut: cut - answer + 0.5)[0])  # noqa: B023
    assert spent["ascend"] <= 1.2 * floor
    assert spent["binary"] >= binary_over * floor


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.0])
def test_ascend_is_no_further_off_than_binary_under_noise_for_fewer_tokens(sigma):
    rng = np.random.default_rng(12)
    errors, spent = {"ascend": [], "binary": []}, {"ascend": 0, "binary": 0}
    for tokens, answer in draws(rng.beta(2, 6, 1200), rng):
        noise = [rng.normal()]
        for fresh in rng.normal(size=len(tokens) - 1):
            noise.append(0.7 * noise[-1] + math.sqrt(1 - 0.7**2) * fresh)
        curve = [0.1 * (cut - answer + 0.5) + sigma * noise[cut] for cut in range(len(tokens))]
        for name, off in errors.items():
            asked, found = explore(make_search(name), tokens, curve.__getitem__)
            off.append(found.segments - answer)
            spent[name] += computed(tokens, asked)
    mean = {name: np.abs(off).mean() for name, off in errors.items()}
    bias = {name: abs(np.mean(off)) for name, off in errors.items()}
    slack = 2 * np.std(errors["ascend"]) / math.sqrt(len(errors["ascend"]))  # what this many draws can't tell apart
    assert mean["ascend"] <= mean["binary"]
    assert bias["ascend"] <= bias["binary"] + slack
    assert spent["ascend"] < 0.75 * spent["binary"]


def test_the_visits_of_a_wavering_walk_are_pinned():
    """A change here changes results under a wavering judge: raise the version of `Ascend` with it."""
    curve = [(cut - 60) / 10 + (cut * 7919 % 13 - 6) / 8 for cut in range(201)]
    asked, found = explore(Ascend(), evenly(200), curve.__getitem__)
    climb, settle = [0, 16, 30, 38, 45, 51, 61, 70], [65, 67, 66, 68, 64, 62, 60, 58, 54, 56, 57, 59, 63, 69]
    assert asked == climb + settle
    assert found == Found(62, True)
