"""A copy of a benchmark question is found however it is dressed, and boilerplate is none."""

import json
import random
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.data.benchmarks import BENCHMARKS, load_benchmark, load_index
from palign_hf.data.decontamination import LOOSE, SHORTEST, Index, duplicates, words
from palign_hf.errors import UserError
from palign_hf.toy.world.problems import problems


RATIO = (
    r"The ratio can be written as $\frac{m}{n}$, where $m$ and $n$ are relatively prime positive integers. Find $m+n$."
)
FORMULAS = [
    r"Let $F(z)=\frac{z+i}{z-i}$ and let $z_n=F(z_{n-1})$ for all $n.$ Given $z_0=\frac 1{137}+i,$ find $z_{2002}.$",
    r"A sum of $\$24,\!000$ is put in a bond that pays $1\%$ every two months. What is it worth after five years?",
    r"Find the largest value of $\left|a\right| + \left|b\right|$ if $0 \leq a \le 7$ and $\sqrt{a+b} = 12.5$.",
    f"Triangle $PQR$ has sides of 13, 14 and 15, and a circle through $P$ touches $QR$. {RATIO}",
    f"A deck has 40 cards, four of each number from 1 to 10, and a matching pair is removed. {RATIO}",
]
BENCH = [problem.question for problem in problems("test", 60)] + FORMULAS
INDEX = Index({"bench": BENCH})


@st.composite
def dressed(draw):
    """A benchmark question, set anew, with something before and after it."""
    row = draw(st.integers(0, len(BENCH) - 1))
    text = BENCH[row]
    rng = random.Random(draw(st.integers(0, 10**6)))
    for change in draw(st.lists(st.sampled_from(["case", "space", "latex", "stops", "dollars"]), unique=True)):
        if change == "case":
            text = rng.choice([str.upper, str.lower, str.title])(text) if "\\" not in text else text.capitalize()
        elif change == "space":
            text = "".join(char * rng.randrange(1, 4) if char == " " else char for char in text) + "\n"
        elif change == "latex":
            text = (
                text.replace(" =", r"\, =").replace("+", r" \; + \! ").replace(r"\frac", r"\dfrac").replace("~", " ")
            )
        elif change == "stops":
            text = text.replace(". ", rng.choice(["; ", "!\n", " . "])).replace("?", "").replace("'", "’")
        else:
            text = text.replace("$", rng.choice(["", "$$", " $ "])) if r"\$" not in text else text
    before = draw(st.sampled_from(["", "Solve this problem step by step. ", "Question 7 of the contest: ", "已知 "]))
    after = draw(st.sampled_from(["", " Put your answer in a box.", " (A) 1 (B) 2 (C) 3", " Explain every step."]))
    return row, before + text + after


@given(dressed())
def test_an_inserted_copy_is_always_found(case):
    row, text = case
    found = INDEX.find(text)
    assert found is not None and (found.benchmark, found.row, found.question) == ("bench", row, BENCH[row])
    assert found.score > 0.99 and found.numbers == 1


@given(st.permutations(range(len(BENCH))), dressed())
def test_the_order_of_questions_does_not_matter(order, case):
    row, text = case
    found, shuffled = INDEX.find(text), Index({"bench": [BENCH[at] for at in order]}).find(text)
    assert (found.kind, found.question) == (shuffled.kind, shuffled.question)
    assert found.score == pytest.approx(shuffled.score)


@pytest.mark.parametrize(
    "question",
    [
        RATIO,
        f"A bag has 3 red and 9 blue balls. Two are drawn at random, and they match with some probability. {RATIO}",
        "How many marbles are there in all?",
        "",
        "$$",
        "Find $x$.",
        "Find $x$ if $x + 2 = 4$. " * 5000,
        FORMULAS[1].replace("24", "35").replace("1\\%", "7\\%"),  # other numbers are another problem
    ],
)
def test_boilerplate_and_other_numbers_are_no_copies(question):
    assert INDEX.find(question) is None


def test_the_train_questions_of_the_toy_world_are_no_copies():
    """They are told in the same words with other numbers: those who want such to go ask for it."""
    others = [problem.question for problem in problems("train", 300)]
    assert sum(INDEX.find(question) is not None for question in others) <= 1
    loose = Index({"bench": BENCH}, **LOOSE)
    assert sum(loose.find(question) is not None for question in others) > 30


def test_a_copy_with_a_word_changed_or_its_end_cut_off_is_near():
    row = len(BENCH) - 1
    found = INDEX.find(BENCH[row].replace("deck", "pack"))
    assert found is not None and found.kind == "near" and found.row == row and 0.85 <= found.score < 1
    assert INDEX.find(BENCH[row]).kind == "exact"


def test_one_long_text_that_holds_all_words_somewhere_is_no_copy():
    scattered = " ... and then some other words that lead far away from it, many of them, ".join(
        " ".join(BENCH[0].split()[at : at + 4]) for at in range(0, 40, 2)
    )
    assert INDEX.find(scattered) is None


