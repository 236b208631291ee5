"""A recipe that is wrong in one place ends with status 2 and one line, before anything is looked up or loaded.

Every key of every recipe of the tree, and of recipes that set all there is, is given what it can't be. What a key may
be is said here a second time and by hand, so that a declaration that lets too much through is seen; and what is right
must get as far as the student.
"""

import copy
import datetime
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from palign_hf.cli import main
from palign_hf.data.layouts import KNOWN
from palign_hf.data.traces import read_traces
from palign_hf.errors import UserError
from palign_hf.students import resolve_student


RECIPES = Path(__file__).parents[1] / "recipes"
WRONG_AND_RIGHT = [
    *([], [1], ["x", 3], {}, {"x": 1}, None, True, False, "", "  ", "text", "null", "5e-5", "\0", "a\nb"),
    *(3, 0, -3, 10**400, 0.5, -0.5, 1.5, math.nan, math.inf, datetime.date(2026, 1, 2)),
    *("~no-such-user/x", "x" * 300, "{file}", "{file}/below", "{template}", "{slotless}", "module:", ".x:y"),
]
# For recipes whose keys `everything` has, too: one of each kind.
FEW = ([], {"x": 1}, None, True, "", "text", 3, -3, 0, 0.5, math.nan, "{file}", "binary")
FEWEST = ([], "text", -3)  # the training recipes are many and have the same keys
# Names with a letter wrong, and searches that can't be: with `binary` there is no prior for a pilot.
SPELT = ("margn", "ascnd", "sentense", "transformer", "self-juge", "opentoughts", "bflot16", "binary")
SPELT += ("fixed", "fixed(ratio=x)", "fixed(ratio=2)", "ascend(confirm=0)", "ascend(cautoin=1)", "binary(")


class Loaded(AssertionError):
    """Something was looked up or loaded."""


def text(value: Any) -> bool:
    return isinstance(value, str) and bool(value.strip())


def truth(value: Any) -> bool:
    return isinstance(value, bool)


def whole(least: int | None) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and (least is None or value >= least)


def number(holds: Callable[[float], bool], as_text: bool = False) -> Callable[[Any], bool]:
    """YAML reads 5e-5 as text, so a setting takes a number that is spelt so; what is inside a mapping doesn't."""

    def right(value: Any) -> bool:
        if truth(value) or not isinstance(value, (int, float, str) if as_text else (int, float)):
            return False
        try:
            return math.isfinite(float(value)) and holds(float(value))
        except (ValueError, OverflowError):
            return False

    return right


def none_or(right: Callable[[Any], bool]) -> Callable[[Any], bool]:
    return lambda value: value is None or right(value)


def one_of(*values: Any) -> Callable[[Any], bool]:
    return lambda value: any(type(value) is type(one) and value == one for one in values)


def folder(value: Any) -> bool:
    return text(value) and not any(part in value for part in ("~", "\0", "{", "x" * 300))


def word(value: Any) -> bool:
    return text(value) and len(value) < 97 and all(char.isalnum() or char == "-" for char in value)


