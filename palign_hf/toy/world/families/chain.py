"""Who has how many: each person is compared with another, and from the third difficulty on out of order.

The hard part is the order; then each step is one computation.
"""

from itertools import accumulate
from random import Random

from palign_hf.toy.world.puzzle import (
    Op,
    Puzzle,
    Step,
    Sum,
    Try,
    between,
    draw_ops,
    listed,
    people,
    pick,
    shuffled,
    stated,
)


Core = tuple[int, tuple[Op, ...]]

_THINGS = ("shells", "beads", "stamps", "marbles", "buttons", "cards", "coins", "books", "kites", "stickers")
_TIMES = {2: "twice", 3: "three times"}


def draw(rng: Random, difficulty: int) -> Core:
    """What the first person has, and the operations from person to person."""
    count = between(rng, 1, 2) if difficulty == 1 else max(3, difficulty)
    start = between(rng, 4, 24)
    return start, draw_ops(rng, start, count, "++--**/")


def tell(rng: Random, difficulty: int, core: Core) -> Puzzle:
    """Names and things; in the higher difficulties the order is lost, and there are people who don't matter."""
    start, ops = core
    strangers = max(0, difficulty - 3)
    names = [name for name, _ in people(rng, len(ops) + 1 + strangers)]
    chain, others = names[: len(ops) + 1], names[len(ops) + 1 :]
    things = pick(rng, _THINGS)
    values = list(accumulate(ops, lambda value, op: op.on(value), initial=start))
    facts = [f"{chain[0]} has {start} {things}"]
    facts += [_relation(b, op, a) for a, b, op in zip(chain, chain[1:], ops, strict=False)]
    forward = list(facts)
    for other in others:
        op = Op(pick(rng, "+-"), between(rng, 2, 9))
        facts.append(_relation(other, op, pick(rng, chain[:-1])))
    if difficulty > 2:
        while [fact for fact in facts if fact in forward] == forward:
            facts = shuffled(rng, facts)
    steps = [_plan(chain, forward, values, ops)] if difficulty > 2 else []
    for place, op in enumerate(ops):
        steps.append(_step(rng, chain, values, place, op, things))
    last = chain[-1]
    return Puzzle(
        question=f"{stated(facts)} How many {things} does {last} have?",
        theme=things,
        facts=facts,
        asked=f"how many {things} {last} has",
        steps=steps,
        answer=values[-1],
        result=f"{last} has {values[-1]} {things}",
        checks=_checks(chain, values, forward, things, others),
    )


def _relation(b: str, op: Op, a: str) -> str:
    """How the one compares with the other."""
    if op.sign in "+-":
        return f"{b} has {op.n} {'more' if op.sign == '+' else 'fewer'} than {a}"
    return f"{b} has {_TIMES[op.n] if op.sign == '*' else 'half'} as many as {a}"


def _plan(chain: list[str], forward: list[str], values: list[int], ops: tuple[Op, ...]) -> Step:
    order = ", ".join(chain)
    leads = ["The sentences are not in order.", "So I go back from the end."]
    # The last link is left to the step itself.
    leads += [f"To know {b}, I need {a}." for a, b in reversed(list(zip(chain[1:], chain[2:], strict=False)))]
    short = Sum(values[0], ops[-1])
    skip = Try(
        short.value,
        (f"maybe I can go from {chain[0]} to {chain[-1]} at once", f"that gives {short}"),
        f"{forward[-1]}, and that is not {chain[0]}",
    )
    told = (
        f"And {chain[1]} needs {chain[0]}, so the order is {order}.",
        f"So I start with {chain[0]}, and the order is {order}.",
    )
    return Step(f"The order is {order}.", told, hard=True, leads=leads, tries=[skip])


def _step(rng: Random, chain: list[str], values: list[int], place: int, op: Op, things: str) -> Step:
    a, b, sum_ = chain[place], chain[place + 1], Sum(values[place], op)
    told = (
        f"{_relation(b, op, a)}, so {b} has {sum_}.",
        f"Now {b} has {sum_} {things}.",
        f"{a} has {values[place]}, so {b} has {sum_}.",
    )
    mirrored = Sum(values[place], op.inverse)
    tries = []
    if place:
        earlier = int(rng.random() * place)
        mistaken = Sum(values[earlier], op)
        tries.append(
            Try(
                mistaken.value,
                (f"{chain[earlier]} has {values[earlier]}", f"so {b} has {mistaken}"),
                f"{b} is compared with {a}, not with {chain[earlier]}",
            )
        )
    tries.append(Try(mirrored.value, (f"{b} has {mirrored}",), f"it says that {_relation(b, op, a)}"))
    return Step(f"{b} has {sum_}.", told, sum=sum_, tries=tries)


def _checks(
    chain: list[str], values: list[int], forward: list[str], things: str, others: list[str]
) -> list[list[str]]:
    row = [f"{name} has {value}" for name, value in zip(chain, values, strict=True)]
    checks = [
        ["Let me put them in a row.", f"{listed(row)}."],
        ["Do I use the right names?", *(f"{fact}." for fact in forward[1:]), "Yes, that is what I did."],
    ]
    if others:
        checks.append([f"I did not use {listed(others)}.", f"That is fine, nobody asks about their {things}."])
    return checks
