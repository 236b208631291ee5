"""The ledger on a real disk: what it keeps, who wins, what it says when it can't, and whose files it leaves alone."""

import asyncio
import json
import math
import os
import random
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palign_hf.engines.base import EngineIdentity
from palign_hf.generation.ledger import StoreError, read_about
from palign_hf.generation.store import FORMAT, AnswerTable, Store, content_key
from palign_hf.truncation.criteria import ENOUGH, NOT_ENOUGH, UNPARSABLE, Probe
from palign_hf.truncation.rows import PROBES


ABOUT = {"criterion": {"name": "self-judge"}, "student_name": "tiny"}
COUNT = st.integers(0, 2**62)
ANY_PROBE = st.builds(
    Probe,
    segments=COUNT,
    verdict=st.sampled_from([ENOUGH, NOT_ENOUGH]),
    margin=st.none() | st.floats(allow_nan=False),
    label_mass=st.none() | st.floats(0, 1),
    top_is_label=st.none() | st.booleans(),
    prompt_tokens=COUNT,
    cached_tokens=COUNT,
)


def probe(segments: int, margin: float | None = 1.5, **more: object) -> Probe:
    return Probe(
        **{"segments": segments, "verdict": ENOUGH, "margin": margin, "label_mass": 0.9, "top_is_label": True}
        | {"prompt_tokens": 100, "cached_tokens": 64}
        | more
    )


def put(ledger: Store, *given: tuple[bytes, Probe]) -> list[Probe]:
    """Record all of them in one turn of a loop."""

    async def together() -> list[Probe]:
        return await asyncio.gather(*(ledger.record(problem, one) for problem, one in given))

    return asyncio.run(together())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledgers" / "judge.sqlite"


@pytest.fixture
def ledger(path: Path) -> Iterator[Store]:
    opened = Store(path, "judge", ABOUT, PROBES)
    yield opened
    opened.close()


def filled(path: Path, problems: int = 400) -> Path:
    """A closed ledger of some pages, all in one file."""
    opened = Store(path, "judge", ABOUT, PROBES)
    put(opened, *((name.to_bytes(16, "big"), probe(cut)) for name in range(problems) for cut in range(3)))
    opened.close()
    assert [each.name for each in path.parent.iterdir()] == [path.name]
    return path


def beside(path: Path) -> dict[str, bytes]:
    return {each.name: each.read_bytes() for each in path.parent.iterdir() if each.is_file()}


@settings(deadline=None, max_examples=50)
@given(held=st.dictionaries(st.tuples(st.binary(min_size=1, max_size=16), COUNT), ANY_PROBE, max_size=20))
def test_what_is_put_in_comes_out_also_after_reopening(held: dict[tuple[bytes, int], Probe]):
    probes = [
        (problem, probe(**{name: getattr(one, name) for name in one.__slots__} | {"segments": cut}))
        for (problem, cut), one in held.items()
    ]
    expected: dict[bytes, dict[int, Probe]] = {}
    for problem, one in probes:
        expected.setdefault(problem, {})[one.segments] = one
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "l.sqlite"
        ledger = Store(path, "judge", ABOUT, PROBES)
        assert put(ledger, *probes) == [one for _, one in probes]
        for _ in range(2):
            assert {problem: ledger.recall(problem) for problem in expected} == expected
            assert ledger.recall(b"nobody's key, 24 letters") == {}
            assert ledger.count() == len(probes)
            ledger.close()
            ledger = Store(path, "judge", ABOUT, PROBES)
        ledger.close()


@pytest.mark.parametrize("margin", [None, math.inf, -math.inf, 0.0, 5e-324, -1.7976931348623157e308, 0.1])
def test_margins_keep_every_bit(ledger: Store, margin: float | None):
    one = probe(3, margin, label_mass=None, top_is_label=None)
    put(ledger, (b"p", one))
    (back,) = ledger.recall(b"p").values()
    assert repr(back) == repr(one)


def test_probes_come_back_by_segments_of_their_problem_alone(ledger: Store):
    put(ledger, (b"a", probe(5)), (b"b", probe(5, -2.0)), (b"a", probe(2)), (b"a", probe(0)))
    assert ledger.recall(b"a") == {0: probe(0), 2: probe(2), 5: probe(5)}
    assert ledger.recall(b"b") == {5: probe(5, -2.0)}


