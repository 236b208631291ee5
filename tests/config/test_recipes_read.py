"""Recipes are strict: what can't be right is refused with the key, the value and the nearest match."""

import pytest

from palign_hf.config import ConfigError, build, describe, load_config
from palign_hf.truncation.run import TruncateConfig


GOOD = {"traces": {"source": "a.jsonl"}, "student": "s", "output": "o"}


def make(**changes):
    return build(TruncateConfig, GOOD | changes, "`r.yaml`")


def test_defaults_and_values():
    config = make(audit="5e-2", search={"name": "ascend", "confirm": 3}, traces={"source": "b", "limit": 7})
    assert config.audit == 0.05 and config.search["confirm"] == 3 and config.traces.limit == 7
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
        ({"context": "long"}, "`context: 'long'` must be a whole number or null"),
        ({"engine_options": ["a"]}, r"`engine_options: \['a'\]` must be a mapping"),
        ({"student": 3}, "`student: 3` must be text"),
    ],
)
def test_what_cannot_be_right_is_refused(changes, message):
    with pytest.raises(ConfigError, match=message):
        make(**changes)


def test_missing_keys_are_all_named():
    with pytest.raises(
        ConfigError,
        match="lacks `traces.source`, `student`, `output`: give `--traces.source`, `--student`",
    ):
        build(TruncateConfig, {}, "`r.yaml`")


def test_overrides_win_and_reach_into_sections(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("traces: {source: a}\nstudent: s\noutput: o\nsearch: binary\n")
    config = load_config(TruncateConfig, path, ["search=full", "traces.limit=3", "engine_options.urls=[u]"])
    assert (config.search, config.traces.limit, config.engine_options) == ("full", 3, {"urls": ["u"]})


@pytest.mark.parametrize(
    ("override", "message"),
    [("search", "has no value"), ("student.x=1", "`student` is a value, not a section"), ("a=[", "can't be read")],
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


def test_every_setting_has_help():
    lines = dict(describe(TruncateConfig))
    assert "traces.source" in lines and "required" in lines["student"] and "default: ascend" in lines["search"]
    assert all(not text.startswith(" (") for text in lines.values())
