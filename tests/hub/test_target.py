"""Names on the Hub, and who may write there: said before any work."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.errors import UserError
from palign_hf.hub.remote import check_target
from palign_hf.hub.settings import check_config_name, check_repo, check_revision, config_name


@pytest.mark.parametrize("name", ["me/rows", "Me_2/rows-1.5", "a/b", "org-x/qwen2.5-7b"])
def test_repositories(name):
    check_repo(name, name)


@pytest.mark.parametrize(
    "name", ["", "rows", "me/", "/rows", "me/rows/more", "me/ro ws", "me/a--b", "me/a..b", "me/.a", "me/\0"]
)
def test_what_names_no_repository(name):
    with pytest.raises(UserError, match="names no repository of the Hub"):
        check_repo(name, f"push_to_hub={name}")


@pytest.mark.parametrize(
    "name", ["", "a b", "a/b", "..", "-a", "a--b", "reports", "Pictures", "x" * 97, "a\n", "a-sft"]
)
def test_what_names_no_configuration(name):
    with pytest.raises(UserError, match="can't name a configuration"):
        check_config_name(name, f"config_name={name}")


@pytest.mark.parametrize("name", ["main", "v1.0", "study/2", "refs/pr/3"])
def test_branches(name):
    check_revision(name, name)


@pytest.mark.parametrize("name", ["", "a b", "-x", "a..b", "x.lock", "a" * 40, "x/", "a~1"])
def test_what_is_no_branch(name):
    with pytest.raises(UserError):
        check_revision(name, f"revision={name}")
    with pytest.raises(UserError):
        check_revision("refs/pr/3", "tag=refs/pr/3", tag=True)


@given(st.lists(st.text(max_size=120), min_size=1, max_size=3))
def test_a_name_made_of_anything_names_a_configuration(parts):
    check_config_name(config_name(*parts), "config_name")


def test_a_name_is_made_of_what_distinguishes_a_run():
    assert config_name("Qwen2.5-7B-Instruct", "ascend") == "qwen2.5-7b-instruct-ascend"
    assert config_name("Reports") == "reports-run"
    assert config_name("a" * 92 + "-SFT", "more") == "a" * 92 + "-run"


def test_offline_is_refused_without_asking(hub):
    with pytest.raises(UserError, match=r"Nothing can be pushed to `tester/rows`: `HF_HUB_OFFLINE` is set"):
        check_target("tester/rows", api=hub.api())
    assert not hub.requests()


@pytest.mark.usefixtures("online")
class TestRights:
    def test_of_whoever_may_write(self, hub):
        assert check_target("tester/rows", api=hub.api()) == "tester"
        hub.state.organizations["team"] = {"tester"}
        assert check_target("team/rows", api=hub.api()) == "tester"

    def test_a_token_that_only_reads(self, hub):
        with pytest.raises(UserError, match="may only read"):
            check_target("tester/rows", api=hub.api(hub.read_token))

    def test_a_token_that_nobody_has(self, hub):
        with pytest.raises(UserError, match="hf auth login") as caught:
            check_target("tester/rows", api=hub.api("hf_" + "x" * 34))
        assert "x" * 34 not in str(caught.value)

    def test_somebody_elses_repository(self, hub):
        with pytest.raises(UserError, match="you are `tester`, and may write for `tester`"):
            check_target("other/rows", api=hub.api())
        assert check_target("other/rows", api=hub.api(), pull_request=True) == "tester"
