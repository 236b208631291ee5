"""A finished run's folder to the Hub: its tables or its student, the report, pictures, and a card that tells of it.

    published = publish("runs/qwen2.5-7b-instruct/prefixes", "me/prefixes")
    load_dataset("me/prefixes", published.config, split="train")

All of it is one commit, or none where nothing is new; the same call goes on where one was broken off.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palign_hf.errors import UserError
from palign_hf.hub.folders import RunFolder, read_folder
from palign_hf.hub.names import check_config_name
from palign_hf.hub.plan import Item
from palign_hf.hub.push import Push, Pushed, push


if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from palign_hf.hub.retries import Patience

Card = Callable[[str | None], str]

_TITLES = {"prefixes": "Prefixes", "pairs": "Pairs", "student": "Student", "evaluation": "Evaluation"}


@dataclass(frozen=True)
class Published:
    """What came of it; `commit` is where all of it is, and `files_sent` what was new."""

    url: str
    repo_id: str
    repo_type: str
    config: str
    commit: str | None
    files_sent: tuple[str, ...]
    files_deleted: tuple[str, ...]
    bytes_sent: int
    unchanged: bool
    created: bool
    pull_request: int | None
    tag: str | None
    left_out: tuple[str, ...] = ()
    dry_run: bool = False

    def text(self) -> str:
        """One line for a terminal."""
        if self.unchanged:
            return f"unchanged: {self.url} has all of it"
        count, will = len(self.files_sent), "would be " if self.dry_run else ""
        files = f"{count} {'file' if count == 1 else 'files'}, {self.bytes_sent / 1e6:,.1f} MB"
        gone = f", {len(self.files_deleted)} of an earlier push {will}taken away" if self.files_deleted else ""
        new = " (a new repository)" if self.created else ""
        request = f", pull request {self.pull_request}" if self.pull_request is not None else ""
        return f"{'would push' if self.dry_run else 'pushed'}: {files}{gone} to {self.url}{new}{request}"


def publish(
    folder: str | Path,
    repo_id: str,
    *,
    config: str | None = None,
    private: bool | None = None,
    revision: str | None = None,
    tag: str | None = None,
    create_pr: bool = False,
    licence: str | None = None,
    language: Sequence[str] = (),
    evaluation: str | Path | None = None,
    plot: str | Path | None = None,
    dry_run: bool = False,
    api: "HfApi | None" = None,
    patience: "Patience | None" = None,
) -> Published:
    """Push the run in `folder` to the repository `repo_id`.

    Args:
        folder: what `palign truncate`, `align`, `train` or `evaluate` has written; of a training with a merged
            adapter also its `merged`.
        config: name of the configuration; by default made of the student and of what was run.
        private: whether a new repository is private; one that is public already is refused.
        revision: a branch, made if it is missing.
        tag: a tag for the commit; one that is there at another commit is refused.
        create_pr: open a pull request instead; the same call goes on with the one that is open.
        licence, language: those of the traces, for a card that doesn't state them.
        evaluation: of a student, the folder of its evaluation: a table on the card, and files of results.
        plot: of a student, a PNG for its card, as `palign compare` draws it.
        dry_run: only say what would be done.
    """
    from palign_hf.hub import results_card
    from palign_hf.hub.eval_results import read_evaluation

    found = read_folder(folder)
    if found.kind != "student" and (evaluation is not None or plot is not None):
        raise UserError(
            f"`{folder}` is no student but {found.kind}: `evaluation` and `plot` are for the card of one. Leave them "
            f"out."
        )
    name = config if config is not None else found.config
    check_config_name(name, f"config={name}")

    def wanted_of(run: RunFolder) -> Push:
        if run.kind == "student":
            card, more = _of_student(run, repo_id, evaluation, plot)
        elif run.kind == "evaluation":
            told = read_evaluation(run.folder, run.report)
            card, more = partial(results_card.render, told, repo_id, name, run.splits), []
        else:
            card, more = _of_dataset(run, repo_id, name, licence, language)
        return Push(
            repo_id,
            (*run.files(name), *more),
            f"{_TITLES[run.kind]}: {name}",
            repo_type=run.repo_type,
            owned=run.owned(name),
            card=card,
            guard=run.guard(name),
            again=again,
            private=private,
            revision=revision,
            tag=tag,
            create_pr=create_pr,
        )

    def again(there: bytes) -> Push | None:
        held = found.as_held(there)
        return None if held is None else wanted_of(held)

    wanted = wanted_of(found)
    done = push(wanted, api=api, patience=patience, dry_run=dry_run)
    return _published(done, wanted, name, found.left_out(), dry_run)


def publish_results(
    folder: str | Path,
    model: str,
    *,
    create_pr: bool = False,
    dry_run: bool = False,
    api: "HfApi | None" = None,
    patience: "Patience | None" = None,
) -> Published:
    """Push the results of an evaluation into the repository of the model that was evaluated, and onto its card."""
    from palign_hf.hub.eval_results import eval_result_files, read_evaluation
    from palign_hf.hub.frontmatter import FrontMatter
    from palign_hf.hub.model_card import ModelFacts, render

    found = read_folder(folder)
    if found.kind != "evaluation":
        raise UserError(f"`{folder}` is no evaluation but {found.kind}. Give the folder of `palign evaluate`.")
    told = read_evaluation(found.folder)
    items = tuple(Item(path, text.encode()) for path, text in eval_result_files(told).items())

    def card(existing: str | None) -> str:
        # The card of the student says its name; nothing else of it is known here.
        named = FrontMatter("")
        named.set("model_name", FrontMatter(existing or "").data.get("model_name") or model.partition("/")[2])
        return render(ModelFacts(repo_id=model, card=named.card(), evaluation=told), existing)

    wanted = Push(model, items, f"Results: {found.config}", repo_type="model", card=card, create_pr=create_pr)
    done = push(wanted, api=api, patience=patience, dry_run=dry_run)
    return _published(done, wanted, found.config, (), dry_run)


def _published(done: Pushed, wanted: Push, config: str, left_out: tuple[str, ...], dry_run: bool) -> Published:
    return Published(
        url=done.url,
        repo_id=wanted.repo_id,
        repo_type=wanted.repo_type,
        config=config,
        commit=done.commit,
        files_sent=done.sent,
        files_deleted=done.deleted,
        bytes_sent=done.sent_bytes,
        unchanged=done.unchanged,
        created=done.created,
        pull_request=done.pull_request,
        tag=done.tag,
        left_out=left_out,
        dry_run=dry_run,
    )


def _of_dataset(
    found: RunFolder, repo_id: str, config: str, licence: str | None, language: Sequence[str]
) -> tuple[Card, list[Item]]:
    """The card of PREFIXES or PAIRS, and its pictures."""
    from palign_hf.hub.dataset_card import render
    from palign_hf.hub.facts import dataset_facts
    from palign_hf.hub.pictures import dataset_pictures

    facts = dataset_facts(
        found.folder,
        repo_id=repo_id,
        config=config,
        licence=licence,
        language=tuple(language),
        report=found.report,
    )
    pictures = [Item(path, content) for path, content in dataset_pictures(facts).items()]
    return partial(render, facts), pictures


def _of_student(
    found: RunFolder, repo_id: str, evaluation: str | Path | None, plot: str | Path | None
) -> tuple[Card, list[Item]]:
    """The card of a student, and what it shows of an evaluation."""
    from palign_hf.hub.eval_results import eval_result_files
    from palign_hf.hub.model_card import PLOT, model_facts, render

    facts = model_facts(found.folder, repo_id=repo_id, evaluation=evaluation, plot=plot is not None)
    files = {} if facts.evaluation is None else eval_result_files(facts.evaluation)
    items = [Item(path, text.encode()) for path, text in files.items()]
    if plot is not None:
        picture = Path(plot).expanduser()
        if not picture.is_file() or picture.suffix != ".png":
            raise UserError(f"`plot={plot}` is no PNG file. Give the one that `palign compare --out` has drawn.")
        items.append(Item(PLOT, picture))
    return partial(render, facts), items


def as_dict(published: Published) -> dict[str, Any]:
    """Plain data, for JSON."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(published).items()}
