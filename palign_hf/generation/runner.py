"""Student runner: a student's tokenizer, its engine, and the thread with their event loop.

Every stage borrows a runner, so one engine serves truncation, alignment and evaluation in one process. vLLM needs one
event loop for its whole life, and a notebook's own loop must not be blocked, so the loop has a separate thread. The
engine starts at the first request; a run whose answers are all in the ledger starts none.
"""

import asyncio
import atexit
import logging
import threading
import weakref
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Mapping
from concurrent.futures import wait
from typing import TYPE_CHECKING, Any, TypeVar

from palign_hf.config.resolve import knows_old_names
from palign_hf.engines.base import EngineIdentity
from palign_hf.engines.loading import unguarded_script
from palign_hf.engines.options import altering, check_engine, make_engine, spawns
from palign_hf.engines.supervised import NOT_STARTED, TendedEngine
from palign_hf.errors import UserError
from palign_hf.students import Student, load_tokenizer, resolve_student, student_context, student_vocabulary


if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

logger = logging.getLogger(__name__)

T = TypeVar("T")

# Seconds that an interrupt waits for the work to end.
_CLEANUP_S = 5.0
# Seconds between wake-ups of a waiting thread: a signal that another thread received, or that came just before the
# wait, is handled then.
_TURN_S = 1.0
_END = object()


