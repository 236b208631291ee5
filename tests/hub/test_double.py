"""The Hub double as `HfApi` sees it in this process: repositories, revisions, files, rights, and every fault."""

import hashlib
import time

import httpx2
import pytest
from hub_double import Double
from huggingface_hub import CommitOperationAdd, CommitOperationCopy, CommitOperationDelete, snapshot_download
from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError


NAME = "tester/rows"
pytestmark = pytest.mark.usefixtures("online")


@pytest.fixture
def api(hub: Double):
    api = hub.api()
    api.create_repo(NAME, repo_type="dataset")
    return api


def add(api, files: dict[str, bytes], **options):
    operations = [CommitOperationAdd(path, content) for path, content in files.items()]
    return api.create_commit(NAME, operations, commit_message="Add", repo_type="dataset", **options)


def test_an_account_has_repositories_which_exist_once(hub, api):
    assert api.whoami()["name"] == "tester"
    assert api.create_repo(NAME, repo_type="dataset", exist_ok=True).repo_id == NAME
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_repo(NAME, repo_type="dataset")
    api.create_repo("tester/model", private=True)
    assert api.model_info("tester/model").private and not api.dataset_info(NAME).private
    assert [one.id for one in api.list_datasets(author="tester")] == [NAME]
    api.update_repo_settings("tester/model", visibility="public")
    assert not hub.repository("model", "tester/model").private
    api.delete_repo("tester/model")
    assert not api.repo_exists("tester/model") and api.repo_exists(NAME, repo_type="dataset")


def test_small_and_large_files_come_back_as_they_went(hub, api, tmp_path):
    files = {"a/b/text.txt": b"few words\n", "rows.parquet": bytes(range(256)) * 40, "odd": b"\0\1", "empty.txt": b""}
    made = add(api, files)
    tree = hub.repository("dataset", NAME).find("main").tree
    assert {path: content for path, content in hub.files("dataset", NAME).items() if path in files} == files
    assert [path for path, file in sorted(tree.items()) if file.sha256] == ["odd", "rows.parquet"]
    assert b"\nodd filter=lfs" in tree[".gitattributes"].content
    folder = snapshot_download(
        NAME, repo_type="dataset", endpoint=hub.endpoint, token=hub.token, cache_dir=tmp_path / "cache"
    )
    assert folder.endswith(made.oid)
    for path, content in files.items():
        assert (tmp_path / folder / path).read_bytes() == content
    assert [entry for entry in hub.requests(place="cdn") if entry.token] == []


def test_what_is_there_is_not_sent_again(hub, api):
    add(api, {"rows.parquet": b"rows" * 100, "card.txt": b"words"})
    add(api, {"rows.parquet": b"rows" * 100, "card.txt": b"words"})
    add(api, {"copy.parquet": b"rows" * 100})
    assert hub.titles("dataset", NAME) == ["Add", "Add"]
    assert len(hub.requests("PUT", "/upload/")) == 1


def test_a_file_in_parts_is_put_together(hub, api):
    hub.state.part_bytes = 1000
    content = b"".join(hashlib.sha256(bytes([n])).digest() for n in range(100))
    add(api, {"rows.bin": content})
    assert hub.files("dataset", NAME)["rows.bin"] == content
    assert len(hub.requests("PUT", r"\?part=")) == 4


def test_trees_come_in_pages_and_paths_one_by_one(hub, api):
    hub.state.page = 3
    add(api, {f"data/{n}.txt": b"%d" % n for n in range(7)} | {"data/deep/one.txt": b"1"})
    every = [one.path for one in api.list_repo_tree(NAME, recursive=True, repo_type="dataset")]
    assert len(every) == 7 + 1 + 3 and "data/deep" in every
    top = api.list_repo_tree(NAME, "data", repo_type="dataset", expand=True)
    assert [one.path for one in top if one.last_commit.title == "Add"][-1] == "data/deep"
    found = api.get_paths_info(NAME, ["data", "data/1.txt", "missing"], repo_type="dataset")
    assert [one.path for one in found] == ["data", "data/1.txt"]
    with pytest.raises(EntryNotFoundError):
        list(api.list_repo_tree(NAME, "missing", repo_type="dataset"))