RULES = ("binary", "linear", "every", "full", "none")
# What a key may be, whatever else the recipe says. Any text is right where only the Hub or the data can tell.
RIGHT: dict[str, Callable[[Any], bool]] = {
    "traces": lambda value: False,
    "traces.source": text,
    "traces.known": none_or(one_of(*KNOWN)),
    "traces.columns": none_or(lambda value: value == {}),  # no column is named, so the layout is recognised
    "traces.columns.question": text,
    "traces.columns.trace": text,
    "traces.source_name": none_or(text),
    "traces.split": none_or(text),
    "traces.config": none_or(text),
    "traces.revision": none_or(text),
    "traces.max_samples": none_or(whole(1)),
    "traces.content_ids": truth,
    "student": text,
    "revision": none_or(text),
    "output_dir": none_or(folder),
    "ledger": none_or(folder),
    "search": one_of("ascend", *RULES),
    "search.name": lambda value: False,  # each search has parameters of its own
    "search.confirm": whole(1),
    "search.caution": number(lambda value: value >= 0),
    "search.probe_cost": number(lambda value: value > 0),
    "search.version": one_of(2, None),
    "search.prior": lambda value: value == {},  # each of its two parameters may be left out
    "search.prior.never": number(lambda value: 0 <= value < 1),
    "search.ratio": number(lambda value: 0 <= value <= 1),
    "search.tokens": whole(0),
    "criterion": one_of(None, "self-judge"),
    "criterion.verdict": one_of("margin", "generate"),
    "criterion.template": one_of("{template}"),
    "criterion.max_tokens": whole(1),
    "granularity": one_of("sentence", "paragraph", "legacy"),
    "max_model_len": none_or(whole(1)),
    "audit": number(lambda value: 0 <= value <= 1, as_text=True),
    "engine": one_of("auto", "vllm", "transformers"),
    "engine_options": one_of({}),
    "max_concurrency": none_or(whole(1)),
    "progress": none_or(truth),
    "trust_remote_code": truth,
    "overwrite": truth,
    "push_to_hub": one_of(None),
    "hub": lambda value: value == {},
    "hub.config_name": none_or(word),
    "hub.private": none_or(truth),
    "hub.revision": none_or(word),
    "hub.tag": none_or(word),
    "hub.create_pr": one_of(False),  # there is a tag, too
    "hub.license": none_or(text),
    "hub.language": one_of([]),
    "batch_size": whole(1),
    "pilot": none_or(whole(1)),
    "pilot_seed": whole(None),
    # Of alignment
    "prefixes": lambda value: False,
    "prefixes.source": text,
    "prefixes.split": none_or(text),
    "prefixes.config": none_or(text),
    "prefixes.revision": none_or(text),
    "prefixes.tag_style": one_of(None, "prefix", "draft", "think"),
    "prefixes.max_samples": none_or(whole(1)),
    "mode": one_of("prompt", "prefill"),
    "align_template": one_of(None, "{template}"),
    "tag_style": one_of(None, "prefix", "draft", "think", "none"),
    "sampling": one_of("first", "all"),
    "n": whole(1),
    "temperature": number(lambda value: 0 < value <= 2, as_text=True),
    "top_p": number(lambda value: 0 < value <= 1, as_text=True),
    "top_k": whole(0),
    "min_p": number(lambda value: 0 <= value <= 1, as_text=True),
    "repetition_penalty": number(lambda value: value > 0, as_text=True),
    "max_tokens": none_or(whole(1)),
    "seed": lambda value: whole(0)(value) and value < 2**63,
    "grader": one_of("math", "choice", "exact"),
    "grader.name": one_of("math", "choice", "exact"),
    "grading_seconds": number(lambda value: 0 < value < 1e6, as_text=True),
    "grading_workers": whole(1),
    "right": one_of("strict", "lenient"),
    "refuse": one_of([]),
    "fallback": one_of("drop", "longer_prefix", "full_trace"),
    "fallback_cuts": whole(1),
    "carry": one_of([]),
    "balance": lambda value: value == {},
    "balance.per": text,
    "balance.cap": none_or(whole(1)),
    "balance.seed": whole(None),
    "decontaminate": one_of([]),
    "benchmarks": one_of({}),
    "benchmarks.AIME25": text,
    "drop_duplicates": truth,
    # Of training
    "pairs": lambda value: False,
    "pairs.source": text,
    "pairs.split": text,
    "pairs.config": none_or(text),
    "pairs.revision": none_or(text),
    "pairs.max_samples": none_or(whole(1)),
    "baseline": one_of("p-align", "label", "prefix", "continuation", "trace"),
    "baseline.name": one_of("fixed"),  # each of the others has other parameters
    "baseline.ratio": number(lambda value: 0 < value <= 1),
    "budget": none_or(whole(1)),
    "per_problem": none_or(whole(1)),
    "eval": none_or(lambda value: text(value) or number(lambda share: 0 < share < 1)(value)),
    "lora": lambda value: value in (None, {}),
    "lora.r": whole(1),
    "lora.alpha": whole(1),
    "lora.dropout": number(lambda value: 0 <= value < 1, as_text=True),
    "lora.target_modules": text,
    "lora.merge": truth,
    "stops": whole(0),
    "stops_tokens": whole(1),
    "training": lambda value: value == {},
    "training.per_device_train_batch_size": whole(1),
    "training.gradient_accumulation_steps": whole(1),
    "training.num_train_epochs": number(lambda value: value >= 0, as_text=True),
    "training.max_steps": whole(None),
    "training.learning_rate": number(lambda value: value >= 0, as_text=True),
    "training.lr_scheduler_type": one_of("cosine", "linear"),
    "training.warmup_steps": number(lambda value: value >= 0, as_text=True),
    "training.max_grad_norm": number(lambda value: value >= 0, as_text=True),
    "training.optim": one_of("adamw_torch"),
    "training.max_length": none_or(whole(1)),
    "training.overlong": one_of("drop", "truncate_prefix", "error"),
    "training.packing": truth,
    "training.tags": one_of("prefix", "draft", "think", "none"),
    "training.sanity_checks": truth,
    "training.prefix_loss_weight": number(lambda value: value >= 0, as_text=True),
    "training.continuation_loss_weight": number(lambda value: value >= 0, as_text=True),
    "training.close_tag_loss_weight": number(lambda value: value >= 0, as_text=True),
    "training.use_cpu": truth,
    "training.bf16": none_or(truth),
    "training.seed": whole(0),
    "training.report_to": none_or(lambda value: isinstance(value, str) or value == []),
    "training.save_strategy": one_of("no", "steps", "epoch", "best"),
    "training.save_total_limit": none_or(whole(1)),
    "training.logging_steps": number(lambda value: 0 < value < 1 or value >= 1 and value.is_integer(), as_text=True),
    "training.gradient_checkpointing": truth,
    "training.ddp_find_unused_parameters": none_or(truth),
    "training.model_init_kwargs": lambda value: value is None or isinstance(value, dict),
    "training.model_init_kwargs.dtype": one_of("auto", "bfloat16", "float16", "float32"),
    # Of evaluation
    "tasks": one_of(),
    "max_samples": none_or(whole(1)),
    "max_draft_tokens": none_or(whole(1)),
    "stop_loops": truth,
    "zero_shot": truth,
    # Of vLLM
    "engine_options.gpu_memory_utilization": number(lambda value: 0 < value <= 1),
    "engine_options.max_num_seqs": none_or(whole(1)),
    "engine_options.enforce_eager": truth,
    # Of a server
    "engine_options.urls": lambda value: False,
    "engine_options.model": none_or(text),
    "engine_options.timeout": number(lambda value: value > 0),
    "engine_options.pauses": lambda value: value in ([], [1]),
    "engine_options.headers": lambda value: value in (None, {}),
    # A header is one line: a control character would end it, or begin another.
    "engine_options.headers.x": lambda value: text(value) and value.isprintable(),
    "engine_options.max_concurrency": whole(1),
    # Of transformers
    "engine_options.device": none_or(text),
    "engine_options.attn_implementation": none_or(text),
    "engine_options.threads": none_or(whole(1)),
}
SERVER = {
    "urls": ["http://a/v1"],
    "model": "m",
    "timeout": 5,
    "pauses": [1.0],
    "headers": {"x": "y"},
    "max_concurrency": 2,
}
BASE = {"traces": {"source": "me/traces"}, "student": "me/student", "output_dir": "{folder}/out"}
ALL: dict[str, dict[str, Any]] = {
    "everything": {
        "traces": {"source": "me/traces", "known": "s1k", "source_name": "n", "split": "train", "config": "c"}
        | {"revision": "main", "max_samples": 5, "content_ids": True, "columns": {"question": "q", "trace": "t"}},
        "student": "me/student",
        "revision": "main",
        "search": {"name": "ascend", "version": 2, "confirm": 2, "caution": 1.0, "probe_cost": 32}
        | {"prior": {"knots": [[0, 0], [0.3, 0.5], [1, 1]], "never": 0.1}},
        "granularity": "sentence",
        "max_model_len": 2048,
        "audit": 0.1,
        "engine": "vllm",
        "engine_options": {"gpu_memory_utilization": 0.5, "max_num_seqs": 8, "enforce_eager": True},
        "ledger": "{folder}/ledger",
        "max_concurrency": 4,
        "progress": False,
        "trust_remote_code": False,
        "output_dir": "{folder}/out",
        "overwrite": True,
        "push_to_hub": "me/rows",
        "hub": {"config_name": "mine", "private": True, "revision": "dev", "tag": "v1", "create_pr": False}
        | {"license": "mit", "language": ["en"]},
        "batch_size": 10,
        "pilot": 20,
        "pilot_seed": 1,
    },
    "server": BASE | {"engine": "server", "engine_options": SERVER, "search": {"name": "fixed", "ratio": 0.25}},
    "transformers": BASE
    | {"engine": "transformers", "search": {"name": "fixed", "tokens": 100}}
    | {"engine_options": {"dtype": "bfloat16", "device": "cpu", "attn_implementation": "sdpa", "threads": 2}},
    "criterion": BASE
    | {
        "criterion": {"name": "self-judge", "verdict": "generate", "template": "{template}"}
        | {"labels": ["[YES]", "[NO]"], "max_tokens": 64}
    },
}
ALIGN_BASE = {"prefixes": {"source": "me/prefixes"}, "student": "me/student", "output_dir": "{folder}/out"}
ALL |= {
    "all of align": {
        "prefixes": {
            "source": "me/prefixes",
            "split": "train",
            "config": "c",
            "revision": "main",
            "tag_style": "draft",
        }
        | {"max_samples": 5},
        "student": "me/student",
        "mode": "prompt",
        "align_template": "{template}",
        "sampling": "all",
        "n": 2,
        "temperature": 0.5,
        "top_p": 0.8,
        "top_k": 5,
        "min_p": 0.1,
        "repetition_penalty": 1.1,
        "max_tokens": 100,
        "seed": 3,
        "grader": {"name": "math"},
        "grading_seconds": 2.5,
        "grading_workers": 1,
        "right": "lenient",
        "refuse": ["cut"],
        "fallback": "longer_prefix",
        "fallback_cuts": 1,
        "carry": ["level"],
        "balance": {"per": "source", "cap": 9, "seed": 1},
        "decontaminate": ["AIME25"],
        "benchmarks": {"AIME25": "{folder}"},
        "drop_duplicates": True,
        "output_dir": "{folder}/out",
        "overwrite": True,
        "batch_size": 10,
    },
    "prefill": ALIGN_BASE | {"mode": "prefill", "tag_style": "none"},
}
TRAIN_BASE = {"pairs": {"source": "me/pairs"}, "student": "me/student", "output_dir": "{folder}/out"}
ALL |= {
    "all of train": {
        "pairs": {"source": "me/pairs", "split": "kept", "config": "c", "revision": "main", "max_samples": 5},
        "prefixes": {"source": "me/prefixes", "split": "train", "config": "c", "revision": "main"},
        "student": "me/student",
        "revision": "main",
        "output_dir": "{folder}/out",
        "overwrite": True,
        "baseline": "p-align",
        "budget": 1000,
        "per_problem": 1,
        "eval": 0.1,
        "lora": {"r": 8, "alpha": 16, "dropout": 0.05, "target_modules": "all-linear", "merge": True},
        "training": {
            "per_device_train_batch_size": 2,
            "gradient_accumulation_steps": 4,
            "num_train_epochs": 2,
            "max_steps": 10,
            "learning_rate": "5e-5",
            "lr_scheduler_type": "cosine",
            "warmup_steps": 0.1,
            "max_grad_norm": 1.0,
            "optim": "adamw_torch",
            "max_length": 100,
            "overlong": "drop",
            "packing": False,
            "tag_style": "prefix",
            "sanity_checks": True,
            "prefix_loss_weight": 1.0,
            "continuation_loss_weight": 1.0,
            "close_tag_loss_weight": 2.0,
            "use_cpu": True,
            "bf16": False,
            "seed": 1,
            "report_to": "none",
            "save_strategy": "epoch",
            "save_total_limit": 1,
            "logging_steps": 1,
            "gradient_checkpointing": False,
            "ddp_find_unused_parameters": False,
            "model_init_kwargs": {"dtype": "float32"},
        },
        "stops": 2,
        "stops_tokens": 64,
        "trust_remote_code": False,
    },
    "a baseline with a parameter": TRAIN_BASE
    | {"prefixes": {"source": "me/prefixes"}, "baseline": {"name": "fixed", "ratio": 0.25}},
}
EVALUATE_BASE = {"tasks": ["palign:toy", "aime24"], "student": "me/student", "output_dir": "{folder}/out"}
ALL |= {
    "all of evaluate": EVALUATE_BASE
    | {
        "max_samples": 5,
        "benchmarks": {"AIME25": "{folder}"},
        "n": 2,
        "temperature": 0.5,
        "max_tokens": 100,
        "tag_style": "draft",
        "max_draft_tokens": 50,
        "stop_loops": True,
        "grader": {"name": "exact"},
        "grading_seconds": 2.5,
        "zero_shot": False,
        "overwrite": True,
        "batch_size": 10,
    },
    "copies": EVALUATE_BASE | {"benchmarks": "{folder}", "zero_shot": True},
}
TREE = {
    f"{path.parent.name}, {path.stem}": yaml.safe_load(path.read_text())
    for path in sorted(RECIPES.glob("*/*.yaml"))
    if path.parent.name != "accelerate" and path.stem != "pipeline"
}
ALL |= TREE


