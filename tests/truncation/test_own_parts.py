"""A user's own criterion and search: in Python, in a recipe, in several processes; the page about them is executed."""

import json
import os
import re
import subprocess
import sys
from contextlib import nullcontext
from dataclasses import fields, replace
from importlib import import_module
from pathlib import Path

import pytest
from datasets import load_dataset

from palign_hf import PrefixTruncation
from palign_hf.alignment.settings import AlignmentSettings
from palign_hf.alignment.stage import AlignConfig, PrefixSettings
from palign_hf.alignment.transform import PrefixAlignment
from palign_hf.cli import main
from palign_hf.config.resolve import uncalled
from palign_hf.errors import UserError
from palign_hf.evaluation.settings import EvaluationSettings
from palign_hf.evaluation.stage import EvaluateConfig
from palign_hf.evaluation.transform import StudentEvaluation
from palign_hf.generation.transform import StudentTransform
from palign_hf.prompts import JUDGE
from palign_hf.runs.shards import Shard
from palign_hf.truncation.criteria import SelfJudge, make_criterion
from palign_hf.truncation.search import make_search
from palign_hf.truncation.stage import TRUNCATE, TraceSettings, TruncateConfig
from palign_hf.truncation.transform import TruncationSettings


ROOT = Path(__file__).parents[2]
PALIGN = str(Path(sys.executable).parent / "palign")
PAGE = (ROOT / "docs" / "extending.md").read_text()
OWN = """
from dataclasses import dataclass
from pathlib import Path
from palign_hf.prompts import JUDGE, Template
from palign_hf.truncation.judging import PrefixCriterion
from palign_hf.truncation.search import Ascend, Found, LoopSearch

@dataclass(frozen=True)
class Last(LoopSearch):
    back: int = 1
    name = "last"

    def __post_init__(self):
        with Path("CALLED").open("a") as file:
            file.write("x")

    def steps(self, tokens, limit):
        cut = max(0, limit - self.back)
        return Found(cut, (yield cut) > 0)

class Needs(LoopSearch):
    name = "needs"

    def __init__(self, back, some=0):
        self.back = back

    def steps(self, tokens, limit):
        return Found((yield 0) > 0, True)

class Unfinished(LoopSearch):
    name = "unfinished"

class Mine(Ascend):
    name = "mine"

class Long(PrefixCriterion):
    name = "long"

    def __init__(self, least=20):
        self.least = least

    def judge(self, student, question, prefix):
        if "two" in prefix:
            raise ValueError("two is unlucky")
        return None if "three" in prefix else len(prefix) - self.least

class Asks(PrefixCriterion):
    name = "asks"

    async def judge(self, student, question, prefix):
        await student.generate(prefix, max_tokens=8)
        return await student.score(question + prefix, ("Yes", "No"))

wording = Template("judge", JUDGE.text + "!", JUDGE.slots)
ready = Last(back=2)
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "own_parts_of_truncation.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.chdir(tmp_path)
    yield "own_parts_of_truncation"
    sys.modules.pop("own_parts_of_truncation", None)


@pytest.fixture
def config(student, fake, tmp_path, own) -> TruncateConfig:
    rows = [
        {"id": f"row-{at}", "question": f"What is {at}?", "trace": "One step. " * (at + 2), "answer": None}
        for at in range(6)
    ]
    (tmp_path / "traces.jsonl").write_text("".join(json.dumps(row | {"source": "s"}) + "\n" for row in rows))
    return TruncateConfig(
        traces=TraceSettings(source=str(tmp_path / "traces.jsonl")),
        student=str(student),
        output_dir=str(tmp_path / "out"),
        engine="transformers",
        ledger=str(tmp_path / "ledger"),
        progress=False,
        search=f"{own}:Last",
    )


def run(config: TruncateConfig, count: int) -> list[int]:
    for index in range(count):
        with TRUNCATE.open(config, shown=False) as one:
            one.work(Shard(index, count), one.agree())
    with TRUNCATE.open(config, shown=False) as one:
        one.agree()
        one.finish(count)
    return list(load_dataset(config.output_dir, split="train")["prefix_segments"])


@pytest.mark.parametrize("count", [1, 2])
def test_a_search_of_ones_own_runs_in_a_recipe_as_in_python(config, fake, count):
    fake.margin = lambda tokens: 1.0
    found = run(config, count)
    assert found == [1, 2, 3, 4, 5, 6]
    search = make_search({"name": config.search, "back": 3})
    three = run(replace(config, search={"name": config.search, "back": 3}, overwrite=True), count)
    given = {"engine": "transformers", "ledger": config.ledger, "progress": False}
    with PrefixTruncation(config.student, search=search, **given) as truncation:
        rows = [json.loads(line) for line in Path(config.traces.source).read_text().splitlines()]
        assert three == [row["prefix_segments"] for row in truncation.stream(rows)] == [0, 0, 1, 2, 3, 4]
        assert truncation.describe()["search"] == {"name": "last", "version": 1, "back": 3}
        report = json.loads((Path(config.output_dir) / "report.json").read_text())
        assert report["settings"]["fingerprint"] == truncation.fingerprint


def test_ones_own_is_made_once_for_each_transform_and_never_by_settings(config, own):
    called = Path("CALLED")
    called.unlink(missing_ok=True)
    TruncateConfig(**vars(config))
    TruncationSettings("x", search=config.search)
    assert not called.exists()
    with TRUNCATE.open(config, shown=False):
        pass
    assert called.read_text() == "x"


def test_an_object_by_its_place_and_a_pilot_of_a_derived_search(config, own, fake):
    assert make_search(f"{own}:ready").back == 2
    piloted = replace(config, search=f"{own}:Mine", criterion={"name": f"{own}:Long", "least": 12}, pilot=4)
    assert len(run(piloted, 2)) == 6
    report = json.loads((Path(config.output_dir) / "report.json").read_text())
    assert report["settings"]["search"]["name"] == "mine"


def test_a_dry_run_calls_no_search_of_ones_own(config, own, capsys):
    Path("CALLED").unlink(missing_ok=True)
    given = ["--student", config.student, "--traces.source", config.traces.source, "--output-dir", "elsewhere"]
    given += ["--engine", "transformers", "--ledger", config.ledger, "--dry-run"]
    assert main(["truncate", *given, "--search", f"{own}:Last"]) == 0
    shown = capsys.readouterr().out
    assert f"not known: `{own}:Last` is your own, and `--dry-run` doesn't call it" in shown
    assert main(["truncate", *given, "--search", f"{own}:Absent"]) == 2
    assert f"`{own}:Absent` can't be imported" in capsys.readouterr().err
    assert main(["truncate", *given, "--search", "subprocess:Popen"]) == 2
    assert "`subprocess:Popen` is no search: the class lacks" in capsys.readouterr().err
    assert not Path("CALLED").exists()


def test_a_criterion_of_ones_own_needs_a_name_and_a_way_to_judge(student, tmp_path, own, fake):
    criterion = {"name": f"{own}:Long", "least": 12}
    given = {"engine": "transformers", "ledger": str(tmp_path / "l"), "progress": False, "search": "linear"}
    row = {"id": "a", "question": "Q?", "answer": None, "source": "s"}
    with PrefixTruncation(str(student), criterion=criterion, **given) as truncation:
        assert truncation.describe()["criterion"] == {"name": "long", "version": 1, "least": 12}
        good, wrong, none = truncation.stream(
            row | {"id": str(at), "trace": trace}
            for at, trace in enumerate(["One step. Another step. End.", "The two. Steps.", "Of three. Steps."])
        )
        assert (good["status"], good["prefix"]) == ("sufficient", "One step. Another step. ")
        assert wrong["reason"] == "no answer at 1 segments: `long` raised ValueError: two is unlucky"
        assert none["reason"] == "no verdict in the judge's text at 1 segments"
        assert fake.asked == [] and truncation.usage.prompt_tokens == 0
    with PrefixTruncation(str(student), criterion=f"{own}:Long", max_model_len=515, **given) as small:
        (row_of_all,) = small.stream([row | {"trace": "One step. Another step. " * 50}])
        assert row_of_all["status"] == "skipped"


def test_a_criterion_of_ones_own_asks_the_student(student, tmp_path, own, fake):
    given = {"engine": "transformers", "ledger": str(tmp_path / "l"), "progress": False, "search": "linear"}
    row = {"id": "a", "question": "Q?", "trace": "One step. Another step. End.", "answer": None, "source": "s"}
    fake.margin = lambda tokens: 2.0
    with PrefixTruncation(str(student), criterion=f"{own}:Asks", **given) as truncation:
        (found,) = truncation.stream([row])
        assert (found["status"], found["prefix_segments"]) == ("sufficient", 0) and len(fake.asked) == 2
        assert truncation.usage.prompt_tokens == sum(tokens for _, tokens in fake.asked)


def test_a_module_of_the_working_directory_is_found_behind_all_others(tmp_path):
    (tmp_path / "json.py").write_text("raise RuntimeError('shadowed')\n")
    (tmp_path / "beside_the_recipe.py").write_text(OWN)
    script = ["-c", "import sys; from palign_hf.cli import main; sys.path.remove(''); sys.exit(main())"]
    search = ["truncate", "--student", "s", "--traces.source", "t", "--output-dir", "o", "--search"]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}

    def ended(name):
        command = [sys.executable, *script, *search, name]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True).stderr

    assert "can't be imported" not in ended("beside_the_recipe:Last")
    assert ended("elsewhere.parts:Last") == (
        "palign: This run: The search `elsewhere.parts:Last` can't be imported: there is no module `elsewhere`. Run "
        "the command in the folder of that module, or set the variable `PYTHONPATH` to the folder.\n"
    )


@pytest.mark.parametrize("where", [uncalled, nullcontext])
@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"name": "Last", "bakc": 2}, "`bakc` is no parameter of `{}Last` (nearest match: `back`). It takes `back`."),
        (
            {"name": "Needs", "some": 1},
            "The search `{}Needs` needs `back`, which is not given. It takes `back`, `some`: write `{{name: {}Needs, "
            "back: ...}}`.",
        ),
        ("Unfinished", "`{}Unfinished` is no search yet: the class lacks `steps`, and was not called. Write what is "),
    ],
)
def test_what_a_class_lacks_is_found_without_a_call(own, where, spec, message):
    """In the words of the run itself, also for a dry run."""
    import_module(own)
    Path("CALLED").unlink(missing_ok=True)
    spec = f"{own}:{spec}" if isinstance(spec, str) else spec | {"name": f"{own}:{spec['name']}"}
    with where(), pytest.raises(UserError) as refused:
        make_search(spec)
    assert message.format(*[f"{own}:"] * 2) in str(refused.value) and not Path("CALLED").exists()


def test_a_template_of_ones_own_is_a_file_an_object_or_a_place(own, tmp_path):
    (tmp_path / "judge.txt").write_text(JUDGE.text + "!\n")
    spelt = [make_criterion({"name": "self-judge", "template": one}) for one in ("judge.txt", f"{own}:wording")]
    assert spelt[0].describe() == spelt[1].describe() != SelfJudge().describe()


STAGES: list[tuple[type[StudentTransform], type, dict]] = [
    (PrefixTruncation, TruncationSettings, {"search": "binary", "criterion": {"name": "self-judge"}}),
    (PrefixAlignment, AlignmentSettings, {"mode": "prefill", "tag_style": "draft", "grader": "exact"}),
    (StudentEvaluation, EvaluationSettings, {"tag_style": "draft", "grader": {"name": "exact"}}),
]


@pytest.mark.parametrize(("transform", "kind", "given"), STAGES)
def test_settings_keep_what_they_were_given_and_can_be_given_again(transform, kind, given, student):
    settings = kind(str(student), engine="transformers", **given)
    assert {name: getattr(settings, name) for name in given} == given
    assert kind(**vars(settings)) == replace(settings) == settings
    made = transform(**vars(settings))
    assert made.settings == settings and not isinstance(made, kind)
    assert made.fingerprint == transform(str(student), engine="transformers", **given).fingerprint
    assert all(f"{one.name} (`" in transform.__doc__ for one in fields(kind)) and "Example:" in transform.__doc__


def test_recipes_keep_what_they_were_given(tmp_path):
    align = AlignConfig(
        student="a", prefixes=PrefixSettings(source="b"), output_dir=str(tmp_path / "a"), align_template=None
    )
    evaluate = EvaluateConfig(student="a", output_dir=str(tmp_path / "e"), tasks=("palign",), zero_shot=True)
    for config in (align, evaluate):
        assert type(config)(**vars(config)) == replace(config) == config
    assert evaluate.tasks == ("palign",) and evaluate.tag_style == "prefix" and evaluate.style.name == "none"
    assert "toy" in evaluate.task_names


def test_the_page_about_criteria_runs(tmp_path):
    module, use, *_ = re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    (recipe,) = re.findall(r"^```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    for name, text in (("my_parts.py", module), ("use.py", use), ("my_recipe.yaml", recipe)):
        (tmp_path / name).write_text(text)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    for start in ([sys.executable, "use.py"], [PALIGN, "truncate", "--config", "my_recipe.yaml"]):
        done = subprocess.run(start, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        if "use.py" in start:
            printed = json.loads(done.stdout.splitlines()[-1].removeprefix("Column(").removesuffix(")"))
    found = load_dataset("parquet", data_dir=str(tmp_path / "runs" / "mine" / "data"), split="train")
    assert list(found["prefix_segments"]) == printed and len(printed) == 4 and None not in printed
