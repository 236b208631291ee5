"""Chains as steps: what each stage gets from the head and from those before it, and which settings are refused."""

import pytest

from palign_hf.config import ConfigError
from palign_hf.errors import UserError
from palign_hf.pipeline.chain import chain
from palign_hf.pipeline.plan import in_groups, states
from palign_hf.pipeline.recipe import chain_of, read_chain
from palign_hf.pipeline.run import Wish, dry_run, forecasts


TOY = "toy/pipeline.yaml"


def steps_of(*overrides, recipe=TOY):
    return {step.name: step for step in chain(read_chain(recipe, overrides))}


def test_each_stage_reads_what_the_one_before_it_writes(tmp_path):
    steps = steps_of(f"output_dir={tmp_path}", "max_samples=7", "seed=3", "engine=transformers")
    assert [*steps] == ["truncate", "align", "evaluate-before", "train/p-align", "evaluate/p-align"]
    cut, align, before, train, after = (step.settings for step in steps.values())
    assert cut.traces.max_samples == 7 and cut.engine == "transformers" and align.seed == 3
    assert (
        align.prefixes.source == train.prefixes.source == str(tmp_path / "prefixes")
        and align.prefixes.split == "train"
    )
    assert train.pairs.source == str(tmp_path / "pairs") and train.training["seed"] == 3
    assert before.student == "palign-toy" and before.zero_shot and not after.zero_shot
    assert after.student == str(tmp_path / "p-align" / "student") and after.seed == before.seed == 3
    assert before.max_samples == 200  # its own: the head's is about traces
    assert steps["evaluate/p-align"].reads == {"student": "train/p-align"}


def test_a_section_wins_over_the_head_and_the_head_over_the_recipe_that_it_names(tmp_path):
    steps = steps_of(f"output_dir={tmp_path}", "engine=transformers", "align.engine=vllm", "align.n=2")
    assert steps["align"].settings.engine == "vllm" and steps["truncate"].settings.engine == "transformers"
    assert steps["align"].settings.n == 2 and steps_of()["align"].settings.n == 4


def test_a_source_that_a_section_names_is_read_instead(tmp_path):
    steps = steps_of(f"output_dir={tmp_path}", "align.prefixes.source=me/published")
    assert steps["align"].settings.prefixes.source == "me/published" and steps["align"].reads == {}


def test_arms_and_seeds_repeat_the_training_and_what_follows(tmp_path):
    arms = "arms=[p-align, trace, 'fixed(ratio=0.5)', 'p-align(tag_style=none)']"
    steps = steps_of(f"output_dir={tmp_path}", arms, "seeds=[0, 1]", "evaluate.max_draft_tokens=100")
    assert len(steps) == 2 + 2 + 4 * 2 * 2 and len({step.folder for step in steps.values()}) == len(steps)
    fixed = steps["train/fixed-ratio-0.5/seed-1"].settings
    assert str(fixed.baseline) == "fixed(ratio=0.5)" and fixed.training["seed"] == 1
    assert steps["train/p-align-tag-style-none/seed-0"].settings.training["tag_style"] == "none"
    tagged, bare = steps["evaluate/p-align/seed-0"].settings, steps["evaluate/trace/seed-0"].settings
    assert (tagged.tag_style, tagged.max_draft_tokens) == ("prefix", 100)
    assert (bare.tag_style, bare.max_draft_tokens) == ("none", None)
    assert steps["evaluate-before/seed-1"].settings.seed == 1


def test_several_students_have_a_folder_each(tmp_path):
    values = read_chain(TOY).whole() | {"students": {"small": "palign-toy", "large": "me/large"}}
    del values["student"]
    steps = {step.name: step for step in chain(chain_of(values | {"output_dir": str(tmp_path)}, "`r.yaml`", tmp_path))}
    assert steps["large/align"].settings.student == "me/large" and steps["small/align"].folder == "small/pairs"
    assert steps["large/evaluate/p-align"].settings.student == str(tmp_path / "large" / "p-align" / "student")


def test_an_adapter_is_merged_for_what_reads_it(tmp_path):
    steps = steps_of(f"output_dir={tmp_path}", "train.lora.r=4")
    assert steps["train/p-align"].settings.lora.merge
    assert steps["evaluate/p-align"].settings.student == str(tmp_path / "p-align" / "student" / "merged")


