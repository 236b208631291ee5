"""What the demo measures: this machine before the chain, and the chain's cuts and continuations against the truth.

The time of a chain is counts of work times the rates of this machine. The counts are of the toy world (probes a trace,
tokens a sample), so they are the same on every machine; only the rates are measured.
"""

import asyncio
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any

from palign_hf.segmentation import cuts
from palign_hf.toy.world.problems import (
    CutSkill,
    JudgeSkill,
    curves_of,
    cut_skill,
    distances,
    judge_skill,
    right_by_truth,
)
from palign_hf.truncation.criteria import Judge
from palign_hf.truncation.schedule import BlockCache


if TYPE_CHECKING:
    from datasets import Dataset

    from palign_hf.alignment.transform import PrefixAlignment
    from palign_hf.generation.runner import StudentRunner
    from palign_hf.truncation.transform import PrefixTruncation


FOUND, EXACT, SHORT, LONG, NONE = "found cut", "exact cut", "too short", "too long", "no prefix"


@dataclass(frozen=True)
class Continued:
    """First samples from one kind of prefix, one a problem, and how many of them have the true answer."""

    name: str
    problems: int
    right: int

    @property
    def share(self) -> float | None:
        """Share of problems whose first sample has the true answer."""
        return self.right / self.problems if self.problems else None


def from_nothing(truncation: "PrefixTruncation", alignment: "PrefixAlignment", traces: "Dataset") -> Continued:
    """First samples without a prefix, generated here with the engine and the ledger of `alignment`."""
    bare = traces.map(truncation.with_search("none"), batched=True, load_from_cache_file=False)
    alignment.expect(len(bare), "from no prefix")
    return counted(NONE, alignment.stream(bare))


def by_cut(pairs: Iterable[Mapping[str, Any]], prefixes: "Dataset") -> list[Continued]:
    """Count the first samples from found prefixes, in total and by kind of cut."""
    cut = prefixes.filter(lambda segments: segments is not None, input_columns="prefix_segments")
    kinds = {
        row_id: EXACT if off == 0 else SHORT if off < 0 else LONG
        for row_id, off in zip(cut["id"], distances(cut), strict=True)
    }
    rows = [row for row in pairs if row["fallback"] is None]
    parts = (counted(kind, (row for row in rows if kinds.get(row["id"]) == kind)) for kind in (EXACT, SHORT, LONG))
    return [counted(FOUND, rows), *parts]


def counted(name: str, rows: Iterable[Mapping[str, Any]]) -> Continued:
    """Count the first sample of each problem in rows of PAIRS: later ones are drawn only where the first is wrong."""
    right = {
        row["id"]: right_by_truth(row["id"], row["continuation"])
        for row in rows
        if row["sample"] == 0 and row["status"] in ("kept", "rejected")
    }
    return Continued(name, len(right), sum(right.values()))


def kept_right(pairs: Iterable[Mapping[str, Any]]) -> float | None:
    """Share of the kept pairs that have the true answer; 1.0 if the grader is correct."""
    found = [right_by_truth(row["id"], row["continuation"]) for row in pairs if row["status"] == "kept"]
    return sum(found) / len(found) if found else None


# The baseline without a judge keeps the mean sufficient ratio of this world.
BLIND = ("fixed(ratio=0.38)", "none", "full")
SEARCHES = ("ascend", "binary", "linear", "every", *BLIND)
# Block size of the prefix cache on most GPUs; vLLM on CPUs has larger blocks.
BLOCK = 16


@dataclass(frozen=True)
class Measured:
    """Cut quality of one search, and the mean prompt tokens that an engine computes for a trace."""

    search: str
    skill: CutSkill
    tokens: float


def measured(search: str, judge: Judge, rows: "Dataset") -> Measured:
    """The cuts of a search against the truth."""
    return Measured(search, cut_skill(rows), computed_tokens(judge, rows))


