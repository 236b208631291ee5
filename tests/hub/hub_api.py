"""Endpoints of the Hub double that tell of repositories, make them and name their revisions."""

import math
from urllib.parse import parse_qs, quote, urlencode

import yaml
from hub_refusals import Refusal
from hub_repos import BEGINNING, Commit, File, Repository
from hub_state import PREFIXES, Hub, Routes
from hub_wire import Answer, Call


ROUTES = Routes()
KNOWN = {"model", "dataset", "space"}


@ROUTES.on("GET", "/api/whoami-v2")
def whoami(hub: Hub, call: Call) -> Answer:
    account = hub.caller(call)
    if account is None:
        raise Refusal(401, "Invalid username or password.")
    organizations = [{"type": "org", "name": name} for name, of in hub.organizations.items() if account.user in of]
    token = {"displayName": account.role, "role": account.role}
    known = {"type": "user", "id": account.user, "name": account.user, "fullname": account.user}
    return Answer.of({**known, "orgs": organizations, "auth": {"type": "access_token", "accessToken": token}})


@ROUTES.on("GET", "/api/agent-harnesses")
def harnesses(hub: Hub, call: Call) -> Answer:
    """Clients ask for it when they think that they are run by a program, and do without."""
    raise Refusal(404, "The double knows no harnesses")


@ROUTES.on("POST", "/api/repos/create")
def create(hub: Hub, call: Call) -> Answer:
    given = call.json()
    account = hub.writer(call)
    owner, kind = given.get("organization") or account.user, given.get("type") or "model"
    name = f"{owner}/{given['name']}"
    if kind not in KNOWN:
        raise Refusal(400, f"The double has no repositories of type `{kind}`")
    hub.writer(call, owner)
    url = f"{hub.endpoint}/{PREFIXES[kind]}{name}"
    if (kind, name) in hub.repositories:
        raise Refusal(409, "You already created this repo", url=url)
    hub.repositories[kind, name] = made = Repository(kind, name, given.get("visibility") == "private")
    made.begin(account.user)
    return Answer.of({"url": url, "name": name, "id": name})


@ROUTES.on("DELETE", "/api/repos/delete")
def delete(hub: Hub, call: Call) -> Answer:
    given = call.json()
    name = f"{given.get('organization') or hub.writer(call).user}/{given['name']}"
    repository = hub.writable(call, given.get("type") or "model", name)
    del hub.repositories[repository.kind, repository.name]
    return Answer.of({})


@ROUTES.on("GET", "/api/(?P<kind>models|datasets|spaces)")
def listed(hub: Hub, call: Call, kind: str) -> Answer:
    account, author = hub.caller(call), call.asked("author")
    found = [one for one in hub.repositories.values() if one.kind == kind and author in (None, one.owner)]
    return Answer.of([described(hub, one) for one in found if not one.private or hub.owns(account, one.owner)])


@ROUTES.on("GET", "/api/(?P<kind>models|datasets|spaces)/(?P<name>[^/]+)(/(revision|tree)/.+)?")
@ROUTES.on("HEAD", "/(?P<kind>datasets/|spaces/)?(?P<name>[^/]+)/resolve/.+")
@ROUTES.on("GET", "/(?P<kind>datasets/|spaces/)?(?P<name>[^/]+)/resolve/.+")
def without_owner(hub: Hub, call: Call, kind: str, name: str) -> Answer:
    """An id without an owner; the double has no such repositories, so that it isn't found."""
    return Answer.of(described(hub, hub.readable(call, kind, name)))


@ROUTES.repository("GET", "(/revision/(?P<revision>[^/]+))?")
def info(hub: Hub, call: Call, kind: str, name: str, revision: str | None = None) -> Answer:
    repository = hub.readable(call, kind, name)
    told = described(hub, repository, revision, "blobs" in call.query)
    asked = {*call.query.get("expand", []), *call.query.get("expand[]", [])}
    if unknown := asked - {*told}:
        raise Refusal(400, f"The double can't expand {', '.join(sorted(unknown))}")
    return Answer.of({key: value for key, value in told.items() if not asked or key in asked or key in ("_id", "id")})


def described(hub: Hub, repository: Repository, revision: str | None = None, blobs: bool = False) -> dict:
    """What the Hub tells of a repository at a revision."""
    at = repository.find(revision or "main")
    files = [{"rfilename": path, **(_blob(file) if blobs else {})} for path, file in sorted(at.tree.items())]
    card = card_data(at.tree["README.md"].content) if "README.md" in at.tree else {}
    tags = card.get("tags") or []
    return {
        "_id": repository.name.encode().hex()[:24],
        "id": repository.name,
        "author": repository.owner,
        "sha": at.id,
        "lastModified": at.date,
        "createdAt": BEGINNING.strftime("%Y-%m-%dT%H:%M:%S.000Z"),
        "private": repository.private,
        "gated": False,
        "disabled": False,
        "downloads": 0,
        "likes": 0,
        "tags": [*tags, *([f"license:{card['license']}"] if "license" in card else [])],
        "cardData": card,
        "siblings": files,
        **({"library_name": card.get("library_name")} if repository.kind == "model" else {}),
    }


