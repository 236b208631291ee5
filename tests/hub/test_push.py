"""A push as the server sees it: one commit, of one configuration, over whatever others do meanwhile."""

import threading
from dataclasses import replace

import pytest
from pushing import PATIENCE, ROWS, complete, pushed, wanted

from palign_hf.errors import UserError
from palign_hf.hub.plan import Item
from palign_hf.hub.push import check, push


pytestmark = pytest.mark.usefixtures("online")
NAME = "tester/rows"


def titles(hub, revision="main"):
    return hub.titles("dataset", NAME, revision)


def test_a_new_repository_gets_all_of_it_in_one_commit(hub):
    given = wanted(NAME, private=True)
    done = pushed(hub, given)
    assert complete(hub, given) and titles(hub) == ["Publish one"] and hub.repository("dataset", NAME).private
    assert done.created and done.commit == hub.repository("dataset", NAME).find("main").id
    assert done.sent == ("README.md", "data/one/train-00000-of-00001.parquet", "reports/one/report.json")
    assert done.url == f"{hub.endpoint}/datasets/{NAME}" and done.sent_bytes > len(ROWS)


def test_the_same_again_makes_no_commit_and_sends_nothing(hub):
    pushed(hub, wanted(NAME))
    before = len(hub.requests("PUT"))
    done = pushed(hub, wanted(NAME))
    assert done.unchanged and not done.created and titles(hub) == ["Publish one"]
    assert len(hub.requests("PUT")) == before and len(hub.requests("POST", "/commit/")) == 1


def test_a_dry_run_says_what_a_push_would_do_and_changes_nothing(hub):
    given = wanted(NAME, revision="dev", tag="v1")
    told = pushed(hub, given, dry_run=True)
    assert told.created and len(told.sent) == 3 and not hub.state.repositories
    done = pushed(hub, given)
    assert told.sent == done.sent and told.sent_bytes == done.sent_bytes
    assert pushed(hub, given, dry_run=True).unchanged
    changed = pushed(hub, wanted(NAME, revision="dev", rows=b"PAR1other" * 9), dry_run=True)
    assert changed.sent == ("data/one/train-00000-of-00001.parquet",) and titles(hub, "dev") == ["Publish one"]
    assert {entry.method for entry in hub.requests(path="/(commit|branch|tag|create)")} == {"POST"}
    assert len(hub.requests("POST", "/commit/")) == 1


def test_what_an_earlier_push_of_the_same_configuration_left_goes_in_the_same_commit(hub):
    two = wanted(NAME)
    shards = tuple(Item(f"data/one/train-0000{at}-of-00002.parquet", ROWS + bytes([at])) for at in (0, 1))
    pushed(hub, replace(two, items=(*shards, *two.items[1:])))
    pushed(hub, wanted(NAME, "one-more"))
    done = pushed(hub, two)
    assert done.deleted == tuple(sorted(item.path for item in shards))
    assert complete(hub, two) and complete(hub, wanted(NAME, "one-more"))
    assert [name for name in hub.files("dataset", NAME) if name.startswith("data/one/")] == [two.items[0].path]
    assert titles(hub) == ["Publish one", "Publish one-more", "Publish one"]


def test_a_card_keeps_what_a_person_has_written(hub):
    pushed(hub, wanted(NAME))
    text = hub.files("dataset", NAME)["README.md"] + "Mine: naïve → β.\n".encode()
    hub.commit("dataset", NAME, {"README.md": text})
    pushed(hub, wanted(NAME, "two"))
    assert hub.files("dataset", NAME)["README.md"] == text + b"* two\n"


def test_two_writers_of_two_configurations_lose_nothing(hub):
    configs = [f"writer-{at}" for at in range(4)]
    errors = []

    def write(config):
        try:
            pushed(hub, wanted(NAME, config))
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=write, args=[config]) for config in configs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert all(complete(hub, wanted(NAME, config)) for config in configs)
    card = hub.files("dataset", NAME)["README.md"].decode()
    assert sorted(titles(hub)) == sorted(f"Publish {config}" for config in configs)
    assert all(card.count(f"* {config}\n") == 1 for config in configs)


def test_another_writer_in_between_has_their_card_kept(hub):
    hub.create("dataset", NAME)
    given, met = wanted(NAME), []
    inner = given.card

    def card(existing):
        if not met:
            met.append(existing)
            hub.commit("dataset", NAME, {"README.md": b"---\nlicense: mit\n---\nTheirs.\n"}, title="Theirs")
        return inner(existing)

    pushed(hub, replace(given, card=card))
    assert met == [None] and titles(hub) == ["Theirs", "Publish one"]
    assert hub.files("dataset", NAME)["README.md"].decode() == "---\nlicense: mit\n---\nTheirs.\n* one\n"
    assert [entry.status for entry in hub.requests("POST", "/commit/")] == [412, 200]


def test_who_is_always_too_late_is_told_so(hub):
    hub.fault("POST", "/commit/", 412, None)
    with pytest.raises(
        UserError, match="failed 8 times.*All files are uploaded, and no commit was made. The same com"
    ):
        pushed(hub, wanted(NAME))
    assert titles(hub) == []


def test_what_was_uploaded_is_not_sent_again(hub):
    hub.fault("POST", "/commit/", 503, None)
    with pytest.raises(UserError):
        pushed(hub, wanted(NAME))
    assert len(hub.requests("PUT")) == 1
    hub.faults.clear()
    pushed(hub, wanted(NAME))
    assert len(hub.requests("PUT")) == 1 and complete(hub, wanted(NAME))


