"""What a changed setting makes stale: its own step and all that read from it, and nothing else."""

import dataclasses
import json
from dataclasses import dataclass
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palign_hf.config.settings import walk
from palign_hf.config.values import choices
from palign_hf.errors import UserError
from palign_hf.pipeline.chain import chain
from palign_hf.pipeline.plan import DONE, MISSING, State, chosen, signature_of, states
from palign_hf.pipeline.recipe import read_chain
from palign_hf.pipeline.record import RunRecord, begin, expected, page
from palign_hf.runs.forecast import Forecast
from palign_hf.runs.stages import find_stage
from palign_hf.terminal import print_err


ARMS = ("arms=[p-align, trace]", "output_dir=runs/none")
# What reads, directly or by others, from a step of each stage.
AFTER = {
    "truncate": {"truncate", "align", "train/p-align", "train/trace", "evaluate/p-align", "evaluate/trace"},
    "align": {"align", "train/p-align", "train/trace", "evaluate/p-align", "evaluate/trace"},
    "train": {"train/p-align", "train/trace", "evaluate/p-align", "evaluate/trace"},
    "evaluate": {"evaluate-before", "evaluate/p-align", "evaluate/trace"},
}
SECTIONS = {name: [one.key for one in walk(find_stage(name).settings)] for name in AFTER}
STEPS = chain(read_chain("toy/pipeline.yaml", ARMS))


def no_content(settings):
    return {}


def whole(held):
    return ""


def recorded(steps):
    signatures, found = {}, {}
    for step in steps:
        signatures[step.name] = signature_of(step, signatures, {})
        found[step.name] = {
            "signature": signatures[step.name],
            "settings": step.deciding,
            "content": {},
            "folder": step.folder,
        }
    return found


RECORDED = recorded(STEPS)


def stale(steps, record=RECORDED, **more):
    return {one.step.name: one.why for one in states(steps, record, no_content, whole, **more) if one.state != DONE}


def test_an_unchanged_recipe_has_nothing_to_do():
    assert stale(STEPS) == {} and chosen(states(STEPS, RECORDED, no_content, whole), None, None, [*AFTER]) == []


def others(one, value):
    """Other values for a setting, likely ones first."""
    if value is True or value is False:
        return ["false" if value else "true"]
    known = [str(one) for one in choices(one.hint)]
    numbers = [value + 1, value / 2, value * 2] if isinstance(value, int | float) else []
    return [
        *known,
        *numbers,
        7,
        0.25,
        "other",
        "exact",
        "draft",
        "null",
        "[cut]",
        "[toy]",
        "{x: 1}",
        "fixed(ratio=0.5)",
    ]


def with_another_value(section, key):
    """The chain with another value for a setting, or None where none of ours is right for it."""
    setting = next(one for one in walk(find_stage(section).settings) if one.key == key)
    before = {step.name: step for step in STEPS}
    value = next(step for step in STEPS if step.stage == section).settings
    for name in key.split("."):
        value = getattr(value, name, None)
    for other in others(setting, value):
        try:
            steps = chain(read_chain("toy/pipeline.yaml", [*ARMS, f"{section}.{key}={other}"]))
        except UserError:
            continue
        if any(step.settings != before[step.name].settings for step in steps if step.stage == section):
            return steps, setting
    return None


def test_a_changed_key_of_any_section_makes_exactly_the_right_steps_stale():
    tried, left = 0, []
    for section, keys in SECTIONS.items():
        wired = {key for step in STEPS if step.stage == section for key in step.reads}
        for key in keys:
            # What is wired can't change but by naming another source; the student of an evaluation is the trained one.
            if key in wired or key in ("output_dir", "student", "students"):
                continue
            if (found := with_another_value(section, key)) is None:
                left.append(f"{section}.{key}")
                continue
            steps, setting = found
            tried += 1
            names = stale(steps)
            if setting.field.metadata.get("neutral"):
                assert names == {}, key
                continue
            changed = {step.name for step in steps if step.deciding != RECORDED[step.name]["settings"]}
            # Drafts are no matter of the untrained student, nor of arms without them.
            assert changed and changed <= {step.name for step in steps if step.stage == section}, key
            assert {*names} == (AFTER[section] if section in ("truncate", "align", "train") else changed), key
            assert all(f"`{section}.{key.split('.')[0]}" in names[name] for name in changed), (key, names)
    print(f"{tried} keys changed, {len(left)} not: {', '.join(left)}")
    assert tried >= 70


