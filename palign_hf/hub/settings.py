"""Settings of publishing, declared once for the recipes of the stages and for `palign publish`."""

from dataclasses import dataclass, fields
from typing import Any

from palign_hf.config import check_settings, setting
from palign_hf.config.renamed import KnowsOldNames
from palign_hf.hub.names import check_config_name, check_push, check_repo


@dataclass(frozen=True, kw_only=True)
class HubSettings(KnowsOldNames):
    """How the result is published: the options of `palign publish`."""

    config_name: str | None = setting(
        default=None, help="name of the configuration; else made of the student and of what was run"
    )
    private: bool | None = setting(default=None, help="make a new repository private; null leaves it to the account")
    revision: str | None = setting(default=None, help="branch that is pushed to, made if it is missing; else main")
    tag: str | None = setting(default=None, help="tag for the commit")
    create_pr: bool = setting(default=False, help="open a pull request instead of pushing to the branch")
    license: str | None = setting(
        default=None, help="license of the traces, for a card that states none, as cc-by-4.0"
    )
    language: tuple[str, ...] = setting(default=(), help="languages of the traces, for a card that states none, as en")

    def __post_init__(self) -> None:
        check_settings(self)
        if self.config_name is not None:
            check_config_name(self.config_name, f"config_name={self.config_name}")
        check_push(self.revision, self.tag, self.create_pr)

    def options(self) -> str:
        """The settings that differ from their defaults, as options of `palign publish`."""
        options = []
        for one in fields(self):
            value, name = getattr(self, one.name), f"--{one.name.replace('_', '-')}"
            if value == one.default:
                continue
            if isinstance(value, bool):
                options.append(name if value else f"--no-{name[2:]}")
            else:
                options.append(f"{name} {' '.join(value) if isinstance(value, tuple) else value}")
        return "".join(f" {one}" for one in options)


def push_setting() -> Any:
    """The setting `push_to_hub` of a stage."""
    return setting(
        default=None,
        metavar="OWNER/NAME",
        help="repository of the Hub that the result is pushed to when the run has ended",
    )


def hub_setting() -> Any:
    """The section `hub` of a stage."""
    return setting(default_factory=HubSettings, help="how the result is published")


def check_push_setting(repo_id: str | None) -> None:
    """Refuse what names no repository."""
    if repo_id is not None:
        check_repo(repo_id, f"push_to_hub={repo_id}")
