"""The process of a `GraderPool` that grades: one pair at a time, and it ends by itself if its pool is gone."""

import contextlib
import os
import signal
from multiprocessing.connection import Connection

from palign_hf.errors import shown
from palign_hf.grading.base import Grade, Grader
from palign_hf.grading.maths import MathGrader


# A worker that isn't asked looks so often whether its pool is still there.
_LOOK_S = 5.0
# The kernel ends a worker that is so late, should the pool be gone that would have done it.
_GRACE_S = 1.0
# What sympy may take: a tower of powers asks for more than any machine has.
_MATH_BYTES = 4 << 30


def work(descriptor: int, parent: int) -> None:
    """Grade what comes until the pool is gone. The first message is the grader, and the limit in seconds."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the pool's to answer
    pool = Connection(descriptor)
    with contextlib.suppress(EOFError, OSError):
        try:
            grader, limit_s = pool.recv()
            _prepare(grader)
        except (EOFError, OSError):
            raise
        except Exception as error:  # one's own grader may fail with anything
            pool.send(f"{type(error).__name__}: {error}")
            return
        pool.send(None)
        while True:
            while not pool.poll(_LOOK_S):
                if os.getppid() != parent:
                    return
            output, gold = pool.recv()
            # Without a handler the signal ends this process even inside one long multiplication.
            signal.setitimer(signal.ITIMER_REAL, limit_s + _GRACE_S)
            grade = _graded(grader, output, gold)
            signal.setitimer(signal.ITIMER_REAL, 0)
            pool.send(grade)


def _prepare(grader: Grader) -> None:
    if isinstance(grader, MathGrader):
        grader.prepare()
        with contextlib.suppress(ImportError, ValueError, OSError):
            import resource

            resource.setrlimit(resource.RLIMIT_AS, (_MATH_BYTES, _MATH_BYTES))


def _graded(grader: Grader, output: str, gold: str) -> Grade:
    try:
        grade = grader.grade(output, gold)
    except Exception as error:  # as above
        return Grade(False, False, None, f"{type(error).__name__}: {error}".rstrip(": "))
    if isinstance(grade, Grade):
        return grade
    return Grade(False, False, None, f"{grader.name} gave {shown(grade)}, and no Grade")
