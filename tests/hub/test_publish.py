"""`palign publish`, and the Hub as a stage's last step: what is there afterwards, and what is said."""

import json
import logging
from dataclasses import replace

import pytest
from datasets import Dataset
from finished_runs import pairs_run, prefixes_run
from hub_clients import run_python
from pushing import PATIENCE, student_run, whole_evaluation

from palign_hf.cli import main
from palign_hf.errors import UserError
from palign_hf.evaluation.stage import EVALUATE, EvaluateConfig
from palign_hf.hub.publish import publish, publish_results
from palign_hf.hub.settings import HubSettings
from palign_hf.runs.launch import Ending
from palign_hf.schema import TRACES


NAME = "tester/rows"


def put(hub, folder, name=NAME, **more):
    return publish(folder, name, api=hub.api(), patience=PATIENCE, **more)


def test_two_runs_are_two_configurations_of_one_repository(at_hub, tmp_path):
    prefixes, pairs = prefixes_run(tmp_path / "a"), pairs_run(tmp_path / "b")
    first, second = put(at_hub, prefixes, license="cc-by-4.0"), put(at_hub, pairs)
    assert (first.config, second.config) == ("small-student-ascend", "small-student-pairs-prompt")
    assert put(at_hub, prefixes, license="cc-by-4.0").unchanged and put(at_hub, pairs).unchanged
    files = at_hub.files("dataset", NAME)
    assert at_hub.titles("dataset", NAME) == ["Prefixes: small-student-ascend", "Pairs: small-student-pairs-prompt"]
    assert {f"{first.config}/train-00000-of-00001.parquet", f"pictures/{first.config}/lengths.png"} <= {*files}
    card = files["README.md"].decode()
    assert "license: cc-by-4.0" in card and card.count("config_name: small-student") == 5
    written = f"{prefixes / 'data' / 'train-00000-of-00001.parquet'}"
    assert files[f"{first.config}/train-00000-of-00001.parquet"] == open(written, "rb").read()


@pytest.mark.parametrize("made", [prefixes_run, pairs_run, whole_evaluation])
def test_a_run_that_was_looked_at_again_is_no_news_but_another_result_is(made, at_hub, tmp_path):
    def report(**changed):
        file = tmp_path / "run" / "report.json"
        told = json.loads(file.read_text()) | changed | {"settings": changed.get("settings", {})}
        told["settings"] = json.loads(file.read_text())["settings"] | told["settings"]
        file.write_text(json.dumps(told, sort_keys=True))
        (tmp_path / "run" / "report.md").write_text(f"# {changed}")

    run = made(tmp_path / "run")
    report(settings={"versions": {"palign-hf": "1"}, "date": "yesterday"})
    first = put(at_hub, run)
    before = at_hub.files("dataset", NAME)
    for results in run.glob("lighteval/results/small/results_2026.json"):
        results.rename(results.with_name("results_2027.json"))
    report(settings={"date": "today", "command": "palign again"}, asked=0)
    again = put(at_hub, run)
    assert again.unchanged and again.commit == first.commit and at_hub.files("dataset", NAME) == before
    report(settings={"versions": {"palign-hf": "2"}})
    assert f"reports/{first.config}/report.json" in put(at_hub, run).files_sent
    report(settings={"date": "tomorrow"})
    table = next(run.rglob("*.parquet"))
    rows = Dataset.from_parquet(str(table))
    rows.select(range(len(rows))[::-1]).to_parquet(str(table))
    put(at_hub, run)
    files = at_hub.files("dataset", NAME)
    assert b"tomorrow" in files[f"reports/{first.config}/report.json"] and len(at_hub.titles("dataset", NAME)) == 3
    assert not any("results_2026" in path for path in files)


def test_a_configuration_of_another_kind_is_not_written_over(at_hub, tmp_path):
    put(at_hub, prefixes_run(tmp_path / "a"), config="mine")
    with pytest.raises(UserError, match="`mine` of that repository holds prefixes, and this is pairs"):
        put(at_hub, pairs_run(tmp_path / "b"), config="mine")
    assert len(at_hub.titles("dataset", NAME)) == 1


