"""Settings of publishing, declared once for the recipes of the stages and for `palign publish`."""

import re
from dataclasses import dataclass, fields
from typing import Any

from palign_hf.config import check_settings, setting
from palign_hf.config.resolve import KnowsOldNames
from palign_hf.errors import UserError, listed, shown


_PART = r"(?!.*(?:\.\.|--))[A-Za-z0-9_](?:[\w.-]{0,94}[A-Za-z0-9_])?"
_REPO = re.compile(rf"{_PART}/{_PART}", re.ASCII)
_CONFIG = re.compile(r"(?=.{1,96}$)[A-Za-z0-9](?:[._-]?[A-Za-z0-9])*")
# Folders of a repository that aren't a configuration's.
VIEW = "sft"
RESERVED = ("reports", "pictures", "lighteval", VIEW)
# Suffixes of files: a folder with such a name could be taken for a file.
_FILES: tuple[str, ...] = (
    ".md",
    ".json",
    ".jsonl",
    ".parquet",
    ".arrow",
    ".csv",
    ".tsv",
    ".txt",
    ".yaml",
    ".yml",
    ".toml",
    ".png",
)
_FILES += (".jpg", ".svg", ".pdf", ".html", ".py", ".ipynb", ".safetensors", ".bin", ".pt", ".pth", ".gz", ".zip")
_FILES += (".tar", ".zst", ".lock", ".git", ".gitattributes", ".gitignore")
_VIEWED = f"-{VIEW}"
# As git has it, roughly: what it refuses beyond this the Hub refuses in its own words.
_REVISION = re.compile(r"(?!.*(?:\.\.|//|@\{|\.lock(?:/|$)))[A-Za-z0-9_][\w./+-]{0,199}(?<![./])", re.ASCII)
_COMMIT = re.compile(r"[0-9a-f]{40}")


def is_repo(name: object) -> bool:
    """Whether it is the name of a repository with its owner."""
    return isinstance(name, str) and _REPO.fullmatch(name) is not None


def check_repo(name: str, given: str) -> None:
    """Refuse what can't name a repository; `given` is the setting as it was given."""
    if not is_repo(name):
        raise UserError(
            f"`{shown(given)}` names no repository of the Hub. Give OWNER/NAME: letters, digits, `-`, `_` and `.`, "
            f"each at most 96 of them."
        )


def check_config_name(name: str, given: str) -> None:
    """Refuse what can't name a configuration, which is a folder of the repository, too."""
    if not _CONFIG.fullmatch(name) or name.lower() in RESERVED:
        raise UserError(
            f"`{shown(given)}` can't name a configuration, which is a folder of the repository: it takes letters, "
            f"digits and single dots, dashes and underscores between them, and is none of {listed(RESERVED)}. Give "
            f"another, as `qwen2.5-7b-instruct-ascend`."
        )
    if suffix := next((one for one in _FILES if name.lower().endswith(one)), None):
        raise UserError(
            f"`{shown(given)}` can't name a configuration, which is a folder of the repository: `{suffix}` is the end "
            f"of a file's name, as of the card `README.md`. Give another, as `qwen2.5-7b-instruct-ascend`."
        )
    if is_view(name):
        raise UserError(
            f"`{shown(given)}` can't name a configuration: it ends in `{_VIEWED}`, as do the views that lie beside "
            f"pairs for any trainer. Give another name."
        )


def view_name(config: str) -> str:
    """The name of the view of a configuration of pairs."""
    return f"{config}{_VIEWED}"


def is_view(name: str) -> bool:
    """Whether the name of a configuration is that of a view."""
    return name.lower().endswith(_VIEWED)


def check_revision(name: str, given: str, tag: bool = False) -> None:
    """Refuse what can't name a branch or a tag."""
    kind = "tag" if tag else "branch"
    if name.startswith("refs/") and not tag:
        return
    if _COMMIT.fullmatch(name):
        raise UserError(f"`{shown(given)}` is a commit, and nothing can be pushed onto one. Name a {kind}.")
    if not _REVISION.fullmatch(name) or name.startswith("refs/"):
        raise UserError(f"`{shown(given)}` can't name a {kind}. Take letters, digits, `-`, `_`, `.` and `/`.")


def check_push(revision: str | None, tag: str | None, create_pr: bool) -> None:
    """Refuse a branch or a tag that nothing can be pushed to, and a tag on what is a pull request first."""
    if revision is not None:
        check_revision(revision, f"revision={revision}")
    if tag is not None:
        check_revision(tag, f"tag={tag}", tag=True)
        if create_pr:
            raise UserError(
                f"`tag={tag}` with `create_pr=True`: a pull request is no release yet. Leave `tag` out, and push with "
                f"it once the request was merged."
            )


def config_name(*parts: str) -> str:
    """The name of a configuration, made of what distinguishes it: `qwen2.5-7b-instruct-ascend`."""
    words = "-".join(part.lower() for part in parts if part)
    name = re.sub(r"[._-]{2,}", "-", re.sub(r"[^a-z0-9._]", "-", words))[:96].strip("-._") or "default"
    taken = name in RESERVED or is_view(name) or name.endswith(_FILES)
    return f"{name[:92]}-run" if taken else name


@dataclass(frozen=True, kw_only=True)
class HubSettings(KnowsOldNames):
    """How the result is published: the options of `palign publish`."""

    config_name: str | None = setting(
        default=None, help="name of the configuration; else made of the student and of what was run", neutral=True
    )
    private: bool | None = setting(
        default=None, help="make a new repository private; null leaves it to the account", neutral=True
    )
    revision: str | None = setting(
        default=None, help="branch that is pushed to, made if it is missing; else main", neutral=True
    )
    tag: str | None = setting(default=None, help="tag for the commit", neutral=True)
    create_pr: bool = setting(default=False, help="open a pull request instead of pushing to the branch", neutral=True)
    license: str | None = setting(
        default=None, help="license of the traces, for a card that states none, as cc-by-4.0", neutral=True
    )
    language: tuple[str, ...] = setting(
        default=(), help="languages of the traces, for a card that states none, as en", neutral=True
    )

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
        neutral=True,
    )


def hub_setting() -> Any:
    """The section `hub` of a stage."""
    return setting(default_factory=HubSettings, help="how the result is published")


def check_push_setting(repo_id: str | None) -> None:
    """Refuse what names no repository."""
    if repo_id is not None:
        check_repo(repo_id, f"push_to_hub={repo_id}")
