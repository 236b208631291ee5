"""Every endpoint that a push calls, with every fault, once and for good: what the server holds afterwards.

A push ends in success, or in one `UserError` after which the same push completes. Either way there is exactly one
commit of it then, one pull request, one tag; nothing is half there, nothing of others is gone, and no text holds the
token.
"""

import itertools
import logging
import time
import traceback
from types import SimpleNamespace

import pytest
from hub_double import Double
from pushing import complete, pushed, wanted

from palign_hf.errors import UserError


DIRECT = {
    "whoami": ("GET", "/api/whoami"),
    "look": ("GET", r"/api/datasets/tester/[^/]+$"),
    "create": ("POST", "/api/repos/create"),
    "refs": ("GET", "/refs"),
    "branch": ("POST", "/branch/"),
    "preupload": ("POST", "/preupload/"),
    "batch": ("POST", "/objects/batch"),
    "upload": ("PUT", "/upload/"),
    "verify": ("POST", "/objects/verify"),
    "card": ("POST", "/api/validate-yaml"),
    "commit": ("POST", "/commit/"),
    "tag": ("POST", "/tag/"),
}
REQUESTED = {
    "files": ("POST", "/paths-info/"),
    "read": ("GET", r"/resolve/.*README"),
    "requests": ("GET", "/discussions"),
    "request": ("POST", r"/commit/.*create_pr=1"),
}
CARRIED_OUT = ["lost", "cut", "truncated"]
PASSING = [429, 500, 503, "reset", *CARRIED_OUT]
CONFLICTS = [409, 412]
DENIED = [401, 403]
MAKING = {"create", "branch", "upload", "commit", "tag", "request"}
_numbers = itertools.count()