def command_of(recipe: dict[str, Any]) -> str:
    if "tasks" in recipe:
        return "evaluate"
    return "train" if "pairs" in recipe else "align" if "prefixes" in recipe else "truncate"


def still_right(key: str, value: Any, recipe: dict[str, Any]) -> bool:
    """Whether a recipe is right with this in that place, with what its other keys ask for."""
    if key == "engine" and recipe.get("engine_options"):
        return value == recipe["engine"] or (value, recipe["engine"]) == ("auto", "vllm")
    if key == "search.name":
        return value == recipe["search"]["name"]
    if key == "engine_options" and recipe["engine"] == "server":
        return False
    if key == "search" and recipe.get("pilot"):
        return value == "ascend"
    if key == "prefixes" and "pairs" in recipe:  # only baselines that are made of the traces need them
        return value is None and recipe.get("baseline") == "p-align"
    if key == "baseline":
        return RIGHT[key](value) and ("prefixes" in recipe or value != "trace")
    if key == "per_problem":
        return RIGHT[key](value) and (value == 1 or recipe.get("baseline", "p-align") == "p-align")
    if key == "mode":  # each has settings of its own
        return value == recipe["mode"] or not {"tag_style", "align_template"} & set(recipe) and RIGHT[key](value)
    if "tasks" in recipe:
        if key == "tag_style":  # a budget needs tags
            return value in ("prefix", "draft", "think") or (value == "none" and "max_draft_tokens" not in recipe)
        if key == "zero_shot" and recipe.get("max_draft_tokens"):
            return value is False
        if key == "benchmarks":
            return value in (None, {}) or text(value)
    return RIGHT.get(key, lambda value: False)(value)


