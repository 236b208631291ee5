"""`palign jobs`: what fits which machine and for how long, and what the Hub gets when a job is started."""

import shlex
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from hub_clients import run
from hub_double import Double

from palign_hf.cli import main
from palign_hf.errors import UserError
from palign_hf.pipeline import jobs
from palign_hf.pipeline.chain import chain
from palign_hf.pipeline.jobs import flavors, plan_job
from palign_hf.pipeline.recipe import read_chain
from palign_hf.runs.forecast import DEVICES


TOY, PUBLISH = "toy/pipeline.yaml", "publish.repo_id=tester/toy"


def planned(tmp_path, *overrides, flavor="l4x1", recipe=TOY, **more):
    return plan_job(recipe, flavor, [f"output_dir={tmp_path / 'run'}", PUBLISH, *overrides], **more)


def test_flavors_are_those_of_the_client_whose_device_is_known():
    found = flavors()
    assert {name: (one.device.name, one.gpus) for name, one in found.items()}.items() >= {
        "l4x1": ("l4", 1),
        "l4x4": ("l4", 4),
        "l40sx8": ("l40s", 8),
        "a100-large": ("a100", 1),
        "a100x8": ("a100", 8),
        "h200": ("h200", 1),
        "h200x2": ("h200", 2),
    }.items()
    assert not {"cpu-basic", "t4-small", "a10g-large"} & {*found}


def test_every_step_has_a_forecast_and_the_timeout_a_margin(tmp_path):
    job = planned(tmp_path)
    names = [step.name for step in chain(read_chain(TOY, [f"output_dir={tmp_path}"]))]
    assert [line.split(":")[0] for line in job.lines][: len(names)] == names
    assert all("at most" in line for line in job.lines[: len(names)])
    minutes = int(job.timeout.removesuffix("m"))
    assert minutes > jobs.STARTING_MINUTES and job.lines[-1].startswith(f"timeout    {job.timeout}: 2 x ")
    assert planned(tmp_path, timeout="6h").timeout == "6h"
    more = planned(tmp_path, "evaluate.n=3000")
    assert int(more.timeout.removesuffix("m")) > minutes and not (tmp_path / "run").exists()


def test_the_recipe_travels_whole_in_one_file(tmp_path):
    job = planned(tmp_path, "align.n=2", "arms=[p-align, trace]")
    again = read_chain(job.write())
    assert [step.deciding for step in chain(again)] == [step.deciding for step in chain(job.recipe)]
    assert again.head.publish == job.recipe.head.publish
    assert job.command()[-2:] == [str(job.script), str(tmp_path / "run" / "job.yaml")] and job.script.is_file()


@pytest.mark.parametrize(
    ("overrides", "more", "said"),
    [
        ([], {"flavor": "h100x1"}, "`flavor=h100x1` is no machine of Jobs that a forecast is known for"),
        ([], {"timeout": "soon"}, "`timeout=soon` is no time"),
        (["publish=null"], {}, "Add where it goes: `--set publish.repo_id=OWNER/NAME`"),
        (["launch={processes: 2}"], {}, "`launch.processes=2` is more than the 1 GPU of `l4x1`"),
    ],
)
def test_what_can_not_run_is_refused_in_one_line(tmp_path, overrides, more, said):
    with pytest.raises(UserError) as error:
        planned(tmp_path, *overrides, **more)
    assert said in str(error.value) and "\n" not in str(error.value)


def test_files_and_code_of_this_machine_are_refused(tmp_path):
    (tmp_path / "traces.jsonl").write_text("{}\n")
    with pytest.raises(UserError, match="`truncate.traces.source: .*traces.jsonl` is on this machine"):
        planned(tmp_path, f"truncate.traces.source={tmp_path / 'traces.jsonl'}")
    with pytest.raises(UserError, match="`truncate.search: mine:Search` is code of your own"):
        planned(tmp_path, "truncate.search=mine:Search")


def test_a_student_that_is_too_large_for_the_device_is_refused_with_what_to_change(tmp_path, monkeypatch):
    def small(gb):
        monkeypatch.setitem(DEVICES, "l4", replace(DEVICES["l4"], memory=gb))

    small(0.5)
    with pytest.raises(UserError, match="`train/p-align` takes 1.6 GB, and one l4 has 0. Choose a flavor .*lora.r=16"):
        planned(tmp_path)
    small(0.001)
    with pytest.raises(UserError, match="`truncate` doesn't fit: .* are more than 90 % of .* Choose a flavor"):
        planned(tmp_path)


