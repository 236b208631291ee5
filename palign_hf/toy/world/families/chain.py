"""Chain problems: each person is compared with another, from the third difficulty on out of order.

The hard part is the order; then each step is one computation.
"""

from random import Random

from palign_hf.toy.world import puzzle
from palign_hf.toy.world.puzzle import Op, Puzzle, Step, Sum, Try, between, insight, people, pick, routine


Core = tuple[int, tuple[Op, ...]]

_THINGS = ("shells", "beads", "stamps", "marbles", "buttons", "cards", "coins", "books", "kites", "stickers")
_TIMES = {2: "twice", 3: "three times"}


def draw(rng: Random, difficulty: int) -> Core:
    """What the first person has, and the operations from person to person."""
    count = between(rng, 1, 2) if difficulty == 1 else max(3, difficulty)
    start = between(rng, 4, 24)
    return start, puzzle.draw_ops(rng, start, count, "++--**/")


def tell(rng: Random, difficulty: int, core: Core) -> Puzzle:
    """Names and things; higher difficulties shuffle the order and add irrelevant people."""
    start, ops = core
    names = [name for name, _ in people(rng, len(ops) + 1 + max(0, difficulty - 3))]
    chain, others = names[: len(ops) + 1], names[len(ops) + 1 :]
    things, values = pick(rng, _THINGS), puzzle.course(start, ops)
    facts = [f"{chain[0]} has {start} {things}"]
    facts += [_relation(b, op, a) for a, b, op in zip(chain, chain[1:], ops, strict=False)]
    forward = list(facts)
    for other in others:
        op = Op(pick(rng, "+-"), between(rng, 2, 9))
        facts.append(_relation(other, op, pick(rng, chain[:-1])))
    if difficulty > 2:
        while [fact for fact in facts if fact in forward] == forward:
            facts = puzzle.shuffled(rng, facts)
    steps = [_plan(chain, forward, start, ops[-1])] if difficulty > 2 else []
    steps += [_step(rng, chain, values, place, op, things) for place, op in enumerate(ops)]
    last, answer = chain[-1], values[-1]
    row = puzzle.listed([f"{name} has {value}" for name, value in zip(chain, values, strict=True)])
    checks = [
        ["Let me put them in a row.", f"{row}."],
        ["Do I use the right names?", *(f"{fact}." for fact in forward[1:]), "Yes, that is what I did."],
    ]
    if others:
        fine = f"That is fine, nobody asks about their {things}."
        checks.append([f"I did not use {puzzle.listed(others)}.", fine])
    question, asked = f"{puzzle.stated(facts)} How many {things} does {last} have?", f"how many {things} {last} has"
    return Puzzle(question, things, facts, asked, steps, answer, f"{last} has {answer} {things}", checks)


def _relation(b: str, op: Op, a: str) -> str:
    """How the one compares with the other."""
    if op.sign in "+-":
        return f"{b} has {op.n} {'more' if op.sign == '+' else 'fewer'} than {a}"
    return f"{b} has {_TIMES[op.n] if op.sign == '*' else 'half'} as many as {a}"


def _plan(chain: list[str], forward: list[str], start: int, op: Op) -> Step:
    order, short = ", ".join(chain), Sum(start, op)
    # The last link is left to the step itself.
    links = [f"To know {b}, I need {a}." for a, b in reversed(list(zip(chain[1:], chain[2:], strict=False)))]
    leads = ["The sentences are not in order.", "So I go back from the end.", *links]
    clauses = (f"maybe I can go from {chain[0]} to {chain[-1]} at once", f"that gives {short}")
    skip = Try(short.value, clauses, f"{forward[-1]}, and that is not {chain[0]}")
    wordings = (f"And {chain[1]} needs {chain[0]}", f"So I start with {chain[0]}")
    return insight(
        f"The order is {order}.",
        f"{wordings[0]}, so the order is {order}.",
        f"{wordings[1]}, and the order is {order}.",
        leads=leads, tries=[skip],
    )  # fmt: skip


def _step(rng: Random, chain: list[str], values: list[int], place: int, op: Op, things: str) -> Step:
    a, b, value = chain[place], chain[place + 1], values[place]
    sum_, mirrored, relation = Sum(value, op), Sum(value, op.inverse), _relation(b, op, a)
    tries = []
    if place:
        other, known = pick(rng, list(zip(chain, values, strict=True))[:place])
        mistaken = Sum(known, op)
        clauses = (f"{other} has {known}", f"so {b} has {mistaken}")
        tries.append(Try(mistaken.value, clauses, f"{b} is compared with {a}, not with {other}"))
    tries.append(Try(mirrored.value, (f"{b} has {mirrored}",), f"it says that {relation}"))
    wordings = (
        f"{relation}, so {b} has {sum_}.",
        f"Now {b} has {sum_} {things}.",
        f"{a} has {value}, so {b} has {sum_}.",
    )
    return routine(sum_, f"{b} has {sum_}.", *wordings, tries=tries)
