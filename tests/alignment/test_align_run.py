"""A recipe of alignment and what joins its shards: two splits, nothing lost, one poisoned row harms no other."""

import json
from dataclasses import fields, replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, load_dataset
from test_align_transform import RIGHT, TRACE, WRONG, prefix_row

from palign_hf.alignment.stage import ALIGN, AlignConfig, BalanceSettings, PrefixSettings
from palign_hf.cli import main
from palign_hf.errors import UserError
from palign_hf.grading import Grade
from palign_hf.runs.shards import Shard
from palign_hf.schema import PAIRS, PREFIXES, check_table


@pytest.fixture
def make(pupil, speaker, tmp_path):
    """A recipe over so many prefixes; those of even cases are solved."""
    speaker.text = lambda prompt, seed: RIGHT if any(f"case {at}?" in prompt for at in range(0, 100, 2)) else WRONG

    def make(rows: list[dict], **given) -> AlignConfig:
        source = tmp_path / "prefixes.parquet"
        names = [*PREFIXES.columns, *(name for name in rows[0] if name not in PREFIXES.columns)]
        schema = pa.schema([*PREFIXES.features.arrow_schema, *(pa.field(name, pa.string()) for name in names[15:])])
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), source)
        usual = {
            "student": str(pupil),
            "engine": "transformers",
            "output_dir": str(tmp_path / "out"),
            "grader": "exact",
        }
        usual |= {"prefixes": PrefixSettings(source=str(source)), "ledger": str(tmp_path / "ledger"), "n": 2}
        return AlignConfig(**usual | {"progress": False} | given)

    return make


def rows(count: int, **changes) -> list[dict]:
    return [prefix_row(str(at)) | changes for at in range(count)]


def run(config: AlignConfig, count: int = 1) -> dict:
    for index in range(count):
        with ALIGN.open(config, shown=False) as one:
            one.work(Shard(index, count), one.agree())
    with ALIGN.open(config, shown=False) as one:
        one.agree()
        ending = one.finish(count)
    report = json.loads((Path(config.output_dir) / "report.json").read_text())
    return report | {"ending": ending}


def splits(config: AlignConfig) -> tuple[list[dict], list[dict]]:
    """What anyone reads who loads the folder."""
    both = load_dataset(config.output_dir)
    assert set(both) == {"train", "rejected"}
    for split in both.values():
        check_table(split, PAIRS, filled=["id", "sample", "status"])
    return list(both["train"]), list(both["rejected"])


@pytest.mark.parametrize("count", [1, 3])
def test_what_is_kept_and_what_is_not_have_splits_of_their_own(make, count):
    config = make(rows(8))
    report = run(config, count)
    kept, rejected = splits(config)
    assert [row["id"] for row in kept] == ["0", "2", "4", "6"] and {row["status"] for row in kept} == {"kept"}
    assert [(row["id"], row["sample"]) for row in rejected] == [(f"{at}", s) for at in (1, 3, 5, 7) for s in (0, 1)]
    assert {row["reason"] for row in rejected} == {"wrong answer"}
    assert (report["rows"], report["samples"], report["asked"], report["failed"] if "failed" in report else 0) == (
        12,
        12,
        12,
        0,
    )
    assert report["settings"]["engines"] == ["fake 1 (float64)"] and report["ending"].failed == 0
    assert not (Path(config.output_dir) / ".run").exists()
    names = sorted(path.name for path in (Path(config.output_dir) / "data").iterdir())
    assert len(names) == 2 * count and names[-1] == f"train-{count - 1:05d}-of-{count:05d}.parquet"


def test_the_same_run_again_draws_nothing_and_writes_the_same(make, speaker):
    config = make(rows(8))
    run(config)
    before, bytes_before = (
        len(speaker.asked),
        [path.read_bytes() for path in sorted(Path(config.output_dir).rglob("*.parquet"))],
    )
    report = run(config, 1)
    assert len(speaker.asked) == before and report["asked"] == 0 and report["samples"] == 12
    assert [path.read_bytes() for path in sorted(Path(config.output_dir).rglob("*.parquet"))] == bytes_before


def test_other_rules_over_the_same_folder_are_refused_and_draw_nothing_where_allowed(make, speaker):
    run(make(rows(8)))
    before = len(speaker.asked)
    with pytest.raises(UserError, match="holds the result of another run: fingerprint"):
        ALIGN.open(make(rows(8), refuse=[]), shown=False)
    run(make(rows(8), refuse=[], overwrite=True))
    assert len(speaker.asked) == before


