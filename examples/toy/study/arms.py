"""The arms of the study and their common budget.

Every arm has the same number of problems, steps, and tokens in a step (prompts included): an arm of short targets has
more rows in a step, one of long targets fewer. Where its pairs allow it, an arm has the same problems as the others.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass

from palign_hf.data.balance import draw
from palign_hf.errors import UserError, listed, nearest


@dataclass(frozen=True)
class Arm:
    """One training method: `pairs` names the table, `baseline` what is learned of each pair."""

    name: str
    pairs: str
    baseline: str
    words: str


# The tables of pairs, by the prefix that the student saw.
PROMPT, PREFILL, EXACT, BARE = "prompt", "prefill", "exact", "bare"
# Tables that can share their problems; without a prefix the student solves too few of them.
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
class StudyPlan:
    """The arms and their common budget; `rows_a_step` of the arm `p-align` sets the tokens in a step.

    `traces` are truncated, `bare` problems are sampled without a prefix; `rows` of the kept ones train each arm.
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
                raise UserError(f"`{arm}` is not an arm{nearest(arm, known)}. Choose from {listed(known)}.")
        if FIRST not in self.arms:
            raise UserError(f"`arms` lacks `{FIRST}`, the reference of all comparisons. Add it.")
        if len(set(self.arms)) != len(self.arms):
            raise UserError(f"`arms={listed(self.arms)}` names one twice. Name each once.")
        if self.seeds < 2:
            raise UserError(f"`seeds={self.seeds}` gives no variance between seeds. Give at least 2.")

    def runs(self) -> list[tuple[str, int]]:
        """Every student, as arm and seed, seed by seed, so that an unfinished study compares all arms."""
        return [(arm, seed) for seed in range(self.seeds) for arm in (UNTRAINED, *self.arms)]


def chosen(kept: Mapping[str, Sequence[str]], rows: int) -> dict[str, list[str]]:
    """Choose `rows` problems of each table from its kept ids; those that all tables of `ALIKE` share come first."""
    common = set.intersection(*(set(kept[name]) for name in ALIKE))
    lacking = ", ".join(f"{len(ids)} of `{name}`" for name, ids in kept.items() if len(ids) < rows)
    if lacking:
        raise UserError(
            f"`rows={rows}` is more than the solved problems: {lacking}. Give fewer `rows`, or more `traces` and "
            f"`bare`."
        )
    return {name: sorted(_ordered(ids, common if name in ALIKE else ())[:rows]) for name, ids in kept.items()}


def rows_a_step(tokens: Mapping[str, float], rows: int) -> dict[str, int]:
    """Rows in a step of each arm, for the same tokens as the arm `FIRST` has in `rows`."""
    budget = rows * tokens[FIRST]
    return {arm: max(1, round(budget / mean)) for arm, mean in tokens.items()}


def arm_named(name: str) -> Arm:
    """Return an arm by its name."""
    return next(one for one in ARMS if one.name == name)


def _ordered(ids: Sequence[str], first: Collection[str]) -> list[str]:
    return sorted(ids, key=lambda one: (one not in first, draw(0, "study", one)))
