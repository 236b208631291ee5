"""Which rows of which datasets are trained on, and that every other row is counted."""

import logging
from itertools import chain

import pytest
import tiny
from datasets import Dataset, IterableDataset, load_from_disk

from palign_hf.errors import UserError
from palign_hf.prompts import tag_style
from palign_hf.training.config import PAlignConfig
from palign_hf.training.features import COLUMNS
from palign_hf.training.rows import build_rows, layout_of, packed


TOKENIZER = tiny.fast(tiny.byte_level())
TOKENIZER.eos_token = "<|im_end|>"
ROW = {"question": "How many?", "prefix": "There are 50. The mean is 50. ", "continuation": "So 2500."}
CHAT = [{"role": "user", "content": "How many?"}]
TAGGED = tag_style("prefix").wrap("There are 50.", "So 2500.")


@pytest.fixture
def config(tmp_path):
    def make(**given) -> PAlignConfig:
        return PAlignConfig(str(tmp_path), use_cpu=True, bf16=False, report_to="none", **given)

    return make


def rows(*changes: dict, count: int = 1) -> Dataset:
    return Dataset.from_list([ROW | change for change in changes or [{}]] * count)


@pytest.mark.parametrize(
    ("columns", "layout"),
    [
        (ROW, "question"),
        ({**ROW, "prompt": "x", "answer": "y"}, "question"),
        ({"prompt": CHAT, "prefix": "a", "continuation": "b"}, "prompt"),
        ({"prompt": "Q:", "prefix": "a", "continuation": "b"}, "prompt"),
        ({"prompt": CHAT, "completion": [{"role": "assistant", "content": TAGGED}]}, "completion"),
        ({"prompt": "Q:", "completion": TAGGED}, "completion"),
        ({"prompt": "Q:", "completion": "So 2500."}, None),
        ({"prompt": CHAT, "completion": [{"role": "assistant", "content": "So 2500."}]}, None),
        ({"input_ids": [1], "segment_ids": [3]}, "tokens"),
        ({"input_ids": [1], "labels": [1]}, None),
        ({"text": "So."}, None),
        ({"messages": CHAT}, None),
        ({"conversations": CHAT}, None),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_columns_say_what_the_rows_are(config, columns, layout, streamed):
    dataset = Dataset.from_list([columns])
    assert layout_of(dataset.to_iterable_dataset() if streamed else dataset, config()) == layout


def test_tags_are_looked_for_in_all_rows(config):
    plain, tagged = {"prompt": "Q:", "completion": "So."}, {"prompt": "Q:", "completion": TAGGED}
    assert layout_of(Dataset.from_list([plain] * 1500 + [tagged]), config()) == "completion"


@pytest.mark.parametrize(
    ("columns", "tags", "message"),
    [
        ({"question": "Q", "prefix": "a", "continuations": "b"}, "prefix", "`continuation` (nearest match: `cont"),
        ({"a": 1}, "prefix", "columns `a` can't be trained on"),
        # What is there already is no match for what is missing, `prompt` for `prefix`.
        ({"prompt": "Q", "continuation": "b"}, "prefix", "can't be trained on. Give rows of PAIRS"),
        ({"prompt": "Q:", "completion": "<Begin_of_Draft>a"}, "prefix", "Set `tag_style='draft'`"),
        ({"prompt": "Q:", "completion": TAGGED}, "none", "looks for `no tags`. Set `tag_style='prefix'`"),
    ],
)
def test_what_cannot_be_trained_on_is_refused(config, columns, tags, message):
    with pytest.raises(UserError) as refused:
        layout_of(Dataset.from_list([columns]), config(tag_style=tags))
    assert message in str(refused.value)


def test_kept_rows_are_used_and_all_others_counted(config, caplog):
    caplog.set_level(logging.INFO)
    statuses = ["kept", "rejected", "kept", "left_out", "rejected", "error"]
    given = Dataset.from_list([ROW | {"id": str(n), "status": status} for n, status in enumerate(statuses)])
    built, account = build_rows(given, "question", TOKENIZER, config(), "train")
    assert set(built.column_names) == {*COLUMNS, *ROW, "id", "status"} and len(built) == 2
    assert account.given == 6 and account.trained == 2
    assert dict(account.not_kept) == {"rejected": 2, "left_out": 1, "error": 1}
    assert "2 of 6 rows of the train dataset are used, left out: 1 error, 1 left_out, 2 rejected." in caplog.text
    streamed, _ = build_rows(given.to_iterable_dataset(), "question", TOKENIZER, config(), "train")
    assert list(streamed) == list(built)


def test_a_dataset_of_save_to_disk_is_not_written_to(config, tmp_path):
    Dataset.from_list([ROW | {"status": "kept"}, ROW | {"status": "rejected"}]).save_to_disk(str(tmp_path / "pairs"))
    before = sorted(path.name for path in (tmp_path / "pairs").iterdir())
    built, _ = build_rows(load_from_disk(str(tmp_path / "pairs")), "question", TOKENIZER, config(), "train")
    assert len(built) == 1 and sorted(path.name for path in (tmp_path / "pairs").iterdir()) == before


def test_pairs_of_others_are_used_by_how_their_prefix_was_found(config):
    statuses = ["published", "fixed", "skipped", "full_trace", "sufficient", "error"]
    given = Dataset.from_list([ROW | {"status": status} for status in statuses])
    built, account = build_rows(given, "question", TOKENIZER, config(), "train")
    assert len(built) == 4 and dict(account.not_kept) == {"skipped": 1, "error": 1}


def test_a_table_of_the_first_version_is_refused(config):
    with pytest.raises(UserError, match="of version 1, whose `status` is not about the continuation"):
        build_rows(rows({"status": "sufficient", "correct": False}), "question", TOKENIZER, config(), "train")


def test_a_status_of_something_else_is_refused(config):
    with pytest.raises(UserError, match="Column `status` holds `done`, which is no status of PAIRS"):
        build_rows(rows({"status": "done"}), "question", TOKENIZER, config(), "train")


def test_nothing_left_is_an_error_with_the_account(config):
    with pytest.raises(UserError, match="0 of 2 rows .* left out: 2 rejected. Nothing is left to train on"):
        build_rows(rows({"status": "rejected"}, count=2), "question", TOKENIZER, config(), "train")
    with pytest.raises(UserError, match="0 of 1 rows .* 1 longer than `max_length`. Nothing is left"):
        build_rows(rows(), "question", TOKENIZER, config(max_length=5), "train")


LONG = {"prefix": "There are 50. " * 40}


def test_rows_too_long_are_left_out_and_counted(config, caplog):
    built, account = build_rows(rows({}, LONG, {}), "question", TOKENIZER, config(max_length=250), "train")
    assert len(built) == 2 and account.overlong == 1
    assert caplog.records[0].levelno == logging.WARNING and "1 longer than `max_length`" in caplog.text


def test_a_stream_leaves_them_out_and_says_so_once(config, caplog):
    stream = rows({}, LONG, LONG, {}).to_iterable_dataset()
    built, account = build_rows(stream, "question", TOKENIZER, config(max_length=250), "train")
    assert len(list(built)) == 2 and account.trained is None
    assert caplog.text.count("longer than `max_length=250`") == 1


@pytest.mark.parametrize("streamed", [False, True])
def test_rows_too_long_are_an_error_on_request(config, streamed):
    given = rows({}, LONG, {})
    given = given.to_iterable_dataset() if streamed else given
    with pytest.raises(UserError, match="`max_length=250`: .* longer, up to .* refuses them"):
        list(build_rows(given, "question", TOKENIZER, config(max_length=250, overlong="error"), "train")[0])


def test_prefixes_are_shortened_on_request_and_counted(config):
    settings = config(max_length=250, overlong="truncate_prefix")
    hopeless = {"continuation": "So on. " * 200}
    built, account = build_rows(rows({}, LONG, hopeless), "question", TOKENIZER, settings, "train")
    assert (account.trained, account.shortened, account.overlong) == (2, 1, 1)
    assert 200 < len(built[1]["input_ids"]) <= 250
    assert "1 with a shortened prefix" in str(account)


def test_without_a_limit_nothing_is_left_out(config):
    built, account = build_rows(rows({}, LONG), "question", TOKENIZER, config(max_length=None), "train")
    assert len(built) == 2 and account.overlong == 0


def test_columns_of_the_source_stay_as_in_sfttrainer(config):
    """Callbacks such as `LogCompletionsCallback` read `prompt`; PAIRS have a column `tokens` of their own."""
    given = Dataset.from_list([{"prompt": CHAT, "prefix": "a", "continuation": "b", "tokens": 7, "shortened": "so"}])
    built, _ = build_rows(given, "prompt", TOKENIZER, config(), "train")
    assert built.select_columns(given.column_names).to_list() == given.to_list()
    streamed, _ = build_rows(given.to_iterable_dataset(), "prompt", TOKENIZER, config(), "train")
    assert list(streamed) == list(built)
    filled = packed(built, config(), "train")
    assert set(filled.column_names) == {*COLUMNS, "seq_lengths"}


def test_a_stream_that_knows_no_types_is_read(config):
    stream = IterableDataset.from_generator(lambda: iter([ROW, ROW]))
    built, _ = build_rows(stream, "question", TOKENIZER, config(), "train")
    assert stream.features is None and [set(row) for row in built] == [set(COLUMNS)] * 2


PACKED = {"input_ids": [5, 6, 7, 8], "labels": [-100, 6, -100, 8], "segment_ids": [0, 1, 0, 3], "seq_lengths": [2, 2]}


def test_rows_that_come_packed_keep_where_each_begins(config):
    """Without `seq_lengths` their documents would attend to each other."""
    built, _ = build_rows(Dataset.from_list([PACKED]), "tokens", TOKENIZER, config(), "train")
    assert built.to_list() == [PACKED] and packed(built, config(packing=True), "train").to_list() == [PACKED]
    wrong = Dataset.from_list([PACKED | {"seq_lengths": [2, 1]}])
    with pytest.raises(UserError, match="`seq_lengths` add up to 3 tokens, but `input_ids` has 4"):
        build_rows(wrong, "tokens", TOKENIZER, config(), "train")
    # Those of other tokens say nothing of these.
    other = Dataset.from_list([ROW | {"seq_lengths": [2, 2]}])
    assert "seq_lengths" not in build_rows(other, "question", TOKENIZER, config(), "train")[0].column_names


@pytest.mark.parametrize("streamed", [False, True])
def test_rows_too_long_stay_whole_where_packing_cuts_anyway(config, streamed):
    given, settings = rows({}, LONG, {}), {"max_length": 250, "packing": True, "packing_strategy": "wrapped"}
    whole, _ = build_rows(given, "question", TOKENIZER, config(max_length=None), "train")
    given = given.to_iterable_dataset() if streamed else given
    built, account = build_rows(given, "question", TOKENIZER, config(**settings), "train", packing=True)
    filled = packed(built, config(**settings), "train")
    assert list(chain.from_iterable(row["input_ids"] for row in filled)) == list(chain(*whole["input_ids"]))
    assert max(len(row["input_ids"]) for row in filled) == 250
    if not streamed:
        assert (account.trained, account.overlong, account.parted) == (3, 0, 1)
        assert "1 longer than `max_length` continue in the next packed row" in str(account)
        with pytest.raises(UserError, match="refuses them"):
            refusing = config(**settings, overlong="error")
            build_rows(given, "question", TOKENIZER, refusing, "train", packing=True)


def test_evaluation_rows_that_are_all_too_long_are_not_said_to_be_trained_on(config):
    with pytest.raises(UserError, match="of the eval dataset .* Nothing is left to evaluate on"):
        build_rows(rows(), "question", TOKENIZER, config(max_length=5), "eval")


def test_tokens_are_cached_whatever_the_weights(config, tmp_path):
    rows({}, LONG).to_parquet(tmp_path / "rows.parquet")
    given = Dataset.from_parquet(str(tmp_path / "rows.parquet"), cache_dir=str(tmp_path / "cache"))
    first, _ = build_rows(given, "question", TOKENIZER, config(), "train")
    TOKENIZER("Some text in between, which changes the tokenizer's own cache.")
    again, _ = build_rows(given, "question", TOKENIZER, config(prefix_loss_weight=0), "train")
    other, _ = build_rows(given, "question", TOKENIZER, config(tag_style="draft"), "train")
    assert first.cache_files == again.cache_files != other.cache_files
    assert first.cache_files


INSIDE = "There are <End_of_Prefix> 50. "


@pytest.mark.parametrize("streamed", [False, True])
@pytest.mark.parametrize("part", ["prefix", "continuation"])
def test_rows_with_tags_inside_their_text_are_left_out_and_counted(config, caplog, part, streamed):
    """They were trained with two closing tags."""
    given = rows({}, {part: INSIDE}, {})
    given = given.to_iterable_dataset() if streamed else given
    built, account = build_rows(given, "question", TOKENIZER, config(), "train")
    assert len(list(built)) == 2
    assert ("`<End_of_Prefix>` in their own text" if streamed else "1 with a tag in their own text") in caplog.text
    assert streamed or "2 of 3 rows of the train dataset are used, left out: 1 with a tag" in str(account)


def test_a_tag_of_another_style_or_without_a_prefix_is_text(config):
    for given in ({"prefix": "a <End_of_Draft> b"}, {"prefix": None, "continuation": INSIDE}):
        assert len(build_rows(rows(given), "question", TOKENIZER, config(), "train")[0]) == 1
    assert len(build_rows(rows({"prefix": INSIDE}), "question", TOKENIZER, config(tag_style="none"), "train")[0]) == 1


def test_completions_with_two_closing_tags_are_left_out_and_counted(config):
    twice = [{"prompt": "Q:", "completion": said} for said in (TAGGED, TAGGED + "<End_of_Prefix>", TAGGED)]
    built, account = build_rows(Dataset.from_list(twice), "completion", TOKENIZER, config(), "train")
    assert len(built) == 2 and account.tagged == 1
    with pytest.raises(UserError, match="0 of 1 rows .* left out: 1 with a tag in their own text. Nothing is left"):
        build_rows(Dataset.from_list(twice[1:2]), "completion", TOKENIZER, config(), "train")
