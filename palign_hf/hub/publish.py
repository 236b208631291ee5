"""A finished run's folder to the Hub: its tables or its student, the report, pictures, and a card that tells of it.

    published = publish("runs/qwen2.5-7b-instruct/prefixes", "me/prefixes")
    load_dataset("me/prefixes", published.config, split="train")

All of it is one commit, or none where nothing is new; the same call goes on where one was broken off.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palign_hf.errors import UserError
from palign_hf.hub.folders import RunFolder, read_folder
from palign_hf.hub.plan import Item
from palign_hf.hub.push import Push, Pushed, push
from palign_hf.hub.target import check_config_name


if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from palign_hf.hub.retries import Patience

# Results as model repositories have them: an evaluation's folder holds them, the model's repository shows them.
RESULTS = ".eval_results"
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
        dry_run: only say what would be done.
    """
    found = read_folder(folder)
    name = config if config is not None else found.config
    check_config_name(name, f"config={name}")
    card, pictures = _card(found, repo_id, name, licence, language)
    wanted = Push(
        repo_id,
        (*found.files(name), *pictures),
        f"{_TITLES[found.kind]}: {name}",
        repo_type=found.repo_type,
        owned=found.owned(name),
        card=card,
        guard=found.guard(name),
        private=private,
        revision=revision,
        tag=tag,
        create_pr=create_pr,
    )
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
    """Push the results of an evaluation into the repository of the model that was evaluated, and nothing else."""
    found = read_folder(folder)
    files = sorted((found.folder / RESULTS).glob("*.yaml"))
    if found.kind != "evaluation" or not files:
        raise UserError(
            f"`{folder}` has no results for the repository of a model: there is no `{RESULTS}/*.yaml` in it. Give the "
            f"folder of an evaluation that has written them."
        )
    items = tuple(Item(f"{RESULTS}/{file.name}", file) for file in files)
    title = f"Results: {found.config}"
    wanted = Push(model, items, title, repo_type="model", create_pr=create_pr)
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


def _card(
    found: RunFolder, repo_id: str, config: str, licence: str | None, language: Sequence[str]
) -> tuple[Callable[[str | None], str] | None, list[Item]]:
    """The card as a function of the one that is there, and its pictures."""
    if found.repo_type == "model" or found.kind == "evaluation":
        return None, []
    from palign_hf.hub.dataset_card import render
    from palign_hf.hub.facts import dataset_facts
    from palign_hf.hub.pictures import dataset_pictures

    facts = dataset_facts(found.folder, repo_id=repo_id, config=config, licence=licence, language=tuple(language))
    pictures = [Item(path, content) for path, content in dataset_pictures(facts).items()]
    return lambda existing: render(facts, existing), pictures


def as_dict(published: Published) -> dict[str, Any]:
    """Plain data, for JSON."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(published).items()}
