"""Endpoints of the Hub double that take a push: what is to be stored apart from git, those bytes, and the commit."""

import base64
import binascii
import fnmatch
import hashlib
import json

from hub_refusals import Refusal
from hub_repos import File, Repository, Tree, is_large, matches_attributes
from hub_state import PREFIXES, Hub, Routes
from hub_trees import address
from hub_wire import Answer, Call


ROUTES, STORE = Routes(), Routes()
GIT = r"/(?P<kind>datasets/|spaces/)?(?P<name>[^/]+/[^/]+)\.git/info/lfs"


@ROUTES.repository("POST", "/preupload/(?P<revision>[^/]+)")
def preupload(hub: Hub, call: Call, kind: str, name: str, revision: str) -> Answer:
    """How each file is to come, and which content the revision already has under its path."""
    repository, given = _pushed(hub, call, kind, name, revision), call.json()
    tree = repository.find(revision).tree
    ignored = [line.strip("/ ") for line in given.get("gitIgnore", "").splitlines() if line and line[0] != "#"]
    told = []
    for one in given["files"]:
        path, present = one["path"], tree.get(one["path"])
        large = is_large(path, one["size"], base64.b64decode(one["sample"]), tree)
        ignore = any(fnmatch.fnmatch(part, rule) for rule in ignored for part in (path, *path.split("/")))
        answer = {"path": path, "uploadMode": "lfs" if large else "regular", "shouldIgnore": ignore}
        told.append({**answer, **({"oid": present.sha256 or present.oid} if present else {})})
    return Answer.of({"files": told})


def _pushed(hub: Hub, call: Call, kind: str, name: str, revision: str) -> Repository:
    pull = call.asked("create_pr") == "1" or revision.startswith("refs/pr/")
    return hub.writable(call, kind, name, pull)


