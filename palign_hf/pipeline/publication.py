"""Publishing of a finished chain: its tables and evaluations as a dataset, and one of its students as a model."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palign_hf.errors import UserError, listed, shown
from palign_hf.hub.folders import read_folder
from palign_hf.hub.publish import Publication, publish
from palign_hf.hub.push import Push, check
from palign_hf.hub.settings import config_name
from palign_hf.pipeline.chain import BEFORE, chain
from palign_hf.pipeline.plan import ChainStep
from palign_hf.pipeline.recipe import PublishSettings, Recipe
from palign_hf.pipeline.record import CHAIN, COMPARISON, RECIPES, RunRecord, read_kept
from palign_hf.runs.stages import find_stage


if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from palign_hf.hub.retries import Patience


PLOT = "comparison.png"
_EVALUATE, _DATASET, _MODEL = "evaluate", "dataset", "model"


def is_run(folder: str | Path) -> bool:
    """Whether a folder is that of a chain."""
    return (Path(folder).expanduser() / RECIPES / CHAIN).is_file()


def publish_run(
    folder: str | Path,
    settings: PublishSettings,
    *,
    dry_run: bool = False,
    api: "HfApi | None" = None,
    patience: "Patience | None" = None,
) -> list[Publication]:
    """Push what a finished chain has made, to the dataset and to the model of one name.

    The dataset takes the prefixes, the pairs and the samples of every evaluation, each as a configuration. The model
    takes one student, with its evaluation and the plot of the comparison on its card. What is on the Hub already isn't
    sent again, so the same call resumes one that was interrupted.

    Args:
        folder (`str` or `Path`): The folder of the run.
        settings (`PublishSettings`): The repository, and how it is pushed to.
        dry_run (`bool`, *optional*, defaults to `False`): Only compute what would be pushed.
        api (`HfApi`, *optional*): The client of the Hub.
        patience (`Patience`, *optional*): How often and how long failed requests are retried.

    Returns:
        `list[Publication]`: The commits, in the order in which they were made.

    Raises:
        UserError: The chain isn't finished, or a repository can't be written to.
    """
    home = Path(folder).expanduser()
    recipe = read_kept(home)
    steps = chain(recipe)
    refuse_unfinished(folder, steps, RunRecord(home))
    tables = _tables(home, recipe, steps)
    student = chosen_student(steps, settings.arm)
    model = _model(home, steps, student, settings.repo_id if tables else None)
    targets = {kind: wanted for kind, wanted in ((_DATASET, tables), (_MODEL, model)) if wanted}
    for kind in targets:
        check_repository(settings, kind, api, patience)
    done: list[Publication] = []
    for wanted in targets.values():
        revision, create_pr = settings.revision, settings.create_pr
        for at, (path, options) in enumerate(wanted):
            one = publish(
                path,
                settings.repo_id,
                private=settings.private,
                revision=revision,
                # A tag is for all commits of a repository.
                tag=settings.tag if at == len(wanted) - 1 else None,
                create_pr=create_pr,
                license=settings.license,
                language=settings.language,
                dry_run=dry_run,
                api=api,
                patience=patience,
                **options,
            )
            done.append(one)
            if create_pr and one.pull_request is not None:
                # One pull request takes all that goes to this repository.
                revision, create_pr = f"refs/pr/{one.pull_request}", False
    return done


def check_repository(
    settings: PublishSettings, kind: str, api: "HfApi | None" = None, patience: "Patience | None" = None
) -> None:
    """Refuse a repository that couldn't be pushed to; nothing is changed."""
    wanted = Push(
        settings.repo_id,
        (),
        "",
        repo_type=kind,
        private=settings.private,
        revision=settings.revision,
        tag=settings.tag,
        create_pr=settings.create_pr,
    )
    check(wanted, api=api, patience=patience)


def check_targets(steps: Sequence[ChainStep], settings: PublishSettings) -> None:
    """Refuse, before any work, an arm that the chain doesn't have and repositories that can't be pushed to."""
    student = chosen_student(steps, settings.arm)
    if any(_kind(step) == _DATASET for step in steps):
        check_repository(settings, _DATASET)
    if student is not None:
        check_repository(settings, _MODEL)


