"""Names of repositories, configurations, branches and tags: what is allowed, and the default of a configuration."""

import re

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