def test_what_the_corpus_repeats_weighs_little():
    stock = "Give the answer as a whole number without units and do not use a calculator for it"
    bench = [f"The tall pine has 7 cones. {stock}", f"The red boat has 9 sails. {stock}"]
    corpus = [f"Problem {number} is about sheep. {stock}" for number in range(500)]
    asked = f"The tall pine has 8 owls. {stock}"

    def score(index):
        return max(match.score for match in index.scores(asked))

    assert score(Index({"b": bench}, corpus)) < score(Index({"b": bench}))


def test_duplicates_are_grouped_whatever_the_order():
    rng = random.Random(0)
    copies = [BENCH[at] for at in range(30)] + [BENCH[at].upper() for at in range(10)]
    copies += [f"Now: {BENCH[at]}" for at in range(5, 15)]
    for _ in range(5):
        rng.shuffle(copies)
        first = duplicates(copies)
        groups = {tuple(words(copies[at].removeprefix("Now: "))) for at in first}
        assert len(set(first)) == len(groups) == 30 and all(first[at] == at <= here for here, at in enumerate(first))
    assert duplicates([]) == [] and duplicates(["", "", "?", "?"]) == [0, 0, 2, 2]


def test_ten_thousand_questions_take_seconds():
    rng = random.Random(0)
    vocabulary = ["".join(rng.choices("abcdefghijklmnopqrstuvwxyz", k=5)) for _ in range(3000)]
    made = [" ".join(rng.choices(vocabulary, k=50)) + f" {RATIO}" for _ in range(12_000)]
    start = time.process_time()
    index = Index({"bench": made[:2000]})
    assert sum(index.find(question) is not None for question in made[1900:11_900]) == 100
    assert time.process_time() - start < 30  # some three seconds where nothing else runs


@pytest.mark.parametrize("part", ["a ", "[asy]", "\\", "1,", "{,}", r"\frac ", RATIO, FORMULAS[0]])
def test_a_megabyte_takes_no_time(part):
    start = time.process_time()
    INDEX.find(part * (1_000_000 // len(part)))
    assert time.process_time() - start < 5


@given(st.text(), st.text())
def test_any_text_is_found_that_has_words(one, other):
    found = Index({"b": [one, other]}).find(other)
    assert (found is not None) == bool(words(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (r"$\dfrac{1}{2}$", "1/2"),
        (r"$24,\!000$", "24000"),
        (r"$\alpha \leq \pi$", "α ≤ π"),
        (r"\[x \ge 4\]", "x≥four"),
        (r"\frac12", "1 / 2"),
        (r"$\left( x \right)$", "(X)"),
        (r"two-digit", "2‑digit"),
    ],
)
def test_wording_reads_alike(one, other):
    assert words(one) == words(other)


def test_benchmarks_load_from_their_copies(shared_data):
    hub = shared_data / "hub"
    paths = {name: hub / known.hub_id / (known.config or "") for name, known in BENCHMARKS.items()}
    index = load_index(paths=paths)
    sizes = {name: len(load_benchmark(name, path)) for name, path in paths.items()}
    assert sizes == {"MATH-500": 500, "AIME24": 30, "AIME25": 30, "AMC12": 83, "GSM8K": 1319}
    file = hub / "HuggingFaceH4" / "MATH-500" / "test.jsonl"
    for question in load_benchmark("MATH-500", file):
        if len(words(question)) >= SHORTEST:
            assert index.find(f"Solve this. {question} Thank you.").question == question


def test_copies_among_labelled_pairs_are_found(shared_data):
    """The three exact ones and the two that were reworded a little; the third reworded one shares five words."""
    math500 = load_benchmark("MATH-500", shared_data / "hub" / "HuggingFaceH4" / "MATH-500")
    index, found = Index({"MATH-500": math500}), {}
    for path in (shared_data / "contamination").glob("*.jsonl"):
        for line in path.open():
            row = json.loads(line)
            if match := index.find(row["train_problem"]):
                found[row["train_id"]] = match.kind
    exact = {"s1k_0181", "s1k_0124", "s1k_0081"}
    assert {name for name, kind in found.items() if kind == "exact"} == exact
    assert {"s1k_0498", "ot_091537"} <= set(found) and len(found) <= 6


def test_mistakes_are_told(tmp_path):
    with pytest.raises(UserError, match="`MATH500` is no benchmark .nearest match: `MATH-500`"):
        load_benchmark("MATH500")
    with pytest.raises(UserError, match="`Gsm8k` is no benchmark"):
        load_index(["GSM8K"], paths={"Gsm8k": tmp_path})
    (tmp_path / "mine.jsonl").write_text('{"prompt": "How many?"}\n')
    with pytest.raises(UserError, match="has no column `problem`, where the questions of AIME24 are; it has `prompt`"):
        load_benchmark("AIME24", tmp_path / "mine.jsonl")
