"""One commit with all that is new, or none: a push that may fail at any point, and be run again.

It looks at the head of the branch, sends the large files that aren't there, and makes one commit onto the head that it
saw. Whatever then goes wrong, an answer that was lost included, it looks again before anything else: if all is there,
the push has succeeded; if somebody else has written, the card is made anew from theirs and the rest is tried again.
The head that a commit names makes a second one of the same impossible, however late the first arrives.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from palign_hf.errors import UserError, shown
from palign_hf.hub.plan import Changes, Item, changes, check_items
from palign_hf.hub.remote import CARD, Repository, Seen, addition, check_target, denial
from palign_hf.hub.retries import Fault, GaveUp, Patience, Tries, fault_of, scrubbed
from palign_hf.hub.settings import check_push, check_repo


if TYPE_CHECKING:
    from huggingface_hub import CommitOperationAdd, HfApi

T = TypeVar("T")

_GO_ON = "The same command resumes it."


@dataclass(frozen=True)
class Push:
    """What is to lie in a repository afterwards.

    `owned` are the places of this configuration (`hub/plan.py`): what else lies there is what an earlier push of it
    has left, and goes in the same commit. `card` makes the card from the text of the one that is there. `guard` is a
    report of what a configuration holds, with a check of the one that the repository has. `again` is
    given it, too: what is pushed instead if all of that but the card is there already.
    """

    repo_id: str
    items: tuple[Item, ...]
    title: str
    repo_type: str = "dataset"
    owned: tuple[str, ...] = ()
    card: Callable[[str | None], str] | None = None
    guard: tuple[str, Callable[[bytes], None]] | None = None
    again: "Callable[[bytes], Push | None] | None" = None
    private: bool | None = None
    revision: str | None = None
    tag: str | None = None
    create_pr: bool = False

    def __post_init__(self) -> None:
        check_repo(self.repo_id, self.repo_id)
        check_items(self.items)
        check_push(self.revision, self.tag, self.create_pr)


@dataclass(frozen=True)
class Pushed:
    """What a push has done; `commit` is where all of it is."""

    url: str
    commit: str | None
    sent: tuple[str, ...] = ()
    deleted: tuple[str, ...] = ()
    sent_bytes: int = 0
    created: bool = False
    pull_request: int | None = None
    tag: str | None = None

    @property
    def unchanged(self) -> bool:
        """Whether all of it was there already."""
        return not self.sent and not self.deleted


def push(
    wanted: Push, *, api: "HfApi | None" = None, patience: Patience | None = None, dry_run: bool = False
) -> Pushed:
    """Push it, or only say what would be done; a `UserError` says what was reached, and never holds a key."""
    return _begin(wanted, api, patience, dry_run, run=lambda pushing: pushing.run())


def check(wanted: Push, *, api: "HfApi | None" = None, patience: Patience | None = None) -> None:
    """Refuse what couldn't be pushed: by who asks, and by what is there. Nothing is changed."""
    _begin(wanted, api, patience, dry_run=True, run=lambda pushing: pushing.check())


def _begin(
    wanted: Push,
    api: "HfApi | None",
    patience: Patience | None,
    dry_run: bool,
    run: "Callable[[_Pushing], T]",
) -> T:
    from huggingface_hub import HfApi

    api, patience = api or HfApi(), patience or Patience()
    me = check_target(wanted.repo_id, pull_request=wanted.create_pr, api=api, patience=patience)
    pushing = _Pushing(wanted, Repository(api, wanted.repo_id, wanted.repo_type, patience), me, dry_run)
    try:
        return run(pushing)
    except GaveUp as gave_up:
        failed = gave_up
    # Outside of the handler, so that the error keeps nothing of what has failed.
    raise UserError(f"{_capital(denial(failed))} {pushing.reached} {_GO_ON}")


