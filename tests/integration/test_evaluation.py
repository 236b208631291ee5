"""Evaluation end to end with real engines: the toy student over transformers, SmolLM2 over vLLM, lighteval's own CLI.

Slow for the processes that each test starts (lighteval alone imports for some seconds), and for one start of vLLM.
"""

import contextlib
import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from launching import launch

from palign_hf.evaluation.grade import read_samples
from palign_hf.evaluation.tasks import open_task, problem_table
from palign_hf.evaluation.transform import StudentEvaluation
from palign_hf.generation.rendering import ChatPrompt
from palign_hf.prompts import SOLVE, TagStyle
from palign_hf.students import load_tokenizer, resolve_student, shipped
from palign_hf.toy.world.problems import right_by_truth


pytestmark = pytest.mark.integration

ALONE = os.environ | {"OMP_NUM_THREADS": "1"}
PALIGN = [sys.executable, "-m", "palign_hf.cli", "evaluate"]
TOY = {"student": "palign-toy", "tasks": ["palign:toy"], "max_samples": 6, "engine": "transformers", "max_tokens": 128}
REAL = ("math_500", "aime24", "aime25", "amc12")


def start(command: list[str], folder: Path, name: str, **settings) -> subprocess.CompletedProcess[str]:
    """A recipe in a folder of its own, run to its end."""
    home = folder / name
    home.mkdir(exist_ok=True)
    values = {"output_dir": str(home / "out"), "ledger": str(home / "ledger")} | settings
    (home / "evaluate.yaml").write_text(json.dumps(values))
    command = [*command, "--config", str(home / "evaluate.yaml")]
    return subprocess.run(command, capture_output=True, text=True, env=ALONE)


@pytest.fixture(scope="module")
def toy(tmp_path_factory) -> Path:
    """The toy student over six problems: once by the command, once under accelerate with two processes."""
    folder = tmp_path_factory.mktemp("toy")
    for name, command in (("command", PALIGN), ("two", launch(2, "evaluate.py"))):
        done = start(command, folder, name, **TOY)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "nltk" not in done.stdout + done.stderr and "Traceback" not in done.stderr
    return folder


def test_the_same_seed_gives_the_same_table_with_one_process_and_with_two(toy):
    one, two = (toy / name / "out" / "samples.parquet" for name in ("command", "two"))
    assert one.read_bytes() == two.read_bytes()
    samples = read_samples(one)
    assert len(samples) == 18 and len({sample.seed for sample in samples}) == 18
    assert len({sample.text for sample in samples if sample.sample < 3}) > 6  # they are really drawn


def test_labels_are_those_of_the_truth(toy):
    samples = read_samples(toy / "command" / "out")
    assert any(sample.strict for sample in samples)
    for sample in samples:
        assert sample.strict == right_by_truth(sample.id, sample.text)


def test_the_report_counts_every_sample_and_lightevals_files_say_the_same(toy):
    out = toy / "command" / "out"
    report = json.loads((out / "report.json").read_text())
    assert (report["problems"], report["samples"], report["n"], report["failed"]) == (6, 18, 3, 0)
    (results,) = out.rglob("results_*.json")
    told = json.loads(results.read_text())["results"]["palign:toy|0"]
    for verdict in ("strict", "lenient"):
        assert told[f"{verdict}_pass@1"] == pytest.approx(report[verdict]["pass@1"])
        assert told[f"{verdict}_pass@3"] == pytest.approx(report[verdict]["pass@3"])
    (details,) = out.rglob("details_*.parquet")
    assert sum(len(row["doc"]["specific"]["samples"]) for row in pq.read_table(details).to_pylist()) == 18


def test_the_same_command_again_takes_everything_from_the_ledger(toy):
    before = (toy / "command" / "out" / "samples.parquet").read_bytes()
    done = start(PALIGN, toy, "command", **TOY)
    assert done.returncode == 0, done.stderr[-3000:]
    report = json.loads((toy / "command" / "out" / "report.json").read_text())
    assert report["usage"]["asked"] == 0 and report["usage"]["samples"] == 18
    assert (toy / "command" / "out" / "samples.parquet").read_bytes() == before
    assert "loading" not in done.stderr  # no engine was started


