"""A machine with a hidden rule: a few examples show what it makes of numbers.

The hard part is to find the rule; then it is followed with one computation at a time.
"""

from itertools import accumulate
from random import Random
from typing import NamedTuple

from palign_hf.toy.world.puzzle import (
    LARGEST,
    Op,
    Puzzle,
    Step,
    Sum,
    Try,
    between,
    capital,
    listed,
    people,
    pick,
    stated,
)


_MACHINES = (
    "a robot",
    "a machine",
    "a toy",
    "a magic hat",
    "a green box",
    "an old clock",
    "an owl",
    "a little dragon",
)
_DOES = {"+": "adds {n}", "-": "takes away {n}", "*": "multiplies by {n}"}
_DO = {"+": "add {n}", "-": "take away {n}", "*": "times {n}"}
_AGAIN: tuple[list[str], ...] = (
    [],
    ["what comes out goes in again"],
    ["what comes out goes in again", "after that it goes in once more"],
)


class Core(NamedTuple):
    """The operations of the rule, the numbers shown as examples, what is put in, and how often it goes through."""

    rule: tuple[Op, ...]
    examples: tuple[int, ...]
    put_in: int
    times: int

    def made_of(self, value: int) -> int:
        """What comes out for `value`."""
        return list(_course(self.rule, value))[-1]


def draw(rng: Random, difficulty: int) -> Core | None:
    """A rule of one or two operations, and examples of it unless it is told."""
    times = max(1, difficulty - 2)
    addend = Op(pick(rng, "++-"), between(rng, 1, 12))
    factor = Op("*", between(rng, 2, (4, 3, 2)[times - 1]))
    single = difficulty == 2 or (difficulty == 1 and rng.random() < 0.5)
    shown = (0, 2, 2, 3, 3)[difficulty - 1]
    examples = tuple(sorted({between(rng, 2, 12) for _ in range(shown)}))
    core = Core((addend,) if single else (factor, addend), examples, between(rng, 2, 20 if times == 1 else 9), times)
    if len(examples) < shown or core.put_in in examples:
        return None
    values = [*map(core.made_of, examples), *_course(core.rule * times, core.put_in)]
    return core if min(values) >= 2 and max(values) <= LARGEST else None


def tell(rng: Random, difficulty: int, core: Core) -> Puzzle:
    """A machine or a beast with a habit; in the first difficulty the habit is told."""
    (name, _), *_ = people(rng, 1)
    machine = pick(rng, _MACHINES)
    begin = [f"{name} gives it {core.put_in}", *_AGAIN[core.times - 1]]
    if difficulty == 1:
        facts = [f"{machine} takes a number, {' and then '.join(_words(core.rule, _DOES))}", *begin]
        question, steps = f"{stated(facts)} What comes out?", []
    else:
        facts = [f"{machine} turns {listed([f'{x} into {core.made_of(x)}' for x in core.examples])}", *begin]
        always = "it always follows the same rule"
        question = f"{stated([facts[0], always, *begin])} What comes out at the end?"
        steps = _rule(core)
    course = [core.put_in, *_course(core.rule * core.times, core.put_in)]
    for place, value in enumerate(course[:-1]):
        steps.append(_follow(core, place, value))
    return Puzzle(
        question=question,
        theme=machine,
        facts=facts,
        asked="what comes out" if difficulty == 1 else "what comes out at the end",
        steps=steps,
        answer=course[-1],
        result=f"{course[-1]} comes out",
        checks=_checks(core),
    )


def _course(rule: tuple[Op, ...], value: int) -> list[int]:
    return list(accumulate(rule, lambda at, op: op.on(at), initial=value))[1:]


def _words(rule: tuple[Op, ...], forms: dict[str, str]) -> list[str]:
    return [forms[op.sign].format(n=op.n) for op in rule]


