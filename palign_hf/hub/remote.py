"""One repository of the Hub; requests that may be repeated are retried.

Everything is read at one commit, so that another writer can't mix two states.
"""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from palign_hf.errors import UserError, listed, shown
from palign_hf.hub.plan import Held, Item
from palign_hf.hub.retries import GaveUp, Patience, fault_of, patiently


if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete, HfApi


def check_target(
    repo_id: str, *, pull_request: bool = False, api: "HfApi | None" = None, patience: Patience | None = None
) -> str:
    """Refuse, before any work, a repository that can't be pushed to; returns the name of the user.

    Somebody else's repository can be changed by a pull request only.
    """
    from huggingface_hub import HfApi

    api = api or HfApi()
    refuse_offline(repo_id)
    try:
        me = patiently("looking who is logged in", lambda: api.whoami(), patience or Patience())
        failed = None
    except GaveUp as gave_up:
        failed = gave_up
    if failed is not None:
        raise UserError(f"Nothing can be pushed to `{repo_id}`: {denial(failed)}")
    _check_rights(me, repo_id, pull_request)
    return str(me["name"])


def refuse_offline(repo_id: str) -> None:
    """Refuse to push in offline mode."""
    from huggingface_hub import constants

    if constants.is_offline_mode():
        raise UserError(
            f"Nothing can be pushed to `{repo_id}`: `HF_HUB_OFFLINE` is set, so the Hub isn't asked. Unset it."
        )


def denial(gave_up: GaveUp) -> str:
    """The message of a failed step, with what to do."""
    fault = gave_up.fault
    if fault.status == 401:
        return (
            f"{gave_up.doing} failed, since the Hub doesn't know who asks ({shown(fault.words, 300)}). Log in with "
            f"`hf auth login`, or set `HF_TOKEN` to a token that may write."
        )
    if fault.status == 403:
        return (
            f"{gave_up.doing} failed, since the token may not do that ({shown(fault.words, 300)}). Give it the right "
            f"to write to this repository (huggingface.co/settings/tokens), or take `--create-pr`."
        )
    tries = "once" if gave_up.tries == 1 else f"{gave_up.tries} times"
    again = " Try again later." if fault.again else ""
    return f"{gave_up.doing} failed {tries}: {shown(fault.words, 400).rstrip('.')}.{again}"


def _check_rights(me: Mapping[str, Any], repo_id: str, pull_request: bool) -> None:
    """Check the rights that whoami reports; those of a fine-grained token are known only by trying."""
    token = (me.get("auth") or {}).get("accessToken") or {}
    if token.get("role") == "read":
        raise UserError(
            f"Nothing can be pushed to `{repo_id}`: the token `{shown(token.get('displayName', ''))}` may only read. "
            f"Make one that may write (huggingface.co/settings/tokens), and give it to `hf auth login`."
        )
    owner = repo_id.split("/")[0]
    teams = {str(team.get("name")): team for team in me.get("orgs") or ()}
    if owner == me.get("name") or pull_request:
        return
    if owner not in teams:
        raise UserError(
            f"Nothing can be pushed to `{repo_id}`: you are `{me.get('name')}`, and may write for "
            f"{listed([me.get('name'), *teams])}. Give a repository of one of these, or open a pull request with "
            f"`--create-pr`."
        )
    if teams[owner].get("roleInOrg") == "read":
        raise UserError(
            f"Nothing can be pushed to `{repo_id}`: in `{owner}` you may only read. Ask its owners for the right to "
            f"write, or open a pull request with `--create-pr`."
        )


T = TypeVar("T")

CARD = "README.md"
# The most paths of one request.
_PATHS = 500


@dataclass(frozen=True)
class Seen:
    """A repository at one of its commits: the names of its files."""

    commit: str
    names: tuple[str, ...]
    private: bool