def test_branches_tags_and_commits_are_revisions(hub, api):
    first = add(api, {"a.txt": b"1"}).oid
    api.create_tag(NAME, tag="v1.0", repo_type="dataset")
    api.create_branch(NAME, branch="work/x", revision=first, repo_type="dataset")
    second = add(api, {"a.txt": b"2"}, revision="work/x").oid
    third = add(api, {"a.txt": b"3"}).oid
    for revision, sha in (("v1.0", first), ("work/x", second), ("main", third), (first[:9], first)):
        assert api.dataset_info(NAME, revision=revision).sha == sha
    refs = api.list_repo_refs(NAME, repo_type="dataset")
    assert [one.name for one in refs.branches] == ["main", "work/x"] and refs.tags[0].target_commit == first
    assert [one.commit_id for one in api.list_repo_commits(NAME, repo_type="dataset")][:2] == [third, first]
    with pytest.raises(HfHubHTTPError, match="409"):
        api.create_tag(NAME, tag="v1.0", repo_type="dataset")
    api.delete_tag(NAME, tag="v1.0", repo_type="dataset")
    api.delete_branch(NAME, branch="work/x", repo_type="dataset")
    with pytest.raises(RevisionNotFoundError):
        api.dataset_info(NAME, revision="v1.0")


def test_a_commit_onto_an_older_one_is_refused(hub, api):
    before = api.dataset_info(NAME).sha
    add(api, {"a.txt": b"1"})
    with pytest.raises(HfHubHTTPError, match="412"):
        add(api, {"b.txt": b"1"}, parent_commit=before)
    assert hub.titles("dataset", NAME) == ["Add"]


def test_files_are_deleted_and_copied(hub, api):
    add(api, {"a.txt": b"1", "data/x.bin": b"x", "data/y.bin": b"y", "z.bin": b"z"})
    operations = [
        CommitOperationDelete("a.txt"),
        CommitOperationDelete("data/"),
        CommitOperationCopy("z.bin", "copied.bin"),
    ]
    api.create_commit(NAME, operations, commit_message="Tidy", repo_type="dataset")
    assert set(hub.files("dataset", NAME)) == {".gitattributes", "z.bin", "copied.bin"}
    assert hub.files("dataset", NAME)["copied.bin"] == b"z"
    with pytest.raises(EntryNotFoundError, match="404"):
        api.delete_file("never.txt", NAME, repo_type="dataset")


def test_a_pull_request_waits_until_it_is_merged(hub, api):
    made = add(api, {"a.txt": b"1", "b.bin": b"1"}, create_pr=True)
    assert made.pr_revision == "refs/pr/1" and "a.txt" not in hub.files("dataset", NAME)
    add(api, {"a.txt": b"2"}, revision="refs/pr/1")
    add(api, {"c.txt": b"other"})
    (one,) = api.get_repo_discussions(NAME, repo_type="dataset")
    assert (one.num, one.status, one.is_pull_request) == (1, "open", True)
    api.merge_pull_request(NAME, 1, repo_type="dataset")
    held = hub.files("dataset", NAME)
    assert (held["a.txt"], held["b.bin"], held["c.txt"]) == (b"2", b"1", b"other")
    assert api.get_discussion_details(NAME, 1, repo_type="dataset").status == "merged"
    draft = api.create_pull_request(NAME, title="Later", repo_type="dataset")
    assert (draft.num, draft.status) == (2, "draft")
    add(api, {"c.txt": b"theirs"}, revision="refs/pr/2")
    add(api, {"c.txt": b"ours"})
    with pytest.raises(HfHubHTTPError, match="409"):
        api.merge_pull_request(NAME, 2, repo_type="dataset")


def test_cards_are_checked_before_they_are_committed(hub, api):
    add(api, {"README.md": b"---\nlicense: mit\ntags: [math]\n---\n# Rows\n"})
    assert api.dataset_info(NAME).card_data.license == "mit"
    assert api.dataset_info(NAME, expand=["tags"]).tags == ["math", "license:mit"]
    for wrong in (b"---\nlicense: [\n---\n", b"---\ntags: math\n---\n"):
        with pytest.raises(ValueError, match="(?i)invalid metadata"):
            add(api, {"README.md": wrong})


def test_who_may_see_and_change_what(hub, api):
    hub.create("dataset", "tester/secret", private=True)
    stranger = hub.state.new_token("stranger", "write")
    assert api.dataset_info("tester/secret").private
    for token, name in ((stranger, "tester/secret"), (False, "tester/secret"), (False, "tester/none")):
        with pytest.raises(RepositoryNotFoundError):
            api.dataset_info(name, token=token)
    with pytest.raises(HfHubHTTPError, match="Invalid user token"):
        api.whoami(token="hf_nobody")
    for token in (hub.read_token, stranger):
        with pytest.raises(HfHubHTTPError, match="403"):
            add(api, {"a.txt": b"1"}, token=token)
    assert add(api, {"a.txt": b"1"}, token=stranger, create_pr=True).pr_num == 1
    with pytest.raises(HfHubHTTPError, match="403"):
        api.merge_pull_request(NAME, 1, repo_type="dataset", token=stranger)
    hub.state.organizations["team"] = {"tester"}
    assert api.create_repo("team/rows", repo_type="dataset").repo_id == "team/rows"
    assert api.whoami()["orgs"][0]["name"] == "team"


