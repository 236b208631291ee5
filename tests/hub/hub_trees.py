"""Endpoints of the Hub double that show what is in a repository: trees, paths, and the files themselves."""

import hashlib
import re
import time
from urllib.parse import parse_qs, quote

from hub_api import paged
from hub_refusals import Refusal
from hub_repos import Commit, Repository, Tree
from hub_state import PREFIXES, Hub, Routes
from hub_wire import Answer, Call


ROUTES, STORE = Routes(), Routes()


@ROUTES.repository("GET", "/tree/(?P<revision>[^/]+)(?P<path>/.+)?")
def tree(hub: Hub, call: Call, kind: str, name: str, revision: str, path: str | None) -> Answer:
    repository = hub.readable(call, kind, name)
    at, below = repository.find(revision), (path or "").strip("/")
    start = f"{below}/" if below else ""
    inside = [one for one in at.tree if one.startswith(start)]
    if not inside and below:
        raise Refusal(404, f"{below} does not exist on {revision}", "EntryNotFound")
    shown = {*inside} | {folder for one in inside for folder in _folders(one) if folder.startswith(start)}
    if call.asked("recursive") not in ("true", "True", "1"):
        shown = {one for one in shown if "/" not in one[len(start) :]}
    wide = call.asked("expand") in ("true", "True", "1")
    rows = [_entry(hub, repository, at, one, wide) for one in sorted(shown) if one != below]
    return paged(call, hub, rows)


@ROUTES.repository("POST", "/paths-info/(?P<revision>[^/]+)")
def paths_info(hub: Hub, call: Call, kind: str, name: str, revision: str) -> Answer:
    """Of the paths that exist; posted as a form."""
    repository = hub.readable(call, kind, name)
    at, form = repository.find(revision), parse_qs(call.body.decode())
    paths = [one.strip("/") for one in form.get("paths", [])]
    folders = {folder for one in at.tree for folder in _folders(one)}
    wide = form.get("expand", ["false"])[0] in ("true", "True", "1")
    return Answer.of([_entry(hub, repository, at, one, wide) for one in paths if one in at.tree or one in folders])


def _folders(path: str) -> list[str]:
    parts = path.split("/")[:-1]
    return ["/".join(parts[: n + 1]) for n in range(len(parts))]


def _entry(hub: Hub, repository: Repository, at: Commit, path: str, wide: bool) -> dict:
    """A file or folder as listings show it; a wide one tells which commit changed it last."""
    file = at.tree.get(path)
    last = {"lastCommit": _last_commit(repository, at, path)} if wide else {}
    if file is None:
        return {"type": "directory", "oid": _folder_oid(at.tree, path), "size": 0, "path": path, **last}
    told = {"type": "file", "oid": file.oid, "size": file.size, "path": path, **last}
    if file.sha256:
        told["lfs"] = {"oid": file.sha256, "size": file.size, "pointerSize": len(file.content)}
    if found := hub.xet_hash(file):
        told["xetHash"] = found
    return told


def _folder_oid(at: Tree, path: str) -> str:
    inside = sorted((one, file.oid) for one, file in at.items() if one.startswith(f"{path}/"))
    return hashlib.sha1(repr(inside).encode()).hexdigest()


def _last_commit(repository: Repository, at: Commit, path: str) -> dict:
    def below(commit: Commit) -> list:
        return sorted((p, f.oid) for p, f in commit.tree.items() if p == path or p.startswith(f"{path}/"))

    last, now = at, below(at)
    for commit in repository.history(at.id):
        if below(commit) != now:
            break
        last = commit
    return {"id": last.id, "title": last.title, "date": last.date}


RESOLVE = "/(?P<kind>datasets/|spaces/)?(?P<name>[^/]+/[^/]+)/resolve/(?P<revision>[^/]+)/(?P<path>.+)"