@given(st.sampled_from([step.name for step in STEPS]))
def test_a_step_without_a_record_takes_all_that_read_from_it_along(name):
    names = {*stale(STEPS, {key: one for key, one in RECORDED.items() if key != name})}
    reads = {name}
    for step in STEPS:
        if reads & {*step.reads.values()}:
            reads.add(step.name)
    assert names == reads


@given(st.sampled_from([step.name for step in STEPS]))
def test_files_that_are_gone_are_written_again(name):
    found = states(STEPS, RECORDED, no_content, lambda held: "`x` is gone" if held is RECORDED[name] else "")
    assert next(one.why for one in found if one.step.name == name) == "`x` is gone"


def test_other_content_of_a_source_is_named():
    found = states(
        STEPS, RECORDED, lambda read: {"student": {"commit": "b"}} if "traces.source" in read else {}, whole
    )
    assert found[0].why == "`truncate.student` has other content" and all(one.state != DONE for one in found[:2])


def test_forced_stages_run_again():
    names = stale(STEPS, force=["train"])
    assert {*names} == AFTER["train"] and names["train/trace"] == "--force train"
    assert names["evaluate/trace"] == "`train/trace` runs again"


def test_the_words_name_the_change():
    steps = chain(read_chain("toy/pipeline.yaml", [*ARMS, "align.n=8"]))
    names = stale(steps)
    assert names["align"] == "`align.n` 4 -> 8" and {*names} == AFTER["align"]


def test_from_and_until_choose_stages():
    found = states(STEPS, {}, no_content, whole)
    names = [one.step.name for one in chosen(found, None, "align", [*AFTER])]
    assert names == ["truncate", "align"]
    with pytest.raises(UserError, match="`--from align` needs `truncate`, which is missing: it has not run"):
        chosen(found, "align", None, [*AFTER])
    with pytest.raises(UserError, match="comes after"):
        chosen(found, "train", "align", [*AFTER])
    with pytest.raises(UserError, match="no stage of this chain .nearest match: `align`"):
        chosen(found, "algin", None, [*AFTER])


def test_a_signature_depends_on_all_that_decides():
    step = STEPS[0]
    one = signature_of(step, {}, {"student": 1})
    assert one == signature_of(step, {}, {"student": 1}) != signature_of(step, {}, {"student": 2})
    other = dataclasses.replace(step, settings=dataclasses.replace(step.settings, granularity="paragraph"))
    assert signature_of(other, {}, {"student": 1}) != one


def test_a_recipe_is_no_longer_finished_once_another_one_has_begun(tmp_path):
    record = RunRecord(tmp_path)
    recipe = read_chain("toy/pipeline.yaml", ARMS)
    record.finish(recipe)
    assert RunRecord(tmp_path).finished(recipe)
    begin(record, states(STEPS, {}, no_content, whole)[0], STEPS[0].settings)
    assert not RunRecord(tmp_path).finished(recipe)


def test_the_page_has_forecast_and_fact_of_what_both_know(tmp_path):
    step = next(one for one in STEPS if one.stage == "align")
    folder = tmp_path / step.folder
    folder.mkdir(parents=True)
    report = {"computed_tokens": 1200, "generated_tokens": 300, "rows": 4, "done": True, "lines": [["rows", "4"]]}
    (folder / "report.json").write_text(json.dumps(report))
    record = RunRecord(tmp_path)
    record.add(State(step, "0", MISSING), {}, {"seconds": 1.0, "forecast": {"computed_tokens": 1000, "steps": 3}})
    assert record.steps[step.name]["figures"] == {"computed_tokens": 1200, "generated_tokens": 300, "rows": 4}
    text = page(read_chain("toy/pipeline.yaml"), STEPS, record, "")
    assert "| align | prompt tokens | 1,000 | 1,200 |" in text and "written tokens" not in text


def test_what_a_stage_cannot_forecast_is_left_out(capsys):
    def unknown(settings):
        print_err("3 rows in, 3 out")
        raise UserError("no tokenizer here")

    forecast = Forecast(prompt_tokens=7, rows=2)
    assert expected(SimpleNamespace(forecast=lambda settings: forecast), None) == {"computed_tokens": 7}
    assert expected(SimpleNamespace(forecast=unknown), None) == {} and capsys.readouterr().err == ""
    assert expected(SimpleNamespace(forecast=lambda settings: "a text"), None) == {}


def test_a_stage_of_another_package_needs_no_setting_overwrite(tmp_path):
    @dataclass(frozen=True)
    class Own:
        output_dir: str = "out"

    step = next(one for one in STEPS if one.stage == "align")
    assert begin(RunRecord(tmp_path), State(step, "0", MISSING), Own()) == Own()
