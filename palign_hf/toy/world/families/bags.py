"""Bag problems: bags and loose things form a small equation.

The hard part is the equation with bags on one side only; then it is one subtraction and one division.
"""

from random import Random
from typing import NamedTuple

from palign_hf.toy.world import puzzle
from palign_hf.toy.world.puzzle import LARGEST, Op, Puzzle, Step, Sum, Try, between, insight, people, pick, routine


_THINGS = ("nuts", "sweets", "pebbles", "acorns", "seeds", "dice", "pins", "shells", "beans", "cookies")
_HOLDERS = (("bag", "bags"), ("box", "boxes"), ("jar", "jars"), ("sack", "sacks"), ("tin", "tins"))


class BagEquation(NamedTuple):
    """Content of a bag; bags and loose things of the first person; bags of the second; the first person's surplus."""

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


def draw(rng: Random, difficulty: int) -> BagEquation | None:
    """Two people from the third difficulty on, and one is ahead from the fourth on."""
    other_bags = between(rng, 1, 3) if difficulty > 2 else 0
    content = between(rng, 2, 12)
    bags = other_bags + between(rng, 2, 4) if other_bags else between(rng, 2, 6)
    core = BagEquation(content, bags, between(rng, 2, 19), other_bags, between(rng, 2, 9) if difficulty > 3 else 0)
    if core.total > LARGEST or core.other_loose < 2 or core.other_loose > 60 and other_bags:
        return None
    return core


def tell(rng: Random, difficulty: int, core: BagEquation) -> Puzzle:
    """The first difficulty states the content of a bag; the first and the last ask for a person's total."""
    (a, _), (b, _) = people(rng, 2)
    words = _Words(a, b, pick(rng, _THINGS), *pick(rng, _HOLDERS))
    _, _, things, bag, bags = words
    facts = [f"{a} has {words.some(core.bags)} of {things} and {core.loose} loose {things}"]
    if difficulty == 1:
        facts.append(f"each {bag} holds {core.content} {things}")
    elif difficulty == 2:
        facts += [f"there are {core.total} {things} in all", f"all {bags} hold the same number"]
    else:
        ahead = f"{a} has {core.ahead} {things} more than {b}"
        facts.append(f"{b} has {words.some(core.other_bags)} and {core.other_loose} loose {things}")
        facts.append(f"all {bags} hold the same number")
        facts.append(ahead if core.ahead else f"{a} and {b} have equally many {things}")
    steps = _equation(core, words) + _bag(core, words) if difficulty > 1 else []
    if difficulty in (1, 5):
        steps += _all(core, words)
        asked, question = f"how many {things} {a} has in all", f"How many {things} does {a} have in all?"
        answer, result = core.total, f"{a} has {core.total} {things} in all"
    else:
        asked, question = f"how many {things} are in one {bag}", f"How many {things} are in one {bag}?"
        answer, result = core.content, f"one {bag} holds {core.content} {things}"
    question = f"{puzzle.stated(facts)} {question}"
    return Puzzle(question, f"{bags} of {things}", facts, asked, steps, answer, result, _checks(core, words))


