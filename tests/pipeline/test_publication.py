"""A finished chain on the Hub: what lands where, by `palign publish RUN OWNER/NAME` or by its recipe."""

import json
from pathlib import Path

import pytest
import yaml
from finished_runs import pairs_run, prefixes_run
from pushing import student_run, whole_evaluation

from palign_hf.cli import main
from palign_hf.errors import UserError
from palign_hf.pipeline.chain import chain
from palign_hf.pipeline.plan import State, states
from palign_hf.pipeline.recipe import PublishSettings, read_chain
from palign_hf.pipeline.record import RunRecord, content_of_sources, plain_values
from palign_hf.pipeline.run import comparison_signature


NAME = "tester/small"
MADE = {"truncate": prefixes_run, "align": pairs_run, "train": student_run, "evaluate": whole_evaluation}
TABLES = ["Prefixes: small-student-ascend", "Pairs: small-student-pairs-prompt"]


def finished(folder: Path, *overrides: str) -> Path:
    """The folder of the toy chain with every step done, and what a comparison leaves."""
    recipe = read_chain("toy/pipeline.yaml", [f"output_dir={folder}", *overrides])
    steps = chain(recipe)
    (folder / "recipes").mkdir(parents=True)
    (folder / "recipes" / "chain.yaml").write_text(yaml.safe_dump(plain_values(recipe.whole())))
    record = RunRecord(folder)
    found = states(steps, {}, content_of_sources, record.damaged)
    for one in found:
        MADE[one.step.stage](folder / one.step.folder)
        add(record, one)
    (folder / "comparison").mkdir()
    (folder / "comparison" / "comparison.png").write_bytes(b"\x89PNG plot")
    compared = comparison_signature([step for step in steps if step.stage == "evaluate"], record)
    files = {"comparison.png": 9}
    record.held["steps"]["compare"] = {
        "stage": "compare",
        "signature": compared,
        "folder": "comparison",
        "files": files,
    }
    record.write()
    return folder


def add(record: RunRecord, one: State) -> None:
    record.add(one, content_of_sources(one.step.deciding), {"failed": 0.0, "seconds": 1.0})


def publish(folder: Path, *options: str) -> int:
    return main(["publish", str(folder), NAME, *options])


def test_tables_go_to_the_dataset_and_a_student_with_its_evaluation_to_the_model(at_hub, tmp_path, capsys):
    run = finished(tmp_path / "run", "arms=[p-align, trace]")
    assert publish(run, "--private", "--license", "cc-by-4.0", "--tag", "v1") == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    evaluations = [f"palign-toy-{name}-evaluation" for name in ("before", "p-align", "trace")]
    assert at_hub.titles("dataset", NAME) == TABLES + [f"Evaluation: {name}" for name in evaluations]
    assert at_hub.titles("model", NAME) == ["Student: small-1b-p-align"]
    heads = {kind: at_hub.repository(kind, NAME).find("v1").id for kind in ("dataset", "model")}
    assert told["repo_id"] == NAME and len(told["published"]) == 6
    assert [one["commit"] for one in told["published"]][-2:] == [heads["dataset"], heads["model"]]
    assert all(at_hub.repository(kind, NAME).private for kind in heads)
    files = at_hub.files("dataset", NAME)
    names = ["small-student-ascend", "small-student-pairs-prompt", "small-student-pairs-prompt-sft", *evaluations]
    card = files["README.md"].decode()
    assert all(f"config_name: {name}\n" in card for name in names) and "license: cc-by-4.0" in card
    assert {f"{name}/samples-00000-of-00001.parquet" for name in evaluations} <= {*files}
    files = at_hub.files("model", NAME)
    assert {"model.safetensors", ".eval_results/palign_aime25_pass_at_1.yaml"} <= {*files}
    card = files["README.md"].decode()
    assert "## Evaluation" in card and f"datasets:\n- {NAME}\n" in card and b"\x89PNG plot" in files.values()


def test_given_again_it_makes_no_commit_and_a_killed_one_is_continued(at_hub, tmp_path, capsys):
    run = finished(tmp_path / "run")
    at_hub.fault("POST", f"/api/models/{NAME}/commit/", 403, None)
    assert publish(run) == 2
    assert at_hub.titles("dataset", NAME)[:2] == TABLES and at_hub.titles("model", NAME) == []
    at_hub.faults.clear()
    before = {path.name: path.read_bytes() for path in run.rglob("*") if path.is_file()}
    capsys.readouterr()
    for unchanged in (4, 5):
        assert publish(run) == 0
        assert capsys.readouterr().out.count("unchanged: ") == unchanged
    assert len(at_hub.titles("dataset", NAME)) == 4 and len(at_hub.titles("model", NAME)) == 1
    assert {path.name: path.read_bytes() for path in run.rglob("*") if path.is_file()} == before


