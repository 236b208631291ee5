"""What is compared: the arms, and the one budget that all of them have. Pure.

Every arm learns as many problems, makes as many steps, and reads as many tokens in a step, prompts included: an arm
of short targets has more rows in a step, one of long targets fewer. Where its pairs allow it, an arm has the same
problems as the others.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass

from palign_hf.errors import UserError, listed, nearest
from palign_hf.pairs.drawing import draw


@dataclass(frozen=True)
class Arm:
    """One way to teach: which pairs are learned (`pairs` names a table) and what of each (`baseline`)."""

    name: str
    pairs: str
    baseline: str
    words: str


# The tables of pairs, by how the student was helped when it made them.
PROMPT, PREFILL, EXACT, BARE = "prompt", "prefill", "exact", "bare"
# Tables whose problems can be the same; without any prefix the student solves too few of them.
ALIKE = (PROMPT, PREFILL, EXACT)

UNTRAINED = "untrained"
ARMS = (
    Arm("label", PROMPT, "label", "the boxed answer alone"),
    Arm("trace", PROMPT, "trace", "the teacher's whole trace"),
    Arm("fixed-0.25", PROMPT, "fixed(ratio=0.25)", "the first quarter of the trace"),
    Arm("fixed-0.5", PROMPT, "fixed(ratio=0.5)", "the first half of the trace"),
    Arm("first-64", PROMPT, "first(tokens=64)", "the first 64 tokens of the trace"),
    Arm("prefix", PROMPT, "prefix", "the found prefix alone"),
    Arm("continuation", PROMPT, "continuation", "what the student wrote after the prefix, alone"),
    Arm("rejection", BARE, "continuation", "what the student solves without any prefix"),
    Arm("p-align", PROMPT, "p-align", "prefix and continuation, the prefix shown in the prompt"),
    Arm("p-align-prefill", PREFILL, "p-align", "prefix and continuation, the prefix as the begun reply"),
    Arm("p-align-exact", EXACT, "p-align", "prefix and continuation, cut where the truth says"),
)
FIRST = "p-align"


@dataclass(frozen=True)
class Plan:
    """Which arms, and the budget that is the same for all; `rows_a_step` of the arm `p-align` set the tokens a step.

    `traces` are cut, `bare` problems are asked without a prefix; what is kept of them gives each arm its `rows`.
    """

    rows: int = 192
    traces: int = 1200
    bare: int = 1600
    steps: int = 50
    rows_a_step: int = 8
    learning_rate: float = 1e-3
    seeds: int = 5
    problems: int = 100
    samples: int = 3
    max_tokens: int = 512
    arms: tuple[str, ...] = tuple(one.name for one in ARMS)

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name != "arms" and value <= 0:
                raise UserError(f"`{name}={value}` must be above 0.")
        known = [one.name for one in ARMS]
        for arm in self.arms:
            if arm not in known:
                raise UserError(f"`{arm}` is no arm{nearest(arm, known)}. Choose from {listed(known)}.")
        if FIRST not in self.arms:
            raise UserError(f"`arms` lacks `{FIRST}`, with which the others are compared. Name it, too.")
        if len(set(self.arms)) != len(self.arms):
            raise UserError(f"`arms={listed(self.arms)}` names one twice. Name each once.")
        if self.seeds < 2:
            raise UserError(f"`seeds={self.seeds}`: how much seeds differ can't be seen from one. Give at least 2.")

    def runs(self) -> list[tuple[str, int]]:
        """Every student, as arm and seed; all arms of a seed before the next one, so that any beginning compares."""
        return [(arm, seed) for seed in range(self.seeds) for arm in (UNTRAINED, *self.arms)]


def chosen(kept: Mapping[str, Sequence[str]], rows: int) -> dict[str, list[str]]:
    """So many problems of each table, of the ids that it has kept; first those that all tables of `ALIKE` have."""
    common = set.intersection(*(set(kept[name]) for name in ALIKE))
    lacking = ", ".join(f"{len(ids)} of `{name}`" for name, ids in kept.items() if len(ids) < rows)
    if lacking:
        raise UserError(
            f"`rows={rows}` are more problems than were solved: {lacking}. Give fewer, or more `traces` and `bare` "
            f"problems to choose from."
        )
    return {name: sorted(_ordered(ids, common if name in ALIKE else ())[:rows]) for name, ids in kept.items()}


def rows_a_step(tokens: Mapping[str, float], rows: int) -> dict[str, int]:
    """Rows in a step of each arm, for as many tokens as the arm `FIRST` reads in its `rows`."""
    budget = rows * tokens[FIRST]
    return {arm: max(1, round(budget / mean)) for arm, mean in tokens.items()}


def arm_named(name: str) -> Arm:
    """An arm by its name."""
    return next(one for one in ARMS if one.name == name)


def _ordered(ids: Sequence[str], first: Collection[str]) -> list[str]:
    return sorted(ids, key=lambda one: (one not in first, draw(0, "study", one)))