def test_the_log_tells_that_a_token_came_and_not_which(hub, api):
    api.whoami()
    entry = hub.requests("GET", "/whoami")[0]
    assert (entry.status, entry.token, entry.fault, entry.known) == (200, True, None, True)
    assert not any(token in repr(hub.log) for token in hub.state.accounts)


def test_what_the_double_does_not_have_is_told_and_logged(tmp_path):
    with Double(tmp_path) as double:
        answer = httpx2.get(f"{double.endpoint}/api/papers/search?q=prefix")
        assert answer.status_code == 404 and "no endpoint GET /api/papers/search" in answer.json()["error"]
        assert double.unknown() == ["GET /api/papers/search?q=prefix"]


def test_an_id_without_an_owner_is_not_found(hub, api):
    for call in (api.model_info, lambda name: api.hf_hub_download(name, "config.json")):
        with pytest.raises(RepositoryNotFoundError):
            call("rows")


def test_the_environment_of_a_process_has_nothing_of_ours(hub, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_TOKEN", "hf_of_whoever_runs_the_tests")
    named = hub.environment(tmp_path)
    assert (named["HF_ENDPOINT"], named["HF_TOKEN"]) == (hub.endpoint, hub.token)
    assert "HF_HUB_OFFLINE" not in named and "HF_TOKEN" not in hub.environment(tmp_path, token="")


def test_a_fault_that_is_none_is_refused(hub):
    with pytest.raises(ValueError, match="`explode` is no kind of fault"):
        hub.fault("POST", "/commit/", "explode")


@pytest.mark.parametrize("status", [401, 403, 409, 412, 429, 500, 503])
def test_a_status_is_answered_and_nothing_is_carried_out(hub, api, status):
    fault = hub.fault("POST", "/commit/", status)
    with pytest.raises(HfHubHTTPError, match=str(status)):
        add(api, {"a.txt": b"1"})
    assert hub.titles("dataset", NAME) == [] and fault.met == 1
    add(api, {"a.txt": b"1"})
    assert [entry.status for entry in hub.requests("POST", "/commit/")] == [status, 200]


@pytest.mark.parametrize(
    ("kind", "done", "error"),
    [
        ("reset", [], httpx2.ReadError),
        ("lost", ["Add"], httpx2.RemoteProtocolError),
        ("cut", ["Add"], httpx2.RemoteProtocolError),
        ("truncated", ["Add"], httpx2.RemoteProtocolError),
    ],
)
def test_a_connection_ends_early(hub, api, kind, done, error):
    hub.fault("POST", "/commit/", kind)
    with pytest.raises(error):
        add(api, {"a.txt": b"1"})
    assert hub.titles("dataset", NAME) == done
    assert hub.requests("POST", "/commit/")[0].fault == kind
    api.whoami()


def test_an_upload_goes_on_after_faults_that_clients_try_again(hub, api):
    hub.fault("POST", "/preupload/", 429, retry_after=0)
    hub.fault("PUT", "/upload/", "reset")
    content = bytes(3_000_000)
    add(api, {"rows.bin": content})
    assert hub.files("dataset", NAME)["rows.bin"] == content
    assert [entry.status for entry in hub.requests("PUT", "/upload/")] == [None, 200]


def test_a_download_that_breaks_off_is_taken_up_again(hub, api, tmp_path):
    content = hashlib.sha256(b"").digest() * 700_000
    add(api, {"rows.bin": content})
    hub.fault("GET", "/[0-9a-f]{64}", "truncated")
    got = api.hf_hub_download(NAME, "rows.bin", repo_type="dataset", cache_dir=tmp_path / "cache")
    assert open(got, "rb").read() == content
    assert [entry.status for entry in hub.requests("GET", place="cdn")] == [200, 206]


def test_slow_is_slow_and_always_is_always(hub, api):
    hub.fault("GET", "/whoami", "slow", seconds=0.3)
    began = time.monotonic()
    assert api.whoami()["name"] == "tester" and time.monotonic() - began >= 0.3
    fault = hub.fault("*", "/whoami", 500, times=None)
    for _ in range(3):
        with pytest.raises(HfHubHTTPError, match="500"):
            api.whoami()
    assert fault.met == 3
    hub.faults.clear()
    assert api.whoami()["name"] == "tester"