def test_a_dry_run_names_the_files_and_changes_nothing(at_hub, tmp_path, capsys):
    assert publish(finished(tmp_path / "run"), "--dry-run") == 0
    told = capsys.readouterr().out
    assert told.count("would push: ") == 5 and "\n  model.safetensors\n" in told
    assert all(one["dry_run"] for one in json.loads(told.splitlines()[-1])["published"])
    assert not at_hub.state.repositories


def test_one_pull_request_takes_all_of_a_repository(at_hub, tmp_path):
    run = finished(tmp_path / "run")
    for kind in ("dataset", "model"):
        at_hub.create(kind, NAME)
    for _ in range(2):
        assert publish(run, "--create-pr") == 0
        assert [len(at_hub.repository(kind, NAME).discussions) for kind in ("dataset", "model")] == [1, 1]
    assert len(at_hub.titles("dataset", NAME, "refs/pr/1")) == 4 and at_hub.titles("dataset", NAME) == []


def test_another_arm_is_named(at_hub, tmp_path, capsys):
    run = finished(tmp_path / "run", "arms=[p-align, trace]", "seeds=[0, 1]")
    (run / "trace" / "seed-1" / "student" / "model.safetensors").write_bytes(b"the other")
    record = RunRecord(run)
    record.held["steps"]["train/trace/seed-1"]["files"]["model.safetensors"] = 9
    record.write()
    assert publish(run, "--arm", "trace/seed-1") == 0
    assert at_hub.files("model", NAME)["model.safetensors"] == b"the other"
    assert b"config_name: palign-toy-trace-seed-1-evaluation" in at_hub.files("dataset", NAME)["README.md"]
    assert publish(run, "--arm", "label") == 2
    assert "`--arm label` is none of the students that were trained" in capsys.readouterr().err


def test_an_unfinished_chain_is_refused_in_one_line(at_hub, tmp_path, capsys):
    run = finished(tmp_path / "run")
    (run / "p-align" / "student" / "model.safetensors").unlink()
    record = RunRecord(run)
    del record.held["steps"]["align"]
    record.write()
    assert publish(run) == 2
    told = capsys.readouterr().err
    assert "2 of 6 steps are left (align, train/p-align)" in told.replace("`", "") and told.count("\n") == 1
    assert f"palign run --status {run}" in told and not at_hub.state.repositories


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--model", "tester/other"], "`--model tester/other` is for the folder of one stage"),
        (["--config-name", "mine"], "names one configuration, and a chain has several"),
    ],
)
def test_options_of_one_stage_are_refused(at_hub, options, said, tmp_path, capsys):
    assert publish(finished(tmp_path / "run"), *options) == 2
    assert said in capsys.readouterr().err
    assert main(["publish", str(tmp_path / "run" / "prefixes"), NAME, "--arm", "trace"]) == 2
    assert "is for the folder of a chain" in capsys.readouterr().err and not at_hub.state.repositories


def test_a_recipe_that_asks_for_it_publishes_after_its_last_step_and_only_once(at_hub, tmp_path, capsys):
    run, section = tmp_path / "run", f"publish={{repo_id: {NAME}, private: true}}"
    finished(run)
    command = ["run", "toy/pipeline.yaml", "--set", f"output_dir={run}"]
    assert main([*command, "--until", "truncate"]) == 0 and not at_hub.requests()
    assert main([*command, "--set", section, "--dry-run"]) == 0
    assert f"== publish: to `{NAME}`" in capsys.readouterr().out and not at_hub.state.repositories
    at_hub.fault("POST", f"/api/models/{NAME}/commit/", 403, None)
    assert main([*command, "--set", section]) == 2
    assert "All steps are done, but publishing failed." in capsys.readouterr().err
    assert main(["run", "--status", str(run)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["publish", "missing"]
    at_hub.faults.clear()
    assert main([*command, "--set", section]) == 0
    held = (run / "run.json").read_bytes()
    heads = {f"{kind} {NAME}": at_hub.repository(kind, NAME).find("main").id for kind in ("dataset", "model")}
    assert json.loads(held)["published"] == heads and at_hub.repository("model", NAME).private
    asked = len(at_hub.requests())
    assert main([*command, "--set", section]) == 0
    assert (run / "run.json").read_bytes() == held and len(at_hub.requests()) == asked
    assert main(["run", "--status", str(run)]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split() == ["publish", "done"]


def test_what_couldnt_be_published_is_refused_before_any_step(at_hub, tmp_path, capsys):
    command = ["run", "toy/pipeline.yaml", "--set", f"output_dir={tmp_path / 'run'}"]
    assert main([*command, "--set", "publish.repo_id=other/rows"]) == 2
    assert "you are `tester`" in capsys.readouterr().err and not (tmp_path / "run" / "run.json").exists()
    with pytest.raises(UserError, match="names no repository"):
        PublishSettings(repo_id="rows")
