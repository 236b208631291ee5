"""The state behind the Hub double's endpoints: accounts, repositories, stored bytes, and who may do what."""

import hashlib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from urllib.parse import unquote

from hub_refusals import Refusal
from hub_repos import File, Repository
from hub_wire import Answer, Call
from hub_xet import LocalStore


KINDS = {"models": "model", "datasets": "dataset", "spaces": "space"}
PREFIXES = {"model": "", "dataset": "datasets/", "space": "spaces/"}


@dataclass(frozen=True)
class Account:
    """Whom a token stands for, and whether it may `read` or `write`."""

    user: str
    role: str


@dataclass
class Hub:
    """All that the double holds; `endpoint` and `cdn` are the addresses that its answers name."""

    endpoint: str = ""
    cdn: str = ""
    accounts: dict[str, Account] = field(default_factory=dict)
    organizations: dict[str, set[str]] = field(default_factory=dict)
    repositories: dict[tuple[str, str], Repository] = field(default_factory=dict)
    buckets: dict[str, dict[str, str]] = field(default_factory=dict)  # of each, Xet's name of a file by its path
    jobs: list[dict] = field(default_factory=list)  # as they were asked for, with the values of secrets
    large: dict[str, bytes] = field(default_factory=dict)
    parts: dict[str, dict[int, bytes]] = field(default_factory=dict)
    part_bytes: int | None = None  # larger files come in parts; None: never
    page: int = 1000  # rows of a listing
    xet: LocalStore | None = None

    def new_token(self, user: str, role: str) -> str:
        """A token of a user, who exists from now on."""
        token = "hf_" + hashlib.sha256(f"{user} {role} {len(self.accounts)}".encode()).hexdigest()[:34]
        self.accounts[token] = Account(user, role)
        return token

    def caller(self, call: Call) -> Account | None:
        """Who calls; a token that nobody has is refused, a missing one is nobody."""
        if call.token is None:
            return None
        if call.token not in self.accounts:
            raise Refusal(401, "Invalid credentials in Authorization header")
        return self.accounts[call.token]

    def owns(self, account: Account | None, namespace: str) -> bool:
        """Whether the namespace is the caller's own or of an organization of theirs."""
        return account is not None and account.user in {namespace, *self.organizations.get(namespace, ())}

    def writer(self, call: Call, namespace: str | None = None) -> Account:
        """The caller, who must have a token that writes, and write to that namespace."""
        account = self.caller(call)
        if account is None:
            raise Refusal(401, "Invalid username or password.")
        if account.role != "write":
            raise Refusal(403, "Forbidden: the token has the role `read`, and this needs `write`")
        if namespace is not None and not self.owns(account, namespace):
            raise Refusal(403, f"Forbidden: `{account.user}` has no rights in the namespace `{namespace}`")
        return account

    def readable(self, call: Call, kind: str, name: str) -> Repository:
        """A repository that the caller may see; whether a hidden one exists isn't told."""
        account = self.caller(call)
        repository = self.repositories.get((kind, name))
        if repository is None or (repository.private and not self.owns(account, repository.owner)):
            raise Refusal(404 if account else 401, "Repository not found", "RepoNotFound")
        return repository

    def writable(self, call: Call, kind: str, name: str, pull: bool = False) -> Repository:
        """A repository that the caller may push to; whoever may see it may open a pull request."""
        repository = self.readable(call, kind, name)
        self.writer(call, None if pull else repository.owner)
        return repository

    def bytes_of(self, file: File) -> bytes:
        """The content of a file, wherever it is stored."""
        if file.sha256 is None:
            return file.content
        return self.stored(file.sha256, file.size)

    def stored(self, sha256: str, size: int) -> bytes:
        if sha256 in self.large:
            return self.large[sha256]
        if self.xet is None:
            raise KeyError(sha256)
        return self.xet.read(sha256, size)

    def xet_hash(self, file: File) -> str | None:
        """Xet's name of a file that came that way."""
        return self.xet.hashes().get(file.sha256) if self.xet and file.sha256 else None


Endpoint = Callable[..., Answer]


class Routes:
    """Which function answers which request; the named parts of its path are handed on, unquoted."""

    REPOSITORY = r"/api/(?P<kind>models|datasets|spaces)/(?P<name>[^/]+/[^/]+)"

    def __init__(self) -> None:
        self._known: list[tuple[str, re.Pattern[str], Endpoint]] = []

    def on(self, method: str, pattern: str) -> Callable[[Endpoint], Endpoint]:
        def keep(endpoint: Endpoint) -> Endpoint:
            self._known.append((method, re.compile(pattern), endpoint))
            return endpoint

        return keep

    def repository(self, method: str, rest: str = "") -> Callable[[Endpoint], Endpoint]:
        """An endpoint below /api/KIND/OWNER/NAME."""
        return self.on(method, self.REPOSITORY + rest)

    def answer(self, hub: Hub, call: Call) -> Answer | None:
        for method, pattern, endpoint in self._known:
            if method == call.method and (met := pattern.fullmatch(call.path)):
                named = {name: unquote(value) if value else value for name, value in met.groupdict().items()}
                if "kind" in named:
                    named["kind"] = KINDS[(named["kind"] or "models").strip("/")]
                return endpoint(hub, call, **named)
        return None
