"""The base of stages whose result is pushed after the run: the target is checked before any work starts."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from palign_hf.errors import UserError
from palign_hf.hub.artifacts import Artifact
from palign_hf.hub.settings import HubSettings
from palign_hf.runs.launch import Ending
from palign_hf.schema import Table


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
    """The base of a stage with the settings `push_to_hub` and `hub`; `artifact` describes its result on the Hub."""

    artifact: Artifact
    reads: Table | None = None
    writes: Table | None = None
    together = False

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
            license=hub.license,
            language=hub.language,
        )
        return done.text()
    except UserError as error:
        why = str(error)
    raise UserError(f"The run is whole in `{folder}`, but pushing it failed. {why} To push it: `{command}`.")
