"""A text with half a surrogate pair keeps its own row from being used, not its file from being read."""

import gzip
import json

import pytest

from palign_hf.data.traces import load_traces
from palign_hf.generation.jobs import broken


ROWS = [{"question": f"What is {at}?", "trace": f"It is {at}.", "answer": str(at), "id": f"r{at}"} for at in range(3)]
BROKEN = [ROWS[0], ROWS[1] | {"question": "half \ud800 a pair"}, ROWS[2] | {"trace": "a whole one \U0001d54f"}]


def written(folder, name: str, rows) -> str:
    text = "".join(json.dumps(row) + "\n" for row in rows)
    file = folder / name
    file.write_bytes(gzip.compress(text.encode()) if name.endswith(".gz") else text.encode())
    return str(file)


@pytest.mark.parametrize("name", ["lines.jsonl", "lines.jsonl.gz"])
def test_the_file_is_read_and_the_broken_place_is_marked(tmp_path, name):
    assert r"\ud800" in json.dumps(BROKEN)
    traces = load_traces(written(tmp_path, name, BROKEN))
    assert traces["id"] == ["r0", "r1", "r2"] and traces[2]["trace"] == "a whole one \U0001d54f"
    assert [broken(question) is None for question in traces["question"]] == [True, False, True]
    assert traces[0] == load_traces(written(tmp_path, f"whole-{name}", ROWS))[0] | {"source": name}


def test_what_is_broken_otherwise_is_refused_as_before(tmp_path):
    file = tmp_path / "x.jsonl"
    file.write_text('{"question": "a \\ud800", "trace"')
    with pytest.raises(ValueError, match=r"x\.jsonl"):
        load_traces(str(file))
