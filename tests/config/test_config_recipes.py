"""Recipes are strict: what can't be right is refused with the key, the value and the nearest match."""

import os

import pytest
from config_sample import Pilot, Sample

from palign_hf.config import ConfigError, build, describe, find_recipe, load_config, shipped_recipes
from palign_hf.truncation.search import make_search
from palign_hf.truncation.stage import TruncateConfig


GOOD = {"traces": {"source": "a.jsonl"}, "student": "s", "output_dir": "o"}


def make(**changes):
    return build(TruncateConfig, GOOD | changes, "`r.yaml`")


def test_defaults_and_values():
    config = make(audit="5e-2", search={"name": "ascend", "confirm": 3}, traces={"source": "b", "max_samples": 7})
    assert config.audit == 0.05 and make_search(config.search).confirm == 3 and config.traces.max_samples == 7
    assert config.engine == "auto" and config.engine_options == {} and config.traces.known is None


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"serach": "binary"}, r"unknown key `serach` \(nearest match: `search`\)"),
        (
            {"traces": {"source": "a", "colums": {}}},
            r"unknown key `traces.colums` \(nearest match: `traces.columns`|"
            r"unknown key `traces.colums` \(nearest match: `columns`\)",
        ),
        ({"traces": {}}, "lacks `traces.source`"),
        ({"traces": "a.jsonl"}, r"`r.yaml`: `traces: 'a.jsonl'` must be a section with keys of its own"),
        ({"audit": "much"}, "`r.yaml`: `audit: 'much'` must be a number"),
        ({"batch_size": True}, "`batch_size: True` must be a whole number"),
        ({"batch_size": 1.5}, "`batch_size: 1.5` must be a whole number"),
        ({"trust_remote_code": "yes"}, "`trust_remote_code: 'yes'` must be true or false"),
        ({"max_model_len": "long"}, "`max_model_len: 'long'` must be a whole number or null"),
        ({"engine_options": ["a"]}, r"`engine_options: \['a'\]` must be a mapping"),
        ({"student": 3}, "`student: 3` must be text"),
    ],
)
def test_what_cannot_be_right_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        make(**changes)


def test_a_misspelt_key_is_named_before_the_one_it_leaves_missing():
    with pytest.raises(ConfigError, match=r"unknown key `studnt` \(nearest match: `student`\)"):
        build(TruncateConfig, {"studnt": "s", "traces": {}}, "`r.yaml`")
    with pytest.raises(ConfigError, match=r"unknown key `traces.sorce` \(nearest match: `source`\)"):
        build(TruncateConfig, {"traces": {"sorce": "s"}}, "`r.yaml`")


def test_missing_keys_are_all_named():
    with pytest.raises(
        ConfigError,
        match="lacks `student`, `traces.source`: give `--student`, `--traces.source`",
    ):
        build(TruncateConfig, {}, "`r.yaml`")


def test_overrides_win_and_reach_into_sections(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("traces: {source: a}\nstudent: s\noutput_dir: o\nsearch: binary\n")
    config = load_config(TruncateConfig, path, ["search=full", "traces.max_samples=3", "engine_options.dtype=float32"])
    assert (config.search, config.traces.max_samples, config.engine_options) == ("full", 3, {"dtype": "float32"})


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("search", "has no value"),
        ("student.x=1", "`student: 's'` is a value"),
        ("a=[", "can't be read"),
    ],
)
def test_bad_overrides(tmp_path, override, message):
    path = tmp_path / "r.yaml"
    path.write_text("student: s\n")
    with pytest.raises(ConfigError, match=message):
        load_config(TruncateConfig, path, [override])


@pytest.mark.parametrize(("text", "message"), [("- a\n", "must be a mapping"), ("a: [", "can't be read as YAML")])
def test_files_that_are_no_recipe(tmp_path, text, message):
    path = tmp_path / "r.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError, match=message):
        load_config(TruncateConfig, path)
    with pytest.raises(ConfigError, match="doesn't exist"):
        load_config(TruncateConfig, tmp_path / "absent.yaml")


def sample(text: str, tmp_path, *overrides: str, **values) -> Sample:
    path = tmp_path / "r.yaml"
    path.write_text(text)
    return load_config(Sample, path, overrides, values)


FILE = "source: {path: a}\nstudent: s\n"


