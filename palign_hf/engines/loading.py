"""Loading of an engine that starts processes, in a daemon thread that can be abandoned at any moment.

vLLM loads for half a minute in one blocking call. A cancellation ends the wait at once and kills the started
processes; the thread then ends by itself.
"""

import asyncio
import multiprocessing
import threading
from collections.abc import Callable
from typing import TypeVar

from palign_hf.engines.orphans import OrphanWatch


T = TypeVar("T")


class GivenUp(Exception):
    """The load was abandoned."""


class Loading:
    """State of a load: whether it was abandoned, and its processes."""

    def __init__(self) -> None:
        self.watch = OrphanWatch()
        self._given_up = threading.Event()

    def check(self) -> None:
        """Raise `GivenUp` if the load was abandoned."""
        if self._given_up.is_set():
            raise GivenUp

    def give_up(self) -> None:
        """Kill the started processes, and those that start before the load notices."""
        self._given_up.set()
        self.watch.kill()


async def load(work: Callable[[Loading], T]) -> tuple[T, OrphanWatch]:
    """Return the result of `work` and the watch over its processes; after an error or a cancellation all of them are
    killed.
    """
    loop = asyncio.get_running_loop()
    done: asyncio.Future[None] = loop.create_future()
    loading = Loading()
    # In a list, to be taken out of it: some library keeps an old error, with it this thread's frames, and with them
    # whatever they hold, to the end of the process.
    made: list[T] = []

    def resolve(error: BaseException | None) -> None:
        if done.cancelled():
            # Given up in the moment between the end of the load and this.
            undo()
        elif error is not None:
            done.set_exception(error)
        else:
            done.set_result(None)

    def undo() -> None:
        loading.watch.clear()
        made.clear()

    def run() -> None:
        error = None
        before = set(multiprocessing.active_children())
        try:
            made.append(work(loading))
            loading.check()
            loading.watch.settle(child.pid for child in set(multiprocessing.active_children()) - before)
        except BaseException as caught:
            error = caught
            undo()
        try:
            loop.call_soon_threadsafe(resolve, error)
        except RuntimeError:  # the loop was closed meanwhile, with all that waited on it
            undo()

    threading.Thread(target=run, name="palign-load", daemon=True).start()
    try:
        await done
    except asyncio.CancelledError:
        loading.give_up()
        if done.done() and not done.cancelled():
            undo()
        raise
    return made.pop(), loading.watch
