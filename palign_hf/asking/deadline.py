"""Time limit for foreign Python code, such as a chat template."""

import ctypes
import threading
from collections.abc import Callable
from typing import TypeVar


T = TypeVar("T")


class OutOfTime(Exception):
    """The call exceeded its limit."""


class _Ended(BaseException):
    """Raised inside the thread whose time is up; no `except Exception` catches it."""


def call_within(seconds: float, call: Callable[[], T]) -> T:
    """Return or raise what `call` does; `OutOfTime` if it takes longer.

    It runs in a thread, which ends at its next Python instruction after the limit. Signals would reach the main thread
    only, and a separate process would load its libraries first.
    """
    given: list[T] = []
    raised: list[BaseException] = []

    def work() -> None:
        try:
            given.append(call())
        except BaseException as error:
            raised.append(error)

    thread = threading.Thread(target=work, name="palign-within", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_Ended))
        raise OutOfTime(f"it did not end within {seconds:g} s")
    if raised:
        # Time was up just as it ended.
        raise raised[0]
    return given[0]