def places(recipe: dict[str, Any], before: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for key, value in recipe.items():
        yield (*before, key)
        if isinstance(value, dict):
            yield from places(value, (*before, key))


def changed(recipe: dict[str, Any], place: tuple[str, ...], change: Callable[[dict[str, Any], str], None]) -> Any:
    mutant = copy.deepcopy(recipe)
    inner = mutant
    for key in place[:-1]:
        inner = inner[key]
    change(inner, place[-1])
    return mutant


class Bench:
    """Runs recipes, on a machine where whatever would be looked up or loaded is `Loaded`."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.folder, self._capsys = folder, capsys
        self._names = {"folder": folder, "file": folder / "file"}
        self._names |= {"template": folder / "template.txt", "slotless": folder / "slotless.txt"}
        (folder / "file").write_text("")
        (folder / "template.txt").write_text("Question: {question}\nSo far: {prefix}\nEnough?")
        (folder / "slotless.txt").write_text("Enough?")

    def run(self, recipe: Any, *options: str) -> str | None:
        """What was said in one line; None if it went on to the student."""
        path = self.folder / "recipe.yaml"
        path.write_text(yaml.safe_dump(self.filled(recipe), allow_unicode=True))
        try:
            command = command_of(recipe) if isinstance(recipe, dict) else "truncate"
            status: Any = main([command, "--config", str(path), *options])
        except Loaded:
            return None
        except SystemExit as error:  # argparse
            status = error.code
        told = self._capsys.readouterr()
        assert status == 2 and told.out == "", told
        assert told.err.startswith("palign: ") and told.err.endswith("\n") and told.err.count("\n") == 1, told.err
        return told.err

    def filled(self, value: Any) -> Any:
        if isinstance(value, dict):
            return {key: self.filled(inner) for key, inner in value.items()}
        if isinstance(value, list):
            return [self.filled(inner) for inner in value]
        if isinstance(value, str):
            for name, place in self._names.items():
                value = value.replace(f"{{{name}}}", str(place))
        return value

    def wrongs(self, recipe: dict[str, Any], place: tuple[str, ...], values: list[Any]) -> list[str]:
        """The values in that place that were taken otherwise than they should be."""
        key, found = ".".join(place), []
        for value in values:
            mutant = changed(recipe, place, lambda inner, name, value=value: inner.__setitem__(name, value))
            right = still_right(key, value, recipe)
            try:
                said = self.run(mutant)
            except Exception as error:
                found.append(f"{key}={value!r:.40}: {type(error).__name__}: {error}"[:300])
            else:
                if (said is None) != right:
                    found.append(f"{key}={value!r:.40}: {'refused' if right else 'accepted'}: {said}")
        return found


@pytest.fixture
def bench(tmp_path, monkeypatch, capsys) -> Bench:
    def load(*given: Any, **options: Any) -> Any:
        raise Loaded(str(given))

    for name in ("load_tokenizer", "student_context", "make_engine", "resolve_student"):
        monkeypatch.setattr(f"palign_hf.generation.runner.{name}", load)
    monkeypatch.setattr("palign_hf.truncation.stage.read_traces", load)
    monkeypatch.setattr("palign_hf.alignment.stage.read_prefixes", load)
    for module in ("generation.transform", "training.stage"):
        monkeypatch.setattr(f"palign_hf.{module}.resolve_student", load)
    monkeypatch.setattr("palign_hf.evaluation.stage.open_task", load)
    monkeypatch.setattr("palign_hf.hub.push.check", lambda wanted: None)
    return Bench(tmp_path, capsys)


@pytest.mark.parametrize("name", ALL)
def test_the_recipes_as_they_are_reach_the_student(bench, name):
    assert bench.run(ALL[name]) is None


@pytest.mark.parametrize(
    ("name", "place"),
    [
        (name, place)
        for name in ALL
        for place in places(ALL[name])
        if ALL[name][place[0]] != (BASE | ALIGN_BASE | TRAIN_BASE | EVALUATE_BASE).get(place[0])
    ],
    ids=lambda one: ".".join(one) if isinstance(one, tuple) else one,
)
def test_one_wrong_value(bench, name, place):
    training = command_of(ALL[name]) == "train"
    if name in TREE:
        values = [*(FEWEST if training else FEW)]
    else:
        values = [*WRONG_AND_RIGHT, *(() if training else SPELT)]
    assert bench.wrongs(ALL[name], place, values) == []


@pytest.mark.parametrize("name", ALL)
def test_one_misspelt_key(bench, name):
    for place in places(ALL[name]):
        if place[-2:-1] in (("headers",), ("model_init_kwargs",)):  # whatever a server or a model wants to hear
            continue
        for key in (place[-1][:-1] + "x", place[-1] + "s", place[-1].upper(), 3):
            if key == place[-1]:  # in capitals already
                continue
            mutant = changed(ALL[name], place, lambda inner, old, key=key: inner.update({key: inner.pop(old)}))
            assert bench.run(mutant) is not None, (place, key)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--pilot", "-3"], "`--pilot -3` must be at least 1."),
        (["--batch-size", "0"], "`--batch-size 0` must be at least 1."),
        (["--set", "batch_size=0"], "`--set batch_size=0` must be at least 1."),
        (["--max_concurrency", "0"], "`--max-concurrency 0` must be at least 1."),
        (["--audit", "nan"], "`--audit nan` must be"),
        (["--traces.max-samples", "[1]"], "`--traces.max-samples [1]` must be a whole number"),
        (["--traces.known", "opentoughts"], "(nearest match: `openthoughts`)"),
        (["--traces.columns", "{qestion: q}"], "a trace has no `qestion` (nearest match: `question`)"),
        (["--search", "ascnd"], "`ascnd` is no search (nearest match: `ascend`)"),
        (["--search", "fixed(ratio=2)"], "`ratio=2`: must be a share of the trace"),
        (["--search", "{name: ascend, caution: [1]}"], "`caution=[1]`: must be a number"),
        (["--search", "{name: ascend, prior: 3}"], "`prior=3`: must be a `Prior`"),
        (["--search", "{name: 3}"], "`3` is no search"),
        (["--pilot", "20", "--search", "binary"], "the search `binary` has none"),
        (["--criterion", "self-juge"], "(nearest match: `self-judge`)"),
        (
            ["--criterion", "{name: self-judge, template: nowhere.txt}"],
            "`nowhere.txt` can't be read as the `judge` template",
        ),
        (["--criterion", "{name: self-judge, template: {slotless}}"], "has `{question}` 0 times"),
        (
            ["--judge-template", "x.txt"],
            "`judge_template` is now a parameter of `criterion`. Write `criterion: {",
        ),
        (
            ["--verdict", "generate"],
            "`verdict` is now a parameter of `criterion`. Write `criterion: {",
        ),
        (["--set", "verdict=generate"], "`--set verdict=generate`: `verdict` is now a parameter of `criterion`."),
        (["--engine", "transformer"], "is unknown (nearest match: `transformers`)"),
        (["--engine-options", "{gpu_memory_utilisation: 0.5}"], "(nearest match: `gpu_memory_utilization`)"),
        (["--engine", "server", "--engine-options", "{urls: [3]}"], "`urls=[3]`"),
        (["--engine", "server", "--engine-options", "{urls: []}"], "needs the address of a server"),
        (["--output-dir", "{file}/below"], "/file` is a file"),
        (["--ledger", "{file}"], "/file` is a file"),
        (["--ledger", "~no-such-user/x"], "there is no user `no-such-user` here"),
        (["--overwrite", "yes"], "`yes`"),
        (["--max-model-ln", "3"], "(nearest match: `--max-model-len`)"),
    ],
)
@pytest.mark.parametrize("dry", [(), ("--dry-run",)], ids=["run", "dry"])
def test_one_wrong_option(bench, options, said, dry):
    told = bench.run(BASE | {"engine": "vllm"}, *map(bench.filled, options), *dry)
    assert told is not None and said in told


@pytest.mark.parametrize("name", ["x" * 300, "~no-such-user/x", "a\nb", "{file}"])
def test_a_recipe_that_is_none_is_one_line(bench, name, capsys):
    assert main(["truncate", "--config", bench.filled(name)]) == 2
    told = capsys.readouterr().err
    assert told.startswith("palign: ") and told.count("\n") == 1


@pytest.mark.parametrize("name", ["x" * 300, "~no-such-user/x", "\0", "a\nb"])
def test_a_student_or_a_source_that_no_file_can_be_called_is_refused(name):
    for look_up in (resolve_student, read_traces):
        with pytest.raises(UserError):
            look_up(name)