def _equation(core: BagEquation, words: _Words) -> list[Step]:
    """The hard steps: to write it down, and to bring it to bags on one side."""
    a, b, things, _, bags = words
    total, loose, other_loose, ahead = core.total, core.loose, core.other_loose, core.ahead
    left = f"{words.some(core.bags)} + {loose}"
    if not core.other_bags:
        added = Sum(total, Op("+", loose))
        clauses = (f"{a} has {total} and {loose} more", f"so the {bags} hold {added}")
        wordings = (f"So {left} = {total}.", f"I can write it like this: {left} = {total}.")
        leads = [f"In the {total} {things} there are those in the {bags} and the loose ones."]
        wrong = Try(added.value, clauses, f"that is more than {total}")
        return [insight(f"Write it down: {left} = {total}.", *wordings, leads=leads, tries=[wrong])]
    together, others = core.bags + core.other_bags, words.some(core.other_bags)
    right, both = f"{others} + {other_loose}", Sum(loose, Op("+", other_loose))
    written = f"{left} = {right} + {ahead}" if ahead else f"{left} = {right}"
    wordings = (f"So I can write {written}.", f"As an equation that is {written}.")
    leads = [f"What {a} has is {left}.", f"What {b} has is {right}."]
    clauses = (f"together they have {words.some(together)}", f"the loose ones are {both}")
    wrong = Try(both.value, clauses, "nobody says what they have together")
    steps = [insight(f"Write it down: {written}.", *wordings, leads=leads, tries=[wrong])]
    if ahead:
        joined, parted = (Sum(other_loose, Op(sign, ahead)) for sign in "+-")
        new = f"{left} = {others} + {joined.value}"
        wordings = (f"On the right I have {joined}, so {new}.", f"And {joined}, which makes it {new}.")
        wrong = Try(parted.value, (f"on that side I have {parted}",), f"{a} has more than {b}")
        steps.append(insight(f"The right side: {joined}, so {new}.", *wordings, tries=[wrong], sum=joined))
    kept = f"{words.some(core.bags - core.other_bags)} + {loose} = {other_loose + ahead}"
    wordings = (f"Now I take {others} away on both sides: {kept}.", f"Both sides lose {others}, and then {kept}.")
    leads = [f"There are {bags} on both sides.", f"I want {bags} on one side only."]
    clauses = (f"I put the {bags} together", f"that makes {words.some(together)} on one side")
    wrong = Try(together, clauses, "they are on two sides")
    return [*steps, insight(f"Take {others} from both sides: {kept}.", *wordings, leads=leads, tries=[wrong])]


def _bag(core: BagEquation, words: _Words) -> list[Step]:
    """The routine steps to what one bag holds."""
    alone, bag, loose = core.bags - core.other_bags, words.bag, core.loose
    bags = words.some(alone)
    inside = Sum(alone * core.content + loose, Op("-", loose))
    each, less = (Sum(inside.value, Op(sign, alone)) for sign in "/-")
    doubled = Sum(inside.left, Op("+", loose))
    wordings = f"Without the loose ones it is {inside}", f"I take away the {loose} loose ones: {inside}"
    so, share = (
        f"so {bags} hold {inside.value}.",
        (f"So one {bag} holds {each}.", f"I share them out: {each}, that is one {bag}."),
    )
    wrong = Try(doubled.value, (f"{bags} hold {doubled}",), "the loose ones are in there already")
    unshared = Try(less.value, (f"one {bag} holds {less}",), "I must share them out")
    return [
        routine(inside, f"Take away {loose}: {inside}, {so}", *(f"{one}, {so}" for one in wordings), tries=[wrong]),
        routine(each, f"One {bag} holds {each}.", *share, tries=[unshared]),
    ]


def _all(core: BagEquation, words: _Words) -> list[Step]:
    """The routine steps to all that the first one has."""
    inside, whole = _held(core.bags, core.content, core.loose)
    bags = (f"In the {words.bags} there are {inside}.", f"So {words.some(core.bags)} hold {inside}.")
    loose = (f"With the loose {words.things} that makes {whole}.", f"The loose ones come on top: {whole}.")
    return [
        routine(inside, f"The {words.bags} hold {inside}.", *bags),
        routine(whole, f"With the loose ones: {whole}.", *loose),
    ]


def _held(bags: int, content: int, loose: int) -> tuple[Sum, Sum]:
    inside = Sum(bags, Op("*", content))
    return inside, Sum(inside.value, Op("+", loose))


def _checks(core: BagEquation, words: _Words) -> list[list[str]]:
    a, b, things, bag, bags = words
    inside, whole = _held(core.bags, core.content, core.loose)
    held = f"If one {bag} holds {core.content}, {words.some(core.bags)} hold {inside}."
    first = [f"Let me look at {a}.", held, f"With the loose {things} it is {whole}."]
    if not core.other_bags:
        return [first, [f"The {bags} and the loose ones make {whole.value}.", "That is how it should be."]]
    others, rest = _held(core.other_bags, core.content, core.other_loose)
    compare = f"So {a} has {core.ahead} more, good." if core.ahead else "Both have the same, good."
    return [first, [f"Let me look at {b}.", f"The {bags} of {b} hold {others}.", f"Then {rest}.", compare]]
