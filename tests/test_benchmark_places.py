"""Where a benchmark is read from: the Hub at its commit, a copy that is named, or a folder of copies."""

import json

import pytest

from palign_hf.benchmarks import BENCHMARKS, VARIABLE, open_benchmark, place_of
from palign_hf.errors import UserError


@pytest.fixture(autouse=True)
def nowhere(monkeypatch):
    monkeypatch.delenv(VARIABLE, raising=False)


@pytest.fixture
def copies(tmp_path):
    """Copies of two benchmarks in the layout of the Hub."""
    for name, row in (
        ("AIME24", {"problem": "1+1?", "answer": "2"}),
        ("GSM8K", {"question": "q", "answer": "#### 3"}),
    ):
        known = BENCHMARKS[name]
        folder = tmp_path / known.hub_id / (known.config or "")
        folder.mkdir(parents=True)
        (folder / f"{known.split}.jsonl").write_text(json.dumps(row) + "\n")
    return tmp_path


def test_every_benchmark_is_pinned_to_a_whole_commit():
    assert all(len(known.revision) == 40 and int(known.revision, 16) for known in BENCHMARKS.values())
    assert len({known.revision for known in BENCHMARKS.values()}) == len(BENCHMARKS)


def test_the_hub_is_asked_for_the_pinned_commit(monkeypatch):
    asked = {}

    def opened(source, **given):
        asked[source] = given["revision"]
        raise RuntimeError

    monkeypatch.setattr("palign_hf.benchmarks.open_source", opened)
    for name, known in BENCHMARKS.items():
        with pytest.raises(RuntimeError):
            open_benchmark(name)
        assert asked[known.hub_id] == known.revision


def test_a_folder_of_copies_is_named_by_a_setting_or_by_the_environment(copies, monkeypatch):
    assert open_benchmark("AIME24", copies)["problem"] == ["1+1?"]
    monkeypatch.setenv(VARIABLE, str(copies))
    assert open_benchmark("GSM8K")["answer"] == ["#### 3"]
    assert place_of("AIME24", {"AIME24": "elsewhere"}) == "elsewhere"
    assert place_of("GSM8K", {"AIME24": "elsewhere"}) == str(copies / "openai" / "gsm8k" / "main")


def test_a_copy_that_is_not_there_is_told_and_the_hub_is_not_asked_instead(copies, monkeypatch):
    with pytest.raises(UserError, match="has no copy of AMC12: .*aimo-validation-amc` is no folder"):
        open_benchmark("AMC12", copies)
    monkeypatch.setenv(VARIABLE, str(copies))
    with pytest.raises(UserError, match=f"`{VARIABLE}=.* has no copy of MATH-500"):
        open_benchmark("MATH-500")