def refuse_unfinished(folder: str | Path, steps: Sequence[ChainStep], record: RunRecord) -> None:
    """Refuse a chain of which a step is missing, or its files are not as they were written."""
    held = record.steps
    wanted = [step.name for step in steps]
    if len([step for step in steps if step.stage == _EVALUATE]) > 1:
        wanted.append("compare")
    left = [name for name in wanted if name not in held or record.damaged(held[name])]
    if left:
        raise UserError(
            f"`{folder}` isn't finished: {len(left)} of {len(wanted)} steps are left ({listed(left[:3])}), as `palign "
            f"run --status {folder}` shows. Give its `palign run` again first."
        )


def chosen_student(steps: Sequence[ChainStep], arm: str | None) -> ChainStep | None:
    """The training whose student is published: of an arm, by default the first, the one with the first seed.

    Args:
        steps (`Sequence[ChainStep]`): The steps of the chain.
        arm (`str`, *optional*): The arm as a folder of the run has it, such as `trace`, or with student and seed, such
            as `large/trace/seed-1`.

    Returns:
        `ChainStep` or `None`: The step, or None for a chain that trains nothing.
    """
    trained = {_place(step): step for step in steps if _kind(step) == _MODEL}
    if arm is None:
        return next(iter(trained.values()), None)
    found = [step for place, step in trained.items() if f"/{arm}/" in f"/{place}/"]
    if not found:
        raise UserError(f"`arm={shown(arm)}` is none of the students that were trained: {listed(trained)}.")
    return found[0]


def _kind(step: ChainStep) -> str:
    """The type of the repository that the result of a step goes to; empty where it goes to none."""
    return str(getattr(getattr(find_stage(step.stage), "artifact", None), "repo_type", ""))


def _place(step: ChainStep) -> str:
    """The name of a step without its stage: student, arm and seed."""
    named = {step.stage: "", f"{step.stage}-{BEFORE}": BEFORE}
    return "/".join(filter(None, (named.get(part, part) for part in step.name.split("/"))))


def _results(home: Path, step: ChainStep) -> list[Path]:
    """The folders that a step publishes, in the folder of the run, wherever that is now."""
    stage: Any = find_stage(step.stage)
    there = [Path(path).relative_to(step.settings.folder) for _, path in stage.results(step.settings)]
    return [home / step.folder / path for path in there]


def _tables(home: Path, recipe: Recipe, steps: Sequence[ChainStep]) -> list[tuple[Path, dict[str, Any]]]:
    """What goes to the dataset: folders, with the name of the configuration."""
    found: dict[str, tuple[Path, dict[str, Any]]] = {}
    students = recipe.head.all_students()
    for step in steps:
        if _kind(step) != _DATASET:
            continue
        for path in _results(home, step):
            name = read_folder(path).config
            if step.stage == _EVALUATE:
                place = _place(step).split("/")
                label = place.pop(0) if len(students) > 1 else Path(next(iter(students.values()))).name
                name = config_name(label, *place, "evaluation")
            if name in found:
                raise UserError(
                    f"`{path}` and `{found[name][0]}` would both be the configuration `{name}`. Publish each by "
                    f"itself, with `--config-name`."
                )
            found[name] = path, {"config": name}
    return [*found.values()]


def _model(
    home: Path, steps: Sequence[ChainStep], trained: ChainStep | None, dataset: str | None
) -> list[tuple[Path, dict[str, Any]]]:
    """What goes to the model: the student, with its evaluation and the plot of the comparison."""
    if trained is None:
        return []
    options: dict[str, Any] = {"dataset": dataset}
    for step in steps:
        if step.stage == _EVALUATE and trained.name in step.reads.values():
            options["evaluation"] = home / step.folder
    if (plot := home / COMPARISON / PLOT).is_file():
        options["plot"] = plot
    return [(path, options) for path in _results(home, trained)]


def commits(done: Sequence[Publication]) -> Mapping[str, Any]:
    """What was pushed where, for the record of the run: repositories with their last commits."""
    return {f"{one.repo_type} {one.repo_id}": one.commit for one in done}