@ROUTES.on("HEAD", RESOLVE)
@ROUTES.on("GET", RESOLVE)
def resolve(hub: Hub, call: Call, kind: str, name: str, revision: str, path: str) -> Answer:
    """A file: its bytes, or where they are stored and what they are."""
    repository = hub.readable(call, kind, name)
    at = repository.find(revision)
    named = {"X-Repo-Commit": at.id, "Accept-Ranges": "bytes"}
    if path not in at.tree:
        refused = Answer.no(Refusal(404, "Entry not found", "EntryNotFound"))
        refused.headers.update(named)
        return refused
    file = at.tree[path]
    if file.sha256 is None:
        return ranged(call, file.content, {**named, "ETag": f'"{file.oid}"'})
    named |= {"X-Linked-Etag": f'"{file.sha256}"', "X-Linked-Size": str(file.size)}
    if found := hub.xet_hash(file):
        route = f"{hub.endpoint}/api/{kind}s/{name}/xet-read-token/{at.id}"
        named |= {"X-Xet-Hash": found, "Link": f'<{route}>; rel="xet-auth"'}
    return Answer(302, b"", {**named, "Location": f"{hub.cdn}/{file.sha256}?size={file.size}"})


@STORE.on("HEAD", "/(?P<sha256>[0-9a-f]{64})")
@STORE.on("GET", "/(?P<sha256>[0-9a-f]{64})")
def stored(hub: Hub, call: Call, sha256: str) -> Answer:
    """The bytes of a large file. Whoever knows the address may read it: the Hub's are signed."""
    try:
        content = hub.stored(sha256, int(call.asked("size") or 0))
    except KeyError:
        raise Refusal(404, "There is no such file") from None
    return ranged(call, content, {"ETag": f'"{sha256}"', "Accept-Ranges": "bytes"})


def ranged(call: Call, content: bytes, headers: dict[str, str]) -> Answer:
    """The bytes that were asked for: all, or a range."""
    headers = {"Content-Type": "application/octet-stream", **headers}
    asked = re.fullmatch(r"bytes=(\d*)-(\d*)", call.headers.get("Range", ""))
    if asked is None or asked.groups() == ("", ""):
        return Answer(200, content, headers)
    first, last = asked.groups()
    begin = int(first) if first else max(0, len(content) - int(last))
    end = min(int(last) if first and last else len(content) - 1, len(content) - 1)
    if begin > end:
        return Answer(416, b"", {**headers, "Content-Range": f"bytes */{len(content)}"})
    headers["Content-Range"] = f"bytes {begin}-{end}/{len(content)}"
    return Answer(206, content[begin : end + 1], headers)


@ROUTES.repository("GET", "/xet-(?P<right>read|write)-token/(?P<revision>[^/]+)")
def xet_token(hub: Hub, call: Call, kind: str, name: str, right: str, revision: str) -> Answer:
    """Where Xet's chunks are; a push with a new pull request asks for the revision `None`."""
    pull = call.asked("create_pr") == "1" or revision.startswith("refs/pr/")
    repository = hub.readable(call, kind, name) if right == "read" else hub.writable(call, kind, name, pull)
    if not pull:
        repository.find(revision)
    return xet_place(hub)


def xet_place(hub: Hub) -> Answer:
    """Where chunks go and come from, with a token for an hour."""
    if hub.xet is None:
        raise Refusal(404, "The double has no Xet in this test")
    expires = int(time.time()) + 3600
    named = {"X-Xet-Cas-Url": hub.xet.url, "X-Xet-Access-Token": "local", "X-Xet-Token-Expiration": str(expires)}
    answer = Answer.of({"casUrl": hub.xet.url, "exp": expires, "accessToken": "local"})
    answer.headers.update(named)
    return answer


def address(hub: Hub, repository: Repository) -> str:
    """A repository's page."""
    return f"{hub.endpoint}/{PREFIXES[repository.kind]}{quote(repository.name)}"
