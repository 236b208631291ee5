"""What the Hub double holds: repositories, whose commits are whole trees, with branches, tags and pull requests.

No HTTP in here. What can't be done raises `Refusal`, in the words and with the error code that the Hub answers with.
Ids and dates follow from what was committed in which order, so the same pushes make the same commits.
"""

import fnmatch
import hashlib
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from hub_refusals import Refusal


BEGINNING = datetime(2026, 1, 1, tzinfo=UTC)
# As the Hub writes it into a new repository: the kinds of files that are always stored apart from git.
LARGE_KINDS = (
    "7z",
    "arrow",
    "bin",
    "gz",
    "h5",
    "npy",
    "npz",
    "parquet",
    "pt",
    "pth",
    "safetensors",
    "tar",
    "zip",
    "zst",
)
ATTRIBUTES = "".join(f"*.{kind} filter=lfs diff=lfs merge=lfs -text\n" for kind in LARGE_KINDS)
# Larger files are stored apart from git, whatever they are called.
LARGE_BYTES = 10_000_000


@dataclass(frozen=True)
class File:
    """A file of a tree: the bytes, or the name (sha256) and size of what is stored apart from git."""

    content: bytes
    sha256: str | None = None
    size: int = 0

    @classmethod
    def regular(cls, content: bytes) -> "File":
        return cls(content, None, len(content))

    @classmethod
    def large(cls, sha256: str, size: int) -> "File":
        """The content is what git keeps of it: the pointer."""
        pointer = f"version https://git-lfs.github.com/spec/v1\noid sha256:{sha256}\nsize {size}\n"
        return cls(pointer.encode(), sha256, size)

    @property
    def oid(self) -> str:
        """Git's name of the content."""
        return hashlib.sha1(b"blob %d\0" % len(self.content) + self.content).hexdigest()


Tree = dict[str, File]


@dataclass(frozen=True)
class Commit:
    """A whole tree, and what it came from."""

    id: str
    title: str
    message: str
    date: str
    author: str
    parent: str | None
    tree: Tree


@dataclass
class PullRequest:
    """A change that waits on a reference of its own, `refs/pr/N`."""

    number: int
    title: str
    description: str
    author: str
    base: str
    head: str
    status: str = "open"
    is_pull_request: bool = True
    merged_as: str | None = None

    @property
    def ref(self) -> str:
        return f"refs/pr/{self.number}"


