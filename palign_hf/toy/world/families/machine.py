"""Machine problems: a few examples show a hidden rule.

The hard part is to find the rule; then it is applied with one computation at a time.
"""

from random import Random
from typing import NamedTuple

from palign_hf.toy.world import puzzle
from palign_hf.toy.world.puzzle import Op, Puzzle, Step, Sum, Try, between, insight, people, pick, routine


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
_AGAIN = ("what comes out goes in again", "after that it goes in once more")


class MachineRule(NamedTuple):
    """The operations of the rule, the example inputs, the input, and how often the rule is applied."""

    rule: tuple[Op, ...]
    examples: tuple[int, ...]
    put_in: int
    times: int

    def made_of(self, value: int) -> int:
        """The result for `value`."""
        return puzzle.course(value, self.rule)[-1]


def draw(rng: Random, difficulty: int) -> MachineRule | None:
    """A rule of one or two operations, and examples of it unless the rule is stated."""
    times = max(1, difficulty - 2)
    addend = Op(pick(rng, "++-"), between(rng, 1, 12))
    factor = Op("*", between(rng, 2, (4, 3, 2)[times - 1]))
    single = difficulty == 2 or (difficulty == 1 and rng.random() < 0.5)
    shown = (0, 2, 2, 3, 3)[difficulty - 1]
    examples = tuple(sorted({between(rng, 2, 12) for _ in range(shown)}))
    core = MachineRule(
        (addend,) if single else (factor, addend), examples, between(rng, 2, 20 if times == 1 else 9), times
    )
    if len(examples) < shown or core.put_in in examples:
        return None
    values = [*map(core.made_of, examples), *puzzle.course(core.put_in, core.rule * times)[1:]]
    return core if min(values) >= 2 and max(values) <= puzzle.LARGEST else None


def tell(rng: Random, difficulty: int, core: MachineRule) -> Puzzle:
    """A machine or an animal with a rule; the first difficulty states the rule."""
    (name, _), *_ = people(rng, 1)
    machine = pick(rng, _MACHINES)
    begin = [f"{name} gives it {core.put_in}", *_AGAIN[: core.times - 1]]
    if difficulty == 1:
        facts = [f"{machine} takes a number, {' and then '.join(_words(core.rule, _DOES))}", *begin]
        question, asked, steps = puzzle.stated(facts), "what comes out", []
    else:
        shown = puzzle.listed([f"{x} into {core.made_of(x)}" for x in core.examples])
        facts = [f"{machine} turns {shown}", *begin]
        question = puzzle.stated([facts[0], "it always follows the same rule", *begin])
        asked, steps = "what comes out at the end", _rule(core)
    computed = puzzle.sums(core.put_in, core.rule * core.times)
    steps += [_follow(core, place, sum_) for place, sum_ in enumerate(computed)]
    question, answer = f"{question} {puzzle.capital(asked)}?", computed[-1].value
    return Puzzle(question, machine, facts, asked, steps, answer, f"{answer} comes out", _checks(core))


def _words(rule: tuple[Op, ...], forms: dict[str, str]) -> list[str]:
    return [forms[op.sign].format(n=op.n) for op in rule]


def _rule_words(rule: tuple[Op, ...]) -> str:
    return ", then ".join(_words(rule, _DO))


def _rule(core: MachineRule) -> list[Step]:
    """The hard steps: factor and addend, or the addend alone."""
    rule = f"so the rule is: {_rule_words(core.rule)}."
    low, high = core.examples[0], core.examples[-1]
    lead = f"It turns {low} into {core.made_of(low)} and {high} into {core.made_of(high)}."
    if len(core.rule) == 1:
        does = f"{_words(core.rule, _DOES)[0]}, {rule}"
        doubles = _misfit(core, (Op("*", 2),), low, "maybe it doubles the number")
        wordings = (f"Both times it {does}", f"It always {does}")
        return [insight(f"Each time it {does}", *wordings, leads=[lead], tries=doubles)]
    factor, addend = core.rule
    up, result_up, inside = high - low, core.made_of(high) - core.made_of(low), Sum(low, factor)
    after, so = Sum(inside.value, addend), f"and {Sum(result_up, Op('/', up))}, so it is times {factor.n}."
    slope = (
        f"When the number goes up by {up}, the result goes up by {result_up}, {so}",
        f"From {low} to {high} is {up} up, the result is {result_up} up, {so}",
    )
    rest = (f"From {inside} I get to {after.value} with {after}, {rule}", f"I see that {inside} and {after}, {rule}")
    text = f"The number goes up by {up}, the result by {result_up}, {so}"
    all_it_does = _misfit(core, (factor,), high, "maybe that is all it does")
    return [
        insight(text, *slope, leads=[lead], tries=_other_rules(core, low, high)),
        insight(f"And {inside}, then {after}, {rule}", *rest, leads=["Is there more to it?"], tries=all_it_does),
    ]


def _other_rules(core: MachineRule, low: int, high: int) -> list[Try]:
    """Rules that fit the first example but not the last."""
    factor, first = core.rule[0].n, core.made_of(low)
    tries = []
    for other in (1, factor + 1 if factor < 3 else factor - 1):
        more = first - low * other
        if more:
            rest = Op("+" if more > 0 else "-", abs(more))
            rule = (rest,) if other == 1 else (Op("*", other), rest)
            tries += _misfit(core, rule, high, f"maybe the rule is: {_rule_words(rule)}")
    return tries


def _misfit(core: MachineRule, rule: tuple[Op, ...], example: int, idea: str) -> list[Try]:
    """A try of `rule` on an example that refutes it, if it does."""
    made = puzzle.course(example, rule)
    if made[-1] == core.made_of(example) or min(made) < 1:
        return []
    computed = " and ".join(map(str, puzzle.sums(example, rule)))
    return [Try(made[-1], (idea, f"for {example} that makes {computed}"), f"it gives {core.made_of(example)}")]


def _follow(core: MachineRule, place: int, sum_: Sum) -> Step:
    value, op = sum_
    do = _words((op,), _DO)[0]
    if place == 0:
        wordings = (f"Now I begin with {value}, and {do} gives {sum_}.", f"First {do}, so {sum_}.")
    elif place % len(core.rule) == 0:
        wordings = (f"It goes in again, and {do} gives {sum_}.", f"Again {do}, so {sum_}.")
    else:
        wordings = (f"Then {do}, and that is {sum_}.", f"After that {do}, so {sum_}.")
    other = Sum(value, Op("+", op.n) if op.sign == "*" else op.inverse)
    wrong = Try(other.value, (f"{do}, so {other}",), "that is not what the rule says")
    return routine(sum_, f"{puzzle.capital(do)}: {sum_}.", *wordings, tries=[wrong])


def _checks(core: MachineRule) -> list[list[str]]:
    checks = [["What is the rule again?", f"It is: {_rule_words(core.rule)}."]]
    for example in core.examples:
        computed = [f"Now {sum_}." for sum_ in puzzle.sums(example, core.rule)]
        fits = f"It should be {core.made_of(example)}, so it fits."
        checks.append([f"Does the rule fit for {example}?", *computed, fits])
    return checks
