"""What one commit has to do: nothing is sent twice, and nothing that others own is deleted."""

import hashlib
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.errors import UserError
from palign_hf.hub.plan import Held, Item, changes, check_items, owns


NAMES = st.sampled_from(
    ["a/1.parquet", "a/2.parquet", "b/1.parquet", "ab/1", "config.json", "x.safetensors", "README.md"]
)
FILES = st.dictionaries(NAMES, st.binary(max_size=4))


def held(content: bytes, large: bool) -> Held:
    item = Item("x", content)
    return Held(len(content), "0" * 40 if large else item.git_sha1, item.sha256 if large else None)


@given(FILES, FILES, st.booleans(), st.sets(st.sampled_from(["a/", "*.safetensors", "config.json"])))
def test_after_its_changes_a_repository_holds_what_is_wanted_and_all_that_others_own(wanted, there, large, owned):
    items = [Item(path, content) for path, content in wanted.items()]
    plan = changes(items, {path: held(content, large) for path, content in there.items()}, there, tuple(owned))
    after = {path: content for path, content in there.items() if path not in plan.delete}
    after |= {item.path: item.source for item in plan.send}
    others = {path: content for path, content in there.items() if not owns(tuple(owned), path)}
    assert after == {**others, **wanted}
    assert not set(plan.delete) & {item.path for item in plan.send} and {*plan.delete} <= {*there}
    assert all(there.get(item.path) != item.source for item in plan.send)
    assert not changes(items, {path: held(content, large) for path, content in after.items()}, after, tuple(owned))


@pytest.mark.parametrize("content", [b"", b"few words\n", bytes(range(256)) * 5000])
def test_files_are_known_as_git_and_the_hub_know_them(content, tmp_path):
    file = tmp_path / "file"
    file.write_bytes(content)
    git = subprocess.run(["git", "hash-object", str(file)], capture_output=True, text=True, check=True).stdout.strip()
    for item in (Item("x", file), Item("x", content)):
        assert (item.git_sha1, item.sha256, item.size) == (git, hashlib.sha256(content).hexdigest(), len(content))


def test_only_files_of_the_same_size_are_read(tmp_path):
    (tmp_path / "large").write_bytes(b"1234")
    item = Item("large", tmp_path / "large")
    assert not Held(5, "0" * 40, "0" * 64).is_as(item)
    assert "sha256" not in vars(item) and "git_sha1" not in vars(item)


def test_one_place_takes_one_file():
    check_items([Item("a", b"1"), Item("b", b"1")])
    with pytest.raises(UserError, match="Two files are to be pushed as `a`"):
        check_items([Item("a", b"1"), Item("a", b"2")])
