"""How many things are in a bag: bags and loose things make a small equation.

The hard part is the equation with bags on one side only; then it is one subtraction and one division.
"""

from random import Random
from typing import NamedTuple

from palign_hf.toy.world.puzzle import LARGEST, Op, Puzzle, Step, Sum, Try, between, people, pick, stated


_THINGS = ("nuts", "sweets", "pebbles", "acorns", "seeds", "dice", "pins", "shells", "beans", "cookies")
_HOLDERS = (("bag", "bags"), ("box", "boxes"), ("jar", "jars"), ("sack", "sacks"), ("tin", "tins"))


class Core(NamedTuple):
    """What a bag holds; bags and loose things of the first; bags of the second; how far the first one is ahead."""

    content: int
    bags: int
    loose: int
    other_bags: int
    ahead: int

    @property
    def total(self) -> int:
        """All that the first one has."""
        return self.bags * self.content + self.loose

    @property
    def other_loose(self) -> int:
        """The loose things of the second."""
        return self.total - self.ahead - self.other_bags * self.content


class _Words(NamedTuple):
    a: str
    b: str
    things: str
    bag: str
    bags: str

    def some(self, number: int) -> str:
        return f"{number} {self.bag if number == 1 else self.bags}"


def draw(rng: Random, difficulty: int) -> Core | None:
    """Two people from the third difficulty on, and one is ahead from the fourth on."""
    other_bags = between(rng, 1, 3) if difficulty > 2 else 0
    core = Core(
        content=between(rng, 2, 12),
        bags=other_bags + between(rng, 2, 4) if other_bags else between(rng, 2, 6),
        loose=between(rng, 2, 19),
        other_bags=other_bags,
        ahead=between(rng, 2, 9) if difficulty > 3 else 0,
    )
    if core.total > LARGEST or core.other_loose < 2 or core.other_loose > 60 and other_bags:
        return None
    return core


def tell(rng: Random, difficulty: int, core: Core) -> Puzzle:
    """What is in a bag is told in the first difficulty; the first and the last ask for all that someone has."""
    (a, _), (b, _) = people(rng, 2)
    words = _Words(a, b, pick(rng, _THINGS), *pick(rng, _HOLDERS))
    things = words.things
    facts = [f"{a} has {words.some(core.bags)} of {things} and {core.loose} loose {things}"]
    if difficulty == 1:
        facts.append(f"each {words.bag} holds {core.content} {things}")
    elif difficulty == 2:
        facts += [f"there are {core.total} {things} in all", f"all {words.bags} hold the same number"]
    else:
        facts.append(f"{b} has {words.some(core.other_bags)} and {core.other_loose} loose {things}")
        facts.append(f"all {words.bags} hold the same number")
        ahead = f"{a} has {core.ahead} {things} more than {b}"
        facts.append(ahead if core.ahead else f"{a} and {b} have equally many {things}")
    steps = _equation(core, words) + _bag(core, words) if difficulty > 1 else []
    if difficulty in (1, 5):
        steps += _all(core, words)
        asked, question = f"how many {things} {a} has in all", f"How many {things} does {a} have in all?"
        answer, result = core.total, f"{a} has {core.total} {things} in all"
    else:
        asked, question = f"how many {things} are in one {words.bag}", f"How many {things} are in one {words.bag}?"
        answer, result = core.content, f"one {words.bag} holds {core.content} {things}"
    return Puzzle(
        question=f"{stated(facts)} {question}",
        theme=f"{words.bags} of {things}",
        facts=facts,
        asked=asked,
        steps=steps,
        answer=answer,
        result=result,
        checks=_checks(core, words),
    )


def _equation(core: Core, words: _Words) -> list[Step]:
    """The hard steps: to write it down, and to bring it to bags on one side."""
    left, total = f"{words.some(core.bags)} + {core.loose}", core.total
    if not core.other_bags:
        added = Sum(total, Op("+", core.loose))
        clauses = (f"{words.a} has {total} and {core.loose} more", f"so the {words.bags} hold {added}")
        return [
            Step(
                text=f"Write it down: {left} = {total}.",
                told=(f"So {left} = {total}.", f"I can write it like this: {left} = {total}."),
                hard=True,
                leads=[f"In the {total} {words.things} there are those in the {words.bags} and the loose ones."],
                tries=[Try(added.value, clauses, f"that is more than {total}")],
            )
        ]
    steps = [_written(core, words, left)]
    if core.ahead:
        steps.append(_joined(core, words, left))
    others, rest = words.some(core.other_bags), words.some(core.bags - core.other_bags)
    kept = f"{rest} + {core.loose} = {core.other_loose + core.ahead}"
    together = core.bags + core.other_bags
    steps.append(
        Step(
            text=f"Take {others} from both sides: {kept}.",
            told=(
                f"Now I take {others} away on both sides: {kept}.",
                f"Both sides lose {others}, and then {kept}.",
            ),
            hard=True,
            leads=[f"There are {words.bags} on both sides.", f"I want {words.bags} on one side only."],
            tries=[
                Try(
                    together,
                    (f"I put the {words.bags} together", f"that makes {words.some(together)} on one side"),
                    "they are on two sides",
                )
            ],
        )
    )
    return steps