@pytest.mark.integration
def test_rows_come_back_by_id_config_and_revision_and_tell_their_version(hub, online, tmp_path):
    """Slow: a fresh process with an empty cache imports `datasets`."""
    put(hub, prefixes_run(tmp_path / "a"), config="p", tag="v1")
    put(hub, prefixes_run(tmp_path / "a2", question=["Other"] * 4), config="p")
    put(hub, pairs_run(tmp_path / "b"), config="q")
    card = hub.files("dataset", NAME)["README.md"].decode()
    assert "version: 1.0.0" in card and "version: 2.0.0" in card
    newer = card.replace("version: 1.0.0", "version: 7.0.0").replace("version: 2.0.0", "version: 7.0.0")
    hub.api().create_branch(NAME, branch="newer", repo_type="dataset")
    hub.api().upload_file(
        path_or_fileobj=newer.encode(), path_in_repo="README.md", repo_id=NAME, repo_type="dataset", revision="newer"
    )
    code = f"""
import json
from datasets import load_dataset
from palign_hf import load_prefixes
from palign_hf.errors import UserError
from palign_hf.data.pairs import load_pairs

def refused(call, *given, **more):
    try:
        call(*given, **more)
    except UserError as error:
        return str(error)

name = {NAME!r}
plain = load_dataset(name, "p", split="train")
print(json.dumps({{
    "plain": plain.to_list(),
    "streamed": list(load_dataset(name, "p", split="train", streaming=True)),
    "ours": load_prefixes(name, "p").to_list(),
    "tagged": load_prefixes(name, "p", revision="v1")["question"][:],
    "version": str(plain.info.version),
    "pairs": [len(load_pairs(name, "q")), len(load_pairs(name, "q", split="rejected"))],
    "newer": [refused(load_prefixes, name, "p", revision="newer"), refused(load_pairs, name, "q", revision="newer")],
    "no config": refused(load_prefixes, name),
    "no revision": refused(load_prefixes, name, "p", revision="nope"),
}}))
"""
    told = json.loads(run_python(hub, tmp_path / "home", code).splitlines()[-1])
    written = Dataset.from_parquet(str(tmp_path / "a2" / "data" / "train-00000-of-00001.parquet")).to_list()
    assert told["plain"] == told["streamed"] == told["ours"] == written
    assert told["tagged"] == ["Q"] * 4 and told["version"] == "1.0.0" and told["pairs"] == [2, 2]
    assert all("version 7 of" in said and "pip install --upgrade palign-hf" in said for said in told["newer"])
    assert "`config=...`" in told["no config"] and "`tester/rows`" in told["no revision"]


def test_a_student_and_its_results(at_hub, tmp_path):
    student, evaluation = student_run(tmp_path / "s"), whole_evaluation(tmp_path / "e")
    done = put(at_hub, student, "tester/student")
    assert done.repo_type == "model" and done.left_out == ("checkpoint-2", "runs", "training_args.bin")
    files = at_hub.files("model", "tester/student")
    assert {"config.json", "model.safetensors", "reports/small-1b-p-align/report.json"} <= {*files}
    assert not any(b"secret place" in content for content in files.values())
    put(at_hub, evaluation, "tester/results")
    assert b"- config_name: small-evaluation" in at_hub.files("dataset", "tester/results")["README.md"]
    results = publish_results(evaluation, "tester/student", api=at_hub.api(), patience=PATIENCE)
    files = at_hub.files("model", "tester/student")
    assert ".eval_results/palign_aime25_pass_at_1.yaml" in results.files_sent
    card = files["README.md"].decode()
    assert "# student\n\nA student.\n" in card and "## Evaluation" in card and "model-index:" in card
    assert publish_results(evaluation, "tester/student", api=at_hub.api(), patience=PATIENCE).unchanged
    with pytest.raises(UserError, match="is no evaluation but student"):
        publish_results(student, "tester/student", api=at_hub.api())
    with pytest.raises(UserError, match="is no model but evaluation"):
        put(at_hub, evaluation, "tester/results", evaluation=evaluation)


def test_a_merged_student_takes_the_place_of_its_adapter(at_hub, tmp_path):
    folder = student_run(tmp_path / "s", adapter=True)
    put(at_hub, folder, "tester/student")
    done = put(at_hub, folder / "merged", "tester/student")
    assert done.files_deleted == ("adapter_config.json", "adapter_model.safetensors")
    assert {"config.json", "model.safetensors"} <= {*at_hub.files("model", "tester/student")}


def test_the_command_says_what_it_did_and_ends_with_json(at_hub, tmp_path, capsys, caplog):
    folder = str(prefixes_run(tmp_path / "run"))
    with caplog.at_level(logging.DEBUG):
        assert main(["publish", folder, NAME, "--config-name", "mine", "--private", "--tag", "v1", "--dry-run"]) == 0
        first, *names, last = capsys.readouterr().out.splitlines()
        assert first.startswith("would push: 5 files, ") and not at_hub.state.repositories
        assert [name.strip() for name in names] == json.loads(last)["files_sent"] and len(names) == 5
        assert main(["publish", folder, NAME, "--config-name", "mine", "--private", "--tag", "v1"]) == 0
        told = capsys.readouterr()
        assert main(["publish", folder, NAME, "--config-name", "mine", "--tag", "v1"]) == 0
    line, last = told.out.splitlines()
    assert line.startswith("pushed: 5 files, ") and f"{at_hub.endpoint}/datasets/{NAME} (a new repository)" in line
    assert json.loads(last)["commit"] == at_hub.repository("dataset", NAME).find("v1").id
    assert capsys.readouterr().out.startswith("unchanged: ") and at_hub.repository("dataset", NAME).private
    assert at_hub.token not in told.out + told.err + caplog.text
    assert not any(at_hub.token.encode() in content for content in at_hub.files("dataset", NAME).values())


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["rows"], "`rows` names no repository of the Hub"),
        (["other/rows"], "you are `tester`, and may write for `tester`"),
        ([NAME, "--config-name", "a b"], "`--config-name 'a b'` can't name a configuration"),
        ([NAME, "--tag", "v1", "--create-pr"], "a pull request is no release yet"),
        ([NAME, "--evaluation", "x"], "is no model but prefixes"),
    ],
)
def test_the_command_refuses_in_one_line(at_hub, options, said, tmp_path, capsys):
    assert main(["publish", str(prefixes_run(tmp_path / "run")), *options]) == 2
    told = capsys.readouterr()
    assert said in told.err and told.err.count("\n") == 1 and not told.out and not at_hub.state.repositories


