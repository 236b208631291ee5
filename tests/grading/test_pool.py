"""The pool: quick answers stay in the process, time and memory are limited, and no worker outlives its pool."""

import asyncio
import os
import pickle
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from palign_hf.errors import UserError
from palign_hf.grading import Grade, GraderPool, MathGrader


ROOT = "\\boxed{\\sqrt{8}}", "2\\sqrt{2}"
TOWER = "\\boxed{9^{9^{9^{9^9}}}}"
OWN = """
import os, signal, sys, time
from pathlib import Path

def sleeps(output, gold):
    time.sleep(60)

def dies(output, gold):
    if output == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    return True

def dies_once(output, gold):
    mark = Path(gold)
    if not mark.exists():
        mark.touch()
        os._exit(1)
    return True

def talks(output, gold):
    print("noise", flush=True)
    print("noise", file=sys.stderr, flush=True)
    return output == gold

def who(output, gold):
    time.sleep(0.05)
    return output == "" or Path(output).write_text(f"{os.getpid()} {os.getppid()}") > 0

def hoards(output, gold):
    return len(bytearray(5 << 30)) > 0

class Wordy:
    name, version = "wordy", 1
    def grade(self, output, gold):
        return "right"

class Shy:
    name, version = "shy", 1
    def grade(self, output, gold):
        raise NotImplementedError
    def __setstate__(self, state):
        raise ValueError("not here")
    def __getstate__(self):
        return {"some": "state"}
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    (tmp_path / "pool_graders.py").write_text(OWN)
    monkeypatch.syspath_prepend(tmp_path)


@pytest.fixture(scope="module")
def pool():
    with GraderPool(workers=1, limit_s=1.5) as pool:
        yield pool


def gone(pid: int, within_s: float) -> bool:
    """Whether a process ends (a zombie has ended) in time."""
    until = time.monotonic() + within_s
    while time.monotonic() < until:
        try:
            if Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.05)
    return False


def test_ordinary_answers_never_leave_the_process(monkeypatch):
    monkeypatch.setattr(subprocess, "Popen", None)
    with GraderPool() as pool:
        pairs = [("\\boxed{042}", "42"), ("it is 41", "42"), ("\\boxed{x^2+1}", "x^2+1"), ("", "42")] * 50
        assert [grade.lenient for grade in pool.grade_all(pairs)] == [True, False, True, False] * 50
        assert asyncio.run(pool.grade_async("\\boxed{5}", "5")).strict


def test_algebra_is_done_in_the_worker_and_the_order_is_kept(pool):
    pairs = [
        ROOT,
        ("\\boxed{5}", "5"),
        ("\\boxed{\\sqrt{9}x}", "2\\sqrt{2}"),
        ("so it is $x+1$", "1+x"),
        ("", "x"),
    ] * 3
    grades = pool.grade_all(pairs)
    assert [(grade.strict, grade.lenient) for grade in grades] == [
        (True, True),
        (True, True),
        (False, False),
        (False, True),
        (False, False),
    ] * 3
    assert grades == [MathGrader().grade(*pair) for pair in pairs]


@pytest.mark.parametrize(
    ("output", "gold"),
    [
        (TOWER, "2x"),
        ("\\boxed{2x}", "9^{9^{9^{9^9}}}"),
        ("\\boxed{10000000!}", "2x"),
        ("\\boxed{(x+1)^{10000}}", "(x+2)^{3}"),
        ("\\boxed{" + "7" * 100_000 + "}", "2x"),
        ("\\boxed{x" + "7" * 100_000, "2x"),
        ("\\boxed{" + "{" * 1_000_000, "2x"),
        ("\\boxed{" + "(" * 900 + "x" + ")" * 900 + "}", "2x"),
        ("\\boxed{" * 100_000, "2x"),
        ("\\boxed{" + "\\frac{1}{" * 200 + "x" + "}" * 200 + "}", "2x"),
        ("\\boxed{" + "x+" * 900 + "x}", "2y"),
        ("\\boxed{\\int_0^1 \\sin(x^x) e^{\\cos x^2} dx}", "2y"),
        ("\ud800\\boxed{x\ud800}", "2y"),
    ],
    ids=lambda text: ascii(text[:24]),
)
def test_pathological_pairs_end_within_the_limit_and_are_wrong(pool, output, gold):
    started = time.monotonic()
    grade = pool.grade(output, gold)
    assert not grade.lenient
    # What is over the limit is a new worker, and what else this machine does.
    assert time.monotonic() - started < pool.limit_s + 10


def test_a_late_pair_has_an_error_and_the_next_one_is_graded(pool):
    assert pool.grade(TOWER, "2x") == Grade(False, False, "9^{9^{9^{9^9}}}", "not graded within 1.5 s")
    assert pool.grade(*ROOT).strict


@pytest.mark.usefixtures("own")
def test_a_worker_that_dies_is_replaced_and_the_pair_is_wrong_with_a_reason():
    with GraderPool("pool_graders:dies", workers=1) as pool:
        grades = pool.grade_all([("fine", ""), ("dies", ""), ("fine", "")])
    assert [grade.strict for grade in grades] == [True, False, True]
    assert grades[1].error and "died twice" in grades[1].error


@pytest.mark.usefixtures("own")
def test_a_worker_that_was_killed_once_gets_a_second_chance(tmp_path):
    with GraderPool("pool_graders:dies_once", workers=1) as pool:
        assert pool.grade("", str(tmp_path / "mark")) == Grade(True, True, None)


@pytest.mark.usefixtures("own")
def test_ones_own_grader_may_talk_and_may_hang(capfd):
    with GraderPool("pool_graders:talks", workers=1) as pool:
        assert pool.grade("5", "5").strict and not pool.grade("5", "6").strict
    assert "noise" not in "".join(capfd.readouterr())
    with GraderPool("pool_graders:sleeps", workers=1, limit_s=0.2) as pool:
        assert pool.grade("\\boxed{5}", "5") == Grade(False, False, "5", "not graded within 0.2 s")


@pytest.mark.usefixtures("own")
def test_memory_is_limited_for_the_users_own_grader():
    with GraderPool("pool_graders:hoards", workers=1) as pool:
        assert pool.grade("\\boxed{5}", "5") == Grade(False, False, "5", "pool_graders:hoards: MemoryError: ")


def memory_limit(grader) -> int:
    """The limit of the address space of a pool's worker; 0 if it has none."""
    with GraderPool(grader, workers=1) as pool:
        pool._slow("\\boxed{A}", "A")
        worker = next(place for place in pool._places.queue if place)
        lines = Path(f"/proc/{worker._process.pid}/limits").read_text().splitlines()
    (limit,) = (line.split()[3] for line in lines if line.startswith("Max address space"))
    return int(limit) if limit.isdigit() else 0


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("grader", ["math", "choice", "exact", "pool_graders:talks", "pool_graders:Wordy"])
def test_every_grader_has_the_memory_limit(grader):
    assert 4 << 30 <= memory_limit(grader) < 6 << 30


