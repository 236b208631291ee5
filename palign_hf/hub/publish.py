"""Publishing of finished runs: `publish`, and the base of stages whose result is pushed after the run.

A stage checks the target before any work starts.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from palign_hf.config.resolve import knows_old_names
from palign_hf.errors import UserError
from palign_hf.hub.artifacts import Artifact, CardOptions, RunFolder
from palign_hf.hub.folders import read_folder
from palign_hf.hub.plan import Item
from palign_hf.hub.push import Push, Pushed, push
from palign_hf.hub.settings import HubSettings, check_config_name
from palign_hf.redact import remember
from palign_hf.runs.launch import Ending
from palign_hf.schema import Table


if TYPE_CHECKING:
    from huggingface_hub import HfApi

    from palign_hf.hub.retries import Patience


@dataclass(frozen=True)
class Publication:
    """The outcome of a push: `commit` holds all of it, `files_sent` are the files that were new."""

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
        gone = f", {len(self.files_deleted)} of an earlier push {will}deleted" if self.files_deleted else ""
        new = " (a new repository)" if self.created else ""
        request = f", pull request {self.pull_request}" if self.pull_request is not None else ""
        return f"{'would push' if self.dry_run else 'pushed'}: {files}{gone} to {self.url}{new}{request}"


@knows_old_names
def publish(
    folder: str | Path,
    repo_id: str,
    *,
    config: str | None = None,
    private: bool | None = None,
    revision: str | None = None,
    tag: str | None = None,
    create_pr: bool = False,
    license: str | None = None,
    language: Sequence[str] = (),
    evaluation: str | Path | None = None,
    plot: str | Path | None = None,
    dataset: str | None = None,
    dry_run: bool = False,
    token: str | bool | None = None,
    api: "HfApi | None" = None,
    patience: "Patience | None" = None,
) -> Publication:
    """Push the finished run in a folder to a repository of the Hub.

    Args:
        folder (`str` or `Path`): The output folder of a stage; of a training with a merged adapter also its `merged`.
        repo_id (`str`): The repository, as `OWNER/NAME`; it is created if it is missing.
        config (`str`, *optional*): Name of the configuration; by default made of the student and of what was run.
        private (`bool`, *optional*): Whether a new repository is private; one that is public already is refused.
        revision (`str`, *optional*, defaults to `main`): A branch; it is created if it is missing.
        tag (`str`, *optional*): A tag for the commit; a tag that exists at another commit is refused.
        create_pr (`bool`, *optional*, defaults to `False`): Open a pull request instead; the same call again updates
            the open one.
        license (`str`, *optional*): License of the traces, for a card that states none.
        language (`Sequence[str]`, *optional*): Languages of the traces, for a card that states none.
        evaluation (`str` or `Path`, *optional*): Of a model, the folder of its evaluation: a table on the card, and
            files of results.
        plot (`str` or `Path`, *optional*): Of a model, a PNG for its card, such as `palign compare` draws.
        dataset (`str`, *optional*): Of a model, the repository of the rows that it was trained on, for a card that
            names none.
        dry_run (`bool`, *optional*, defaults to `False`): Only compute what would be pushed.
        token (`str` or `bool`, *optional*): As in `huggingface_hub.HfApi`; by default that of the login.
        api (`HfApi`, *optional*): The client of the Hub.
        patience (`Patience`, *optional*): How often and how long failed requests are retried.

    Returns:
        `Publication`: The commit, the name of the configuration, and the files that were sent.

    Raises:
        UserError: The folder holds no finished run, or the repository can't be written to.

    Example:

    ```python
    >>> from palign_hf import publish

    >>> publication = publish("runs/palign-toy/prefixes", "me/prefixes", license="cc-by-4.0")
    >>> print(publication.text())
    pushed: ... files, ... MB to .../datasets/me/prefixes (a new repository)
    ```
    """
    api = _api_of(token, api)
    found = read_folder(folder)
    if not found.artifact.shows_evaluation and any(one is not None for one in (evaluation, plot, dataset)):
        raise UserError(
            f"`{folder}` is no model but {found.kind}: `evaluation`, `plot` and `dataset` are for the card of a "
            f"model. Leave them out."
        )
    name = config if config is not None else found.config
    check_config_name(name, f"config={name}")
    options = CardOptions(license=license, language=tuple(language), evaluation=evaluation, plot=plot, dataset=dataset)

    def wanted_of(run: RunFolder) -> Push:
        card, shown = run.artifact.card(run, repo_id, name, options)
        return Push(
            repo_id,
            (*run.files(name), *shown),
            f"{run.artifact.title}: {name}",
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
    token: str | bool | None = None,
    api: "HfApi | None" = None,
    patience: "Patience | None" = None,
) -> Publication:
    """Push the results of an evaluation into the repository of the model that was evaluated, and onto its card.

    Args:
        folder (`str` or `Path`): The output folder of an evaluation.
        model (`str`): The repository of the model, as `OWNER/NAME`.
        create_pr (`bool`, *optional*, defaults to `False`): Open a pull request instead.
        dry_run (`bool`, *optional*, defaults to `False`): Only compute what would be pushed.
        api (`HfApi`, *optional*): The client of the Hub.
        patience (`Patience`, *optional*): How often and how long failed requests are retried.

    Returns:
        `Publication`: The commit and the files that were sent.

    Raises:
        UserError: The folder holds no evaluation, or the repository can't be written to.
    """
    from palign_hf.hub.cards import FrontMatter
    from palign_hf.hub.eval_results import eval_result_files
    from palign_hf.hub.model_card import ModelFacts, render

    api = _api_of(token, api)
    found = read_folder(folder)
    evaluation = found.artifact.results(found)
    items = tuple(Item(path, text.encode()) for path, text in eval_result_files(evaluation).items())

    def card(existing: str | None) -> str:
        # The model's own card has its name; nothing else of it is known here.
        named = FrontMatter("")
        named.set("model_name", FrontMatter(existing or "").data.get("model_name") or model.partition("/")[2])
        return render(ModelFacts(repo_id=model, card=named.card(), evaluation=evaluation), existing)

    wanted = Push(model, items, f"Results: {found.config}", repo_type="model", card=card, create_pr=create_pr)
    done = push(wanted, api=api, patience=patience, dry_run=dry_run)
    return _published(done, wanted, found.config, (), dry_run)


def _api_of(token: str | bool | None, api: "HfApi | None") -> "HfApi | None":
    """The client of a token, which is masked from now on wherever text is written."""
    if token is None:
        return api
    from huggingface_hub import HfApi

    if api is not None:
        raise UserError("`token` and `api` are both given, and `api` has a token of its own. Give one of them.")
    remember(token if isinstance(token, str) else None)
    return HfApi(token=token)


def _published(done: Pushed, wanted: Push, config: str, left_out: tuple[str, ...], dry_run: bool) -> Publication:
    return Publication(
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


def as_dict(published: Publication) -> dict[str, Any]:
    """Plain data, for JSON."""
    return {name: list(value) if isinstance(value, tuple) else value for name, value in vars(published).items()}


class PushedSettings(Protocol):
    """Settings of a stage whose result is pushed."""

    @property
    def push_to_hub(self) -> str | None:
        """The repository; None pushes nothing."""

    @property
    def hub(self) -> HubSettings:
        """How the result is published."""

    @property
    def folder(self) -> Path:
        """The output folder."""


class PushedStage:
    """The base of a stage with the settings `push_to_hub` and `hub`; `artifact` describes its result on the Hub.

    In a chain (`palign run`) its result goes to the folder `result` of the run. `inputs` are settings, by dotted key,
    that name the result of another stage, each with that stage; `from_head` are settings that come from another key of
    the head; `usual` are values of a chain.
    """

    artifact: Artifact
    reads: Table | None = None
    writes: Table | None = None
    together = False
    result = ""
    inputs: Mapping[str, str] = {}
    from_head: Mapping[str, str] = {}
    usual: Mapping[str, Any] = {}

    def forwarded(self) -> Mapping[str, type]:
        """Sections of the settings that are passed on to another dataclass, for the settings page."""
        return {}

    def results(self, settings: Any) -> list[tuple[str | None, Path]]:
        """The folders to publish, each with the name of its configuration; None takes the default name."""
        return [(settings.hub.config_name, Path(settings.folder))]

    def ready(self, settings: PushedSettings) -> None:
        """Refuse, before any work, a target that can't be pushed to."""
        if settings.push_to_hub is None:
            return
        from palign_hf.hub.push import Push, check

        hub = settings.hub
        check(
            Push(
                settings.push_to_hub,
                (),
                "",
                repo_type=self.artifact.repo_type,
                private=hub.private,
                revision=hub.revision,
                tag=hub.tag,
                create_pr=hub.create_pr,
            )
        )

    def follow(self, settings: PushedSettings, ending: Ending) -> str | None:
        """Push the result of a run that has ended; the lines to print about it."""
        if settings.push_to_hub is None:
            return None
        results = self.results(settings)
        lines = []
        for config, folder in results:
            # A tag is for all of them.
            tag = settings.hub.tag if folder == results[-1][1] else None
            hub = replace(settings.hub, config_name=config, tag=tag)
            command = f"palign publish {folder} {settings.push_to_hub}{hub.options()}"
            if ending.failed:
                why = f"not pushed, since {ending.failed} rows failed: run again, or push what is there with "
                lines.append(f"{why}`{command}`")
            else:
                lines.append(_pushed(folder, settings.push_to_hub, hub, command))
        return "\n".join(lines)


def _pushed(folder: Path, repo_id: str, hub: HubSettings, command: str) -> str:

    try:
        done = publish(
            folder,
            repo_id,
            config=hub.config_name,
            private=hub.private,
            revision=hub.revision,
            tag=hub.tag,
            create_pr=hub.create_pr,
            license=hub.license,
            language=hub.language,
        )
        return done.text()
    except UserError as error:
        why = str(error)
    raise UserError(f"The run is whole in `{folder}`, but pushing it failed. {why} To push it: `{command}`.")