def _blob(file: File) -> dict:
    lfs = {"sha256": file.sha256, "size": file.size, "pointerSize": len(file.content)}
    return {"size": file.size, "blobId": file.oid, **({"lfs": lfs} if file.sha256 else {})}


def card_data(card: bytes) -> dict:
    """The settings at the head of a card; none where they can't be read."""
    text = card.decode("utf-8", "replace")
    if not text.startswith("---"):
        return {}
    try:
        found = yaml.safe_load(text[3:].split("\n---", 1)[0])
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


@ROUTES.on("POST", "/api/validate-yaml")
def validate(hub: Hub, call: Call) -> Answer:
    """What of a card's head the Hub would refuse: no YAML, no settings, or settings of the wrong kind."""
    text = call.json()["content"]
    head = text[3:].split("\n---", 1)[0] if text.startswith("---") else ""
    wrong = []
    try:
        card = yaml.safe_load(head) or {}
    except yaml.YAMLError as error:
        card, wrong = {}, [str(error)]
    if not isinstance(card, dict):
        card, wrong = {}, ["The head of the card is no mapping"]
    for key, kinds in (("license", (str, list)), ("tags", list), ("language", (str, list)), ("configs", list)):
        if key in card and not isinstance(card[key], kinds):
            wrong.append(f'"{key}" is of the wrong type')
    wrong += ['"configs" needs a "config_name"' for one in card.get("configs") or [] if "config_name" not in one]
    warnings = [] if card else [{"message": "empty or missing yaml metadata in repo card"}]
    return Answer.of({"errors": [{"message": one} for one in wrong], "warnings": warnings}, 400 if wrong else 200)


@ROUTES.repository("PUT", "/settings")
def settings(hub: Hub, call: Call, kind: str, name: str) -> Answer:
    repository, given = hub.writable(call, kind, name), call.json()
    if unknown := set(given) - {"visibility", "private"}:
        raise Refusal(400, f"The double has no settings {', '.join(sorted(unknown))}")
    repository.private = given.get("visibility") == "private" or given.get("private") is True
    return Answer.of({"private": repository.private})


@ROUTES.repository("GET", "/auth-check")
def allowed(hub: Hub, call: Call, kind: str, name: str) -> Answer:
    hub.readable(call, kind, name)
    return Answer.of({})


@ROUTES.repository("GET", "/refs")
def refs(hub: Hub, call: Call, kind: str, name: str) -> Answer:
    repository = hub.readable(call, kind, name)
    pulls = [{"name": one.ref, "ref": one.ref, "targetCommit": one.head} for one in repository.discussions]
    branches = [{"name": n, "ref": f"refs/heads/{n}", "targetCommit": at} for n, at in repository.branches.items()]
    tags = [{"name": n, "ref": f"refs/tags/{n}", "targetCommit": at} for n, at in repository.tags.items()]
    told: dict = {"branches": branches, "converts": [], "tags": tags}
    return Answer.of({**told, "pullRequests": pulls} if "include_prs" in call.query else told)


@ROUTES.repository("GET", "/commits/(?P<revision>[^/]+)")
def commits(hub: Hub, call: Call, kind: str, name: str, revision: str) -> Answer:
    history = hub.readable(call, kind, name).history(revision)
    return paged(call, hub, [_told(commit) for commit in history])


def _told(commit: Commit) -> dict:
    known = {"id": commit.id, "title": commit.title, "message": commit.message, "date": commit.date}
    return {**known, "authors": [{"user": commit.author}]}


def paged(call: Call, hub: Hub, rows: list) -> Answer:
    """A page of a list, with the address of the next one."""
    size, page = int(call.asked("limit") or hub.page), int(call.asked("cursor") or 0)
    answer = Answer.of(rows[page * size : (page + 1) * size])
    if page + 1 < math.ceil(len(rows) / size):
        query = {**parse_qs(call.target.partition("?")[2]), "cursor": [str(page + 1)]}
        answer.headers["Link"] = f'<{hub.endpoint}{call.path}?{urlencode(query, doseq=True)}>; rel="next"'
    return answer


@ROUTES.repository("POST", "/(?P<sort>branch|tag)/(?P<revision>[^/]+)")
def name_revision(hub: Hub, call: Call, kind: str, name: str, sort: str, revision: str) -> Answer:
    """A new branch, called as in the path, or a new tag at what the path names."""
    repository, given = hub.writable(call, kind, name), call.json()
    known = repository.branches if sort == "branch" else repository.tags
    called = revision if sort == "branch" else given["tag"]
    at = repository.find((given.get("startingPoint") or "main") if sort == "branch" else revision)
    if called in known:
        raise Refusal(409, f"Reference already exists: {quote(called)}")
    known[called] = at.id
    return Answer.of({})


@ROUTES.repository("DELETE", "/(?P<sort>branch|tag)/(?P<revision>[^/]+)")
def forget_revision(hub: Hub, call: Call, kind: str, name: str, sort: str, revision: str) -> Answer:
    repository = hub.writable(call, kind, name)
    known = repository.branches if sort == "branch" else repository.tags
    if revision not in known:
        raise Refusal(404, f"Invalid rev id: {revision}", "RevisionNotFound")
    if sort == "branch" and revision == "main":
        raise Refusal(403, "The branch main can't be deleted")
    del known[revision]
    return Answer.of({})
