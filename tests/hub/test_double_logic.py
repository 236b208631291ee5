"""The parts of the Hub double that ask nobody: trees and merges, ranges of bytes, and Xet's table of files."""

import hashlib

import pytest
from hub_refusals import Refusal
from hub_repos import File, Repository, Tree, changes
from hub_trees import ranged
from hub_wire import Call
from hub_xet import DESCRIBED, RECORD, VERIFIED, files_of
from hypothesis import given
from hypothesis import strategies as st


trees = st.dictionaries(
    st.sampled_from(["a.txt", "b.txt", "c/d.bin", "c/e.txt"]), st.binary(max_size=2).map(File.regular)
)


def applied(tree: Tree, change: dict[str, File | None]) -> Tree:
    return {path: file for path, file in {**tree, **change}.items() if file is not None}


@given(trees, trees)
def test_what_changed_makes_one_tree_of_the_other(before, after):
    assert applied(before, changes(before, after)) == after


@given(trees, trees, trees)
def test_a_merge_has_the_changes_of_both_or_is_refused(before, ours, theirs):
    repository = Repository("dataset", "tester/rows")
    start = repository.begin("tester")
    base, _ = repository.commit("main", before, "Base", "", "tester", start.id, False)
    _, pull = repository.commit("main", theirs, "Theirs", "", "tester", base.id, True)
    latest, _ = repository.commit("main", ours, "Ours", "", "tester", base.id, False)
    one, other = changes(before, ours), changes(before, theirs)
    if all(one[path] == other[path] for path in {*one} & {*other}):
        assert repository.merge(pull, "tester").tree == applied(before, {**one, **other})
        assert pull.status == "merged"
    else:
        with pytest.raises(Refusal, match="conflicts"):
            repository.merge(pull, "tester")
        assert repository.find("main") == latest and pull.status == "open"


@given(st.lists(trees, max_size=4))
def test_the_same_commits_have_the_same_ids(wanted):
    def ids() -> list[str]:
        repository = Repository("dataset", "tester/rows")
        made = repository.begin("tester")
        for tree in wanted:
            made, _ = repository.commit("main", tree, "Next", "", "tester", made.id, False)
        assert len(repository.commits) == len(wanted) + 1
        return [commit.id for commit in repository.history("main")]

    assert ids() == ids()


@given(st.binary(max_size=20), st.integers(0, 25), st.none() | st.integers(0, 25))
def test_a_range_is_a_slice(content, first, last):
    asked = f"bytes={first}-{'' if last is None else last}"
    answer = ranged(Call("GET", "/x", {"Range": asked}, b""), content, {})
    expected = content[first : None if last is None else last + 1]
    assert (answer.status, answer.body) == ((206, expected) if expected else (416, b""))


@given(st.dictionaries(st.binary(min_size=8, max_size=8), st.tuples(st.integers(0, 3), st.booleans(), st.booleans())))
def test_xet_names_the_files_that_have_a_sha256(files):
    def swapped(name: bytes) -> bytes:
        return b"".join(name[n : n + 8][::-1] for n in range(0, 32, 8))

    shard, expected = bytes(RECORD), {}
    for seed, (segments, verified, described) in files.items():
        name, sha256 = hashlib.sha256(seed).digest(), hashlib.sha256(seed + b"!").digest()
        flags = VERIFIED * verified | DESCRIBED * described
        head = swapped(name) + flags.to_bytes(4, "little") + segments.to_bytes(4, "little") + bytes(8)
        shard += head + b"\1" * RECORD * segments * (1 + verified)
        if described:
            shard += swapped(sha256) + bytes(16)
            expected[sha256.hex()] = name.hex()
    assert files_of(shard + b"\xff" * 32 + bytes(16) + b"rest") == expected