@pytest.fixture
def truncate(tiny_student, tmp_path):
    """A truncation that asks nobody, and ends in the Hub."""
    rows = [
        {"id": str(at), "question": f"Q{at}", "trace": "One. Two. Three. Four.", "answer": "4", "source": "t"}
        for at in range(3)
    ]
    Dataset.from_list(rows, features=TRACES.features).to_parquet(tmp_path / "traces.parquet")
    out = tmp_path / "out"
    command = ["truncate", "--traces.source", str(tmp_path / "traces.parquet"), "--student", str(tiny_student)]
    command += ["--search", "fixed(ratio=0.5)", "--output-dir", str(out), "--progress=false"]
    return lambda *options: main([*(one for one in command if one != "--progress=false"), *options]), out


def test_a_run_ends_with_its_push(at_hub, truncate, capsys):
    run, out = truncate
    assert run("--push-to-hub", NAME, "--hub.config-name", "mine", "--hub.tag", "v1") == 0
    said = capsys.readouterr().out.splitlines()
    assert said[-1].startswith("pushed: ") and said[-2].startswith("report:")
    assert "mine/train-00000-of-00001.parquet" in at_hub.files("dataset", NAME, "v1")
    assert not any(str(out).encode() in content for content in at_hub.files("dataset", NAME).values())
    assert run("--push-to-hub", NAME, "--hub.config-name", "mine", "--hub.revision", "dev") == 0


def test_what_couldnt_be_pushed_is_refused_before_any_work(at_hub, truncate, capsys, monkeypatch):
    run, out = truncate
    for options in ([], ["--dry-run"]):
        assert run("--push-to-hub", "other/rows", *options) == 2
        assert "you are `tester`" in capsys.readouterr().err and not out.exists()
    assert run("--push-to-hub", "rows") == 2
    assert "`--push-to-hub rows` names no repository" in capsys.readouterr().err
    monkeypatch.setenv("HF_TOKEN", at_hub.read_token)
    assert run("--push-to-hub", NAME) == 2
    assert "may only read" in capsys.readouterr().err and not out.exists()
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    assert run("--push-to-hub", NAME) == 2
    assert "`HF_HUB_OFFLINE` is set" in capsys.readouterr().err and not out.exists()


def test_a_push_that_fails_leaves_the_run_whole_and_says_how_to_go_on(at_hub, truncate, capsys):
    run, out = truncate
    at_hub.fault("POST", "/commit/", 403, None)
    assert run("--push-to-hub", NAME, "--hub.config-name", "mine", "--hub.create-pr") == 2
    told = capsys.readouterr()
    again = f"palign publish {out} {NAME} --config-name mine --create-pr"
    assert f"The run is whole in `{out}`, but pushing it failed." in told.err and f"`{again}`" in told.err
    assert "Traceback" not in told.err and at_hub.token not in told.err + told.out
    at_hub.faults.clear()
    assert main(again.split()[1:]) == 0
    assert len(at_hub.repository("dataset", NAME).discussions) == 1


def test_several_students_are_several_configurations_and_the_tag_is_for_all(at_hub, tmp_path):
    hub = HubSettings(tag="v1")
    config = EvaluateConfig(
        students={"small": str(tmp_path / "a"), "large": "me/large"},
        push_to_hub=NAME,
        hub=hub,
        output_dir=str(tmp_path),
    )
    for name in config.each():
        whole_evaluation(tmp_path / name)
    said = EVALUATE.follow(config, Ending("done", 0))
    assert said.count("pushed: ") == 2
    files = at_hub.files("dataset", NAME, "v1")
    assert {f"{name}-evaluation/samples-00000-of-00001.parquet" for name in ("small", "large")} <= {*files}
    assert b"- config_name: small-evaluation" in files["README.md"] and b"- config_name: large-" in files["README.md"]
    with pytest.raises(UserError, match="`hub.config_name=x` with several students"):
        replace(config, hub=HubSettings(config_name="x"))


def test_a_run_with_failed_rows_is_not_pushed_by_itself(at_hub, tmp_path):
    config = EvaluateConfig(student="me/small", push_to_hub=NAME, output_dir=str(whole_evaluation(tmp_path / "e")))
    said = EVALUATE.follow(config, Ending("done", 3))
    assert said == (
        "not pushed, since 3 rows failed: run again, or push what is there with "
        f"`palign publish {tmp_path / 'e'} {NAME}`"
    )
    assert not at_hub.requests()
    assert EVALUATE.follow(replace(config, push_to_hub=None), Ending("done", 0)) is None
