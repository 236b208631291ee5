"""A chain as steps: which stage runs for which student, arm and seed, and where each gets its settings from.

The stages are those of the list, in its order, that the recipe has a section for. Stages before the training run once
for each student, and share an engine. The training and all that reads from it are repeated for each arm and each seed.
A stage that takes the trained student also runs before the training, with the student as it is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from palign_hf.config.recipes import put
from palign_hf.data.pairs import BASELINES
from palign_hf.errors import UserError, listed
from palign_hf.pipeline.plan import ChainStep
from palign_hf.pipeline.recipe import SHARED, Arm, Recipe, flat, read_arm
from palign_hf.runs.launch import Stage
from palign_hf.runs.stages import STAGES, find_stage


# Arms whose targets have tags around a prefix; of the others no draft is expected.
TAGGED = ("p-align", "prefix")
BEFORE = "before"


@dataclass(frozen=True)
class _Place:
    """Where a step belongs: a student, an arm and a seed."""

    name: str
    student: str
    seed: int
    arm: Arm | None = None
    seeded: bool = False

    def of(self, stage: str) -> str:
        """The name of a step here."""
        where = [self.name, stage, "" if self.arm is None else self.arm.folder]
        return "/".join(filter(None, [*where, f"seed-{self.seed}" if self.seeded else ""]))

    def folder(self, result: str, before: bool = False) -> str:
        """The folder of a step here."""
        where = [self.name, BEFORE if before else "" if self.arm is None else self.arm.folder]
        return "/".join(filter(None, [*where, f"seed-{self.seed}" if self.seeded else "", result]))


def chain(recipe: Recipe) -> list[ChainStep]:
    """All steps of a chain, each after those that it reads from.

    Args:
        recipe (`Recipe`): The recipe.

    Raises:
        UserError: A setting is wrong, or a stage lacks what another one would give it.
    """
    names = [name for name in STAGES if name in recipe.sections]
    if not names:
        raise UserError(f"{recipe.where} has no stage. Add a section for one of {listed(STAGES)}.")
    stages = {name: find_stage(name) for name in names}
    arms = [read_arm(spec, BASELINES, TAGGED) for spec in recipe.head.arms]
    steps: list[ChainStep] = []
    for name, student in recipe.head.all_students().items():
        steps += _of_student(recipe, stages, arms, name, student)
    return steps


def _of_student(
    recipe: Recipe, stages: Mapping[str, Stage[Any]], arms: Sequence[Arm], name: str, student: str
) -> Iterator[ChainStep]:
    trained = next((one for one, stage in stages.items() if stage.together), None)
    seeds = recipe.head.all_seeds
    once = _Place(name, student, seeds[0])
    made: dict[str, ChainStep] = {}
    later = [one for one in stages if one == trained or (trained and _reads(stages, one, trained))]
    for one in stages:
        if one not in later:
            yield (step := _step(recipe, stages, one, once, made))
            made[one] = step
    repeated = [_Place(name, student, seed, seeded=len(seeds) > 1) for seed in seeds]
    for one in later:
        if "student" in _inputs(stages[one]):
            for place in repeated:
                yield _step(recipe, stages, one, place, {}, before=True)
    places = [_Place(name, student, seed, arm, len(seeds) > 1) for arm in arms for seed in seeds]
    here = [dict(made) for _ in places]
    for one in later:
        for place, before in zip(places, here, strict=True):
            yield (step := _step(recipe, stages, one, place, before))
            before[one] = step


def _inputs(stage: Stage[Any]) -> Mapping[str, str]:
    return getattr(stage, "inputs", {})


def _reads(stages: Mapping[str, Stage[Any]], name: str, other: str) -> bool:
    """Whether a stage reads, directly or by others, what another one makes."""
    before = [one for one in _inputs(stages[name]).values() if one in stages]
    return other in before or any(_reads(stages, one, other) for one in before)


def _step(
    recipe: Recipe,
    stages: Mapping[str, Stage[Any]],
    name: str,
    place: _Place,
    made: Mapping[str, ChainStep],
    before: bool = False,
) -> ChainStep:
    stage = stages[name]
    kind, result = stage.settings, getattr(stage, "result", "") or name
    folder = place.folder(result, before)
    given = dict(flat(recipe.sections[name]))
    known = {one.split(".")[0] for one in kind.__dataclass_fields__}
    head = {key: recipe.of_head(key) for key in SHARED if key in known and recipe.of_head(key) is not None}
    head |= {
        key: recipe.of_head(of)
        for key, of in getattr(stage, "from_head", {}).items()
        if recipe.of_head(of) is not None
    }
    for key in ("seed", *(key for key, of in getattr(stage, "from_head", {}).items() if of == "seed")):
        if key.split(".")[0] in known:
            head[key] = place.seed
    if "student" in known:
        head["student"] = place.student
    reads = {key: made[of].name for key, of in _inputs(stage).items() if of in made and key not in given}
    wired = {key: _folder_of(recipe, made[of]) for key, of in _inputs(stage).items() if key in reads}
    wired["output_dir"] = str(recipe.head.folder / folder)
    sections = {key.rpartition(".")[0] for key in reads}
    usual = {key: one for key, one in getattr(stage, "usual", {}).items() if key.rpartition(".")[0] in sections}
    usual |= {key: value for key, value in head.items() if key not in reads}
    values = recipe.values(name, wired, usual)
    trained = next((step for of, step in made.items() if stages[of].together), None)
    if before:
        _as_it_is(values, known)
    elif place.arm is not None:
        _with_arm(values, place.arm, known, trained)
    settings = recipe.build(name, kind, values)
    step = place.of(f"{name}-{BEFORE}" if before else name)
    return ChainStep(step, name, folder, values, settings, reads, runner="" if stage.together else _runner(settings))


def _runner(settings: Any) -> str:
    """What two steps must have in common to share an engine; empty for a stage without one."""
    names = ("student", "revision", "engine", "engine_options", "max_model_len", "trust_remote_code")
    if not all(hasattr(settings, name) for name in names):
        return ""
    return repr([getattr(settings, name) for name in names])


def _folder_of(recipe: Recipe, step: ChainStep) -> str:
    """The result of a step, as a source: of a training with an adapter the merged student."""
    folder = recipe.head.folder / step.folder
    merged = getattr(getattr(step.settings, "lora", None), "merge", False)
    return str(folder / "merged" if merged else folder)


def _as_it_is(values: dict[str, Any], known: set[str]) -> None:
    """Settings for the student before any training: its outputs have no draft."""
    for key in ("tag_style", "max_draft_tokens"):
        values.pop(key, None)
    if "zero_shot" in known:
        values["zero_shot"] = True


def _with_arm(values: dict[str, Any], arm: Arm, known: set[str], trained: ChainStep | None) -> None:
    """Settings of one arm, in the training and in what reads from it."""
    if "baseline" in known:
        values["baseline"] = arm.baseline
        for key, value in arm.training.items():
            put(values, f"training.{key}", value, f"`arms: {arm.spec}`")
        if (lora := values.get("lora")) is not None:
            lora.setdefault("merge", True)
    elif trained is not None and "tag_style" in known:
        style = dict(trained.values.get("training") or {}).get("tag_style")
        if not arm.tagged or style == "none":
            values["tag_style"] = "none"
            values.pop("max_draft_tokens", None)
        elif style is not None:
            values["tag_style"] = style