@pytest.mark.parametrize(("said", "split"), [(WRONG, "rejected"), (RIGHT, "train")])
def test_a_split_without_rows_is_none_and_the_other_can_be_loaded(make, speaker, said, split):
    speaker.text = lambda prompt, seed: said
    config = make(rows(3), sampling="all")
    run(config, 2)
    both = load_dataset(config.output_dir)
    assert list(both) == [split] and len(both[split]) == 6


def test_balance_caps_the_kept_pairs_of_each_value_and_keeps_the_others_as_rejected(make):
    many = [row | {"family": "a" if at < 12 else "b"} for at, row in enumerate(rows(16))]
    config = make(many, balance=BalanceSettings(per="family"))
    assert (config.carry, config.carried) == ((), ("family",))
    report = run(config, 2)
    kept, rejected = splits(config)
    assert sorted(row["family"] for row in kept) == ["a", "a", "b", "b"]
    surplus = [row for row in rejected if row["strict"]]
    assert len(surplus) == 4 and {row["reason"] for row in surplus} == {"balance: more than 2 pairs of family `a`"}
    assert {row["value"] for row in report["kept_by"]["family"]} >= {"a", "b"}
    again = splits(config)[0]
    run(make(many, balance=BalanceSettings(per="family"), overwrite=True), 1)
    assert splits(config)[0] == again  # however many processes there were


def test_a_balance_by_a_column_that_is_not_there_is_refused_before_anything_is_drawn(make, speaker):
    with pytest.raises(UserError, match="`balance.per=famly` is no column of the prefixes"):
        ALIGN.open(make([row | {"family": "a"} for row in rows(2)], balance=BalanceSettings(per="famly")), shown=False)
    with pytest.raises(UserError, match="`cap=3` is a cap for each value of a column"):
        BalanceSettings(cap=3)
    assert speaker.asked == []


def test_copies_of_benchmarks_and_repeats_are_left_out_with_the_reason(make, speaker, tmp_path):
    told = "How many positive integers n less than 2026 make n squared plus seven n a multiple of twelve"
    copy = tmp_path / "aime.jsonl"
    copy.write_text(json.dumps({"problem": told + "?"}) + "\n")
    some = rows(4)
    some[0]["question"] = told.upper()
    some[3]["question"] = some[2]["question"] + " "
    config = make(some, decontaminate=["AIME25"], benchmarks={"AIME25": str(copy)}, drop_duplicates=True)
    run(config, 2)
    left = {row["id"]: row["reason"] for row in splits(config)[1] if row["status"] == "left_out"}
    assert left == {"0": "contaminated: exact copy of AIME25 question 0", "3": "repeats another problem"}
    assert {name for name, *_ in speaker.asked} == {"1", "2"}


POISON = {
    "ten megabytes": {"question": "word and " * 1_200_000},
    "half a surrogate": {"question": "What is \ufffe?"},
    "no question": {"question": None},
    "no trace": {"trace": None},
    "no prefix": {"prefix": None},
    "empty": {"question": "", "trace": "", "prefix": ""},
}


@pytest.mark.parametrize("kind", POISON)
def test_one_poisoned_row_is_skipped_with_status_1_and_the_rest_is_as_without_it(make, kind, capsys, tmp_path):
    whole = make(rows(6), output_dir=str(tmp_path / "whole"))
    run(whole)
    config = make([*rows(3), prefix_row("bad") | POISON[kind], *rows(6)[3:]])
    report = run(config)
    kept, rejected = splits(config)
    (bad,) = [row for row in [*kept, *rejected] if row["id"] == "bad"]
    assert bad["status"] == "skipped" and bad["reason"] and report["ending"].failed == 1
    others = [row for row in rejected if row["id"] != "bad"]
    assert (kept, others) == splits(whole)
    settings = [
        f"--{name.replace('_', '-')}={getattr(config, name)}" for name in ("student", "output_dir", "ledger", "n")
    ]
    settings += ["--engine=transformers", "--grader=exact", f"--prefixes.source={config.prefixes.source}"]
    assert main(["align", *settings]) == 1
    assert "1 row failed" in capsys.readouterr().out


