"""What a type checker says of `load_traces`: a table, or a stream where one is asked for or given."""

import re
import subprocess
import sys
from pathlib import Path


SCRIPT = """
from typing import assert_type

from datasets import Dataset, IterableDataset

from palign_hf import load_traces
from palign_hf.data.traces import TraceReport, read_traces


def use(source: str, table: Dataset, stream: IterableDataset, flag: bool) -> None:
    assert_type(load_traces(source), Dataset)
    assert_type(load_traces(table, streaming=False, max_samples=3), Dataset)
    assert_type(load_traces(table, streaming=True), IterableDataset)
    assert_type(load_traces(stream), IterableDataset)
    assert_type(load_traces(source, streaming=flag), Dataset | IterableDataset)
    assert_type(read_traces(source, columns={"answer": "gold"}), tuple[Dataset, TraceReport])
    assert_type(read_traces(source, streaming=True), tuple[IterableDataset, TraceReport])
    load_traces(source, max_smples=3)
    load_traces(source).no_such_method()
"""
# Only what these types hang on is read: that takes seconds, not a minute.
CONFIG = """
[mypy]
python_version = 3.11
ignore_missing_imports = True
follow_imports = skip
[mypy-palign_hf.*,datasets,datasets.arrow_dataset,datasets.iterable_dataset,datasets.dataset_dict,datasets.search]
follow_imports = silent
[mypy-datasets.*]
follow_untyped_imports = True
"""


def test_mypy_sees_the_table_and_the_stream(tmp_path):
    (tmp_path / "use.py").write_text(SCRIPT)
    (tmp_path / "mypy.ini").write_text(CONFIG)
    command = [sys.executable, "-m", "mypy", "--config-file", "mypy.ini", "--hide-error-context", "use.py"]
    root = str(Path(__file__).parents[2])
    done = subprocess.run(command, cwd=tmp_path, env={"MYPYPATH": root, "PATH": ""}, capture_output=True, text=True)
    errors = re.findall(r"^use\.py:\d+: error: (.*)$", done.stdout, re.MULTILINE)
    assert len(errors) == 3 and '"max_smples"' in errors[0] and '"no_such_method"' in errors[2], (
        done.stdout + done.stderr
    )