class Repository:
    """Reads and writes one repository, with patience."""

    def __init__(self, api: "HfApi", repo_id: str, repo_type: str, patience: Patience) -> None:
        self.api, self.repo_id, self.repo_type, self.patience = api, repo_id, repo_type, patience

    def url(self, *parts: str) -> str:
        """Its page, or one below."""
        kind = "" if self.repo_type == "model" else f"{self.repo_type}s/"
        return "/".join([f"{self.api.endpoint}/{kind}{self.repo_id}", *parts])

    def look(self, revision: str | None = None) -> Seen | None:
        """What it holds now; None if it isn't there, for all that this token may know."""
        info = self._ask("looking at", partial(self._info, revision))
        if info is None:
            return None
        names = tuple(sorted(one.rfilename for one in info.siblings or ()))
        return Seen(str(info.sha), names, bool(info.private))

    def held(self, paths: Iterable[str], seen: Seen) -> dict[str, Held]:
        """The files that exist, with the hashes of their content."""
        from huggingface_hub.hf_api import RepoFile

        there = sorted({*paths} & {*seen.names})
        found: dict[str, Held] = {}
        for some in _chunks(there, _PATHS):
            infos = self._ask("reading the files of", partial(self._paths_info, some, seen.commit))
            for one in infos:
                if isinstance(one, RepoFile):
                    found[one.path] = Held(one.size, one.blob_id, one.lfs.sha256 if one.lfs else None)
        return found

    def read(self, path: str, seen: Seen) -> bytes | None:
        """A small file; not through the cache, which stays as it is."""
        if path not in seen.names:
            return None

        def ask() -> bytes:
            with tempfile.TemporaryDirectory(prefix="palign-hub-") as folder:
                file = self.api.hf_hub_download(
                    self.repo_id, path, repo_type=self.repo_type, revision=seen.commit, cache_dir=folder
                )
                return Path(file).read_bytes()

        return self._ask(f"reading `{path}` of", ask)

    def create(self, private: bool | None) -> None:
        """Make it; that it is there by now is fine."""
        self._make(
            "making",
            lambda: self.api.create_repo(self.repo_id, private=private, repo_type=self.repo_type),
            lambda: self._info(None) is not None,
        )

    def branches(self) -> dict[str, str]:
        """Branches, by name, with their commits."""
        return {one.name: one.target_commit for one in self._refs().branches}

    def tags(self) -> dict[str, str]:
        """Tags, by name, with their commits."""
        return {one.name: one.target_commit for one in self._refs().tags}

    def create_branch(self, name: str, at: str) -> None:
        """Make a branch; that it is there by now is fine."""
        self._make(
            f"making the branch `{name}` of",
            lambda: self.api.create_branch(self.repo_id, branch=name, revision=at, repo_type=self.repo_type),
            lambda: name in self.branches(),
        )

    def create_tag(self, name: str, at: str) -> None:
        """Make a tag; that there is one of this name by now is for the caller to judge."""
        self._make(
            f"making the tag `{name}` of",
            lambda: self.api.create_tag(self.repo_id, tag=name, revision=at, repo_type=self.repo_type),
            lambda: name in self.tags(),
        )

    def pull_request(self, title: str, author: str) -> int | None:
        """The number of an open pull request with this title by this author."""

        def ask() -> int | None:
            open_ones = self.api.get_repo_discussions(
                self.repo_id,
                discussion_type="pull_request",
                discussion_status="open",
                repo_type=self.repo_type,
            )
            own = [one.num for one in open_ones if one.title == title and one.author == author]
            return min(own, default=None)

        return self._ask("looking for pull requests of", ask)

    def upload(self, operations: "Sequence[CommitOperationAdd]", revision: str | None, create_pr: bool) -> None:
        """Send the large ones of these files; those that the Hub has are not sent again."""

        def send() -> None:
            self.api.preupload_lfs_files(
                self.repo_id,
                operations,
                revision=revision,
                repo_type=self.repo_type,
                create_pr=create_pr,
                free_memory=False,
            )

        self._ask("uploading files to", send)

    def commit(
        self,
        operations: "Sequence[CommitOperationAdd | CommitOperationDelete]",
        title: str,
        parent: str,
        revision: str | None,
        create_pr: bool,
    ) -> Any:
        """One commit onto `parent`, tried once: whether it came to be is found out by looking."""
        return self.api.create_commit(
            self.repo_id,
            operations,
            commit_message=title,
            revision=revision,
            repo_type=self.repo_type,
            parent_commit=parent,
            create_pr=create_pr,
        )

    def _make(self, doing: str, make: Callable[[], Any], there: Callable[[], bool]) -> None:
        """Make something of which there can be one: if it is there after a failure, its answer was lost, no more."""

        def attempt() -> None:
            try:
                make()
            except Exception as error:
                fault = fault_of(error)
                if fault is None or not fault.again or not there():
                    raise

        self._ask(doing, attempt)

    def _info(self, revision: str | None) -> Any:
        from huggingface_hub.errors import RepositoryNotFoundError

        try:
            return self.api.repo_info(self.repo_id, revision=revision, repo_type=self.repo_type)
        except RepositoryNotFoundError:
            return None

    def _refs(self) -> Any:
        return self._ask(
            "looking at the branches of", lambda: self.api.list_repo_refs(self.repo_id, repo_type=self.repo_type)
        )

    def _paths_info(self, paths: list[str], commit: str) -> Any:
        return self.api.get_paths_info(self.repo_id, paths, revision=commit, repo_type=self.repo_type)

    def _ask(self, doing: str, call: Callable[[], T]) -> T:
        return patiently(f"{doing} `{self.repo_id}`", call, self.patience)


def addition(item: Item) -> "CommitOperationAdd":
    """A file as a commit has it."""
    from huggingface_hub import CommitOperationAdd

    return CommitOperationAdd(item.path, item.source if isinstance(item.source, bytes) else str(item.source))


def _chunks(paths: list[str], size: int) -> Iterator[list[str]]:
    for at in range(0, len(paths), size):
        yield paths[at : at + size]
