"""Training tables of the arms, made by the stages with one engine; an interrupted run resumes."""

from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from examples.toy.study.arms import BARE, EXACT, PREFILL, PROMPT, StudyPlan, chosen
from palign_hf.alignment.stage import AlignConfig, AlignRun, PrefixSettings
from palign_hf.runs.parts import whole
from palign_hf.runs.shards import Shard
from palign_hf.students import TextTokenizer
from palign_hf.toy import NAME
from palign_hf.toy.world.problems import toy_problem
from palign_hf.truncation.stage import TraceSettings, TruncateConfig, TruncateRun


if TYPE_CHECKING:
    from datasets import Dataset

TRACES = "prefixes"


def make_tables(plan: StudyPlan, folder: Path, engine: str) -> dict[str, list[str]]:
    """Write `PAIRS-NAME.parquet` of each table with `rows` kept problems; return their ids."""
    with ExitStack() as open_runs:
        cut = open_runs.enter_context(TruncateRun(_cutting(folder / TRACES, plan.traces, engine, folder)))
        _done(cut)
        shared: Any = cut.transform.runner
        bare = open_runs.enter_context(
            TruncateRun(_cutting(folder / "bare", plan.bare, shared, folder, search="none"))
        )
        _done(bare)
        _write_exact(folder / TRACES, folder / "exact.parquet", TextTokenizer(shared.tokenizer, NAME))
        sources = {PROMPT: folder / TRACES, PREFILL: folder / TRACES, EXACT: folder / "exact.parquet"}
        sources[BARE] = folder / "bare"
        pairs = {}
        for name, source in sources.items():
            config = AlignConfig(
                prefixes=PrefixSettings(source=str(source), split="train"),
                student=NAME,
                output_dir=str(folder / f"pairs-{name}"),
                engine=shared,
                ledger=str(folder / "ledger"),
                mode="prefill" if name == PREFILL else "prompt",
                sampling="first",
                grader="exact",
            )
            _done(open_runs.enter_context(AlignRun(config)))
            kept = read(folder / f"pairs-{name}")
            # The arm `prefix` has no target for a problem that needs no prefix.
            pairs[name] = kept if name == BARE else kept.filter(bool, input_columns="prefix")
    ids = chosen({name: table["id"] for name, table in pairs.items()}, plan.rows)
    for name, table in pairs.items():
        wanted = set(ids[name])
        with whole(pairs_file(folder, name)) as unfinished:
            table.filter(lambda one, wanted=wanted: one in wanted, input_columns="id").to_parquet(unfinished)
    return ids


def pairs_file(folder: Path, name: str) -> Path:
    """File of a table's training rows."""
    return folder / f"learned-{name}.parquet"


def read(folder: Path, split: str = "train") -> "Dataset":
    """Read a split that a stage wrote."""
    from datasets import load_dataset

    return load_dataset(str(folder), split=split)


def _cutting(output_dir: Path, max_samples: int, engine: Any, folder: Path, search: str = "ascend") -> TruncateConfig:
    return TruncateConfig(
        traces=TraceSettings(source=NAME, split="train", max_samples=max_samples),
        student=NAME,
        output_dir=str(output_dir),
        engine=engine,
        search=search,
        ledger=str(folder / "ledger"),
    )


def _done(run: Any) -> None:
    """Run or resume a stage to its end."""
    run.work(Shard(), run.agree())
    run.finish(1)


def _write_exact(source: Path, file: Path, tokens: TextTokenizer) -> None:
    """Write the same traces with their true cuts."""

    def cut(row: Mapping[str, Any]) -> dict[str, Any]:
        true = toy_problem(row["id"])
        end = true.sufficient_end
        return {
            "prefix": true.trace[:end],
            "prefix_end": end,
            "prefix_segments": true.sufficient_segments,
            "prefix_ratio": end / len(true.trace),
            "prefix_tokens": tokens.count_before(true.trace, [end])[0],
            "probes": [],
        }

    table = read(source)
    with whole(file) as unfinished:
        table.map(cut, features=table.features, load_from_cache_file=False).to_parquet(unfinished)