@dataclass
class Repository:
    """One repository; `kind` is `model`, `dataset` or `space`."""

    kind: str
    name: str
    private: bool = False
    commits: dict[str, Commit] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)
    tags: dict[str, str] = field(default_factory=dict)
    discussions: list[PullRequest] = field(default_factory=list)
    stored: dict[str, int] = field(default_factory=dict)  # sha256 and size of what was uploaded for it

    @property
    def owner(self) -> str:
        return self.name.split("/")[0]

    def begin(self, author: str) -> Commit:
        """The first commit of a new repository, as the Hub makes it."""
        attributes = File.regular(ATTRIBUTES.encode())
        return self._advance("main", None, {".gitattributes": attributes}, "initial commit", "", author)

    def add_commit(
        self, tree: Tree, parent: str | None, title: str, message: str, author: str, commit_id: str | None = None
    ) -> Commit:
        """A commit that no reference points to yet."""
        number = len(self.commits)
        said = repr(
            (self.kind, self.name, number, parent, title, message, sorted((p, f.oid) for p, f in tree.items()))
        )
        name = commit_id or hashlib.sha1(said.encode()).hexdigest()
        date = (BEGINNING + timedelta(seconds=number)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
        self.commits[name] = made = Commit(name, title, message, date, author, parent, tree)
        return made

    def _advance(self, ref: str, parent: str | None, tree: Tree, title: str, message: str, author: str) -> Commit:
        made = self.add_commit(tree, parent, title, message, author)
        self.point(ref, made.id)
        return made

    def point(self, ref: str, commit_id: str) -> None:
        """Let a branch or a pull request point to a commit."""
        pull = self.pull_of(ref)
        if pull is not None:
            pull.head = commit_id
        else:
            self.branches[ref] = commit_id

    def pull_of(self, ref: str) -> PullRequest | None:
        return next((one for one in self.discussions if one.is_pull_request and one.ref == ref), None)

    def find(self, revision: str) -> Commit:
        """The commit that a branch, tag, pull request, commit id or its beginning names."""
        pull = self.pull_of(revision)
        known = {**self.tags, **self.branches}
        name = pull.head if pull else known.get(revision.removeprefix("refs/heads/"), revision)
        if name in self.commits:
            return self.commits[name]
        begun = [commit for commit in self.commits if len(name) >= 7 and commit.startswith(name)]
        if len(begun) == 1:
            return self.commits[begun[0]]
        raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")

    def history(self, revision: str) -> list[Commit]:
        """The commits that led there, the latest first."""
        step: Commit | None = self.find(revision)
        found = []
        while step:
            found.append(step)
            step = self.commits[step.parent] if step.parent else None
        return found

    def commit(
        self, ref: str, tree: Tree, title: str, message: str, author: str, parent: str | None, pull: bool
    ) -> tuple[Commit, PullRequest | None]:
        """Commit a tree onto a branch or pull request, or as a new pull request, if its parent is the latest."""
        if pull and ref not in self.branches:
            raise Refusal(404, f"Invalid rev id: {ref}", "RevisionNotFound")
        if ref not in self.branches and self.pull_of(ref) is None:
            code = "RevisionNotFound" if ref not in self.tags and ref not in self.commits else None
            raise Refusal(404 if code else 400, f"`{ref}` is no branch to commit to", code)
        latest = self.find(ref).id
        if parent and parent != latest:
            raise Refusal(412, "A commit has happened since. Please refresh and try again.")
        if not pull:
            return self._advance(ref, latest, tree, title, message, author), None
        opened = self.open_discussion(title, message, author, base=ref)
        opened.status = "open"
        return self._advance(opened.ref, latest, tree, title, message, author), opened

    def open_discussion(
        self, title: str, description: str, author: str, base: str = "main", is_pull_request: bool = True
    ) -> PullRequest:
        """A discussion or a pull request without changes yet, which the Hub calls a draft."""
        opened = PullRequest(
            number=len(self.discussions) + 1,
            title=title,
            description=description,
            author=author,
            base=base,
            head=self.find(base).id,
            status="draft" if is_pull_request else "open",
            is_pull_request=is_pull_request,
        )
        self.discussions.append(opened)
        return opened

    def merge(self, pull: PullRequest, author: str) -> Commit:
        """Put the changes of a pull request onto its branch; refused where both changed a file."""
        latest = self.find(pull.base)
        base = self.common(latest.id, pull.head)
        ours, theirs = changes(base.tree, latest.tree), changes(base.tree, self.commits[pull.head].tree)
        both = sorted(path for path in theirs if path in ours and ours[path] != theirs[path])
        if pull.status not in ("open", "draft"):
            raise Refusal(409, f"The pull request is {pull.status}")
        if both:
            raise Refusal(409, f"The pull request conflicts with {pull.base}: {', '.join(both)}")
        tree = {**latest.tree, **theirs}
        kept = {path: file for path, file in tree.items() if file is not None}
        made = self._advance(pull.base, latest.id, kept, f"{pull.title} (#{pull.number})", "", author)
        pull.status, pull.merged_as = "merged", made.id
        return made

    def common(self, one: str, other: str) -> Commit:
        """The latest commit that both came from."""
        known = {commit.id for commit in self.history(one)}
        return next(commit for commit in self.history(other) if commit.id in known)


def changes(before: Tree, after: Tree) -> dict[str, File | None]:
    """What a tree changed: the new file of a path, None where it was deleted."""
    return {path: after.get(path) for path in {*before, *after} if before.get(path) != after.get(path)}


def is_large(path: str, size: int, sample: bytes, tree: Tree) -> bool:
    """Whether a file is to be stored apart from git: by its kind, its size, or since it isn't text."""
    return matches_attributes(path, tree) or size > LARGE_BYTES or b"\0" in sample


def matches_attributes(path: str, tree: Tree) -> bool:
    """Whether .gitattributes names the file as one that git doesn't hold itself."""
    attributes = tree.get(".gitattributes")
    lines = attributes.content.decode().splitlines() if attributes else []
    patterns = [line.split()[0] for line in lines if "filter=lfs" in line]
    return any(fnmatch.fnmatch(path if "/" in pattern else path.split("/")[-1], pattern) for pattern in patterns)