def test_inference_that_follows_each_other_shares_a_process_and_alike_an_engine(tmp_path):
    def groups(*overrides):
        found = states(
            [*steps_of(f"output_dir={tmp_path}", *overrides).values()], {}, lambda read: {}, lambda held: ""
        )
        return [[one.step.name for one in group] for group in in_groups(found)]

    assert groups() == [["truncate", "align", "evaluate-before"], ["train/p-align"], ["evaluate/p-align"]]
    arms = groups("arms=[p-align, label]")
    assert arms[1:] == [["train/p-align"], ["train/label"], ["evaluate/p-align", "evaluate/label"]]
    steps = steps_of(f"output_dir={tmp_path}", "align.engine=transformers")
    assert steps["truncate"].runner == steps["evaluate-before"].runner != steps["align"].runner


@pytest.mark.parametrize("recipe", ["toy", "smollm2-135m", "qwen2.5-7b-instruct", "qwen3-8b", "qwen3-1.7b"])
def test_the_chains_that_ship_are_whole(recipe):
    steps = steps_of(recipe=f"{recipe}/pipeline.yaml")
    assert [step.stage for step in steps.values()] == ["truncate", "align", "evaluate", "train", "evaluate"]
    assert len([*in_groups(states([*steps.values()], {}, lambda read: {}, lambda held: ""))]) == 3


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("algin.n=4", "the unknown key `algin` (nearest match: `align`)"),
        ("align.m=4", "the unknown key `align.m`"),
        ("align.n=0", "`align.n: 0` must be"),
        ("arms=[p-allign]", "`p-allign` is no arm (nearest match: `p-align`)"),
        ("arms=[p-align, p-align]", "needs at least one arm, and each once"),
        ("seeds=[1, 1]", "has a seed twice"),
        ("students=[a, b]", "Name one student in `student=...`, or several"),
        ("evaluate=5", "`evaluate` must be a section, or the name of a recipe"),
        ("max_failed=2", "`max_failed: 2` must be"),
        ("train.training.learning_rat=1", "no field of `PAlignConfig`"),
    ],
)
def test_mistakes_are_named(override, words):
    with pytest.raises(UserError) as error:
        steps_of(override)
    assert words in str(error.value) and "\n" not in str(error.value)


def test_a_chain_without_a_stage_is_refused(tmp_path):
    with pytest.raises(UserError, match="has no stage"):
        chain(chain_of({"student": "a", "output_dir": str(tmp_path)}, "`r.yaml`", tmp_path))
    with pytest.raises(ConfigError, match="lacks `train.pairs"):
        chain(chain_of({"student": "a", "output_dir": str(tmp_path), "train": {}}, "`r.yaml`", tmp_path))


def test_a_run_keeps_its_recipe_with_all_values(tmp_path):
    read = read_chain(TOY, ["align.n=2", f"output_dir={tmp_path}"])
    again = chain_of(read.whole(), "`kept`", tmp_path)
    assert [step.deciding for step in chain(again)] == [step.deciding for step in chain(read)]


def test_a_dry_run_knows_what_each_step_of_a_new_chain_takes(tmp_path, capsys):
    assert dry_run("toy/pipeline.yaml", Wish((f"output_dir={tmp_path / 'out'}", "max_samples=20"))) == 0
    told = capsys.readouterr().out
    for words in (
        "rows       20",
        "samples    at most 80, of at most 2,048 tokens",
        "steps      at most",
        "memory     about",
    ):
        assert words in told
    assert told.count("written    at most") == 2 and "not known here" not in told and not (tmp_path / "out").exists()


def test_a_step_whose_forecast_is_not_known_leaves_those_after_it_unknown(tmp_path):
    steps = chain(read_chain(TOY, [f"output_dir={tmp_path}", "student=me/nowhere"]))
    found = dict(forecasts(steps, {step.name for step in steps}))
    assert [*found] == [step.name for step in steps] and "can't be found" in found["truncate"]
    assert found["align"] == "it reads what `truncate` will write"
    assert dict(forecasts(steps, {"align"})).keys() == {"align"}
