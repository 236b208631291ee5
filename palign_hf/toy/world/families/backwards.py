"""What was there at the start: the end of a little story is known, and its steps have to be undone.

The hard part is to see what undoes each step, in which order; then each step is one computation.
"""

from itertools import accumulate
from random import Random
from typing import NamedTuple

from palign_hf.toy.world.puzzle import Op, Puzzle, Step, Sum, Try, between, draw_ops, listed, people, pick, stated


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


class _Story(NamedTuple):
    """The words around the numbers; `{}` stands for the number at that place."""

    theme: str
    begins: str
    ends: str
    first: str
    last: str
    ask_first: str
    ask_last: str


def draw(rng: Random, difficulty: int) -> Core:
    """A few operations on a small number."""
    count = between(rng, 1, 2) if difficulty == 1 else difficulty
    start = between(rng, 3, 24)
    return start, draw_ops(rng, start, count, pick(rng, ("++--//", "+-**/")))


def tell(rng: Random, difficulty: int, core: Core) -> Puzzle:
    """A number trick or, where nothing is multiplied, a basket of fruit; the first difficulty asks for the end."""
    start, ops = core
    (name, pronoun), *_ = people(rng, 1)
    basket = all(op.sign != "*" for op in ops) and rng.random() < 0.6
    words = pick(rng, _BASKETS) if basket else _NUMBER
    story = _basket(name, pronoun, pick(rng, _FRUIT)) if basket else _trick(name)
    done, doing = ([words[op.sign][form].format(n=op.n) for op in ops] for form in (0, 1))
    acts = [f"{pronoun} {act}" for act in done]
    in_turn = [acts[0], *(f"then {act}" for act in acts[1:])]
    values = list(accumulate(ops, lambda value, op: op.on(value), initial=start))
    if difficulty == 1:
        begin, answer = story.begins.format(start), values[-1]
        question = f"{stated([begin, *in_turn])} {story.ask_last[0].upper()}{story.ask_last[1:]}?"
        facts, asked, result = [begin, *acts], story.last, story.ends.format(answer)
        steps, checks = _forward(values, ops, doing), [_return(values, ops)]
    else:
        begin, end, answer = (
            story.begins.format("some" if basket else "a number"),
            story.ends.format(values[-1]),
            start,
        )
        question = f"{stated([begin, *in_turn, end])} {story.ask_first[0].upper()}{story.ask_first[1:]}?"
        facts, asked, result = [begin, *acts, end], story.first, f"at the start it was {answer}"
        steps, checks = _backward(values, ops, doing), _rerun(values, ops, doing)
    return Puzzle(question, story.theme, facts, asked, steps, answer, result, checks)


def _trick(name: str) -> _Story:
    return _Story(
        theme="a number trick",
        begins=f"{name} thinks of {{}}",
        ends="the result is {}",
        first=f"what number {name} thought of",
        last="what the result is",
        ask_first=f"what number did {name} think of",
        ask_last="what is the result",
    )


def _basket(name: str, pronoun: str, fruit: str) -> _Story:
    return _Story(
        theme=f"a basket of {fruit}",
        begins=f"{name} has {{}} {fruit}",
        ends=f"now {pronoun} has {{}} {fruit}",
        first=f"how many {fruit} {name} had at the start",
        last=f"how many {fruit} {name} has now",
        ask_first=f"how many {fruit} did {name} have at the start",
        ask_last=f"how many {fruit} does {name} have now",
    )


def _forward(values: list[int], ops: tuple[Op, ...], doing: list[str]) -> list[Step]:
    steps = []
    for value, op, act in zip(values, ops, doing, strict=False):
        sum_ = Sum(value, op)
        told = (f"After {act} it is {sum_}.", f"Then comes {act}: {sum_}.")
        steps.append(Step(f"After {act}: {sum_}.", told, sum=sum_))
    return steps


def _backward(values: list[int], ops: tuple[Op, ...], doing: list[str]) -> list[Step]:
    steps = [_plan(values[-1], ops, doing)]
    for value, op, act in reversed(list(zip(values[1:], ops, doing, strict=True))):
        sum_, again = Sum(value, op.inverse), Sum(value, op)
        told = (f"Before {act} it was {sum_}.", f"To undo {act}, I say {sum_}.", f"Undo {act}: {sum_}.")
        wrong = Try(again.value, (f"{act} gives {again}",), f"I must undo {act}")
        steps.append(Step(f"Before {act}: {sum_}.", told, sum=sum_, tries=[wrong]))
    return steps


def _plan(end: int, ops: tuple[Op, ...], doing: list[str]) -> Step:
    plan = f"from {end} we {listed([_UNDO[op.sign].format(n=op.n) for op in reversed(ops)])}"
    as_told, first_first = Sum(end, ops[0]), Sum(end, ops[0].inverse)
    return Step(
        text=f"Go backwards: {plan}.",
        told=(f"So I go backwards: {plan}.", f"So everything must be undone: {plan}."),
        hard=True,
        leads=["I do not know the start.", f"But I know the end, it is {end}.", f"The last thing was {doing[-1]}."],
        tries=[
            Try(as_told.value, (f"I begin with {end}", f"after {doing[0]} it is {as_told}"), f"{end} is the end"),
            Try(
                first_first.value,
                (f"first I undo {doing[0]}", f"that gives {first_first}"),
                f"{end} comes after {doing[-1]}",
            ),
        ],
    )


def _return(values: list[int], ops: tuple[Op, ...]) -> list[str]:
    back = [f"Now {Sum(value, op.inverse)}." for value, op in reversed(list(zip(values[1:], ops, strict=True)))]
    return ["Let me go back from the end.", *back, f"That is the {values[0]} from the start."]


def _rerun(values: list[int], ops: tuple[Op, ...], doing: list[str]) -> list[list[str]]:
    sums = [Sum(value, op) for value, op in zip(values, ops, strict=False)]
    along = [f"After {act} it is {sum_}." for act, sum_ in zip(doing, sums, strict=True)]
    return [
        [f"Let me start with {values[0]} and do it all.", *along, f"That is the {values[-1]} from the problem."],
        [f"If the start is {values[0]}, what comes out?", *(f"Now {sum_}." for sum_ in sums), "It fits."],
    ]