def _rule(core: Core) -> list[Step]:
    """The hard steps: what it multiplies by, and what it adds then; or at once what it adds."""
    said = ", then ".join(_words(core.rule, _DO))
    low, high = core.examples[0], core.examples[-1]
    lead = f"It turns {low} into {core.made_of(low)} and {high} into {core.made_of(high)}."
    if len(core.rule) == 1:
        does = _words(core.rule, _DOES)[0]
        return [
            Step(
                text=f"Each time it {does}, so the rule is: {said}.",
                told=(f"Both times it {does}, so the rule is: {said}.", f"It always {does}, so the rule is: {said}."),
                hard=True,
                leads=[lead],
                tries=_misfit(core, (Op("*", 2),), low, "maybe it doubles the number"),
            )
        ]
    factor, addend = core.rule
    up, result_up = high - low, core.made_of(high) - core.made_of(low)
    ratio, inside = Sum(result_up, Op("/", up)), Sum(low, factor)
    after = Sum(inside.value, addend)
    return [
        Step(
            text=f"The number goes up by {up}, the result by {result_up}, and {ratio}, so it is times {factor.n}.",
            told=(
                f"When the number goes up by {up}, the result goes up by {result_up}, and {ratio}, "
                f"so it is times {factor.n}.",
                f"From {low} to {high} is {up} up, the result is {result_up} up, and {ratio}, "
                f"so it is times {factor.n}.",
            ),
            hard=True,
            leads=[lead],
            tries=_other_rules(core, low, high),
        ),
        Step(
            text=f"And {inside}, then {after}, so the rule is: {said}.",
            told=(
                f"From {inside} I get to {after.value} with {after}, so the rule is: {said}.",
                f"I see that {inside} and {after}, so the rule is: {said}.",
            ),
            hard=True,
            leads=["Is there more to it?"],
            tries=_misfit(core, (factor,), high, "maybe that is all it does"),
        ),
    ]


def _other_rules(core: Core, low: int, high: int) -> list[Try]:
    """Rules that fit the first example, but not the last."""
    factor, first = core.rule[0].n, core.made_of(low)
    tries = []
    for other in (1, factor + 1 if factor < 3 else factor - 1):
        more = first - low * other
        if more:
            rest = Op("+" if more > 0 else "-", abs(more))
            rule = (rest,) if other == 1 else (Op("*", other), rest)
            tries += _misfit(core, rule, high, f"maybe the rule is: {', then '.join(_words(rule, _DO))}")
    return tries


def _misfit(core: Core, rule: tuple[Op, ...], example: int, idea: str) -> list[Try]:
    """A try of `rule` on an example that refutes it, if it does."""
    course = [example, *_course(rule, example)]
    if course[-1] == core.made_of(example) or min(course) < 1:
        return []
    sums = " and ".join(str(Sum(value, op)) for value, op in zip(course, rule, strict=False))
    return [Try(course[-1], (idea, f"for {example} that makes {sums}"), f"it gives {core.made_of(example)}")]


def _follow(core: Core, place: int, value: int) -> Step:
    op = core.rule[place % len(core.rule)]
    sum_, do = Sum(value, op), _words((op,), _DO)[0]
    if place == 0:
        told = (f"Now I begin with {value}, and {do} gives {sum_}.", f"First {do}, so {sum_}.")
    elif place % len(core.rule) == 0:
        told = (f"It goes in again, and {do} gives {sum_}.", f"Again {do}, so {sum_}.")
    else:
        told = (f"Then {do}, and that is {sum_}.", f"After that {do}, so {sum_}.")
    wrong = Sum(value, Op("+", op.n) if op.sign == "*" else op.inverse)
    tries = [Try(wrong.value, (f"{do}, so {wrong}",), "that is not what the rule says")]
    return Step(f"{capital(do)}: {sum_}.", told, sum=sum_, tries=tries)


def _checks(core: Core) -> list[list[str]]:
    checks = [["What is the rule again?", f"It is: {', then '.join(_words(core.rule, _DO))}."]]
    for example in core.examples:
        course = [example, *_course(core.rule, example)]
        sums = [f"Now {Sum(value, op)}." for value, op in zip(course, core.rule, strict=False)]
        checks.append([f"Does the rule fit for {example}?", *sums, f"It should be {course[-1]}, so it fits."])
    return checks
