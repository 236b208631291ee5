"""A truncation report letter for letter: what others have published and compare with stays as it is."""

from pathlib import Path

import pytest
from datasets import Dataset

from palign_hf.schema import PREFIXES
from palign_hf.truncation.report import ProbeUsage, Report


PINNED = Path(__file__).parents[1] / "fixtures" / "truncation_report"

USAGE = ProbeUsage(
    probes=30,
    asked=12,
    unparsable=1,
    prompt_tokens=40_000,
    cached_tokens=30_000,
    floor_tokens=8_000,
    mass_sum=9.0,
    mass_probes=20,
    top_is_label=15,
)
SETTINGS = {
    "student_name": "toy/a_b",
    "search": {"name": "ascend", "version": 2},
    "input": {"source": "me/traces", "revision": None, "rows": 14},
    "engines": ["vllm 1.0 (bfloat16)"],
    "engine": "vllm",
    "fingerprint": "0123456789abcdef",
    "date": "2026-01-02T03:04:05Z",
    "command": "palign truncate <x> | tee *.log",
    "seconds": {"searching": 1.5},
}


def prefixes() -> Dataset:
    blank = dict.fromkeys(PREFIXES.columns) | {"question": "q", "trace": "t", "source": "s", "n_segments": 10}
    enough = [
        {"segments": 0, "margin": 1.0, "verdict": "ENOUGH"},
        {"segments": 4, "margin": -1.0, "verdict": "NOT_ENOUGH"},
    ]
    never = [
        {"segments": 0, "margin": -1.0, "verdict": "NOT_ENOUGH"},
        {"segments": 10, "margin": -2.0, "verdict": "NOT_ENOUGH"},
    ]
    rows = [
        blank | {"status": "sufficient", "prefix_ratio": at / 10, "prefix": "p", "probes": enough} for at in range(10)
    ]
    rows += [blank | {"status": "full_trace", "prefix_ratio": 1.0, "prefix": "t", "probes": never}]
    rows += [blank | {"status": "skipped", "probes": [], "reason": "needs 120 tokens, the context holds 100"}]
    rows += [blank | {"status": "error", "probes": [], "reason": "gone: <b>|\n*x*"}]
    rows += [blank | {"status": "published", "prefix": "p", "probes": []}]
    full = [row | {"id": str(at)} for at, row in enumerate(rows)]
    return Dataset.from_dict(
        {name: [row[name] for row in full] for name in PREFIXES.columns}, features=PREFIXES.features
    )


def report() -> Report:
    return Report.of(prefixes(), USAGE, SETTINGS)


@pytest.mark.parametrize(("form", "file"), [("text", "report.txt"), ("page", "report.md"), ("json", "report.json")])
def test_a_report_stays_as_it_is(form, file):
    expected = (PINNED / file).read_text(encoding="utf-8")
    assert getattr(report(), form)() == expected.removesuffix("\n") + "\n" * (form == "page")


def test_the_block_of_a_card_is_the_middle_of_the_page():
    block = report().markdown()
    assert block.startswith("| measured | value |\n") and block.endswith(".\n")
    assert f"\n\n{block}\n## Terms\n" in report().page()


def test_a_page_without_settings_has_an_empty_table_of_the_run():
    assert (
        Report.of(prefixes())
        .page()
        .startswith("# 14 traces, cut where ? says enough\n\n| run | |\n|---|---|\n\n| measured | value |\n")
    )
