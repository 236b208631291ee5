"""Where a benchmark is read from: the Hub at its commit, a copy that is named, or a folder of copies."""

import json

import pytest
from datasets import Dataset
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.data.benchmarks import BENCHMARKS, VARIABLE, departure, hash_of, open_benchmark, place_of
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

    monkeypatch.setattr("palign_hf.data.benchmarks.open_source", opened)
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


def test_what_can_not_be_opened_is_told_in_the_settings_of_benchmarks(copies, monkeypatch):
    """Not in those of traces, which an evaluation doesn't have."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = copies / "HuggingFaceH4" / "aime_2024"
    (folder / "train.jsonl").rename(folder / "test.jsonl")
    for name, places in (("AMC12", None), ("AIME24", copies), ("AIME24", {"AIME24": str(folder)})):
        with pytest.raises(UserError) as refused:
            open_benchmark(name, places)
        told = str(refused.value)
        assert told.endswith(f"name its place: `benchmarks={{{name}: ...}}`.")
        assert "split=" not in told.partition("Make a copy")[2] and "traces" not in told and "config=" not in told


ROWS = [{"problem": f"What is {n}+1?", "answer": float(n + 1), "id": n} for n in range(9)]


def test_a_hash_of_content_knows_no_order_no_format_and_no_other_column(tmp_path):
    table = Dataset.from_list(ROWS)
    table.to_parquet(tmp_path / "rows.parquet")
    table.to_csv(tmp_path / "rows.csv")
    table.shuffle(seed=3).to_json(tmp_path / "rows.jsonl")
    texts = [{"problem": row["problem"], "answer": str(int(row["answer"]))} for row in ROWS]
    (tmp_path / "texts.jsonl").write_text("".join(json.dumps(row) + "\n" for row in texts))
    found = {
        hash_of("AMC12", open_benchmark("AMC12", {"AMC12": path})) for path in tmp_path.iterdir() if path.is_file()
    }
    assert len(found) == 1


@given(st.integers(0, 8), st.sampled_from(["problem", "answer"]))
def test_any_other_question_or_answer_is_other_content(at, column):
    other = [dict(row) for row in ROWS]
    other[at][column] = "another" if column == "problem" else other[at][column] + 1
    assert hash_of("AMC12", other) != hash_of("AMC12", ROWS) == hash_of("AMC12", ROWS[::-1])
    assert hash_of("AMC12", [*ROWS[1:], ROWS[1]]) != hash_of("AMC12", ROWS)


def test_the_copies_at_hand_are_whole_and_a_changed_one_is_not(shared_data, tmp_path):
    hub = shared_data / "hub"
    for name, known in BENCHMARKS.items():
        rows = open_benchmark(name, hub)
        assert departure(name, rows, hub) is None and len(rows) == known.rows
        assert departure(name, rows.select(range(1)), hub) == f"1 of {known.rows} problems"
        twice = rows.select([0, *range(len(rows) - 1)])
        expected = None if known.content is None else f"{known.rows} problems, not all of them those of the pinned"
        assert (departure(name, twice, hub) or "").startswith(expected or "")
        assert (departure(name, twice, hub) is None) == (known.content is None)
        longer = rows.select([0, *range(len(rows))])
        assert departure(name, longer, hub) == f"{known.rows + 1} problems instead of {known.rows}"
