"""Endpoints of the Hub double for discussions and pull requests."""

from hub_refusals import Refusal
from hub_repos import BEGINNING, PullRequest, Repository
from hub_state import Hub, Routes
from hub_wire import Answer, Call


ROUTES = Routes()
WHEN = BEGINNING.strftime("%Y-%m-%dT%H:%M:%S.000Z")


@ROUTES.repository("GET", "/discussions")
def listed(hub: Hub, call: Call, kind: str, name: str) -> Answer:
    repository = hub.readable(call, kind, name)
    author, status, sort = call.asked("author"), call.asked("status"), call.asked("type")
    found = [
        one
        for one in repository.discussions
        if author in (None, one.author)
        and (status in (None, "all") or (one.status in ("open", "draft")) == (status == "open"))
        and (sort in (None, "all") or one.is_pull_request == (sort == "pull_request"))
    ]
    shown = [_told(repository, one) for one in reversed(found)] if call.asked("p") in (None, "0") else []
    return Answer.of({"discussions": shown, "count": len(found), "start": 0})


@ROUTES.repository("POST", "/discussions")
def begin(hub: Hub, call: Call, kind: str, name: str) -> Answer:
    repository, given = hub.readable(call, kind, name), call.json()
    author = hub.writer(call).user
    pull = bool(given.get("pullRequest"))
    opened = repository.open_discussion(given["title"], given.get("description", ""), author, is_pull_request=pull)
    return Answer.of({"num": opened.number, "pullRequest": pull})


@ROUTES.repository("GET", "/discussions/(?P<number>[0-9]+)")
def details(hub: Hub, call: Call, kind: str, name: str, number: str) -> Answer:
    repository = hub.readable(call, kind, name)
    one = _find(repository, number)
    commits = repository.history(one.head)
    known = {commit.id for commit in repository.history(one.base)} if one.merged_as is None else set()
    events = [_event("comment", one, {"edited": False, "hidden": False, "latest": {"raw": one.description}})]
    if one.is_pull_request:
        own = [commit for commit in commits if commit.id not in known and commit.title != "initial commit"]
        events += [_event("commit", one, {"subject": commit.title, "oid": commit.id}) for commit in reversed(own)]
    if one.status in ("merged", "closed"):
        events.append(_event("status-change", one, {"status": one.status}))
    changes = {"base": f"refs/heads/{one.base}", **({"mergeCommitId": one.merged_as} if one.merged_as else {})}
    return Answer.of({**_told(repository, one), "events": events, "changes": changes, "filesWithConflicts": []})


@ROUTES.repository("POST", "/discussions/(?P<number>[0-9]+)/(?P<what>merge|status|comment)")
def change(hub: Hub, call: Call, kind: str, name: str, number: str, what: str) -> Answer:
    repository = hub.writable(call, kind, name, pull=what == "comment")
    one, author = _find(repository, number), hub.writer(call).user
    if what == "comment":
        data = {"edited": False, "hidden": False, "latest": {"raw": call.json()["comment"]}}
        return Answer.of({"newMessage": _event("comment", one, data)})
    if what == "status":
        one.status = call.json()["status"]
    elif not one.is_pull_request:
        raise Refusal(400, "A discussion can't be merged")
    else:
        repository.merge(one, author)
    return Answer.of({"newStatus": _event("status-change", one, {"status": one.status})})


def _find(repository: Repository, number: str) -> PullRequest:
    found = next((one for one in repository.discussions if one.number == int(number)), None)
    if found is None:
        raise Refusal(404, "Discussion not found")
    return found


def _told(repository: Repository, one: PullRequest) -> dict:
    return {
        "num": one.number,
        "title": one.title,
        "author": {"name": one.author},
        "status": one.status,
        "isPullRequest": one.is_pull_request,
        "createdAt": WHEN,
        "repo": {"name": repository.name, "type": repository.kind},
    }


def _event(sort: str, one: PullRequest, data: dict) -> dict:
    return {
        "id": f"{one.number}-{sort}",
        "type": sort,
        "createdAt": WHEN,
        "author": {"name": one.author},
        "data": data,
    }