def measure_searches(
    truncation: "PrefixTruncation", traces: "Dataset", searches: Sequence[str] = SEARCHES
) -> tuple[list[Measured], JudgeSkill | None]:
    """Run each search over `traces`; if `every` is among them it runs first, and its probes give the judge's skill.

    The engine of `truncation` is used, and closed at the end.
    """
    judge = truncation.judge()
    found: dict[str, Measured] = {}
    skill = None
    with truncation:
        for search in sorted(searches, key=lambda search: search != "every"):
            one = truncation.with_search(search)
            one.expect(len(traces), f"search {search}")
            rows = traces.map(one, batched=True, load_from_cache_file=False)
            found[search] = measured(search, judge, rows)
            if search == "every":
                skill = judge_skill(curves_of(rows))
    return [found[search] for search in searches], skill


def figures(measured: Sequence[Measured], judge: JudgeSkill | None) -> dict[str, float | None]:
    """Return the headline figures of demo and benchmark: the first search against the truth, None for missing
    measures.
    """
    first = measured[0].skill
    paper = next((one.skill.probes for one in measured if one.search == "binary"), None)
    found = {
        "median_distance": first.median_distance,
        "too_short": first.too_short,
        "too_long": first.too_long,
        "judge_auroc": judge.auroc if judge else None,
        "judge_accuracy": judge.accuracy if judge else None,
        "questions_over_binary": first.probes / paper if first.probes is not None and paper else None,
    }
    # A few hundred traces support no more than four digits.
    return {name: None if value is None else round(value, 4) for name, value in found.items()}


def computed_tokens(judge: Judge, rows: "Dataset") -> float:
    """Mean prompt tokens of a row that an engine computes for its probes, with an initially empty prefix cache."""
    total = 0
    for row in rows:
        if not row["probes"]:
            continue
        case = judge.open(row["id"], row["question"], row["trace"], [0, *cuts(row["trace"])])
        cache = BlockCache(BLOCK)
        for probe in row["probes"]:
            prompt = len(case.prompt.ids(case.ends[probe["segments"]]))
            total += cache.ask(prompt, min(prompt, case.head_tokens + case.tokens[probe["segments"]]))
    return total / len(rows)


@dataclass(frozen=True)
class Work:
    """Counts of what a chain has to do.

    Args:
        modules (`float`): Python modules that its processes import.
        probes (`float`): Answers of the judge, each a step further in a trace.
        read (`float`): Prompt tokens of the samples.
        written (`float`): Tokens of the samples.
        trained (`float`): Tokens that the training reads, in all epochs.
    """

    modules: float = 0.0
    probes: float = 0.0
    read: float = 0.0
    written: float = 0.0
    trained: float = 0.0

    def __add__(self, other: "Work") -> "Work":
        return Work(*(getattr(self, one.name) + getattr(other, one.name) for one in fields(Work)))

    def times(self, count: float) -> "Work":
        """The same work `count` times."""
        return Work(*(count * getattr(self, one.name) for one in fields(Work)))


@dataclass(frozen=True)
class Rates:
    """What this machine does in a second, of each kind of `Work`."""

    modules: float
    probes: float
    read: float
    written: float
    trained: float

    def seconds(self, work: Work) -> float:
        """The time of some work."""
        return float(sum(getattr(work, one.name) / getattr(self, one.name) for one in fields(Work)))


# Modules in `sys.modules` at the end of a process of the chain, by its stage with the most; and those that the
# comparison adds to the process that is there.
PROCESSES = {"truncate": 4300, "align": 4300, "train": 4700, "evaluate": 6500}
COMPARISON = 600


def processes(steps: Sequence[tuple[str, bool]]) -> Work:
    """The imports of a chain's processes.

    Args:
        steps (`Sequence[tuple[str, bool]]`): The stage of each step, and whether it shares a process with such steps
            beside it.
    """
    total, together = 0, 0
    for stage, shares in steps:
        if not shares:
            total, together = total + together + PROCESSES[stage], 0
        else:
            together = max(together, PROCESSES[stage])
    compared = any(stage == "evaluate" for stage, _ in steps)
    return Work(modules=total + together + COMPARISON * compared)