@pytest.fixture(scope="module")
def double(tmp_path_factory):
    with Double(tmp_path_factory.mktemp("hub")) as double:
        yield double


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """This process is online, sends large files by LFS, and its clients don't wait."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    still = SimpleNamespace(**vars(time) | {"sleep": lambda seconds: None})
    monkeypatch.setattr("huggingface_hub.utils._http.time", still)
    monkeypatch.setattr("huggingface_hub.file_download.time", still)


@pytest.fixture
def hub(double):
    yield double
    double.faults.clear()


def cases():
    for name, place in DIRECT.items():
        for kind in PASSING:
            yield name, place, kind, False
        for kind in CONFLICTS if name in ("create", "branch", "commit", "tag") else []:
            yield name, place, kind, False
    for name, place in REQUESTED.items():
        for kind in (503, 429, "reset", *CARRIED_OUT):
            yield name, place, kind, True
    for kind in CONFLICTS:
        yield "request", REQUESTED["request"], kind, True


CASES = [pytest.param(*case, id=f"{case[0]}-{case[2]}") for case in cases()]
DENIALS = [
    pytest.param(place, kind, requested, id=f"{name}-{kind}")
    for requested, places in ((False, DIRECT), (True, REQUESTED))
    for name, place in places.items()
    for kind in DENIED
    # A repository that can't be seen is made, and a card that can't be read is no card's fault: others have them all.
    if (name, kind) not in {("look", 401)}
]


def planned(hub, requested):
    """A push in a repository of its own: a new one with branch and tag, or by pull request into one that is there."""
    name = f"tester/rows-{next(_numbers)}"
    if not requested:
        return wanted(name, revision="dev", tag="v1")
    hub.create("dataset", name)
    card = b"---\nlicense: mit\n---\nWords of a person.\n"
    hub.commit("dataset", name, {"README.md": card, "data/other/x.txt": b"x"})
    return wanted(name, create_pr=True)


def holds_it_once(hub, given):
    """Whether the server holds the push, all of it, once; and what others have there."""
    repository = hub.repository("dataset", given.repo_id)
    if given.create_pr:
        (request,) = repository.discussions
        files = hub.files("dataset", given.repo_id, f"refs/pr/{request.number}")
        titles = hub.titles("dataset", given.repo_id, f"refs/pr/{request.number}")
        assert hub.titles("dataset", given.repo_id) == ["Put there"]
        assert files["data/other/x.txt"] == b"x" and b"Words of a person." in files["README.md"]
        return complete(hub, given, f"refs/pr/{request.number}") and titles[1:] == [given.title]
    assert hub.titles("dataset", given.repo_id) == []
    head = repository.find("dev").id
    return (
        complete(hub, given, "dev")
        and hub.titles("dataset", given.repo_id, "dev") == [given.title]
        and (repository.find("v1").id == head)
    )


def holds_nothing(hub, given):
    """Whether nothing of the push can be seen: no commit, no pull request, no tag."""
    repository = hub.state.repositories.get(("dataset", given.repo_id))
    if repository is None or given.create_pr:
        return repository is None or not repository.discussions
    branches = [ref for ref in ("main", "dev") if hub_has(repository, ref)]
    return all(not hub.titles("dataset", given.repo_id, ref) for ref in branches) and not hub_has(repository, "v1")


def hub_has(repository, ref):
    try:
        return repository.find(ref) is not None
    except Exception:
        return False


@pytest.mark.parametrize(("name", "place", "kind", "requested"), CASES)
def test_a_fault_that_passes_is_got_over(hub, name, place, kind, requested, caplog):
    given = planned(hub, requested)
    fault = hub.fault(*place, kind, 1, retry_after=1 if kind == 429 else None)
    with caplog.at_level(logging.DEBUG):
        done = pushed(hub, given)
    assert fault.met == 1 and holds_it_once(hub, given) and not done.unchanged
    assert hub.token not in caplog.text
    again = pushed(hub, given)
    assert again.unchanged and again.commit == done.commit and holds_it_once(hub, given)


@pytest.mark.parametrize(("name", "place", "kind", "requested"), CASES)
def test_a_fault_that_stays_is_one_clear_error_and_the_same_push_goes_on(
    hub, name, place, kind, requested, caplog, capsys
):
    given = planned(hub, requested)
    fault = hub.fault(*place, kind, None, retry_after=1 if kind == 429 else None)
    try:
        with caplog.at_level(logging.DEBUG):
            pushed(hub, given)
        told = ""
    except UserError as error:
        told = "".join(traceback.format_exception(error))
        assert "failed" in str(error) and f"`{given.repo_id}`" in told
        assert "The same command resumes it" in str(error) or str(error).startswith("Nothing can be pushed")
        assert error.__context__ is None or "Authorization" not in repr(error.__context__)
    assert fault.met >= 1 and hub.token not in told + caplog.text + "".join(capsys.readouterr())
    # What the server has carried out is found by looking for it: a file is there, too, if only its check failed.
    if name == "verify" or (kind in CARRIED_OUT and name in MAKING):
        assert not told and holds_it_once(hub, given)
    elif name == "tag":
        assert told and complete(hub, given, "dev") and not hub_has(hub.repository("dataset", given.repo_id), "v1")
        assert "only the tag `v1` is missing" in told
    else:
        assert told and holds_nothing(hub, given)
    hub.faults.clear()
    pushed(hub, given)
    assert holds_it_once(hub, given)


@pytest.mark.parametrize(("place", "kind", "requested"), DENIALS)
def test_a_token_that_is_refused_is_said_at_once_with_what_helps(hub, place, kind, requested):
    given = planned(hub, requested)
    fault = hub.fault(*place, kind, None)
    with pytest.raises(UserError) as caught:
        pushed(hub, given)
    assert fault.met == 1, "what is refused isn't tried again"
    assert ("hf auth login" if kind == 401 else "right to write") in str(caught.value)
    assert hub.token not in "".join(traceback.format_exception(caught.value))
    hub.faults.clear()
    pushed(hub, given)
    assert holds_it_once(hub, given)