class StudentRunner:
    """A student with its engine, shared by the stages.

    Close it, or use it as a context manager, to release memory and processes; a later request starts the engine again.

    Args:
        student (`str` or `Student`):
            Name of a model on the Hub, a folder, or `palign-toy`.
        revision (`str`, *optional*):
            Branch, tag or commit of a Hub student; resolved to its commit.
        engine (`str`, defaults to `"auto"`):
            `vllm`, `server`, `transformers`, or `auto`: vLLM where it is installed, but transformers for tiny students
            on a CPU.
        engine_options (`dict`, *optional*):
            Options of the engine, such as `gpu_memory_utilization` or `urls`.
        max_model_len (`int`, *optional*):
            Context length in tokens; by default that of the student's config.
        trust_remote_code (`bool`, defaults to `False`):
            Whether to run code that comes with the student.

    Example:

    ```python
    >>> from palign_hf import StudentRunner

    >>> with StudentRunner("palign-toy", engine="transformers") as runner:
    ...     length, started = runner.max_model_len, runner.started
    >>> length, started
    (2048, False)
    ```
    """

    @knows_old_names
    def __init__(
        self,
        student: str | Student,
        *,
        revision: str | None = None,
        engine: str = "auto",
        engine_options: Mapping[str, Any] | None = None,
        max_model_len: int | None = None,
        trust_remote_code: bool = False,
    ) -> None:
        options = dict(engine_options or {})
        check_engine(engine, options)
        self.student = student if isinstance(student, Student) else resolve_student(student, revision)
        self.engine_name, self.engine_options = engine, options
        self.given_max_model_len, self.trust_remote_code = max_model_len, trust_remote_code
        self.altered = altering(options)
        self._rest()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run on the loop's thread and wait; an interrupt cancels the work there and waits until it has ended."""
        over, done = threading.Event(), threading.Event()

        async def whole() -> T:
            try:
                return await work
            finally:
                over.set()

        future = asyncio.run_coroutine_threadsafe(whole(), self._open())
        try:
            future.add_done_callback(lambda _: done.set())
            while not done.wait(_TURN_S):
                pass
            return future.result()
        except BaseException:
            if not future.done():
                future.cancel()
                # The cancelled work still cleans up; an exit must not hang on it.
                over.wait(_CLEANUP_S)
            raise

    def iterate(self, results: AsyncGenerator[T, None]) -> Generator[T, None, None]:
        """Yield results in the caller's thread, while the loop continues with the next ones."""

        async def following() -> Any:
            return await anext(results, _END)

        asking = False
        try:
            while True:
                asking = True
                result = self.run(following())
                asking = False
                if result is _END:
                    return
                yield result
        finally:
            # Breaking off while a result is awaited has cancelled the generator.
            if not asking and not self._closed:
                self.run(results.aclose())

    @property
    def tokenizer(self) -> "PreTrainedTokenizerBase":
        """The student's tokenizer, chat template included."""
        if self._tokenizer is None:
            self._tokenizer = load_tokenizer(self.student, self.trust_remote_code)
        return self._tokenizer

    @property
    def max_model_len(self) -> int:
        """Tokens that a request may have."""
        if self._max_model_len is None:
            self._max_model_len = self._find_context()
        return self._max_model_len

    @property
    def engine(self) -> TendedEngine:
        """The supervised engine; used on the loop, and started by the first request."""
        if self._engine is None:
            engine = make_engine(
                self.engine_name,
                self.student.where,
                revision=self.student.commit,
                max_model_len=self.max_model_len,
                trust_remote_code=self.trust_remote_code,
                vocabulary=self._vocabulary() if self.engine_name == "server" else None,
                options=self.engine_options,
            )
            self._engine = TendedEngine(engine, starting=self._say_starting)
        return self._engine

    @property
    def started(self) -> bool:
        """Whether the engine runs now."""
        return self._engine is not None and self._engine.started

    def identity(self) -> EngineIdentity | None:
        """Name, release and number format of the engine; None before the first request."""
        return self._engine.answered_by if self._engine is not None else None

    def capacity(self, most: int | None = None) -> tuple[int, int]:
        """Rows and tokens that may be in flight at once; `most` limits the rows further.

        Before the first request only one row is admitted: its request starts the engine.
        """
        rows, tokens = NOT_STARTED if self._engine is None else self._engine.capacity
        return min(rows, most or rows), tokens

    def on_starting(self, say: Callable[[str], None] | None) -> None:
        """Set a callback for the message that the engine starts, which takes long."""
        self._on_starting = say

    def check(self) -> None:
        """Refuse invalid settings before anything is loaded."""
        self.max_model_len  # noqa: B018
        if spawns(self.engine_name, self.student.where, self.engine_options) and (script := unguarded_script()):
            raise UserError(
                f"`{script}` uses an engine without a `__main__` guard: vLLM starts processes that read the script "
                f"again, and each would start another engine. Put what the script does under "
                f'`if __name__ == "__main__":`, or take `engine="transformers"`.'
            )

    def close(self) -> None:
        """End the engine and its processes, and the loop; safe to call twice."""
        if self._closed:
            return
        loop, thread = self._loop, self._thread
        assert loop is not None and thread is not None
        try:
            if self._engine is not None:
                self.run(self._engine.close())
        finally:
            self._engine = self._loop = self._thread = None
            letting_go = asyncio.run_coroutine_threadsafe(_let_go(), loop)
            # A loop that is stuck keeps nobody waiting: its thread is a daemon, which ends with the process.
            if wait([letting_go], 2 * _CLEANUP_S).done:
                loop.call_soon_threadsafe(loop.stop)
                thread.join()
                loop.close()

    def __enter__(self) -> "StudentRunner":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"StudentRunner({self.student.name!r}, engine={self.engine_name!r}, started={self.started})"

    def __getstate__(self) -> dict[str, Any]:
        """Settings only: a copy in another process starts its own engine."""
        return {name: value for name, value in vars(self).items() if not name.startswith("_")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._rest()

    _tokenizer: "PreTrainedTokenizerBase | None"
    _max_model_len: int | None
    _engine: TendedEngine | None
    _loop: asyncio.AbstractEventLoop | None
    _thread: threading.Thread | None
    _on_starting: Callable[[str], None] | None

    def _rest(self) -> None:
        """Nothing runs."""
        self._tokenizer = self._max_model_len = self._engine = None
        self._loop = self._thread = self._on_starting = None

    @property
    def _closed(self) -> bool:
        return self._loop is None

    def _open(self) -> asyncio.AbstractEventLoop:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(target=self._loop.run_forever, name="palign-student", daemon=True)
            self._thread.start()
            _LIVE.add(self)
        return self._loop

    def _find_context(self) -> int:
        if self.engine_name == "server" and self.given_max_model_len:
            return self.given_max_model_len
        # Options that change the student's config may stretch what it reads.
        stretched = {"hf_overrides", "rope_scaling", "rope_parameters"} & self.engine_options.keys()
        if self.given_max_model_len and stretched:
            return self.given_max_model_len
        own = student_context(self.student, self.trust_remote_code)
        if self.given_max_model_len and self.given_max_model_len > own:
            raise UserError(
                f"`max_model_len={self.given_max_model_len}` is more than the student `{self.student.name}` can read, "
                f"which is {own} tokens by its config. Give at most that, or leave it out."
            )
        return self.given_max_model_len or own

    def _vocabulary(self) -> int:
        return student_vocabulary(self.student, self.tokenizer, self.trust_remote_code)

    def _say_starting(self) -> None:
        if self._on_starting is not None:
            self._on_starting(f"loading {self.student.name} into the {self.engine.name} engine")


async def _let_go() -> None:
    """Cancel what an interrupt could not wait for, so that no work is pending when the loop is closed."""
    left = asyncio.all_tasks() - {asyncio.current_task()}
    for task in left:
        task.cancel()
    if left:
        await asyncio.wait(left, timeout=_CLEANUP_S)


# Runners with a loop: closed before the interpreter goes, so that no process or GPU memory stays behind.
_LIVE: "weakref.WeakSet[StudentRunner]" = weakref.WeakSet()


@atexit.register
def close_all() -> None:
    """Close every runner that is still open."""
    for runner in list(_LIVE):
        try:
            runner.close()
        except Exception as error:
            # The others must be closed all the same.
            logger.error("An engine could not be closed: %s: %s", type(error).__name__, error)
