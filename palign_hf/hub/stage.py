"""A stage whose result is pushed when its run has ended: looked at before any work, done after all of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from palign_hf.errors import UserError
from palign_hf.hub.settings import HubSettings
from palign_hf.runs.launch import Ending


class PushedSettings(Protocol):
    """Settings of such a stage."""

    @property
    def push_to_hub(self) -> str | None:
        """The repository, if there is to be one."""

    @property
    def hub(self) -> HubSettings:
        """How it is published."""

    @property
    def folder(self) -> Path:
        """Where the result lies."""


class PushedStage:
    """What a stage inherits for its settings `push_to_hub` and `hub`."""

    repo_type = "dataset"

    def results(self, settings: Any) -> list[tuple[str | None, Path]]:
        """The folders that are published, each with the name of its configuration; None leaves it to the run."""
        return [(settings.hub.config_name, Path(settings.folder))]

    def ready(self, settings: PushedSettings) -> None:
        """Refuse, before any work, what couldn't be pushed after it."""
        if settings.push_to_hub is None:
            return
        from palign_hf.hub.push import Push, check

        hub = settings.hub
        check(
            Push(
                settings.push_to_hub,
                (),
                "",
                repo_type=self.repo_type,
                private=hub.private,
                revision=hub.revision,
                tag=hub.tag,
                create_pr=hub.create_pr,
            )
        )

    def follow(self, settings: PushedSettings, ending: Ending) -> str | None:
        """Push the result of a run that has ended; what is said of it."""
        if settings.push_to_hub is None:
            return None
        results = self.results(settings)
        said = []
        for config, folder in results:
            # A tag is for all of them.
            tag = settings.hub.tag if folder == results[-1][1] else None
            hub = replace(settings.hub, config_name=config, tag=tag)
            command = f"palign publish {folder} {settings.push_to_hub}{hub.options()}"
            if ending.failed:
                told = f"not pushed, since {ending.failed} rows failed: run again, or push what is there with "
                said.append(f"{told}`{command}`")
            else:
                said.append(_pushed(folder, settings.push_to_hub, hub, command))
        return "\n".join(said)


def _pushed(folder: Path, repo_id: str, hub: HubSettings, command: str) -> str:
    from palign_hf.hub.publish import publish

    try:
        done = publish(
            folder,
            repo_id,
            config=hub.config_name,
            private=hub.private,
            revision=hub.revision,
            tag=hub.tag,
            create_pr=hub.create_pr,
            licence=hub.licence,
            language=hub.language,
        )
        return done.text()
    except UserError as error:
        told = str(error)
    raise UserError(f"The run is whole in `{folder}`, but pushing it failed. {told} To push it: `{command}`.")