def test_a_branch_is_made_where_it_is_missing(hub):
    pushed(hub, wanted(NAME))
    given = wanted(NAME, "two", revision="study/2")
    done = pushed(hub, given)
    assert (
        complete(hub, given, "study/2") and complete(hub, wanted(NAME), "study/2") and titles(hub) == ["Publish one"]
    )
    assert done.url.endswith("/tree/study/2") and pushed(hub, given).unchanged


def test_a_tag_names_the_commit_and_is_never_moved(hub):
    given = wanted(NAME, tag="v1")
    done = pushed(hub, given)
    repository = hub.repository("dataset", NAME)
    assert repository.find("v1").id == done.commit
    assert pushed(hub, given).unchanged
    requests = len(hub.requests("POST", "/(preupload|commit)/"))
    with pytest.raises(UserError, match="`tag=v1`: `tester/rows` has this tag at the commit"):
        pushed(hub, wanted(NAME, rows=b"PAR1other" * 9, tag="v1"))
    pushed(hub, wanted(NAME, "two"))
    with pytest.raises(UserError, match="which is another state"):
        pushed(hub, given)
    assert repository.find("v1").id == done.commit and titles(hub) == ["Publish one", "Publish two"]
    assert len(hub.requests("POST", "/(preupload|commit)/")) == requests + 2
    with pytest.raises(UserError, match="`revision=v1` is a tag"):
        pushed(hub, wanted(NAME, revision="v1"))


def test_a_tag_that_was_missing_is_made_by_the_same_push(hub):
    hub.fault("POST", "/tag/", 503, None)
    with pytest.raises(UserError, match="only the tag `v1` is missing"):
        pushed(hub, wanted(NAME, tag="v1"))
    hub.faults.clear()
    done = pushed(hub, wanted(NAME, tag="v1"))
    assert done.unchanged and hub.repository("dataset", NAME).find("v1").id == done.commit


def test_there_is_one_pull_request_which_goes_on(hub):
    pushed(hub, wanted(NAME))
    given = wanted(NAME, "two", create_pr=True)
    done = pushed(hub, given)
    assert done.pull_request == 1 and done.url == f"{hub.endpoint}/datasets/{NAME}/discussions/1"
    assert pushed(hub, given).unchanged and pushed(hub, given).pull_request == 1
    other = wanted(NAME, "two", rows=b"PAR1other" * 9, create_pr=True)
    assert pushed(hub, other).pull_request == 1
    (request,) = hub.repository("dataset", NAME).discussions
    assert complete(hub, other, "refs/pr/1") and titles(hub) == ["Publish one"]
    assert titles(hub, "refs/pr/1") == ["Publish one", "Publish two", "Publish two"]
    hub.api().merge_pull_request(NAME, 1, repo_type="dataset")
    assert complete(hub, other) and pushed(hub, other).unchanged and pushed(hub, other).pull_request is None


def test_a_pull_request_is_for_a_branch_that_is_there(hub):
    hub.create("dataset", NAME)
    with pytest.raises(UserError, match="`revision=dev`: `tester/rows` has no such branch"):
        pushed(hub, wanted(NAME, create_pr=True, revision="dev"))
    hub.api().create_branch(NAME, branch="dev", repo_type="dataset")
    pushed(hub, wanted(NAME, create_pr=True, revision="dev"))
    assert hub.repository("dataset", NAME).discussions[0].base == "dev"


def test_a_card_that_is_no_text_is_left_alone(hub):
    hub.create("dataset", NAME)
    hub.commit("dataset", NAME, {"README.md": b"caf\xe9"})
    with pytest.raises(UserError, match="is no UTF-8"):
        pushed(hub, wanted(NAME))
    assert hub.files("dataset", NAME)["README.md"] == b"caf\xe9"


def test_a_pull_request_of_somebody_else_is_left_alone(hub):
    hub.create("dataset", "other/rows")
    other = hub.state.new_token("other", "write")
    given = wanted("other/rows", create_pr=True)
    push(given, api=hub.api(other), patience=PATIENCE)
    done = pushed(hub, given)
    assert done.pull_request == 2 and complete(hub, given, "refs/pr/2")


def test_a_public_repository_is_not_pushed_to_as_a_private_one(hub):
    pushed(hub, wanted(NAME))
    with pytest.raises(UserError, match="`private=True`, but `tester/rows` is there and public"):
        pushed(hub, wanted(NAME, "two", private=True))
    assert titles(hub) == ["Publish one"]


def test_a_rule_of_the_repository_that_leaves_files_out_is_said(hub):
    hub.create("dataset", NAME)
    given = wanted(NAME)
    rules = Item(".gitignore", b"*.parquet\n")
    with pytest.raises(UserError, match="its `.gitignore` says so"):
        pushed(hub, replace(given, items=(rules, *given.items)))
    assert titles(hub) == []


def test_what_couldnt_be_pushed_is_known_before(hub):
    given = replace(wanted(NAME, tag="v1", private=True, revision="dev"), items=(), card=None)
    check(given, api=hub.api(), patience=PATIENCE)
    assert not hub.state.repositories and {entry.method for entry in hub.requests()} == {"GET"}
    hub.create("dataset", NAME)
    with pytest.raises(UserError, match="there and public"):
        check(given, api=hub.api(), patience=PATIENCE)
    with pytest.raises(UserError, match="may only read"):
        check(given, api=hub.api(hub.read_token), patience=PATIENCE)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"repo_id": "rows"}, "names no repository"),
        ({"revision": "a b"}, "can't name a branch"),
        ({"tag": "a" * 40}, "is a commit"),
        ({"tag": "v1", "create_pr": True}, "a pull request is no release yet"),
    ],
)
def test_what_can_never_be_pushed_is_refused_when_it_is_said(more, said):
    with pytest.raises(UserError, match=said):
        replace(wanted(NAME), **more)