@pytest.mark.usefixtures("own")
def test_a_grader_that_returns_no_grade_is_wrong_with_a_reason():
    with GraderPool("pool_graders:Wordy", workers=1) as pool:
        assert pool.grade("", "") == Grade(False, False, None, "wordy returned right, which is no verdict")


@pytest.mark.usefixtures("own")
def test_all_workers_end_with_the_pool(tmp_path):
    notes = [tmp_path / str(k) for k in range(6)]
    with GraderPool("pool_graders:who", workers=3) as pool:
        assert all(grade.strict for grade in pool.grade_all([(str(note), "") for note in notes]))
    workers = {int(note.read_text().split()[0]) for note in notes}
    assert 2 <= len(workers) <= 3 and all(gone(worker, 5) for worker in workers)


def test_threads_and_an_event_loop_share_it(pool):
    async def all_at_once():
        return await asyncio.gather(
            *(pool.grade_async(f"\\boxed{{\\sqrt{{8}}+{k}x}}", "2\\sqrt{2}+3x") for k in range(6))
        )

    assert [grade.strict for grade in asyncio.run(all_at_once())] == [k == 3 for k in range(6)]
    with ThreadPoolExecutor(4) as threads:
        grades = list(threads.map(lambda k: pool.grade(f"\\boxed{{\\sqrt{{8}}+{k}y}}", "2\\sqrt{2}+3y"), range(6)))
    assert [grade.strict for grade in grades] == [k == 3 for k in range(6)]


