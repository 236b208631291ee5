"""Backwards problems: the end of a story is known, and its steps have to be undone.

The hard part is the inverse of each step, in the right order; then each step is one computation.
"""

from random import Random

from palign_hf.toy.world import puzzle
from palign_hf.toy.world.puzzle import Op, Puzzle, Step, Sum, Try, between, insight, people, pick, routine


# The number at the start, and what is done with it.
Core = tuple[int, tuple[Op, ...]]

_FRUIT = ("plums", "apples", "berries", "pears", "peaches", "nuts", "cherries", "lemons")
_UNDO = {"+": "take away {n}", "-": "add {n}", "*": "divide by {n}", "/": "double"}
# What is done, and the same as a noun: for a number, and for a basket of fruit.
_NUMBER = {
    "+": ("adds {n}", "adding {n}"),
    "-": ("takes away {n}", "taking away {n}"),
    "*": ("multiplies by {n}", "multiplying by {n}"),
    "/": ("halves it", "halving"),
}
_BASKETS = (
    {"+": ("picks {n} more", "picking {n}"), "-": ("eats {n}", "eating {n}"), "/": ("gives away half", "giving half")},
    {"+": ("finds {n} more", "finding {n}"), "-": ("drops {n}", "dropping {n}"), "/": ("sells half", "selling half")},
    {"+": ("buys {n} more", "buying {n}"), "-": ("loses {n}", "losing {n}"), "/": ("bakes half", "baking half")},
)
# Theme, beginning, end; the questions about the beginning and the end, as clauses and as questions.
_TRICK = (
    "a number trick", "{name} thinks of {n}", "the result is {n}", "what number {name} thought of",
    "what the result is", "what number did {name} think of", "what is the result",
)  # fmt: skip
_BASKET = (
    "a basket of {fruit}", "{name} has {n} {fruit}", "now {he} has {n} {fruit}",
    "how many {fruit} {name} had at the start", "how many {fruit} {name} has now",
    "how many {fruit} did {name} have at the start", "how many {fruit} does {name} have now",
)  # fmt: skip


def draw(rng: Random, difficulty: int) -> Core:
    """A few operations on a small number."""
    count = between(rng, 1, 2) if difficulty == 1 else difficulty
    start = between(rng, 3, 24)
    return start, puzzle.draw_ops(rng, start, count, pick(rng, ("++--//", "+-**/")))


def tell(rng: Random, difficulty: int, core: Core) -> Puzzle:
    """A number trick or, where nothing is multiplied, a basket of fruit; the first difficulty asks for the end."""
    start, ops = core
    (name, pronoun), *_ = people(rng, 1)
    basket = all(op.sign != "*" for op in ops) and rng.random() < 0.6
    words = pick(rng, _BASKETS) if basket else _NUMBER
    fruit = pick(rng, _FRUIT) if basket else ""

    def filled(text: str, n: int | str = "") -> str:
        return text.format(name=name, he=pronoun, fruit=fruit, n=n)

    theme, begins, ends, first, last, ask_first, ask_last = _BASKET if basket else _TRICK
    done, doing = ([words[op.sign][form].format(n=op.n) for op in ops] for form in (0, 1))
    acts = [f"{pronoun} {act}" for act in done]
    in_turn = [acts[0], *(f"then {act}" for act in acts[1:])]
    end = puzzle.course(start, ops)[-1]
    if difficulty == 1:
        begin, shown, answer, asked, ask = filled(begins, start), [], end, last, ask_last
        result, steps, checks = filled(ends, end), _forward(start, ops, doing), [_return(start, ops)]
    else:
        begin, shown = filled(begins, "some" if basket else "a number"), [filled(ends, end)]
        answer, asked, ask, result = start, first, ask_first, f"at the start it was {start}"
        steps, checks = _backward(start, end, ops, doing), _rerun(start, end, ops, doing)
    question = f"{puzzle.stated([begin, *in_turn, *shown])} {puzzle.capital(filled(ask))}?"
    return Puzzle(question, filled(theme), [begin, *acts, *shown], filled(asked), steps, answer, result, checks)


def _forward(start: int, ops: tuple[Op, ...], doing: list[str]) -> list[Step]:
    steps = zip(puzzle.sums(start, ops), doing, strict=True)
    return [
        routine(sum_, f"After {act}: {sum_}.", f"After {act} it is {sum_}.", f"Then comes {act}: {sum_}.")
        for sum_, act in steps
    ]


def _backward(start: int, end: int, ops: tuple[Op, ...], doing: list[str]) -> list[Step]:
    steps = [_plan(end, ops, doing)]
    for sum_, act in zip(puzzle.undone(start, ops), reversed(doing), strict=True):
        again = Sum(sum_.left, sum_.op.inverse)
        wordings = (f"Before {act} it was {sum_}.", f"To undo {act}, I say {sum_}.", f"Undo {act}: {sum_}.")
        wrong = Try(again.value, (f"{act} gives {again}",), f"I must undo {act}")
        steps.append(routine(sum_, f"Before {act}: {sum_}.", *wordings, tries=[wrong]))
    return steps


def _plan(end: int, ops: tuple[Op, ...], doing: list[str]) -> Step:
    plan = f"from {end} we {puzzle.listed([_UNDO[op.sign].format(n=op.n) for op in reversed(ops)])}"
    as_stated, first_first = Sum(end, ops[0]), Sum(end, ops[0].inverse)
    wordings = (f"So I go backwards: {plan}.", f"So everything must be undone: {plan}.")
    leads = ["I do not know the start.", f"But I know the end, it is {end}.", f"The last thing was {doing[-1]}."]
    onward = (f"I begin with {end}", f"after {doing[0]} it is {as_stated}")
    turned = (f"first I undo {doing[0]}", f"that gives {first_first}")
    tries = [
        Try(as_stated.value, onward, f"{end} is the end"),
        Try(first_first.value, turned, f"{end} comes after {doing[-1]}"),
    ]
    return insight(f"Go backwards: {plan}.", *wordings, leads=leads, tries=tries)


def _return(start: int, ops: tuple[Op, ...]) -> list[str]:
    back = [f"Now {sum_}." for sum_ in puzzle.undone(start, ops)]
    return ["Let me go back from the end.", *back, f"That is the {start} from the start."]


def _rerun(start: int, end: int, ops: tuple[Op, ...], doing: list[str]) -> list[list[str]]:
    sums = puzzle.sums(start, ops)
    along = [f"After {act} it is {sum_}." for act, sum_ in zip(doing, sums, strict=True)]
    return [
        [f"Let me start with {start} and do it all.", *along, f"That is the {end} from the problem."],
        [f"If the start is {start}, what comes out?", *(f"Now {sum_}." for sum_ in sums), "It fits."],
    ]
