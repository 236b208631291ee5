"""Files of a run: what has ended is kept, what is published is all of it in order, nothing of another's is lost."""

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rows_worker import SCHEMA

from palign_hf.errors import UserError
from palign_hf.runs.parts import Parts, whole, write_whole
from palign_hf.runs.shards import PART_ROWS, REPORT, OutputFolder, Shard


IDENTITY = {"fingerprint": "f", "rows": 10, "content": "c"}
WORKER = Path(__file__).parent / "rows_worker.py"
RELEASED = Path(__file__).parents[1] / "fixtures" / "format-1" / "prefixes.parquet"


class Crash(BaseException):
    """The machine goes down."""


def rows_of(numbers, crash_after=None):
    for count, number in enumerate(numbers):
        if count == crash_after:
            raise Crash
        yield {"number": number}


def open_shard(output: OutputFolder, shard: Shard = Shard(), rows: int = 2, again=lambda row: False):  # noqa: B008
    return output.shard(shard, SCHEMA, again, rows)


def write(output: OutputFolder, numbers, shard: Shard = Shard(), **given) -> None:  # noqa: B008
    part = open_shard(output, shard, **given)
    part.write(rows_of(list(numbers)[part.done :]), lambda: {"from": part.done})


def finish(output: OutputFolder, count: int = 1) -> list[int]:
    files, _ = output.publish(count)
    output.end({"rows": 1})
    return [number for file in files for number in pq.read_table(file)["number"].to_pylist()]


def published(output: OutputFolder) -> list[int]:
    return [number for file in sorted(output.data.glob("*.parquet")) for number in pq.read_table(file)[0].to_pylist()]