def test_the_first_answer_stands(path: Path, ledger: Store):
    assert put(ledger, (b"p", probe(1, 1.0)), (b"p", probe(1, 2.0)), (b"q", probe(1, 3.0))) == [
        probe(1, 1.0),
        probe(1, 1.0),
        probe(1, 3.0),
    ]
    assert put(ledger, (b"p", probe(1, 4.0)), (b"p", probe(2, 5.0))) == [probe(1, 1.0), probe(2, 5.0)]
    other = Store(path, "judge", ABOUT, PROBES)
    assert put(other, (b"p", probe(1, 6.0)), (b"p", probe(3, 7.0))) == [probe(1, 1.0), probe(3, 7.0)]
    assert put(ledger, (b"p", probe(3, 8.0))) == [probe(3, 7.0)]
    assert ledger.recall(b"p") == other.recall(b"p") == {1: probe(1, 1.0), 2: probe(2, 5.0), 3: probe(3, 7.0)}
    other.close()


WRITER = """
import asyncio, json, sys, time
from palign_hf.truncation.criteria import Probe
from palign_hf.generation.store import Store
from palign_hf.truncation.rows import PROBES

path, margin, start = sys.argv[1], float(sys.argv[2]), float(sys.argv[3])

async def main(ledger):
    stored = []
    for first in range(0, 1000, 10):
        stored += await asyncio.gather(*(
            ledger.record(b"problem %d" % (n // 7), Probe(n % 7, "enough", margin, None, None, 1, 0))
            for n in range(first, first + 10)
        ))
    return [probe.margin for probe in stored]

time.sleep(max(0.0, start - time.time()))
ledger = Store(path, "judge", {}, PROBES)
print(json.dumps(asyncio.run(main(ledger))))
ledger.close()
"""