def drawn(ledger: Path) -> set[tuple]:
    """What is in the ledger so far, each sample with all that is kept of it."""
    found = set()
    for path in ledger.glob("*.sqlite"):
        db = sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True, timeout=60)
        with contextlib.closing(db), contextlib.suppress(sqlite3.OperationalError):
            found |= set(db.execute("SELECT key, samples.* FROM samples JOIN problems ON number = problem"))
    return found


def test_killed_while_it_draws_it_goes_on_to_the_table_of_an_undisturbed_run(toy, tmp_path):
    """`kill -9` of the whole group once seven samples are there; the same command then draws the other eleven."""
    (tmp_path / "evaluate.yaml").write_text(
        json.dumps(TOY | {"output_dir": str(tmp_path / "out"), "ledger": str(tmp_path / "ledger")})
    )
    options = ["evaluate", "--config", str(tmp_path / "evaluate.yaml")]
    held = [sys.executable, str(Path(__file__).with_name("held_evaluation.py")), "7", *options]
    run = subprocess.Popen(held, start_new_session=True, stderr=subprocess.DEVNULL, env=ALONE)
    try:
        deadline = time.monotonic() + 300
        while len(before := drawn(tmp_path / "ledger")) < 7:
            assert run.poll() is None and time.monotonic() < deadline
            time.sleep(0.05)
        os.killpg(run.pid, signal.SIGKILL)
        assert run.wait(60) == -signal.SIGKILL
    finally:
        run.kill()
    assert drawn(tmp_path / "ledger") == before and len(before) == 7
    assert not (tmp_path / "out" / "samples.parquet").exists()
    done = subprocess.run([*PALIGN[:-1], *options], capture_output=True, text=True, env=ALONE)
    assert done.returncode == 0, done.stderr[-3000:]
    after = drawn(tmp_path / "ledger")
    assert before < after and len(after) == 18
    assert json.loads((tmp_path / "out" / "report.json").read_text())["usage"]["asked"] == 11
    whole = toy / "command" / "out" / "samples.parquet"
    assert (tmp_path / "out" / "samples.parquet").read_bytes() == whole.read_bytes()


def test_a_draft_is_closed_in_the_tokens_of_a_real_student_who_goes_on_from_there(tmp_path):
    """This student writes no tags, so the words with which it begins its first solution stand for one."""
    (row,) = problem_table([open_task("toy", max_samples=1)])
    told = {"engine": "transformers", "max_tokens": 64, "ledger": str(tmp_path), "progress": False, "grader": "exact"}
    with StudentEvaluation("palign-toy", **told) as free:
        ((first, *_),) = free.samples([row])
    style = TagStyle("words", first.text.split()[0], " The answer is")
    with StudentEvaluation("palign-toy", **told, tag_style=style, max_draft_tokens=4) as bound:
        ((one, *_),) = bound.samples([row])
    assert one.draft and one.closed and one.forced_at == 4 and one.boxed and one.finish_reason == "stop"
    draft, _, _ = style.split(one.text)
    assert first.text.startswith(style.open + draft) and len(draft) < 20


