"""Folders as finished runs leave them, of a few rows that a test can say."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from datasets import Dataset

from palign_hf.alignment.report import AlignmentReport
from palign_hf.schema import PAIRS, PREFIXES
from palign_hf.truncation.report import Report


SETTINGS = {
    "student_name": "me/small-student",
    "student": {"name": "me/small-student", "commit": "a" * 40},
    "input": {"source": "them/traces", "revision": "b" * 40, "rows": 4},
    "search": {"name": "ascend", "version": 2},
    "engines": ["vllm 0.32.0 (bfloat16)"],
    "fingerprint": "0123456789abcdef",
    "command": "palign truncate --config mine.yaml",
    "date": "2026-01-02T03:04:05+00:00",
    "versions": {"palign-hf": "0.1.0", "datasets": "5.2.0"},
}


def prefixes_run(folder: Path, settings: dict[str, Any] | None = None, **columns: Sequence[Any]) -> Path:
    """Four rows of PREFIXES: two that are sufficient, a fallback, and one that was skipped."""
    rows = 4
    probes = [[{"segments": 0, "margin": -1.0, "verdict": "NOT_ENOUGH"}]] * rows
    filled = {
        "id": [f"p{at}" for at in range(rows)],
        "question": ["Q"] * rows,
        "trace": ["One. Two. Three."] * rows,
        "answer": ["3"] * rows,
        "source": ["theirs"] * rows,
        "prefix": ["One. "] * rows,
        "prefix_end": [5] * rows,
        "n_segments": [3] * rows,
        "prefix_segments": [1] * rows,
        "prefix_ratio": [0.25, 0.5, 1.0, None],
        "trace_tokens": [400, 800, 600, None],
        "prefix_tokens": [100, 400, 600, None],
        "status": ["sufficient", "sufficient", "full_trace", "skipped"],
        "reason": [None, None, "nothing shorter was enough", "the trace is empty"],
        "probes": probes,
    }
    data = Dataset.from_dict({**filled, **columns}, features=PREFIXES.features)
    report = Report.of(data, settings=SETTINGS | (settings or {})).as_dict()
    return _written(folder, {"train": data}, report, rows)


def pairs_run(folder: Path, settings: dict[str, Any] | None = None) -> Path:
    """Two kept samples, one that was rejected, and a problem that was left out."""
    filled: dict[str, list[Any]] = {name: [None] * 4 for name in PAIRS.columns}
    filled |= {
        "id": ["a", "b", "c", "d"],
        "question": ["Q"] * 4,
        "prefix": ["P"] * 4,
        "continuation": ["C", "C", "C", ""],
        "source": ["theirs"] * 4,
        "sample": [0] * 4,
        "status": ["kept", "kept", "rejected", "left_out"],
        "reason": [None, None, "wrong answer", "contaminated: exact copy of AIME24 question 7"],
        "strict": [True, True, False, None],
        "lenient": [True, True, False, None],
        "flags": [[], [], ["cut"], None],
        "tokens": [100, 300, 900, None],
        "prefix_tokens": [100, 100, 100, 100],
        "trace_tokens": [400, 800, 600, 600],
        "finish_reason": ["stop", "stop", "length", None],
        "mode": ["prompt", "prompt", "prompt", None],
    }
    data = Dataset.from_dict(filled, features=PAIRS.features)
    about = {"decontaminate": ["AIME24"], "rules": {"right": "strict"}, "mode": "prompt"}
    report = AlignmentReport.of(data, settings=SETTINGS | about | (settings or {})).as_dict()
    splits = {"train": data.select([0, 1]), "rejected": data.select([2, 3])}
    return _written(folder, splits, report, 4)


def evaluation_run(folder: Path, settings: dict[str, Any] | None = None) -> Path:
    """What `palign evaluate` reports of two benchmarks and of the world that ships, with three samples a problem."""
    figures = {
        "problems": 30,
        "partial": {},
        "samples": 90,
        "n": 3,
        "strict": {
            "pass@1": 0.2,
            "pass@2": 0.3,
            "pass@3": 0.4,
            "avg@n": 0.2,
            "maj@n": 0.25,
            "pass@n": 0.4,
            "correct": 18,
        },
        "lenient": {"pass@1": 0.3, "pass@3": 0.5, "avg@n": 0.3, "maj@n": 0.3, "pass@n": 0.5, "correct": 27},
        "cut": 0.125,
        "tokens": {"mean": 300.0, "p50": 200.0, "p95": 900.0},
        "intervals": {
            "strict pass@1": [0.1, 0.3],
            "strict pass@3": [0.25, 0.6],
            "lenient pass@1": [0.2, 0.4],
            "tokens": [250.0, 350.0],
            "cut": [None, None],
        },
    }
    about = {
        "student_name": "/data/students/small",
        "tasks": {
            "aime25": "yentinglin/aime_2025@6f71d77b",
            "gsm8k": "/data/copies/openai/gsm8k/main",
            "toy": "this package",
        },
        "max_samples": None,
        "sampling": {"temperature": 0.6, "top_p": 0.9, "seed": 0},
        "date": "2026-01-02T03:04:05+00:00",
        "command": "palign evaluate --student /data/students/small",
    }
    of = {"aime25": figures, "gsm8k": figures | {"problems": 1319, "samples": 3957}, "toy": figures}
    told = {"benchmarks": of, "settings": about | (settings or {})}
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(json.dumps(told, sort_keys=True))
    return folder


def _written(folder: Path, splits: dict[str, Dataset], report: dict[str, Any], rows: int) -> Path:
    (folder / "data").mkdir(parents=True)
    for split, rows_of in splits.items():
        rows_of.to_parquet(folder / "data" / f"{split}-00000-of-00001.parquet")
    (folder / "report.json").write_text(json.dumps(report | {"run": {"rows": rows}}, sort_keys=True))
    return folder