def test_two_processes_write_the_same_probes_and_agree(path: Path):
    start = str(_soon())
    writers = [_python(WRITER, str(path), margin, start) for margin in ("1", "2")]
    first, second = (json.loads(_output(writer)) for writer in writers)
    assert first == second
    assert len(first) == 1000 and set(first) <= {1.0, 2.0}
    ledger = Store(path, "judge", {}, PROBES)
    assert ledger.count() == 1000
    assert [ledger.recall(b"problem %d" % (n // 7))[n % 7].margin for n in range(1000)] == first
    ledger.close()


OPENER = """
import sys, time
from palign_hf.generation.store import Store
from palign_hf.truncation.rows import PROBES

for number, path in enumerate(sys.argv[2:]):
    time.sleep(max(0.0, float(sys.argv[1]) + number * 0.01 - time.time()))
    Store(path, "judge", {}, PROBES).close()
"""


def test_processes_that_open_a_new_ledger_at_once_all_may(tmp_path: Path):
    paths = [str(tmp_path / f"{number}.sqlite") for number in range(150)]
    openers = [_python(OPENER, str(_soon()), *paths) for _ in range(6)]
    assert [_output(opener) for opener in openers] == [""] * 6
    assert {read_about(each)["fingerprint"] for each in paths} == {"judge"}


def _soon() -> float:
    """A moment by which children started now are ready to go."""
    return time.time() + 2.5


def _python(code: str, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def _output(process: subprocess.Popen[str]) -> str:
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 0, output
    return output


def test_a_ledger_that_another_process_holds_too_long(path: Path, ledger: Store):
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    ledger._db.execute("PRAGMA busy_timeout = 100")
    with pytest.raises(StoreError, match="Another process held the ledger `.*` for over 60 s"):
        put(ledger, (b"p", probe(1)))
    assert ledger.recall(b"p") == {}
    other.execute("ROLLBACK")
    other.close()
    assert put(ledger, (b"p", probe(1))) == [probe(1)]


def test_answers_of_one_turn_share_a_commit(ledger: Store):
    statements: list[str] = []
    ledger._db.set_trace_callback(statements.append)
    put(ledger, *((b"p", probe(cut)) for cut in range(500)))
    assert statements.count("COMMIT") == 1
    put(ledger, (b"q", probe(1)))
    assert statements.count("COMMIT") == 2


def test_a_probe_is_committed_before_it_is_told(path: Path, ledger: Store):
    async def main() -> None:
        await ledger.record(b"p", probe(1))
        other = sqlite3.connect(path)
        assert other.execute("SELECT count(*) FROM probes").fetchone() == (1,)
        other.close()

    asyncio.run(main())


@pytest.mark.parametrize(("key", "value"), [("fingerprint", "another"), ("format", "999")])
def test_a_ledger_of_another_judge_or_format_is_refused(path: Path, key: str, value: str):
    filled(path)
    edit = sqlite3.connect(path)
    edit.execute("UPDATE about SET value = ? WHERE key = ?", (value, key))
    edit.commit()
    edit.close()
    before = beside(path)
    with pytest.raises(StoreError) as caught:
        Store(path, "judge", ABOUT, PROBES)
    said = {"fingerprint": "holds probes of `another`, not probes of `judge`", "format": "is a ledger of format 999"}
    assert f"`{path}` {said[key]}" in str(caught.value)
    assert "`ledger=`" in str(caught.value)
    assert beside(path) == before


def test_a_full_disk_keeps_what_was_there_and_goes_on_when_there_is_room(path: Path, ledger: Store):
    put(ledger, *((b"early", probe(cut)) for cut in range(10)))
    pages = ledger._db.execute("PRAGMA page_count").fetchone()[0]
    ledger._db.execute(f"PRAGMA max_page_count = {pages + 3}")
    kept = 10
    with pytest.raises(StoreError) as caught:
        for number in range(10_000):
            put(ledger, *((b"late %d" % number, probe(cut)) for cut in range(5)))
            kept += 5
    assert kept > 10
    assert f"No space left for the ledger `{path}`" in str(caught.value) and "is safe" in str(caught.value)
    with pytest.raises(StoreError, match="No space left"):
        put(ledger, *((b"later", probe(cut)) for cut in range(2000)))
    # All of a commit or nothing of it.
    assert ledger.count() == kept
    assert ledger.recall(b"early") == {cut: probe(cut) for cut in range(10)}
    assert ledger.recall(b"later") == ledger.recall(b"late %d" % ((kept - 10) // 5)) == {}
    ledger._db.execute("PRAGMA max_page_count = 1000000")
    put(ledger, *((b"later", probe(cut)) for cut in range(2000)))
    assert ledger.count() == kept + 2000


def test_everyone_who_waits_is_told_of_a_failed_commit(ledger: Store):
    pages = ledger._db.execute("PRAGMA page_count").fetchone()[0]
    ledger._db.execute(f"PRAGMA max_page_count = {pages}")

    async def main() -> list[object]:
        waits = (ledger.record(b"p", probe(cut)) for cut in range(3000))
        return await asyncio.gather(*waits, return_exceptions=True)

    assert {type(result) for result in asyncio.run(main())} == {StoreError}


@pytest.mark.parametrize("wrong", [{"verdict": None}, {"prompt_tokens": 2**70}, {"margin": 1j}])
def test_a_probe_that_cannot_be_stored_is_an_error_and_no_wait_for_ever(ledger: Store, wrong: dict[str, object]):
    async def main() -> list[object]:
        waits = (ledger.record(b"p", each) for each in (probe(1), probe(2, **wrong)))
        return await asyncio.wait_for(asyncio.gather(*waits, return_exceptions=True), timeout=60)

    assert all(isinstance(result, Exception) for result in asyncio.run(main()))
    assert ledger.count() == 0
    put(ledger, (b"p", probe(1)))
    assert ledger.count() == 1


READER = """
import os, sys
from palign_hf.generation.ledger import StoreError, read_about
from palign_hf.generation.store import Store
from palign_hf.truncation.rows import PROBES

if os.getuid() == 0:
    os.setuid(65534)
try:
    Store(sys.argv[1], "judge", {}, PROBES).close()
except StoreError as error:
    print(error)
if len(sys.argv) > 2:
    print(read_about(sys.argv[1])["probes"])
"""


@pytest.fixture
def public() -> Iterator[Path]:
    """A folder that another user can reach, where pytest's own can't be."""
    with tempfile.TemporaryDirectory(prefix="palign-test-ledger-") as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)
        os.chmod(folder, 0o755)


def test_a_folder_that_cannot_be_written(public: Path):
    path = filled(public / "judge.sqlite")
    new = public / "new.sqlite"
    os.chmod(path, 0o644)
    os.chmod(public, 0o555)
    before = beside(path)
    # What lies there can still be looked at.
    *says, probes = _output(_python(READER, str(path), "look")).splitlines()
    assert probes == "1200"
    for text, name in ((" ".join(says), path), (_output(_python(READER, str(new))), new)):
        assert f"The ledger `{name}` can't be opened for writing (" in text
        assert "Give a folder that you may write to, with `ledger=` or PALIGN_HOME." in text
    assert beside(path) == before


def test_a_file_that_cannot_be_written(public: Path):
    path = filled(public / "judge.sqlite")
    os.chmod(public, 0o777)
    os.chmod(path, 0o444)
    before = path.read_bytes()
    assert f"The ledger `{path}` can't be opened for writing (" in _output(_python(READER, str(path)))
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_made(public: Path):
    os.chmod(public, 0o555)
    text = _output(_python(READER, str(public / "deep" / "judge.sqlite")))
    assert f"The ledger folder `{public / 'deep'}` can't be made: " in text and "PALIGN_HOME" in text


def test_a_folder_that_is_a_file(tmp_path: Path):
    (tmp_path / "file").write_text("a letter")
    for folder in (tmp_path / "file", tmp_path / "file" / "deeper"):
        with pytest.raises(StoreError, match="can't be made: .*on a local disk"):
            Store(folder / "judge.sqlite", "judge", ABOUT, PROBES)
    assert (tmp_path / "file").read_text() == "a letter"


def test_a_file_that_is_a_folder(tmp_path: Path):
    with pytest.raises(StoreError, match="can't be opened for writing"):
        Store(tmp_path, "judge", ABOUT, PROBES)
    with pytest.raises(StoreError, match="is no file"):
        read_about(tmp_path)


def _random_bytes(path: Path) -> None:
    path.write_bytes(random.Random(0).randbytes(20_000))


def _text(path: Path) -> None:
    path.write_text("Dear diary, ")


def _cut_to(size: float):
    def damage(path: Path) -> None:
        whole = path.read_bytes()
        path.write_bytes(whole[: int(size if size > 1 else size * len(whole))])

    return damage


def _lost_tables(path: Path) -> None:
    whole = bytearray(path.read_bytes())
    whole[100:4096] = random.Random(1).randbytes(3996)
    path.write_bytes(bytes(whole))


@pytest.mark.parametrize(
    "damage",
    [_random_bytes, _text, _cut_to(50), _cut_to(4096), _cut_to(0.5), _cut_to(0.9), _lost_tables],
    ids=["random bytes", "text", "50 bytes left", "a page left", "half left", "the end lost", "a broken page"],
)
def test_a_damaged_file_is_refused_and_left_as_it_is(path: Path, damage):
    damage(filled(path))
    before = path.read_bytes()
    with pytest.raises(StoreError) as caught:
        Store(path, "judge", ABOUT, PROBES)
    assert f"`{path}` is damaged or no ledger (" in str(caught.value)
    assert "left as it is" in str(caught.value) or "left as it was" in str(caught.value)
    with pytest.raises(StoreError, match="is damaged or no ledger"):
        read_about(path)
    assert beside(path) == {path.name: before}


def test_damage_that_shows_later_is_explained_too(path: Path):
    whole = bytearray(filled(path).read_bytes())
    for start in range(4096 * 4, len(whole), 4096):
        whole[start : start + 100] = bytes(100)
    path.write_bytes(bytes(whole))
    ledger = Store(path, "judge", ABOUT, PROBES)
    with pytest.raises(StoreError, match="is damaged or no ledger"):
        for name in range(400):
            ledger.recall(name.to_bytes(16, "big"))
    ledger.close()


@pytest.mark.parametrize("table", ["recipes (name TEXT)", "about (what TEXT)", "probes (planet TEXT)"])
def test_a_database_of_another_program_is_refused_and_left_as_it_is(path: Path, table: str):
    path.parent.mkdir()
    other = sqlite3.connect(path)
    other.execute(f"CREATE TABLE {table}")
    other.commit()
    other.close()
    before = beside(path)
    with pytest.raises(StoreError, match="a database of another program"):
        Store(path, "judge", ABOUT, PROBES)
    with pytest.raises(StoreError, match="no ledger"):
        read_about(path)
    assert beside(path) == before


def test_an_empty_file_becomes_a_ledger(path: Path):
    path.parent.mkdir()
    path.touch()
    ledger = Store(path, "judge", ABOUT, PROBES)
    put(ledger, (b"p", probe(1)))
    assert ledger.count() == 1
    ledger.close()


def test_read_about_says_what_a_ledger_holds_and_changes_nothing(path: Path, monkeypatch: pytest.MonkeyPatch):
    ledger = Store(path, "judge", ABOUT, PROBES)
    put(ledger, (b"a", probe(1)), (b"a", probe(2)), (b"b", probe(1, None, verdict=UNPARSABLE)), (b"b", probe(2)))
    expected = {
        "path": str(path),
        "format": FORMAT,
        "fingerprint": "judge",
        "about": ABOUT,
        "answers": "probes",
        "told_by": "verdict",
        "engines": [],
        "problems": 2,
        "probes": 4,
        "verdicts": {ENOUGH: 3, UNPARSABLE: 1},
        "prompt_tokens": 400,
        "cached_tokens": 256,
    }
    assert read_about(path) == expected  # while a run has it open
    ledger.close()
    before = beside(path)
    assert read_about(path) == expected
    monkeypatch.chdir(path.parent)
    assert read_about(path.name) == expected | {"path": path.name}
    assert beside(path) == before


def test_read_about_of_a_new_ledger_and_of_none(path: Path):
    Store(path, "judge", ABOUT, PROBES).close()
    held = read_about(path)
    assert (held["problems"], held["probes"], held["verdicts"], held["prompt_tokens"]) == (0, 0, {}, 0)
    with pytest.raises(StoreError, match="`.*nothing.sqlite` is no file. Give a ledger"):
        read_about(path.with_name("nothing.sqlite"))
    assert not path.with_name("nothing.sqlite").exists()


def test_the_name_of_a_file_may_be_odd(tmp_path: Path):
    path = tmp_path / "a folder #1?mode=x&y %41" / "judge?.sqlite"
    filled(path, problems=2)
    assert read_about(path)["probes"] == 6


def test_a_closed_ledger_says_so_and_may_be_closed_again(path: Path, ledger: Store):
    ledger.close()
    ledger.close()
    with pytest.raises(StoreError, match="closed"):
        ledger.recall(b"p")
    with pytest.raises(StoreError, match="closed"):
        put(ledger, (b"p", probe(1)))


def test_a_ledger_closed_under_those_who_wait_tells_them(path: Path, ledger: Store):
    async def main() -> None:
        wait = asyncio.create_task(ledger.record(b"p", probe(1)))
        await asyncio.sleep(0)
        ledger.close()
        with pytest.raises(StoreError, match="closed"):
            await asyncio.wait_for(wait, timeout=60)

    asyncio.run(main())


@pytest.mark.parametrize("cancelled", [[0], [1], [2], [0, 1, 2]])
def test_who_stops_waiting_does_not_stop_the_others(ledger: Store, cancelled: list[int]):
    async def main() -> list[object]:
        waits = [asyncio.create_task(ledger.record(b"p", probe(cut))) for cut in range(3)]
        await asyncio.sleep(0)
        for each in cancelled:
            waits[each].cancel()
        return await asyncio.gather(*waits, return_exceptions=True)

    for cut, result in enumerate(asyncio.run(main())):
        assert isinstance(result, asyncio.CancelledError) if cut in cancelled else result == probe(cut)
    # What was answered is kept, whether or not somebody still waits for it.
    assert ledger.recall(b"p") == {cut: probe(cut) for cut in range(3)}


def test_a_ledger_outlives_the_loop_that_it_was_used_on(ledger: Store):
    # Nobody waits and the loop is gone before the commit: the next loop must still get its turn.
    async def leave() -> None:
        asyncio.create_task(ledger.record(b"p", probe(1)))
        await asyncio.sleep(0)

    asyncio.run(leave())
    assert put(ledger, (b"p", probe(2))) == [probe(2)]


VLLM = EngineIdentity("vllm", "0.32.0", "bfloat16")
CPU = EngineIdentity("transformers", "5.19.0", "float32")


def test_every_answer_keeps_the_engine_that_gave_it(path: Path, ledger: Store):
    async def main() -> None:
        given = [(b"a", 1, VLLM), (b"a", 2, CPU), (b"b", 1, VLLM), (b"b", 2, None)]
        await asyncio.gather(*(ledger.record(problem, probe(cut), engine) for problem, cut, engine in given))

    asyncio.run(main())
    query = "SELECT key, segments, e.name, e.version, e.dtype FROM probes JOIN problems p ON problem = p.number "
    db = sqlite3.connect(path)
    rows = db.execute(f"{query} LEFT JOIN engines e ON engine = e.number ORDER BY 1, 2").fetchall()
    db.close()
    assert rows == [
        (b"a", 1, *astuple(VLLM)),
        (b"a", 2, *astuple(CPU)),
        (b"b", 1, *astuple(VLLM)),
        (b"b", 2, None, None, None),
    ]
    assert read_about(path)["engines"] == ["transformers 5.19.0 float32", "vllm 0.32.0 bfloat16"]


def test_a_verdict_that_could_not_be_read_is_kept_but_asked_again(path: Path, ledger: Store):
    put(ledger, (b"p", probe(1)), (b"p", probe(2, None, verdict=UNPARSABLE)))
    assert set(ledger.recall(b"p")) == {1} and ledger.count() == 2
    (again,) = put(ledger, (b"p", probe(2, None, verdict=UNPARSABLE, prompt_tokens=7)))
    assert (again.verdict, again.prompt_tokens) == (UNPARSABLE, 7)
    (read,) = put(ledger, (b"p", probe(2, 0.5)))
    assert read.margin == 0.5 and set(ledger.recall(b"p")) == {1, 2}
    (kept,) = put(ledger, (b"p", probe(2, None, verdict=UNPARSABLE)))
    assert kept == read and ledger.count() == 2


@dataclass(frozen=True)
class Sample:
    """Another stage's answers."""

    sample: int
    mode: str
    token_ids: tuple[int, ...]
    finish_reason: str
    score: float | None
    right: bool | None


SAMPLES = AnswerTable(Sample, "samples", key=("sample", "mode"), told_by="finish_reason")


@given(
    st.lists(
        st.builds(
            Sample,
            sample=st.integers(0, 3),
            mode=st.sampled_from(["prompt", "prefill"]),
            token_ids=st.lists(st.integers(0, 2**31 - 1), max_size=20).map(tuple),
            finish_reason=st.sampled_from(["stop", "length"]),
            score=st.none() | st.floats(allow_nan=False),
            right=st.none() | st.booleans(),
        ),
        max_size=12,
    )
)
def test_a_stage_stores_what_its_dataclass_holds(answers: list[Sample]):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "samples.sqlite"
        store = Store(path, "aligner", {}, SAMPLES)
        first: dict[tuple[int, str], Sample] = {}
        for answer in answers:
            first.setdefault((answer.sample, answer.mode), answer)
            assert put(store, (b"p", answer)) == [first[answer.sample, answer.mode]]
        store.close()
        store = Store(path, "aligner", {}, SAMPLES)
        assert store.recall(b"p") == first
        store.close()
        held = read_about(path)
        assert (held["answers"], held["samples"], sum(held["finish_reasons"].values())) == (
            "samples",
            len(first),
            len(first),
        )


def test_a_stage_does_not_write_into_the_ledger_of_another(path: Path):
    filled(path)
    before = beside(path)
    with pytest.raises(StoreError, match="holds probes of `judge`, not samples of `judge`"):
        Store(path, "judge", {}, SAMPLES)
    assert beside(path) == before


def test_a_field_that_no_ledger_stores_is_refused_when_the_stage_is_written():
    @dataclass(frozen=True)
    class Wrong:
        answer: dict

    with pytest.raises(TypeError, match="`Wrong.answer` is of a kind that no ledger stores"):
        AnswerTable(Wrong, "wrong", key=("answer",))


FORMAT_1 = Path(__file__).parents[1] / "fixtures" / "format-1"


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A ledger as the first release wrote it."""
    (source,) = FORMAT_1.glob("*.sqlite")
    return Path(shutil.copy(source, tmp_path))


def raw(path: Path) -> list[tuple]:
    db = sqlite3.connect(path)
    try:
        columns = "segments, verdict, margin, label_mass, top_is_label, prompt_tokens, cached_tokens"
        return db.execute(
            f"SELECT key, {columns} FROM probes JOIN problems ON problem = number ORDER BY 1, 2"
        ).fetchall()
    finally:
        db.close()


def test_a_ledger_of_the_first_release_is_read_and_gone_on_with(old: Path):
    told, before = read_about(old), raw(old)
    assert told["format"] == 1 and told["probes"] == len(before) == 47 and told["engines"] == []
    ledger = Store(old, told["fingerprint"], told["about"], PROBES)
    key = before[0][0]
    assert {cut: p.margin for cut, p in ledger.recall(key).items()} == {r[1]: r[3] for r in before if r[0] == key}
    asyncio.run(ledger.record(key, probe(999), VLLM))
    ledger.close()
    assert [row for row in raw(old) if row[1] != 999] == before
    assert (read_about(old)["format"], read_about(old)["engines"]) == (FORMAT, ["vllm 0.32.0 bfloat16"])
    Store(old, told["fingerprint"], told["about"], PROBES).close()


def test_a_ledger_of_the_first_release_is_refused_by_another_judge_and_stays_as_it_was(old: Path):
    before = old.read_bytes()
    with pytest.raises(StoreError, match="not probes of `another`; it was left as it is"):
        Store(old, "another", {}, PROBES)
    with pytest.raises(StoreError, match="not samples of"):
        Store(old, read_about(old)["fingerprint"], {}, SAMPLES)
    assert old.read_bytes() == before


def test_the_name_of_a_problem_never_changes():
    # Written down: another name for the same texts, and no answer of earlier releases is found again.
    assert content_key("How many?", "One. Two.").hex() == "f9b20fca8a610ba257e5615695ce3660"
    assert content_key("a", "b") != content_key("ab", "") != content_key("", "ab")


@pytest.mark.parametrize("number", [numpy.float32(1.5), numpy.float64(1.5), numpy.int64(2), True, math.inf, -math.inf])
def test_numbers_of_other_libraries_are_read_back_as_numbers(tmp_path, number):
    """SQLite would keep numpy's as bytes."""
    ledger = Store(tmp_path / "a.sqlite", "a", ABOUT, PROBES)
    put(ledger, (b"p", probe(3, number)))
    (found,) = ledger.recall(b"p").values()
    assert type(found.margin) is float and found.margin == number
    ledger.close()


@pytest.mark.parametrize("wrong", [math.nan, "nan", "1.5", b"1", numpy.float32("nan"), [1.0]])
def test_a_margin_that_is_no_number_is_refused_and_never_read_back_as_text(tmp_path, wrong):
    ledger = Store(tmp_path / "a.sqlite", "a", ABOUT, PROBES)
    with pytest.raises(StoreError, match="`margin=.*` can't be kept in a ledger: it is no number"):
        put(ledger, (b"p", probe(3, wrong)))
    assert ledger.recall(b"p") == {}
    ledger.close()


@pytest.mark.parametrize("value", ["'nan'", "x'00'", "'1.5x'"])
def test_text_where_a_number_belongs_is_a_damaged_ledger(tmp_path, value):
    ledger = Store(tmp_path / "a.sqlite", "a", ABOUT, PROBES)
    put(ledger, (b"p", probe(3)))
    ledger.close()
    with closing(sqlite3.connect(tmp_path / "a.sqlite")) as db:
        db.execute(f"UPDATE probes SET margin = {value}")
        db.commit()
    ledger = Store(tmp_path / "a.sqlite", "a", ABOUT, PROBES)
    for read in (ledger.recall, ledger.engines_of):
        with pytest.raises(StoreError, match=r"is damaged or no ledger \(.*stands where real belongs"):
            read(b"p")
    ledger.close()
