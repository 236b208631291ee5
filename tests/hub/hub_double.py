"""A double of the Hugging Face Hub for tests: real HTTP on loopback, which the real clients talk to.

    with Double(folder) as double:
        double.fault("POST", "/commit/", "lost")
        run_python(double, home, "from datasets import Dataset; ...")
        assert double.files("dataset", "tester/rows")

`hub_wire.py` is the HTTP, `hub_faults.py` what goes wrong on request, `hub_state.py` accounts and rights,
`hub_repos.py` what repositories hold, and `hub_api.py`, `hub_trees.py`, `hub_commits.py`, `hub_pulls.py`,
`hub_jobs.py` are the endpoints. It knows what the clients are known to call; anything else gets 404 and stands in the
log as unknown.
"""

import os
import re
import threading
from pathlib import Path
from typing import Any

import hub_api
import hub_commits
import hub_jobs
import hub_pulls
import hub_trees
from hub_faults import Fault, Faults
from hub_repos import File, Repository
from hub_state import Hub
from hub_wire import Answer, Call, Entry, Server
from hub_xet import LocalStore


ROOT = Path(__file__).parents[2]
# What the clients read is the double's to say, not the caller's.
CLIENTS = ("HF_", "HUGGING", "TRANSFORMERS_", "PALIGN_")
QUIET = {
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_UPDATE_CHECK": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_ETAG_TIMEOUT": "10",
    "HF_HUB_DOWNLOAD_TIMEOUT": "10",
    "HF_XET_CLIENT_RETRY_MAX_ATTEMPTS": "2",
    "HF_XET_CLIENT_RETRY_BASE_DELAY": "10ms",
    "NO_PROXY": "127.0.0.1",
    "TOKENIZERS_PARALLELISM": "false",
}
API = (hub_api.ROUTES, hub_commits.ROUTES, hub_jobs.ROUTES, hub_pulls.ROUTES, hub_trees.ROUTES)
STORE = (hub_trees.STORE, hub_commits.STORE)


class Double:
    """A Hub of one user (`tester`, with a token that writes and one that reads), on two ports of loopback.

    With `xet`, large files come and go by Xet, through a folder; without, by LFS and the second port.
    """

    def __init__(self, folder: Path, *, user: str = "tester", xet: bool = False) -> None:
        self.user = user
        self.log: list[Entry] = []
        self.faults = Faults()
        self._hub_server = Server("hub", self._hub, self.faults, self.log)
        self._cdn_server = Server("cdn", self._cdn, self.faults, self.log)
        self.endpoint = self._hub_server.url
        self.state = Hub(endpoint=self.endpoint, cdn=self._cdn_server.url)
        self.state.xet = LocalStore(folder / "xet") if xet else None
        self.token = self.state.new_token(user, "write")
        self.read_token = self.state.new_token(user, "read")
        self._lock = threading.Lock()

    def __enter__(self) -> "Double":
        self._hub_server.start()
        self._cdn_server.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._hub_server.stop()
        self._cdn_server.stop()

    def _hub(self, call: Call) -> Answer | None:
        return self._answer(call, API)

    def _cdn(self, call: Call) -> Answer | None:
        return self._answer(call, STORE)

    def _answer(self, call: Call, routes: tuple) -> Answer | None:
        """One request at a time sees and changes the state."""
        with self._lock:
            return next((found for one in routes if (found := one.answer(self.state, call)) is not None), None)

    def fault(
        self,
        method: str,
        path: str,
        kind: str | int,
        times: int | None = 1,
        *,
        retry_after: int | None = None,
        seconds: float = 1.0,
    ) -> Fault:
        """From now on let requests fail (see `hub_faults.py`): so many times, or always (None)."""
        return self.faults.ask(method, path, kind, times, retry_after=retry_after, seconds=seconds)

    def requests(self, method: str = "*", path: str = "", place: str | None = None) -> list[Entry]:
        """What came, in order; the path with its query is searched for a pattern."""
        return [
            entry
            for entry in [*self.log]
            if method in ("*", entry.method) and re.search(path, entry.path) and place in (None, entry.place)
        ]

    def unknown(self) -> list[str]:
        """What was called that the double doesn't have."""
        return [f"{entry.method} {entry.path}" for entry in [*self.log] if not entry.known]

    def environment(self, home: Path, *, token: str | None = None, xet: bool | None = None) -> dict[str, str]:
        """The variables of a process that talks to the double, with a cache of its own in `home`.

        The token is the one that writes, unless one is given; "" is none. Xet is on if the double has it, unless said.
        """
        kept = {name: value for name, value in os.environ.items() if not name.startswith(CLIENTS)}
        given = self.token if token is None else token
        return {
            **kept,
            **QUIET,
            **({"HF_TOKEN": given} if given else {}),
            "HF_ENDPOINT": self.endpoint,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_XET": "0" if (self.state.xet is not None if xet is None else xet) else "1",
            "PYTHONPATH": os.pathsep.join(filter(None, (str(ROOT), str(ROOT / "tests"), kept.get("PYTHONPATH")))),
        }

    def api(self, token: str | None = None) -> Any:
        """An `HfApi` of this process that talks to the double, where the process isn't offline (fixture `online`)."""
        from huggingface_hub import HfApi

        return HfApi(endpoint=self.endpoint, token=token or self.token)

    def repository(self, kind: str, name: str) -> Repository:
        """A repository as it is held, for a test to look into."""
        return self.state.repositories[kind, name]

    def create(self, kind: str, name: str, *, private: bool = False) -> Repository:
        """A new repository, without asking by HTTP."""
        self.state.repositories[kind, name] = made = Repository(kind, name, private)
        made.begin(name.split("/")[0])
        return made

    def commit(
        self, kind: str, name: str, files: dict[str, bytes], *, title: str = "Put there", commit_id: str | None = None
    ) -> str:
        """Add files to the branch main, without asking by HTTP; the commit gets the id that is given."""
        repository = self.repository(kind, name)
        latest = repository.find("main")
        tree = {**latest.tree, **{path: File.regular(content) for path, content in files.items()}}
        made = repository.add_commit(tree, latest.id, title, "", repository.owner, commit_id)
        repository.point("main", made.id)
        return made.id

    def files(self, kind: str, name: str, revision: str = "main") -> dict[str, bytes]:
        """What a revision holds, by path, with the bytes of what is stored apart from git."""
        tree = self.repository(kind, name).find(revision).tree
        return {path: self.state.bytes_of(file) for path, file in sorted(tree.items())}

    def titles(self, kind: str, name: str, revision: str = "main") -> list[str]:
        """The titles of a revision's commits, oldest first, without the one that every repository begins with."""
        return [commit.title for commit in reversed(self.repository(kind, name).history(revision))][1:]