def _written(core: Core, words: _Words, left: str) -> Step:
    right = f"{words.some(core.other_bags)} + {core.other_loose}"
    written = f"{left} = {right} + {core.ahead}" if core.ahead else f"{left} = {right}"
    loose = Sum(core.loose, Op("+", core.other_loose))
    together = words.some(core.bags + core.other_bags)
    return Step(
        text=f"Write it down: {written}.",
        told=(f"So I can write {written}.", f"As an equation that is {written}."),
        hard=True,
        leads=[f"What {words.a} has is {left}.", f"What {words.b} has is {right}."],
        tries=[
            Try(
                loose.value,
                (f"together they have {together}", f"the loose ones are {loose}"),
                "nobody says what they have together",
            )
        ],
    )


def _joined(core: Core, words: _Words, left: str) -> Step:
    joined, parted = (Sum(core.other_loose, Op(sign, core.ahead)) for sign in "+-")
    new = f"{left} = {words.some(core.other_bags)} + {joined.value}"
    return Step(
        text=f"The right side: {joined}, so {new}.",
        told=(f"On the right I have {joined}, so {new}.", f"And {joined}, which makes it {new}."),
        sum=joined,
        hard=True,
        tries=[Try(parted.value, (f"on that side I have {parted}",), f"{words.a} has more than {words.b}")],
    )


def _bag(core: Core, words: _Words) -> list[Step]:
    """The routine steps to what one bag holds."""
    alone = core.bags - core.other_bags
    bags = words.some(alone)
    inside = Sum(alone * core.content + core.loose, Op("-", core.loose))
    each = Sum(inside.value, Op("/", alone))
    doubled = Sum(inside.left, Op("+", core.loose))
    less = Sum(inside.value, Op("-", alone))
    return [
        Step(
            text=f"Take away {core.loose}: {inside}, so {bags} hold {inside.value}.",
            told=(
                f"Without the loose ones it is {inside}, so {bags} hold {inside.value}.",
                f"I take away the {core.loose} loose ones: {inside}, so {bags} hold {inside.value}.",
            ),
            sum=inside,
            tries=[Try(doubled.value, (f"{bags} hold {doubled}",), "the loose ones are in there already")],
        ),
        Step(
            text=f"One {words.bag} holds {each}.",
            told=(f"So one {words.bag} holds {each}.", f"I share them out: {each}, that is one {words.bag}."),
            sum=each,
            tries=[Try(less.value, (f"one {words.bag} holds {less}",), "I must share them out")],
        ),
    ]


def _all(core: Core, words: _Words) -> list[Step]:
    """The routine steps to all that the first one has."""
    inside = Sum(core.bags, Op("*", core.content))
    whole = Sum(inside.value, Op("+", core.loose))
    return [
        Step(
            text=f"The {words.bags} hold {inside}.",
            told=(f"In the {words.bags} there are {inside}.", f"So {words.some(core.bags)} hold {inside}."),
            sum=inside,
        ),
        Step(
            text=f"With the loose ones: {whole}.",
            told=(f"With the loose {words.things} that makes {whole}.", f"The loose ones come on top: {whole}."),
            sum=whole,
        ),
    ]


def _checks(core: Core, words: _Words) -> list[list[str]]:
    inside = Sum(core.bags, Op("*", core.content))
    whole = Sum(inside.value, Op("+", core.loose))
    held = f"If one {words.bag} holds {core.content}, {words.some(core.bags)} hold {inside}."
    checks = [[f"Let me look at {words.a}.", held, f"With the loose {words.things} it is {whole}."]]
    if not core.other_bags:
        return [*checks, [f"The {words.bags} and the loose ones make {whole.value}.", "That is how it should be."]]
    others = Sum(core.other_bags, Op("*", core.content))
    rest = Sum(others.value, Op("+", core.other_loose))
    compare = f"So {words.a} has {core.ahead} more, good." if core.ahead else "Both have the same, good."
    second = [f"Let me look at {words.b}.", f"The {words.bags} of {words.b} hold {others}.", f"Then {rest}.", compare]
    return [*checks, second]