def test_four_benchmarks_with_vllm_offline(smollm2, shared_data, tmp_path):
    settings = {"student": smollm2, "tasks": list(REAL), "max_samples": 2, "max_tokens": 16, "max_model_len": 2048}
    done = start(PALIGN, tmp_path, "real", engine="vllm", benchmarks=str(shared_data / "hub"), **settings)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stderr.count("into the vllm engine ...\n") == 1  # one start serves all tasks
    samples = read_samples(tmp_path / "real" / "out")
    expected = [
        (name, problem.id, number)
        for name in REAL
        for problem in open_task(name, shared_data / "hub", 2).problems
        for number in range(3)
    ]
    assert [(one.benchmark, one.id, one.sample) for one in samples] == expected and len(samples) == 24
    assert {one.text is not None and 0 < one.tokens <= 16 for one in samples} == {True}
    report = json.loads((tmp_path / "real" / "out" / "report.json").read_text())
    assert set(report["benchmarks"]) == set(REAL) and report["settings"]["engines"][0].startswith("vllm")
    # The prompt is the one that training has, token for token, and as long as the engine says.
    chat = ChatPrompt(load_tokenizer(resolve_student(smollm2)), SOLVE, smollm2)
    questions = [problem.question for name in REAL for problem in open_task(name, shared_data / "hub", 2).problems]
    assert report["usage"]["prompt_tokens"] == 3 * sum(len(chat.ids(question)) for question in questions)
    page = (tmp_path / "real" / "out" / "report.md").read_text()
    heads = [f" {name.replace('_', chr(92) + '_')} (partial: " for name in REAL]
    assert all(head in page for head in heads) and "vLLM's rounding" in page
    assert report["drawn_by"] == {report["settings"]["engines"][0]: 24}
    details = {path.name.split("|")[0] for path in (tmp_path / "real" / "out").rglob("details_*.parquet")}
    assert details == {f"details_palign:{name}" for name in REAL}


def test_lightevals_own_command_line_runs_the_tasks(shared_data, tmp_path):
    """Its transformers backend samples only where the student's files say so, so a copy of the student says it."""
    home = shipped("palign-toy")
    student = tmp_path / "student"
    shutil.copytree(home.student_folder(), student)
    config = json.loads((student / "generation_config.json").read_text())
    (student / "generation_config.json").write_text(json.dumps(config | {"do_sample": True}))
    command = [sys.executable, "-m", "palign_hf.lighteval", "accelerate"]
    tasks = ("palign:toy", "palign:aime24")
    sampling = "{temperature:0.6,top_p:0.9,max_new_tokens:48}"
    command += [f"model_name={student},generation_parameters={sampling},max_length=512", ",".join(tasks)]
    command += ["--custom-tasks", "palign_hf.evaluation.tasks", "--max-samples", "2", "--save-details"]
    command += ["--output-dir", str(tmp_path / "out")]
    environment = ALONE | {"PALIGN_BENCHMARKS": str(shared_data / "hub"), "PALIGN_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "lighteval's own tasks of mt_bench, mix_eval" in done.stderr
    (results,) = (tmp_path / "out").rglob("results_*.json")
    told = json.loads(results.read_text())["results"]
    for task in tasks:
        assert 0 <= told[f"{task}|0"]["strict_pass@1"] <= told[f"{task}|0"]["strict_pass@3"] <= 1
        (details,) = (tmp_path / "out").rglob(f"details_{task}|0_*.parquet")
        rows = pq.read_table(details).to_pylist()
        assert len(rows) == 2 and all(len(row["doc"]["specific"]["samples"]) == 3 for row in rows)


def test_lightevals_own_command_line_takes_our_backend_from_a_file(tmp_path):
    """The file of the page, on an engine that starts sooner."""
    page = (Path(__file__).parents[2] / "docs" / "evaluation.md").read_text()
    (code,) = re.findall(r"^```python\n([^`]*StudentModel[^`]*)^```$", page, re.MULTILINE)
    code = code.replace("(config.model_name)", '(config.model_name, engine="transformers", max_tokens=64)')
    (tmp_path / "student.py").write_text(code)
    command = [sys.executable, "-m", "palign_hf.lighteval", "custom", "palign-toy", "student.py", "palign:toy"]
    command += ["--custom-tasks", "palign_hf.evaluation.tasks", "--max-samples", "2", "--output-dir", "out"]
    environment = ALONE | {"PALIGN_HOME": str(tmp_path / "home")}
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]
    (results,) = (tmp_path / "out").rglob("results_*.json")
    told = json.loads(results.read_text())["results"]["palign:toy|0"]
    assert told["boxed"] == 1 and told["cut"] == 0 and 0 < told["tokens"] <= 64
    assert len(drawn(tmp_path / "home" / "ledgers")) == 6