@pytest.mark.usefixtures("own")
def test_it_ends_its_workers_and_starts_new_ones_when_used_again(tmp_path):
    pool, note = GraderPool("pool_graders:who", workers=3), tmp_path / "note"
    assert pool.grade(str(note), "").strict
    first = int(note.read_text().split()[0])
    assert pool.grade(str(note), "").strict and int(note.read_text().split()[0]) == first
    pool.close()
    assert gone(first, 5)
    assert pool.grade(str(note), "").strict
    second = int(note.read_text().split()[0])
    del pool
    assert second != first and gone(second, 5)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.usefixtures("own")
def test_a_fork_has_workers_of_its_own(tmp_path):
    with GraderPool("pool_graders:who", workers=1) as pool:
        pool.grade(str(tmp_path / "here"), "")
        child = os.fork()
        if not child:
            strict = pool.grade(str(tmp_path / "there"), "").strict
            pool.close()
            os._exit(0 if strict else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        assert (tmp_path / "there").read_text().split()[1] == str(child)
        pool.grade(str(tmp_path / "again"), "")
    assert (tmp_path / "again").read_text() == (tmp_path / "here").read_text()


# As a user's script is: without a guard around what it does.
SCRIPT = """
import os, sys, threading, time
from palign_hf.grading import GraderPool
pool = GraderPool("pool_graders:who", workers=1)
assert pool.grade(sys.argv[1], "").strict
maths = GraderPool(workers=1, limit_s=1.0)
assert maths.grade("\\\\boxed{x+1}", "1+x").strict
mathematician = [place for place in maths._places.queue if place][0]._process.pid
threading.Thread(target=maths.grade, args=("\\\\boxed{9^{9^{9^{9^9}}}}", "2x"), daemon=True).start()
time.sleep(0.3)
print(mathematician, flush=True)
if sys.argv[2] == "wait":
    time.sleep(60)
"""


@pytest.mark.usefixtures("own")
@pytest.mark.parametrize("end", ["wait", "return"])
def test_workers_end_with_their_process_however_it_ends(tmp_path, end):
    script, note = tmp_path / "script.py", tmp_path / "note"
    script.write_text(SCRIPT)
    process = subprocess.Popen([sys.executable, str(script), str(note), end], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    workers = [int(process.stdout.readline()), int(note.read_text().split()[0])] if end == "wait" else []
    if end == "wait":
        process.send_signal(signal.SIGKILL)
    else:
        workers = [int(process.communicate(timeout=60)[0]), int(note.read_text().split()[0])]
        assert process.returncode == 0
    process.wait(60)
    # One rests, one is deep in a tower of powers.
    assert all(gone(worker, 10) for worker in workers)


def test_a_pool_can_be_sent_elsewhere():
    pool = GraderPool({"name": "choice", "letters": "AB"}, workers=3, limit_s=2)
    copy = pickle.loads(pickle.dumps(pool))
    assert (copy.name, copy.version, copy.workers, copy.limit_s) == (pool.name, pool.version, 3, 2)
    assert copy.grade("\\boxed{B}", "B").strict


class Here:
    name, version = "here", 1

    def __init__(self):
        self.file = open(__file__)  # noqa: SIM115

    def grade(self, output, gold):
        raise NotImplementedError


@pytest.mark.usefixtures("own")
def test_a_grader_that_can_not_leave_is_refused_in_words():
    with pytest.raises(UserError, match="`here` can't be sent"):
        GraderPool(Here())
    with GraderPool("pool_graders:Shy") as pool, pytest.raises(UserError, match="ValueError: not here"):
        pool.grade("", "")


@pytest.mark.parametrize(
    "wrong", [{"workers": 0}, {"workers": 1.5}, {"workers": True}, {"limit_s": 0}, {"limit_s": "1"}]
)
def test_invalid_arguments_are_refused_in_words(wrong):
    name, value = next(iter(wrong.items()))
    with pytest.raises(UserError, match=f"`{name}={value}`"):
        GraderPool(**wrong)