@dataclass
class _Pushing:
    """One push on its way; `reached` says how far it came."""

    wanted: Push
    repository: Repository
    me: str
    dry_run: bool
    reached: str = "Nothing was changed."
    _created: bool = False
    _made: Changes = field(default_factory=lambda: Changes((), ()))
    _operations: "dict[Item, CommitOperationAdd]" = field(default_factory=dict)

    def run(self) -> Pushed:
        wanted = self.wanted
        seen = self._opened()
        tagged = self._tagged(seen)
        commit, request = self._committed(seen, tagged)
        if wanted.tag is not None and not tagged and not self.dry_run:
            assert commit is not None
            self.reached = f"The commit {commit[:8]} with all files is pushed, only the tag `{wanted.tag}` is missing."
            self.repository.create_tag(wanted.tag, commit)
            self._check_tag(commit)
        return Pushed(
            url=self._url(request),
            commit=commit,
            sent=tuple(item.path for item in self._made.send),
            deleted=self._made.delete,
            sent_bytes=sum(item.size for item in self._made.send),
            created=self._created,
            pull_request=request,
            tag=wanted.tag,
        )

    def check(self) -> None:
        """Look at what is there, as a push does first."""
        self._tagged(self._opened())

    def _opened(self) -> Seen | None:
        """The repository and the branch, made where they are missing; None only if nothing is to be made."""
        wanted, repository = self.wanted, self.repository
        seen = repository.look()
        if seen is None:
            self._created = True
            if self.dry_run:
                return None
            repository.create(wanted.private)
            self.reached = "The repository was made, and is empty."
            seen = repository.look()
            if seen is None:
                raise UserError(f"`{wanted.repo_id}` was made, but can't be seen with this token. Check its rights.")
        elif wanted.private and not seen.private:
            raise UserError(
                f"`private=True`, but `{wanted.repo_id}` is there and public: pushing doesn't change that. Make it "
                f"private in its settings first, give another repository, or leave `private` out."
            )
        return self._on_branch(seen)

    def _on_branch(self, main: Seen) -> Seen | None:
        name = self.wanted.revision
        if name is None or name.startswith("refs/"):
            return self._look(name)
        if name not in self.repository.branches():
            if name in self.repository.tags():
                raise UserError(f"`revision={name}` is a tag, and nothing can be pushed onto one. Name a branch.")
            if self.wanted.create_pr:
                raise UserError(
                    f"`revision={name}`: `{self.wanted.repo_id}` has no such branch that a pull request could be for. "
                    f"Give one that it has, or leave `revision` out."
                )
            if self.dry_run:
                return main
            self.repository.create_branch(name, main.commit)
            self.reached = f"The branch `{name}` was made, and nothing else."
        return self._look(name)

    def _look(self, revision: str | None) -> Seen:
        seen = self.repository.look(revision)
        if seen is None:
            raise UserError(f"`{self.wanted.repo_id}` is gone: somebody has deleted it, or its name was changed.")
        return seen

    def _tagged(self, seen: Seen | None) -> bool:
        """Whether the tag is there, at the head; one that is elsewhere is refused before anything is sent."""
        tag = self.wanted.tag
        if tag is None or seen is None or self._created:
            return False
        at = self.repository.tags().get(tag)
        if at is not None and at != seen.commit:
            raise _other_tag(tag, self.wanted.repo_id, at)
        return at is not None

    def _check_tag(self, commit: str) -> None:
        tag = self.wanted.tag
        assert tag is not None
        at = self.repository.tags().get(tag)
        if at != commit:
            raise _other_tag(tag, self.wanted.repo_id, at)

    def _committed(self, seen: Seen | None, tagged: bool) -> tuple[str | None, int | None]:
        """The commit at which all is there, and the pull request that it belongs to, if one was asked for."""
        wanted = self.wanted
        tries, failed = Tries(f"pushing to `{wanted.repo_id}`", self.repository.patience), None
        while True:
            request = self._request() if wanted.create_pr and seen is not None else None
            revision = wanted.revision if request is None else f"refs/pr/{request}"
            seen = seen if request is None else self._look(revision)
            changed = self._changes(seen)
            if not changed:
                return (None if seen is None else seen.commit), request
            if tagged:
                assert wanted.tag is not None and seen is not None
                raise _other_tag(wanted.tag, wanted.repo_id, seen.commit)
            self._made = changed
            if self.dry_run or seen is None:
                return None, request
            if failed is not None:
                self.reached = "All files are uploaded, and no commit was made."
                tries.wait(failed)
                failed, seen = None, self._look(wanted.revision)
                continue
            answer, failed = self._commit(changed, seen, revision, new_request=wanted.create_pr and request is None)
            if failed is None:
                return str(answer.oid), request if answer.pr_num is None else int(answer.pr_num)
            seen = self._look(wanted.revision)

    def _commit(
        self, changed: Changes, seen: Seen, revision: str | None, new_request: bool
    ) -> tuple[Any, Fault | None]:
        """The Hub's answer to the commit, or its failure."""
        from huggingface_hub import CommitOperationDelete

        adding = [self._operations.setdefault(item, addition(item)) for item in changed.send]
        self.repository.upload(adding, revision, new_request)
        # A rule of the repository itself (`.gitignore`), by which the client would leave a file out and say nothing.
        ignored = [one.path_in_repo for one in adding if one._should_ignore]
        if ignored:
            raise UserError(
                f"`{self.wanted.repo_id}` takes no `{ignored[0]}`: its `.gitignore` says so. Take that rule out of it."
            )
        self.reached = "All files are uploaded; whether the commit was made isn't known."
        deleting = [CommitOperationDelete(path, is_folder=False) for path in changed.delete]
        try:
            answer = self.repository.commit(
                [*adding, *deleting], self.wanted.title, seen.commit, revision, create_pr=new_request
            )
            return answer, None
        except Exception as error:
            fault = fault_of(error)
            # What the Hub has against a card comes as a `ValueError` of its client.
            refused = scrubbed(str(error)) if fault is None and type(error) is ValueError else None
            if fault is None and refused is None:
                raise
        if refused is not None:
            raise UserError(f"The Hub refuses this push to `{self.wanted.repo_id}`: {shown(refused, 600)}")
        return None, fault

    def _changes(self, seen: Seen | None) -> Changes:
        instead = None if seen is None else self._guarded(seen)
        if instead is not None:
            changed = self._changes_for(instead, seen)
            if not changed.delete and all(item.path == CARD for item in changed.send):
                return changed
        return self._changes_for(self.wanted, seen)

    def _changes_for(self, wanted: Push, seen: Seen | None) -> Changes:
        items = [*wanted.items]
        if wanted.card is not None:
            there = None if seen is None else self.repository.read(CARD, seen)
            text = wanted.card(None if there is None else self._read(there))
            items.append(Item(CARD, text.encode()))
        if seen is None:
            return changes(items, {}, ())
        held = self.repository.held([item.path for item in items], seen)
        return changes(items, held, seen.names, wanted.owned)

    def _guarded(self, seen: Seen) -> Push | None:
        """Check the report in the repository; the push to do instead, if that report is of the same result."""
        if self.wanted.guard is None:
            return None
        path, check = self.wanted.guard
        there = self.repository.read(path, seen)
        if there is None:
            return None
        check(there)
        return None if self.wanted.again is None else self.wanted.again(there)

    def _read(self, card: bytes) -> str:
        try:
            return card.decode()
        except UnicodeDecodeError as error:
            raise UserError(
                f"`{CARD}` of `{self.wanted.repo_id}` is no UTF-8 ({error.reason}), so nothing can be added to it. "
                f"Save it as UTF-8 first."
            ) from None

    def _request(self) -> int | None:
        return self.repository.pull_request(self.wanted.title, self.me)

    def _url(self, request: int | None) -> str:
        if request is not None:
            return self.repository.url("discussions", str(request))
        revision = self.wanted.revision
        return self.repository.url() if revision is None else self.repository.url("tree", revision)


def _other_tag(tag: str, repo_id: str, at: str | None) -> UserError:
    where = "elsewhere" if at is None else f"at the commit {at[:8]}, which is another state"
    return UserError(
        f"`tag={tag}`: `{repo_id}` has this tag {where}. Give another one; a tag that others may have loaded from is "
        f"not moved."
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