def test_bytes_that_are_no_utf_8_are_a_matter_of_their_row(make, tmp_path):
    """Some writers store half a surrogate pair as it is; Arrow reads a table with it, Python can't decode the cell."""
    config = make(rows(4))
    table = pq.read_table(config.prefixes.source)
    cells = [
        b"What is \xed\xa0\x80?" if at == 1 else text.encode() for at, text in enumerate(table["question"].to_pylist())
    ]
    raw = pa.array(cells, pa.binary())
    broken = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
    pq.write_table(
        table.set_column(table.schema.get_field_index("question"), "question", broken), config.prefixes.source
    )
    assert run(config)["ending"].failed == 1
    kept, rejected = splits(config)
    assert {row["id"]: row["status"] for row in [*kept, *rejected]} == {
        "0": "kept",
        "1": "skipped",
        "2": "kept",
        "3": "rejected",
    }


def test_json_lines_with_half_a_surrogate_pair_are_read(make, tmp_path):
    config = make(rows(3))
    source = tmp_path / "prefixes.jsonl"
    some = rows(3)
    some[1]["question"] = "What is \ud800?"
    source.write_text("".join(json.dumps(row) + "\n" for row in some))
    config = replace(config, prefixes=replace(config.prefixes, source=str(source)))
    assert run(config)["ending"].failed == 1
    assert [row["id"] for row in splits(config)[0]] == ["0", "2"]


def test_published_sets_without_traces_or_probes_are_aligned(make, speaker, tmp_path):
    """Alpaca rows with tags, as the reference publishes them, beside a gold answer; no fallback can be tried."""
    source = tmp_path / "published.jsonl"
    given = [
        {"instruction": f"What is 2 + 2 in case {at}?", "output": f"<Begin_of_Draft>We add.<End_of_Draft>\nDone {at}"}
        | {"answer": "4"}
        for at in range(4)
    ]
    source.write_text("".join(json.dumps(row) + "\n" for row in given))
    config = make(rows(1), fallback="full_trace")
    config = replace(config, prefixes=PrefixSettings(source=str(source)))
    run(config)
    kept, rejected = splits(config)
    assert len(kept) == 2 and len(rejected) == 4 and {row["prefix"] for row in [*kept, *rejected]} == {"We add."}
    assert all("We add." in prompt for _, prompt, _ in speaker.asked)


def test_a_dry_run_says_what_it_would_do_and_writes_nothing(make, capsys):
    config = make([*rows(3), prefix_row("proof", answer=None), prefix_row("long", question="word " * 5000)])
    told = str(ALIGN.forecast(config))
    assert "rows       5: asked 3; left out 1; skipped 1" in told
    assert "at least 3, at most 6" in told and config.ledger in told
    assert not Path(config.output_dir).exists()


def test_every_setting_of_a_recipe_is_documented_once():
    for kind in (AlignConfig, PrefixSettings, BalanceSettings):
        assert all(one.metadata["help"] for one in fields(kind))


def test_more_processes_than_rows_is_no_matter(make):
    config = make(rows(2))
    report = run(config, 5)
    assert report["problems"] == 2 and [row["id"] for row in splits(config)[0]] == ["0"]


@pytest.mark.parametrize("carried", ["probes", "trace", "n_segments"])
def test_a_column_that_is_read_anyway_can_be_carried_and_one_of_lists_ends_no_run(make, carried):
    config = make(rows(4), carry=(carried,))
    report = run(config)
    assert carried in splits(config)[0][0] and (carried in report["kept_by"]) == (carried != "probes")


def test_a_carried_text_that_is_no_unicode_harms_no_run(make):
    config = make([row | {"level": "easy"} for row in rows(4)], carry=("level",))
    table = pq.read_table(config.prefixes.source)
    raw = pa.array([b"x\xed\xa0\x80", b"b", b"c", b"d"], pa.binary())
    broken = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
    pq.write_table(table.set_column(table.schema.get_field_index("level"), "level", broken), config.prefixes.source)
    run(config)
    assert [row["level"] for row in splits(config)[0]] == ["x???", "c"]


@pytest.mark.parametrize("fallback", ["full_trace", "longer_prefix"])
@pytest.mark.parametrize(
    "odd",
    [
        {"prefix_end": None, "prefix": TRACE},
        {"prefix_end": -5, "prefix": TRACE[:-5]},
        {"probes": [None]},
        {"probes": [{"segments": None, "margin": 1.0, "verdict": "x"}]},
        {"prefix_segments": 50, "probes": [{"segments": 51, "margin": 1.0, "verdict": "x"}]},
        {"prefix_segments": -9, "probes": [{"segments": 3, "margin": 1.0, "verdict": "x"}]},
    ],
)
def test_a_row_whose_cut_makes_no_sense_harms_no_other(make, odd, fallback):
    some = rows(4)
    some[1] |= odd
    config = make(some, fallback=fallback)
    failed = run(config)["ending"].failed
    kept, rejected = splits(config)
    assert [row["id"] for row in kept] == ["0", "2"]
    told = [row["reason"] for row in rejected if row["id"] == "1" and row["status"] == "skipped"]
    assert failed == len(told) == ("prefix_end" in odd) and all("`prefix_end` is" in reason for reason in told)


