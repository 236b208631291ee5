"""Club problems: some kids are in two clubs, so adding up counts them twice.

The hard part is the overlap; then it is adding and subtracting.
"""

from random import Random

from palign_hf.toy.world import puzzle
from palign_hf.toy.world.puzzle import Op, Puzzle, Step, Sum, Try, between, insight, listed, pick, routine


# Kids in each club, kids shared by each club and the next, all kids (0 if not needed), and the kind of question.
Core = tuple[tuple[int, ...], tuple[int, ...], int, str]

_CLUBS = ("chess", "art", "music", "drama", "garden", "cooking", "dance", "swim")
_PLACES = ("school", "village", "class", "street", "camp")


def draw(rng: Random, difficulty: int) -> Core | None:
    """The sizes of two or three clubs that overlap from the second difficulty on."""
    sizes = tuple(between(rng, 5, 25) for _ in range(2 + (difficulty > 3)))
    shared = tuple(between(rng, 2, 6) for _ in sizes[1:]) if difficulty > 1 else ()
    kind = {1: pick(rng, ("any", "none")), 2: "any", 3: pick(rng, ("none", "one")), 4: "any", 5: "none"}[difficulty]
    free = [size - sum(shared[max(0, place - 1) : place + 1]) for place, size in enumerate(sizes)]
    any_club = sum(sizes) - sum(shared)
    everyone = any_club + between(rng, 3, 25) if kind == "none" else 0
    return (sizes, shared, everyone, kind) if min(free) >= 1 and max(any_club, everyone) <= 90 else None


def tell(rng: Random, difficulty: int, core: Core) -> Puzzle:
    """Clubs of one place, and who is in them."""
    sizes, shared, everyone, kind = core
    clubs, place = puzzle.shuffled(rng, _CLUBS)[: len(sizes)], pick(rng, _PLACES)
    facts = [f"there are {everyone} kids in a {place}"] if everyone else []
    facts.append(listed([f"{size} kids are in the {club} club" for size, club in zip(sizes, clubs, strict=True)]))
    if not shared:
        facts.append("nobody is in both clubs")
    elif len(shared) == 1:
        facts.append(f"there are {shared[0]} kids in both clubs")
    else:
        pairs = [f"{number} in both {a} and {b}" for number, a, b in zip(shared, clubs, clubs[1:], strict=False)]
        facts += [f"there are {listed(pairs)}", f"nobody is in both {clubs[0]} and {clubs[2]}"]
    who = {"any": "in at least one club", "none": "in no club", "one": "in just one club"}[kind]
    if kind == "one":
        steps, answer = _just_one(sizes, shared[0], clubs)
    else:
        steps, answer = _in_any(sizes, shared, everyone, clubs)
    asked, result, checks = f"how many kids are {who}", f"{answer} kids are {who}", _checks(core, clubs, who, answer)
    question = f"{puzzle.stated(facts)} {puzzle.capital(asked)}?"
    return Puzzle(question, "kids and their clubs", facts, asked, steps, answer, result, checks)


def _in_any(
    sizes: tuple[int, ...], shared: tuple[int, ...], everyone: int, clubs: list[str]
) -> tuple[list[Step], int]:
    plain, steps = sum(sizes), []
    if shared:
        numbers, where = " + ".join(map(str, shared)), "both" if len(shared) == 1 else "two"
        twice = f"The {numbers} kids in {where} clubs"
        wordings = (
            f"{twice} would be counted twice, so I take them away once.",
            f"{twice} must not count twice, so they go off once.",
        )
        guess = everyone - plain if everyone > plain else plain
        clauses = [f"maybe I can just add the clubs, {' + '.join(map(str, sizes))} = {plain}"]
        clauses += [f"then {everyone} - {plain} = {guess}"] if guess != plain else []
        wrong = Try(guess, tuple(clauses), "some kids are in two clubs")
        leads = ["Who is counted how often?", "Think of a kid in two clubs."]
        steps.append(insight(f"{twice} are counted twice.", *wordings, leads=leads, tries=[wrong]))
    value = sizes[0]
    for size, club in zip(sizes[1:], clubs[1:], strict=True):
        sum_ = Sum(value, Op("+", size))
        wordings = (f"I add the {club} club: {sum_}.", f"With the {club} club it is {sum_}.")
        steps.append(routine(sum_, f"Add the {club} club: {sum_}.", *wordings))
        value = sum_.value
    for number in shared:
        sum_, again = (Sum(value, Op(sign, number)) for sign in "-+")
        wordings = (f"The {number} were counted twice, so {sum_}.", f"I take {number} away: {sum_}.")
        wrong = Try(again.value, (f"the {number} come on top, so {again}",), "they are in there already")
        steps.append(routine(sum_, f"Take away {number}: {sum_}.", *wordings, tries=[wrong]))
        value = sum_.value
    if everyone:
        sum_ = Sum(everyone, Op("-", value))
        wordings = (f"All others are in no club: {sum_}.", f"There are {everyone} kids, so the rest is {sum_}.")
        steps.append(routine(sum_, f"The rest: {sum_}.", *wordings))
        value = sum_.value
    return steps, value


def _just_one(sizes: tuple[int, ...], both: int, clubs: list[str]) -> tuple[list[Step], int]:
    plain, maybe = sum(sizes), f"maybe it is {sizes[0]} + {sizes[1]}"
    tries = [
        Try(plain, (f"{maybe} = {plain}",), "the kids in both are in there, too"),
        Try(plain - both, (f"{maybe} - {both} = {plain - both}",), "the kids in both are still in there"),
    ]
    wordings = (
        f"The {both} kids in both clubs must go out of each club.",
        f"In each club there are {both} kids who do not count, so they must go out of each club.",
    )
    leads = ["Who is counted how often?", "Only kids with a single club count."]
    steps = [insight(f"The {both} kids in both go out of each club.", *wordings, leads=leads, tries=tries)]
    for size, club in zip(sizes, clubs, strict=True):
        sum_, again = (Sum(size, Op(sign, both)) for sign in "-+")
        wordings = (f"Only in the {club} club are {sum_}.", f"The {club} club keeps {sum_}.")
        wrong = Try(again.value, (f"the {club} club has {again}",), "the kids in both do not come on top")
        steps.append(routine(sum_, f"Only {club}: {sum_}.", *wordings, tries=[wrong]))
    whole = Sum(sizes[0] - both, Op("+", sizes[1] - both))
    wordings = (f"Together that makes {whole}.", f"I add the two: {whole}.")
    return [*steps, routine(whole, f"Together: {whole}.", *wordings)], whole.value


def _checks(core: Core, clubs: list[str], who: str, answer: int) -> list[list[str]]:
    sizes, shared, everyone, _ = core
    checks = []
    if everyone:
        inside, rest = everyone - answer, f"{answer} in no club"
        checks.append([f"There are {inside} kids in a club and {rest}.", f"Now {inside} + {answer} = {everyone}."])
    if len(shared) == 1:
        only = [Sum(size, Op("-", shared[0])) for size in sizes]
        sides = [f"On the side of {club} are {left}." for club, left in zip(clubs, only, strict=True)]
        middle = f"In the middle are the {shared[0]} who are in both."
        same = f"So {answer} kids are {who}, the picture says the same."
        checks.append(["Let me draw two circles.", middle, *sides, same])
    if len(shared) > 1:
        checks.append(["Can a kid be in all three clubs?", f"No, nobody is in both {clubs[0]} and {clubs[2]}."])
    checks.append([f"The clubs have {listed(list(map(str, sizes)))} kids.", "Yes, those are the numbers I used."])
    return checks
