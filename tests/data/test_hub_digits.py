"""Text files of a Hub dataset keep the digits of their numbers; slow, since a process imports the clients anew."""

import pytest
from hub_clients import run_python


pytestmark = pytest.mark.integration
READ = """
from palign_hf.data.traces import load_traces
for name in ("tester/lines", "tester/table"):
    for streaming in (False, True):
        print([row["answer"] for row in load_traces(name, streaming=streaming)], load_traces(name)["source"][0])
"""


def test_answers_of_a_hub_dataset_of_text_files_keep_their_digits(hub, tmp_path):
    row = '{"question": "q", "trace": "t", "answer": 12345678901234567890123}\n'
    hub.create("dataset", "tester/lines")
    hub.commit("dataset", "tester/lines", {"data/train[1].jsonl": row.encode()})
    hub.create("dataset", "tester/table")
    hub.commit("dataset", "tester/table", {"train.csv": b"question,trace,answer\nq,t,0101\n"})
    told = run_python(hub, tmp_path / "home", READ)
    assert told.splitlines() == [
        *["['12345678901234567890123'] tester/lines"] * 2,
        *["['0101'] tester/table"] * 2,
    ]