def test_optional_sections_are_made_from_a_mapping_or_null(tmp_path):
    assert sample(FILE, tmp_path).pilot is None
    assert sample(FILE + "pilot: {}", tmp_path).pilot == Pilot(rows=200)
    assert sample(FILE + "pilot: null", tmp_path, "pilot.rows=7").pilot == Pilot(rows=7)
    assert sample(FILE + "pilot: {rows: 3}", tmp_path, "pilot=null").pilot is None
    with pytest.raises(ConfigError, match="`pilot: 3` must be a section with keys of its own or null"):
        sample(FILE + "pilot: 3", tmp_path)


def test_values_win_over_overrides_and_leave_the_rest_of_a_section(tmp_path):
    made = sample(FILE, tmp_path, "batch_size=3", "source.max_samples=4", batch_size=5, source={"path": "b"})
    assert (made.batch_size, made.source.path, made.source.max_samples) == (5, "b", 4)


def test_the_message_names_what_gave_the_value(tmp_path):
    path = tmp_path / "r.yaml"
    for settings, message in [
        ((FILE + "batch_size: 0", ()), f"`{path}`: `batch_size: 0` must be at least 1 and at most 100."),
        ((FILE, ("batch_size=0",)), "`--set batch_size=0` must be at least 1 and at most 100."),
        ((FILE, ("columns.question=3",)), "`--set columns.question=3` must be a mapping of texts or null."),
        ((FILE, ("source.pth=3",)), "`--set source.pth=3` has the unknown key `source.pth` (nearest match: `path`)"),
        ((FILE + "heat: 1.5\nshare: 1", ()), f"`{path}`: `heat` and `share` don't go together."),
        ((FILE + "voice: me", ()), f"`{path}` has the unknown key `voice`"),
    ]:
        with pytest.raises(ConfigError) as refused:
            sample(settings[0], tmp_path, *settings[1])
        assert str(refused.value).startswith(message) and "\n" not in str(refused.value)
    with pytest.raises(ConfigError, match="^`batch_size: 0` must be at least 1"):
        sample(FILE, tmp_path, batch_size=0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (FILE + "cut: step\ncut: step", "the key `cut` is given twice, again in line 4"),
        ("source: {path: a, path: b}\nstudent: s", "the key `path` is given twice"),
        ("a: [\n1\n", "can't be read as YAML: while parsing"),
        ("[" * 3000, "can't be read as YAML"),
        ("student: 2024-13-45", "can't be read as YAML: month must be in 1..12"),
        ("student: " + "9" * 5000, "can't be read as YAML: Exceeds the limit"),
        ("? [a]\n: b", "can't be read as YAML: while constructing"),
        ("student: !!python/object:os.system x", "can't be read as YAML: could not determine a constructor"),
    ],
)
def test_yaml_that_cannot_be_right_is_one_line(tmp_path, text, message):
    with pytest.raises(ConfigError) as refused:
        sample(text, tmp_path)
    assert message in str(refused.value) and "\n" not in str(refused.value)


def test_merged_mappings_are_not_keys_given_twice(tmp_path):
    made = sample("source: &here {path: a, max_samples: 3}\nstudent: s\n", tmp_path)
    assert made.source.max_samples == 3
    assert sample(FILE + "options: {x: &x {a: 1}, y: {<<: *x, a: 2}}", tmp_path).options["y"] == {"a": 2}


def test_a_recipe_is_a_file_or_one_that_ships(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = find_recipe("qwen3-8b/truncate.yaml")
    assert shipped.is_file() and find_recipe("recipes/qwen3-8b/truncate.yaml") == shipped
    assert shipped_recipes()["qwen3-8b/truncate.yaml"] == shipped
    assert load_config(TruncateConfig, "qwen3-8b/truncate.yaml").student == "Qwen/Qwen3-8B"
    (tmp_path / "qwen3-8b").mkdir()
    own = tmp_path / "qwen3-8b" / "truncate.yaml"
    own.write_text(FILE)
    assert os.path.samefile(find_recipe("qwen3-8b/truncate.yaml"), own)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("qwen3-8/truncate.yaml", "`qwen3-8/truncate.yaml` doesn't exist.*nearest match: `qwen3-8b/truncate.yaml`"),
        (".", "`.` is a folder"),
        ("\0", "doesn't exist"),
    ],
)
def test_recipes_that_are_not_there(name, message):
    with pytest.raises(ConfigError, match=message):
        find_recipe(name)


def test_every_setting_has_help():
    lines = dict(describe(TruncateConfig))
    assert "traces.source" in lines and "required" in lines["student"] and "default: ascend" in lines["search"]
    assert all(not text.startswith("(") for text in lines.values())