@ROUTES.on("POST", GIT + "/objects/batch")
def batch(hub: Hub, call: Call, kind: str, name: str) -> Answer:
    """Where to put what the repository doesn't have yet."""
    repository, given = hub.writable(call, kind, name, pull=True), call.json()
    if given.get("operation") != "upload" or given.get("hash_algo") != "sha256":
        raise Refusal(422, "The double takes uploads by sha256 only")
    several = hub.part_bytes if "multipart" in given.get("transfers", []) else None
    told, transfer = [], "basic"
    for one in given["objects"]:
        sha256, size = one["oid"], one["size"]
        if sha256 in repository.stored:
            told.append(one)
            continue
        href = f"{hub.cdn}/upload/{PREFIXES[kind]}{name}/{sha256}"
        upload: dict = {"href": href}
        if several and size > several:
            transfer, count = "multipart", -(-size // several)
            parts = {f"{n:05}": f"{href}?part={n}" for n in range(1, count + 1)}
            upload["header"] = {"chunk_size": str(several), **parts}
        verify = {"href": f"{hub.endpoint}/{PREFIXES[kind]}{name}.git/info/lfs/objects/verify"}
        told.append({**one, "actions": {"upload": upload, "verify": verify}})
    return Answer.of({"transfer": transfer, "objects": told})


UPLOAD = "/upload/(?P<kind>datasets/|spaces/)?(?P<name>[^/]+/[^/]+)/(?P<sha256>[0-9a-f]{64})"


@STORE.on("PUT", UPLOAD)
def put(hub: Hub, call: Call, kind: str, name: str, sha256: str) -> Answer:
    """The bytes of a file, or of one part of it."""
    part = call.asked("part")
    if part is None:
        _keep(hub, kind, name, sha256, call.body)
    else:
        hub.parts.setdefault(sha256, {})[int(part)] = call.body
    return Answer(200, b"", {"ETag": f'"{hashlib.md5(call.body).hexdigest()}"'})


@STORE.on("POST", UPLOAD)
def complete(hub: Hub, call: Call, kind: str, name: str, sha256: str) -> Answer:
    """The parts are there: put them together in the order that is named."""
    numbers = [part["partNumber"] for part in call.json()["parts"]]
    parts = hub.parts.get(sha256, {})
    if missing := [n for n in numbers if n not in parts]:
        raise Refusal(400, f"Parts {missing} of {sha256} never came")
    _keep(hub, kind, name, sha256, b"".join(parts[n] for n in numbers))
    hub.parts.pop(sha256, None)
    return Answer.of({})


def _keep(hub: Hub, kind: str, name: str, sha256: str, content: bytes) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != sha256:
        raise Refusal(400, f"The content has the sha256 {found}, not {sha256}")
    if (kind, name) not in hub.repositories:
        raise Refusal(404, "Repository not found", "RepoNotFound")
    hub.large[sha256] = content
    hub.repositories[kind, name].stored[sha256] = len(content)


@ROUTES.on("POST", GIT + "/objects/verify")
def verify(hub: Hub, call: Call, kind: str, name: str) -> Answer:
    repository, given = hub.writable(call, kind, name, pull=True), call.json()
    if repository.stored.get(given["oid"]) != given["size"]:
        raise Refusal(404, f"{given['oid']} with {given['size']} bytes isn't stored")
    return Answer.of({})


@ROUTES.repository("POST", "/commit/(?P<revision>[^/]+)")
def commit(hub: Hub, call: Call, kind: str, name: str, revision: str) -> Answer:
    """Lines of JSON, one an operation, become one commit or none."""
    repository, pull = _pushed(hub, call, kind, name, revision), call.asked("create_pr") == "1"
    author = hub.writer(call).user
    try:
        lines = [json.loads(line) for line in call.body.splitlines() if line.strip()]
        head = next(line["value"] for line in lines if line["key"] == "header")
    except (ValueError, KeyError, TypeError, StopIteration):
        raise Refusal(400, "A commit is lines of JSON with a header") from None
    tree = dict(repository.find(revision).tree)
    for line in lines:
        if line["key"] != "header":
            _operate(hub, repository, tree, line["key"], line["value"])
    made, opened = repository.commit(
        revision, tree, head["summary"], head.get("description", ""), author, head.get("parentCommit"), pull
    )
    told = {"success": True, "commitOid": made.id, "commitUrl": f"{address(hub, repository)}/commit/{made.id}"}
    if opened:
        told["pullRequestUrl"] = f"{address(hub, repository)}/discussions/{opened.number}"
    return Answer.of(told)


def _operate(hub: Hub, repository: Repository, tree: Tree, operation: str, value: dict) -> None:
    path = value["path"]
    if operation == "file":
        try:
            tree[path] = File.regular(base64.b64decode(value["content"], validate=True))
        except binascii.Error:
            raise Refusal(400, f"{path}: the content isn't in base64") from None
    elif operation == "lfsFile":
        tree[path] = File.large(value["oid"], _size(hub, repository, value))
        if not matches_attributes(path, tree):
            known = tree[".gitattributes"].content if ".gitattributes" in tree else b""
            tree[".gitattributes"] = File.regular(known + f"{path} filter=lfs diff=lfs merge=lfs -text\n".encode())
    elif operation in ("deletedFile", "deletedFolder"):
        start = f"{path.strip('/')}/"
        gone = [one for one in tree if (one == path if operation == "deletedFile" else one.startswith(start))]
        if not gone:
            raise Refusal(404, f"A file with the name {path} doesn't exist", "EntryNotFound")
        for one in gone:
            del tree[one]
    else:
        raise Refusal(400, f"The double knows no operation `{operation}` of a commit")


def _size(hub: Hub, repository: Repository, value: dict) -> int:
    """How large a file is whose bytes must have come before; a copy of one doesn't say it."""
    sha256, size = value["oid"], value.get("size")
    came = repository.stored.get(sha256)
    if came is None and hub.xet and sha256 in hub.xet.hashes():
        came = repository.stored[sha256] = size if size is not None else len(hub.stored(sha256, 0))
    if came is None:
        elsewhere = [one.stored[sha256] for one in hub.repositories.values() if sha256 in one.stored]
        if size is not None or not elsewhere:
            raise Refusal(400, f"{value['path']}: the file {sha256} was never uploaded")
        came = repository.stored[sha256] = elsewhere[0]  # copied from another repository
    if size not in (None, came):
        raise Refusal(400, f"{value['path']}: {sha256} has {came} bytes, not {size}")
    return came