def names(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.fixture
def output(tmp_path) -> OutputFolder:
    return OutputFolder(tmp_path / "out", IDENTITY)


@pytest.fixture
def done(output) -> OutputFolder:
    """A run that has ended."""
    write(output, range(10))
    assert finish(output) == list(range(10))
    return output


def test_a_run_leaves_its_table_and_its_report_and_nothing_else(done):
    assert names(done.folder) == ["data/train-00000-of-00001.parquet", "report.json"]
    told = json.loads((done.folder / REPORT).read_text())
    assert told == {"rows": 1, "run": IDENTITY, "written": ["data/train-00000-of-00001.parquet", "report.json"]}


def test_kill_9_keeps_the_parts_that_were_finished(tmp_path):
    process = subprocess.Popen([sys.executable, str(WORKER), str(tmp_path / "out"), "7"], stdout=subprocess.PIPE)
    try:
        said = [int(process.stdout.readline()) for _ in range(7)]
        assert said == list(range(7))
        second = subprocess.run(
            [sys.executable, str(WORKER), str(tmp_path / "out"), "7"], capture_output=True, text=True, timeout=60
        )
        assert "Another process writes to" in second.stderr
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
    output = OutputFolder(tmp_path / "out", {"fingerprint": "f"})
    part = open_shard(output)
    assert part.done == 6  # 7 rows by twos
    part.write(rows_of(range(6, 10)))
    assert finish(output) == list(range(10))


def test_a_raise_in_the_middle_keeps_every_row_that_was_there(output):
    part = open_shard(output, rows=4)
    with pytest.raises(Crash):
        part.write(rows_of(range(10), crash_after=7))
    part = open_shard(output, rows=4)
    assert part.done == 7
    part.write(rows_of(range(7, 10)))
    assert finish(output) == list(range(10))


def test_rows_to_be_done_again_are_done_with_all_behind_them(output):
    write(output, range(10))
    part = open_shard(output, again=lambda row: row["number"] == 5)
    assert part.done == 4
    part.write(rows_of(range(104, 110)))
    assert finish(output) == [*range(4), *range(104, 110)]


def test_an_interrupt_while_a_part_is_written_does_not_write_it_twice(output, monkeypatch):
    """SIGTERM may come between the file's new name and the next line of Python."""
    add = Parts.add

    def interrupted(self, *given):
        add(self, *given)
        raise KeyboardInterrupt

    monkeypatch.setattr(Parts, "add", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write(output, range(10))
    monkeypatch.undo()
    write(output, range(10))
    assert finish(output) == list(range(10))


def test_parts_of_another_run_are_begun_anew(output):
    with pytest.raises(Crash):
        open_shard(output).write(rows_of(range(10), crash_after=6))
    other = OutputFolder(output.folder, IDENTITY | {"fingerprint": "g"})
    part = open_shard(other)
    assert part.done == 0
    part.write(rows_of(range(50, 60)))
    assert finish(other) == list(range(50, 60))


def test_a_shard_of_another_run_is_not_joined(output):
    write(output, range(5), Shard(0, 2))
    write(OutputFolder(output.folder, IDENTITY | {"fingerprint": "g"}), range(5, 10), Shard(1, 2))
    with pytest.raises(UserError, match="Process 1 ran with other settings.*fingerprint `g` instead of `f`"):
        output.publish(2)


@pytest.mark.parametrize("ended", [True, False])
def test_a_shard_that_is_not_there_or_not_ended_is_not_left_out(output, ended):
    write(output, range(5), Shard(0, 2))
    if not ended:
        with pytest.raises(Crash):
            open_shard(output, Shard(1, 2)).write(rows_of(range(5), crash_after=3))
    with pytest.raises(UserError, match="rows of process 1 are not in"):
        output.publish(2)
    assert not output.data.exists()


def test_shards_without_rows_have_files_of_the_same_schema(output):
    for index, numbers in enumerate(([0, 1], [], [])):
        write(output, numbers, Shard(index, 3))
    files, notes = output.publish(3)
    assert [pq.read_schema(file) for file in files] == [SCHEMA] * 3 and published(output) == [0, 1]
    assert notes == [{"from": 0}, {}, {}]


@given(st.integers(0, 40), st.integers(1, 50))
def test_shards_share_all_rows_in_order_and_evenly_also_fewer_rows_than_shards(rows, count):
    ranges = [Shard(index, count).range_of(rows) for index in range(count)]
    assert [row for begin, end in ranges for row in range(begin, end)] == list(range(rows))
    sizes = [end - begin for begin, end in ranges]
    assert max(sizes) - min(sizes) <= 1 and sizes == sorted(sizes, reverse=True)


def test_small_parts_become_large_row_groups_and_every_note_is_kept(output):
    rows = 2 * PART_ROWS + 10
    write(output, range(rows), rows=100)
    (file,), notes = output.publish(1)
    parquet = pq.ParquetFile(file)
    assert [parquet.metadata.row_group(at).num_rows for at in range(parquet.num_row_groups)] == [
        PART_ROWS,
        PART_ROWS,
        10,
    ]
    assert published(output) == list(range(rows)) and len(notes) == rows // 100 + 1


def test_a_run_interrupted_between_its_files_and_its_report_ends_them(output):
    write(output, range(10))
    output.publish(1)
    again = OutputFolder(output.folder, IDENTITY)
    again.claim()
    part = open_shard(again)
    assert part.done == 10
    part.write(rows_of([]))
    assert finish(again) == list(range(10))


def test_a_report_never_stands_beside_the_files_of_another_run(done):
    other = OutputFolder(done.folder, IDENTITY | {"fingerprint": "g"})
    other.claim(overwrite=True)
    write(other, range(3))
    assert published(done) == list(range(10)) and (done.folder / REPORT).exists()  # until all is there
    other.publish(1)
    assert published(other) == [0, 1, 2] and not (done.folder / REPORT).exists()
    with pytest.raises(UserError, match="another run: fingerprint `g` instead of `f`"):
        done.claim()
    other.claim()


# What was done to the folder of a run, and what another, or the same one, is told.
def foreign_settings(folder):
    (folder / REPORT).write_text(json.dumps({"run": IDENTITY | {"fingerprint": "g"}}))


def foreign_rows(folder):
    (folder / REPORT).write_text(json.dumps({"run": IDENTITY | {"rows": 9, "content": "d"}}))


def no_report(folder):
    (folder / REPORT).unlink()


def half_a_report(folder):
    (folder / REPORT).write_text('{"run": {"finger')


def no_object(folder):
    (folder / REPORT).write_text("[1]")


def binary(folder):
    (folder / REPORT).write_bytes(b"\xff\xfe\x00")


def first_release(folder):
    told = {"settings": {"fingerprint": "f"}, "rows": 9}
    (folder / REPORT).write_text(json.dumps(told))


def nothing_said(folder):
    (folder / REPORT).write_text(json.dumps({"settings": 3}))


def begun_by_another(folder):
    no_report(folder)
    write(OutputFolder(folder, IDENTITY | {"fingerprint": "g"}), range(3))


REFUSALS = {
    foreign_settings: "the result of another run: fingerprint `g` instead of `f`",
    foreign_rows: "the result of another run: rows `9` instead of `10`, content `d` instead of `c`",
    first_release: "the result of another run: rows `9` instead of `10`",
}
# Nobody knows whose these files are.
UNKNOWN = {
    no_report: "holds `data/train-00000-of-00001.parquet`, which no run of this package has written",
    half_a_report: "holds `report.json`, which can't be read as the report of a run",
    no_object: "holds `report.json`, which can't be read as the report of a run",
    binary: "holds `report.json`, which can't be read as the report of a run",
    nothing_said: "holds `report.json`, which can't be read as the report of a run",
    begun_by_another: "holds `data/train-00000-of-00001.parquet`, which no run of this package has written",
}


@pytest.mark.parametrize("change", REFUSALS, ids=lambda change: change.__name__)
def test_what_another_run_has_left_is_refused_until_it_may_be_replaced(done, change):
    change(done.folder)
    before = (done.data / Shard().file_name).read_bytes()
    with pytest.raises(UserError) as refused:
        done.claim()
    assert REFUSALS[change] in str(refused.value) and "`overwrite=True`" in str(refused.value)
    assert (done.data / Shard().file_name).read_bytes() == before
    done.claim(overwrite=True)
    write(done, range(20, 30))
    assert finish(done) == list(range(20, 30)) == published(done)
    done.claim()


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("change", UNKNOWN, ids=lambda change: change.__name__)
def test_what_no_record_names_is_never_replaced(done, change, overwrite):
    change(done.folder)
    before = {name: (done.folder / name).read_bytes() for name in names(done.folder)}
    with pytest.raises(UserError) as refused:
        done.claim(overwrite)
    assert UNKNOWN[change] in str(refused.value) and "overwrite" not in str(refused.value)
    assert {name: (done.folder / name).read_bytes() for name in names(done.folder)} == before


def test_the_result_of_the_first_release_is_its_own(tmp_path):
    output = OutputFolder(
        tmp_path, {"fingerprint": "c86c", "rows": pq.read_metadata(RELEASED).num_rows, "content": "c"}
    )
    output.data.mkdir()
    shutil.copy(RELEASED, output.data / Shard().file_name)
    report = {"settings": {"fingerprint": "c86c"}, "rows": output.identity["rows"]}
    (tmp_path / REPORT).write_text(json.dumps(report))
    output.claim()
    with pytest.raises(UserError, match="fingerprint `c86c` instead of `d`"):
        OutputFolder(tmp_path, output.identity | {"fingerprint": "d"}).claim()


def test_what_is_not_known_yet_is_not_compared(done):
    early = OutputFolder(done.folder, {**IDENTITY, "fingerprint": "before the pilot"})
    early.claim(unknown=["fingerprint"])
    with pytest.raises(UserError, match="rows `10` instead of `11`"):
        OutputFolder(done.folder, {**IDENTITY, "rows": 11}).claim(unknown=["fingerprint"])
    no_report(done.folder)
    with pytest.raises(UserError, match="which no run of this package has written"):
        early.claim(unknown=["fingerprint"])


def test_an_empty_folder_and_one_that_is_only_begun_are_free(output):
    output.claim()
    write(OutputFolder(output.folder, IDENTITY | {"fingerprint": "g"}), range(3))
    output.claim()


def test_runs_of_other_numbers_of_processes_leave_nothing(output):
    for index in range(4):
        write(output, range(index, index + 1), Shard(index, 4))
    output.publish(4)  # and then the machine goes down
    write(output, range(5), Shard(0, 2))
    write(output, range(5, 10), Shard(1, 2))
    assert finish(output, 2) == list(range(10))
    assert names(output.folder) == [*(f"data/train-{index:05d}-of-00002.parquet" for index in (0, 1)), "report.json"]


@pytest.mark.parametrize("harm", ["torn", "empty", "no note", "torn note", "gap"])
def test_what_the_machine_has_lost_half_of_is_not_taken_for_whole(output, harm):
    write(output, range(10))
    (folder,) = (output.folder / ".run").glob("train-*")
    file, note = folder / "000002.parquet", folder / "000002.json"
    whole_bytes = file.read_bytes()
    {
        "torn": lambda: file.write_bytes(whole_bytes[: len(whole_bytes) // 2]),
        "empty": lambda: file.write_bytes(b""),
        "no note": note.unlink,
        "torn note": lambda: note.write_text('{"fr'),
        "gap": file.unlink,
    }[harm]()
    part = open_shard(output)
    assert part.done == 4
    assert [path.name for path in sorted(folder.glob("*.parquet"))] == ["000000.parquet", "000001.parquet"]
    part.write(rows_of(range(4, 10)))
    assert finish(output) == list(range(10))


@pytest.mark.parametrize("full_at", ["part", "note", "end", "published", "report"])
def test_a_full_disk_keeps_what_was_finished_and_leaves_no_half_file(output, monkeypatch, full_at):
    def full(*given, **options):
        Path(given[1] if full_at == "part" else given[0]).write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    with pytest.raises(Crash):
        open_shard(output).write(rows_of(range(10), crash_after=4))
    if full_at == "part":
        monkeypatch.setattr(pq, "write_table", full)
    elif full_at == "published":
        monkeypatch.setattr(pq, "ParquetWriter", full)
    else:
        name = {"note": "00000", "end": "end.json", "report": REPORT}[full_at]
        real = Path.write_text

        def write_text(self, *given, **options):
            return full(self) if name in self.name else real(self, *given, **options)

        monkeypatch.setattr(Path, "write_text", write_text)
    with pytest.raises(OSError, match="No space left"):
        write(output, range(10))
        finish(output)
    monkeypatch.undo()
    assert not [name for name in names(output.folder) if Path(name).name.startswith(".")]
    part = open_shard(output)
    assert part.done == (4 if full_at in ("part", "note") else 10)
    part.write(rows_of(range(part.done, 10)))
    assert finish(output) == list(range(10))


def test_whole_writes_all_or_nothing(tmp_path):
    write_whole(tmp_path / "a", "1")
    with pytest.raises(Crash), whole(tmp_path / "a") as unfinished:
        unfinished.write_text("2")
        raise Crash
    assert names(tmp_path) == ["a"] and (tmp_path / "a").read_text() == "1"


@settings(max_examples=150)
@given(st.data())
def test_published_rows_are_the_given_ones_whatever_crashes(tmp_path_factory, data):
    numbers = list(range(data.draw(st.integers(0, 25), "rows")))
    count = data.draw(st.integers(1, 4), "processes")
    output = OutputFolder(tmp_path_factory.mktemp("run") / "out", IDENTITY)
    table = pa.table({"number": numbers}, schema=SCHEMA)
    for index in range(count):
        mine = [numbers[at] for at in range(index * len(table) // count, (index + 1) * len(table) // count)]
        for _ in range(data.draw(st.integers(0, 3), "crashes")):
            part = open_shard(output, Shard(index, count), data.draw(st.integers(1, 7), "rows of a part"))
            left = mine[part.done :]
            with pytest.raises(Crash):
                part.write(rows_of([*left, None], crash_after=data.draw(st.integers(0, len(left)), "after")))
            (folder,) = (output.folder / ".run").glob(f"train-{index:05d}-*")
            if data.draw(st.booleans(), "loses a file") and (kept := sorted(folder.glob("0*"))):
                data.draw(st.sampled_from(kept), "lost").unlink()
            if data.draw(st.booleans(), "tears a file") and (kept := sorted(folder.glob("0*"))):
                torn = data.draw(st.sampled_from(kept), "torn")
                os.truncate(torn, torn.stat().st_size // 2)
        write(output, mine, Shard(index, count), rows=data.draw(st.integers(1, 7), "rows of a part"))
    assert finish(output, count) == numbers == published(output)