# Sizes of what is measured: as in the chain, a probe reads a sentence or two more of a trace, and replies are short.
_STEP, _PROBES, _PROMPT, _BEFORE, _REPLY = 60, 6, 256, 120, 48
# Traces and replies that are measured at once, if the engine takes that many.
_TRACES, _TOGETHER = 8, 32
# Rows and tokens of a measured training step.
_ROWS, _LENGTH = 8, 256
# Seconds that each rate is measured at least, after a first time that doesn't count.
_MEASURED_S = 0.7


def import_rate() -> float:
    """Modules a second that a new process imports: torch and transformers here, then torch once more in another one.

    The second time says how much of the first was spent on files that no process had read before.
    """
    before, began = len(sys.modules), time.perf_counter()
    import torch  # noqa: F401

    alone = time.perf_counter() - began
    from transformers import AutoModelForCausalLM, AutoTokenizer  # noqa: F401

    whole, modules = time.perf_counter() - began, len(sys.modules) - before
    began = time.perf_counter()
    code = "import sys, torch; print(len(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    again = time.perf_counter() - began
    if modules < int(done.stdout):  # here they were imported before
        return int(done.stdout) / again
    return modules / (whole * min(1.0, again / alone))


def measure_machine(runner: "StudentRunner", modules: float, trains: bool) -> Rates:
    """Measure this machine for a few seconds, with a student and its engine; the engine stays up.

    Args:
        runner (`StudentRunner`): The student.
        modules (`float`): The result of `import_rate`.
        trains (`bool`): Whether training is measured, too.
    """
    probes, read, written = runner.run(_answering(runner))
    trained = _training_rate(runner.student.where) if trains else 1.0
    return Rates(modules, probes, read, written, trained)


async def _answering(runner: "StudentRunner") -> tuple[float, float, float]:
    """Probes, prompt tokens and written tokens a second."""
    from palign_hf.engines.base import Sampling

    engine = runner.engine
    await engine.start()
    ids = _ordinary(runner)
    together, asked = runner.capacity()[0], 0

    def prompt(length: int) -> list[int]:
        nonlocal asked
        asked += 1
        # Each begins with another token, so that no cache has it.
        return [ids[(asked + at) % len(ids)] for at in range(length)]

    async def probe() -> int:
        trace = prompt(_STEP * _PROBES)
        problem = str(asked)
        for end in range(_STEP, len(trace) + 1, _STEP):
            await engine.score(trace[:end], (ids[0], ids[1]), problem)
        return _PROBES

    async def read() -> int:
        await engine.score(prompt(_PROMPT), (ids[0], ids[1]), str(asked))
        return _PROMPT

    async def write() -> int:
        given = prompt(_BEFORE)
        sampling = Sampling(max_tokens=_REPLY, temperature=1.0, seed=asked)
        reply = await engine.generate(given, sampling, str(asked))
        return sum(len(one.token_ids) for one in reply.samples)

    rates = []
    for work, most in ((probe, _TRACES), (read, 1), (write, _TOGETHER)):
        await work()
        done, began = 0, time.perf_counter()
        while not done or time.perf_counter() - began < _MEASURED_S:
            done += sum(await asyncio.gather(*(work() for _ in range(min(together, most)))))
        rates.append(done / (time.perf_counter() - began))
    return rates[0], rates[1], rates[2]


def _ordinary(runner: "StudentRunner") -> list[int]:
    """Ids of tokens that are neither special nor end a reply."""
    special = set(runner.tokenizer.all_special_ids)
    return [one for one in sorted(runner.tokenizer.get_vocab().values()) if one not in special][:4096]


def _training_rate(student: str) -> float:
    """Tokens a second of a training step."""
    import torch
    from transformers import AutoModelForCausalLM

    model: Any = AutoModelForCausalLM.from_pretrained(student, dtype=torch.float32).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0)
    ids = torch.arange(_ROWS * _LENGTH).remainder(model.config.vocab_size).reshape(_ROWS, _LENGTH)

    def step() -> int:
        model(input_ids=ids, labels=ids).loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return ids.numel()

    step()
    done, began = 0, time.perf_counter()
    while not done or time.perf_counter() - began < _MEASURED_S:
        done += step()
    return done / (time.perf_counter() - began)