def test_weights_that_a_launcher_shards_need_less_of_each_device(tmp_path):
    def memory(*overrides):
        job = planned(tmp_path, "train.training.per_device_train_batch_size=1", *overrides, flavor="l4x4")
        return float(next(line for line in job.lines if line.startswith("train/")).split()[1])

    assert memory("launch={processes: 4, config: fsdp2}") < memory("launch={processes: 4, config: ddp}")


def test_a_step_whose_time_is_not_known_needs_a_timeout(tmp_path):
    """A benchmark that can't be read here, since tests are offline."""
    with pytest.raises(UserError, match="How long .*evaluate-before.* takes isn't known here.*`--timeout 6h`"):
        planned(tmp_path, "evaluate.tasks=[aime25]")
    assert planned(tmp_path, "evaluate.tasks=[aime25]", timeout="6h").timeout == "6h"


def test_without_submit_only_the_command_is_printed(tmp_path, capsys):
    options = ["--set", f"output_dir={tmp_path / 'run'}", "--set", PUBLISH]
    assert main(["jobs", TOY, "--flavor", "l4x1", *options]) == 0
    command = shlex.split(capsys.readouterr().out.splitlines()[-1])
    assert command[:5] == ["hf", "jobs", "uv", "run", "--detach"] and command[-1] == str(tmp_path / "run" / "job.yaml")
    assert main(["jobs", TOY, "--flavor", "h100x1", *options]) == 2
    told = capsys.readouterr().err
    assert "`--flavor h100x1` is no machine of Jobs" in told and "h200" in told and told.count("\n") == 1


@pytest.mark.integration
def test_the_hub_gets_the_same_job_from_submit_and_from_the_printed_command(tmp_path):
    """Slow: three processes, two of which upload by Xet."""
    options = ["--flavor", "l4x1", "--set", f"output_dir={tmp_path / 'run'}", "--set", PUBLISH]
    command = [sys.executable, "-m", "palign_hf.cli", "jobs", TOY, *options]
    with Double(tmp_path / "hub", xet=True) as hub:
        home = tmp_path / "home"
        refused = run(hub, home, [*command, "--submit"], token="")
        assert refused.returncode == 2 and "you are not logged in" in refused.stderr and not hub.state.jobs
        done = run(hub, home, [*command, "--submit"])
        assert done.returncode == 0, done.stderr
        printed = next(line for line in done.stdout.splitlines() if line.startswith("hf jobs uv run "))
        theirs = run(hub, home, [str(Path(sys.executable).parent / "hf"), *shlex.split(printed)[1:]])
        assert theirs.returncode == 0, theirs.stderr
        assert hub.token not in done.stdout + done.stderr + theirs.stdout + theirs.stderr
        assert not hub.unknown()
        (own, other), files = hub.state.jobs, hub.state.buckets["tester/jobs-artifacts"]
        for job in (own, other):
            assert job["command"] == ["uv", "run", "/data/pipeline.py", "/data/job.yaml"]
            assert job["flavor"] == "l4x1" and job["secrets"] == {"HF_TOKEN": hub.token}
            assert f"{job['timeoutSeconds'] // 60}m" in shlex.split(printed) and "uv:python" in job["dockerImage"]
            (volume,) = job["volumes"]
            assert (volume["source"], volume["mountPath"]) == ("tester/jobs-artifacts", "/data")
            script, recipe = (files[f"{volume['path']}/{name}"] for name in ("pipeline.py", "job.yaml"))
            assert b"# dependencies" in hub.state.xet.fetch(script)
            assert hub.state.xet.fetch(recipe) == (tmp_path / "run" / "job.yaml").read_bytes()
            assert hub.token.encode() not in hub.state.xet.fetch(recipe)
        same = ("owner", "arguments", "environment", "dockerImage", "timeoutSeconds")
        assert all(own[name] == other[name] for name in same)
        hub.fault("POST", "/api/jobs/", 403, None)
        refused = run(hub, home, [*command, "--submit"])
        assert refused.returncode == 2 and "The job wasn't started: " in refused.stderr
        assert refused.stderr.splitlines()[-1].startswith("palign: ") and len(hub.state.jobs) == 2