def says_a_number(output: str, gold: str) -> Grade:
    return Grade(True, True, 42)  # type: ignore[arg-type]


def says_half_a_surrogate(output: str, gold: str) -> Grade:
    return Grade(True, True, "4\ud800")


def fails_in_no_unicode(output: str, gold: str) -> Grade:
    raise ValueError("\ud800")


@pytest.mark.parametrize(
    ("grader", "column", "told"),
    [
        ("says_a_number", "answer_found", "42"),
        ("says_half_a_surrogate", "answer_found", "4?"),
        ("fails_in_no_unicode", "grading_error", "test_align_run:fails_in_no_unicode: ValueError: ?"),
    ],
)
def test_whatever_a_grader_of_ones_own_says_can_be_written(make, grader, column, told):
    config = make(rows(2), grader=f"test_align_run:{grader}", n=1)
    run(config)
    (split,) = load_dataset(config.output_dir).values()
    assert split[column] == [told] * 2


def test_a_problem_that_is_not_asked_stands_for_none_that_repeats_it(make, speaker):
    some = rows(4)
    some[0]["answer"] = None
    some[2]["question"] = some[3]["question"] = some[0]["question"]
    config = make(some, drop_duplicates=True)
    run(config)
    left = {row["id"]: row["reason"] for row in splits(config)[1] if row["status"] == "left_out"}
    assert left == {"0": "it has no gold answer, so nothing can be verified", "3": "repeats another problem"}


def test_a_dry_run_leaves_out_what_the_run_will_and_says_why(make, tmp_path):
    some = rows(4)
    some[3]["question"] = some[2]["question"]
    some[0]["answer"] = None
    told = str(ALIGN.forecast(make(some, drop_duplicates=True)))
    assert "rows       4: left out 2; asked 2" in told
    assert "1 x it has no gold answer, so nothing can be verified" in told and "1 x repeats another problem" in told
    with pytest.raises(UserError, match="does not exist"):
        ALIGN.forecast(make(some, decontaminate=["AIME25"], benchmarks={"AIME25": str(tmp_path / "nowhere")}))


def test_an_answer_that_is_no_utf_8_is_a_matter_of_its_row(make):
    config = make(rows(4))
    table = pq.read_table(config.prefixes.source)
    raw = pa.array([b"4", b"4\xed\xa0\x80", b"4", b"4"], pa.binary())
    broken = pa.Array.from_buffers(pa.string(), len(raw), raw.buffers())
    pq.write_table(table.set_column(table.schema.get_field_index("answer"), "answer", broken), config.prefixes.source)
    assert run(config)["ending"].failed == 1
    kept, rejected = splits(config)
    assert [row["id"] for row in kept] == ["0", "2"]
    assert [row["reason"][:20] for row in rejected if row["id"] == "1"] == ["the answer is broken"]


def test_a_carried_column_of_classes_keeps_their_names(make, tmp_path):
    features = Features({**PREFIXES.features, "level": ClassLabel(names=["easy", "hard"])})
    source = tmp_path / "levels.parquet"
    Dataset.from_list([row | {"level": at % 2} for at, row in enumerate(rows(4))], features=features).to_parquet(
        source
    )
    config = make(rows(1), carry=("level",), prefixes=PrefixSettings(source=str(source)))
    run(config, 2)
    both = load_dataset(config.output_dir)
    assert both["train"].features["level"] == both["rejected"].features["level"] == features["level"]


def test_pairs_never_go_where_the_prefixes_lie(make, tmp_path):
    with pytest.raises(UserError, match="which this run reads. Give another folder"):
        make(rows(1), prefixes=PrefixSettings(source=f"{tmp_path}/pre/"), output_dir=f"{tmp_path}/pre", overwrite=True)


def test_a_ledger_of_samples_says_how_they_were_drawn(make, capsys):
    config = make(rows(2))
    run(config)
    capsys.readouterr()
    assert main(["ledger", "show", config.ledger]) == 0
    told = capsys.readouterr().out
    assert "  mode       prompt, temperature 0.6, prompt " in told and "criterion" not in told and "?" not in told
