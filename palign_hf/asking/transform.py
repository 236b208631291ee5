"""What `datasets` transforms over a student have in common: their runner, ledger, bar, hash and copies.

A stage says what its rows are and what decides them (`fingerprint`); everything else that a transform of `datasets`
needs is here. It hashes by what changes the result and nothing else, so the cache of `datasets` is right whether or
not an engine runs, and across processes. A copy in another process starts an engine of its own.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields
from typing import Any, ClassVar, Generic, Self, TypeVar

from datasets.utils._dill import pklregister

from palign_hf.asking.batches import map_bars
from palign_hf.asking.ledgers import ledger_folder
from palign_hf.asking.runner import StudentRunner
from palign_hf.asking.settings import AskingSettings
from palign_hf.asking.store import AnswerTable, Store
from palign_hf.engines.base import EngineIdentity
from palign_hf.errors import UserError, shown
from palign_hf.progress import Progress
from palign_hf.students import resolve_student


A = TypeVar("A")
U = TypeVar("U", bound=Any)


class StudentTransform(AskingSettings, ABC, Generic[A, U]):
    """A transform that asks a student; its settings are a dataclass of their own, which it inherits from.

    `declared` is that dataclass, `answers` what is stored, `counters` what is counted (values that can be added and
    subtracted), `verb` what its bar says.
    """

    declared: ClassVar[type[AskingSettings]]
    answers: ClassVar[AnswerTable[Any]]
    counters: ClassVar[type[Any]]
    verb: ClassVar[str]
    advice: ClassVar[str] = "Make another one."
    # What an instance holds that is no setting, and is made anew in every process.
    runtime: ClassVar[frozenset[str]] = frozenset(
        {"_runner", "_identity", "_usage", "_at_start", "_taken", "_store", "_bar"}
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self._settle(self._find_runner())

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Sixteen hex digits that stand for everything that can change the result."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What the fingerprint is made of: goes into reports and cards."""

    @abstractmethod
    def _ledger(self) -> tuple[str, dict[str, Any]]:
        """The fingerprint of what decides an answer, which names the ledger, and what that is made of."""

    @abstractmethod
    def _details(self, seconds: float) -> dict[str, str]:
        """What the bar adds, so many seconds after the first answer."""

    @abstractmethod
    def check(self) -> None:
        """Refuse what can't work with this student before an engine is loaded."""

    @abstractmethod
    def groups(
        self, rows: Iterable[Mapping[str, Any]], count: int | None = None
    ) -> Iterator[Sequence[dict[str, Any]]]:
        """The rows of the result, those of one input together, in the order of the inputs."""

    def stream(self, rows: Iterable[Mapping[str, Any]], count: int | None = None) -> Iterator[dict[str, Any]]:
        """Rows of the result one by one and in order, for a table that is written as they come.

        However many there are, only those under way are in memory; `count` is the number of inputs, for the bar.
        """
        for group in self.groups(rows, count):
            yield from group

    @property
    def runner(self) -> StudentRunner:
        """The student at work, for other stages to borrow: give it to them as `engine`."""
        return self._runner

    @property
    def usage(self) -> U:
        """What was asked and what it cost, all batches so far; empty if `map` took the result from its cache."""
        return self._usage

    def take_usage(self) -> U:
        """What was counted since the last time it was taken, for files that each carry their part of the costs."""
        taken, self._taken = self._usage - self._taken, self._usage + self.counters()
        return taken

    @property
    def engine_identity(self) -> EngineIdentity | None:
        """Who answers: the engine's name, release and number format; None as long as nothing was asked."""
        return self._runner.identity()

    @property
    def ledger_path(self) -> str:
        """The file that holds the answers."""
        return str(ledger_folder(self.ledger) / f"{self._ledger()[0]}.sqlite")

    def expect(self, rows: int, what: str | None = None) -> None:
        """Show one bar over so many rows, however they are batched; without this each batch has a bar of its own."""
        self._bar = self._new_bar(rows, what or self.verb)

    def close(self) -> None:
        """End the engine with its processes and memory, and the ledger; a later call opens them again.

        A runner that was given as `engine` goes on: who made it closes it.
        """
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()
        try:
            if not isinstance(self.engine, StudentRunner):
                self._runner.close()
        finally:
            store, self._store = self._store, None
            if store is not None:
                store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        said = [repr(self.student)]
        for one in fields(self.declared):
            value = getattr(self, one.name)
            factory: Any = one.default_factory
            usual = one.default if one.default is not MISSING else factory() if factory is not MISSING else None
            value, usual = self._plain(one.name, value), self._plain(one.name, usual)
            if one.name != "student" and value != usual:
                said.append(f"{one.name}={shown(repr(value), 80)}")
        return f"{type(self).__name__}({', '.join(said)})"

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._names() and "_runner" in vars(self):
            raise AttributeError(
                f"`{name}` was settled when the transform was made, and its ledger and fingerprint with it. "
                f"{self.advice}"
            )
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        """Settings, and what a subclass added to them; a copy in another process starts an engine of its own."""
        return {name: value for name, value in vars(self).items() if name not in self.runtime}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._settle(self._find_runner())

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        pklregister(cls)(_hash_by_result)

    _usage: U
    _at_start: U
    _taken: U
    _store: Store[A] | None
    _bar: Progress | None
    _runner: StudentRunner

    def _settle(self, runner: StudentRunner) -> None:
        """What isn't a setting, made anew in every process."""
        self._usage, self._at_start, self._taken = self.counters(), self.counters(), self.counters()
        self._store = self._bar = None
        self._runner = runner

    def _find_runner(self) -> StudentRunner:
        if not isinstance(self.engine, StudentRunner):
            return StudentRunner(
                self.student,
                revision=self.revision,
                engine=self.engine,
                engine_options=self.engine_options,
                context=self.context,
                trust_remote_code=self.trust_remote_code,
            )
        runner = self.engine
        if self.engine_options:
            raise UserError(
                "`engine_options` belong to the `StudentRunner` that was given as `engine`: give them there."
            )
        same = (self.student, self.revision) == (runner.student.name, None)
        if not same and resolve_student(self.student, self.revision).identity != runner.student.identity:
            raise UserError(
                f"`engine` runs the student `{runner.student.name}`, not `{self.student}`, which is to be asked "
                f"itself. Give a `StudentRunner` of `{self.student}`, or the name of an engine."
            )
        if self.context is not None and self.context > runner.context:
            raise UserError(
                f"`context={self.context}` is more than the {runner.context} tokens of the `StudentRunner` that was "
                f"given as `engine`. Give at most that, or leave it out."
            )
        return runner

    @property
    def _hashed(self) -> str:
        """What `datasets` knows it by in its cache."""
        return self.fingerprint

    @property
    def _context(self) -> int:
        """Tokens that a request may have."""
        return self.context or self._runner.context

    def _names(self) -> set[str]:
        """The names of the settings."""
        return {one.name for one in fields(self.declared)}

    @property
    def _added(self) -> dict[str, Any]:
        """The attributes of a subclass."""
        return {name: value for name, value in vars(self).items() if name not in self._names() | self.runtime}

    def _plain(self, name: str, value: Any) -> Any:
        """A setting as `repr` compares and shows it."""
        return value

    def _open_store(self) -> Store[A]:
        if self._store is None:
            name, about = self._ledger()
            self._store = Store(self.ledger_path, name, about, self.answers)
        return self._store

    @contextmanager
    def _shown(self, rows: int | None, what: str) -> Iterator[Progress]:
        """The bar that was announced by `expect`, or one for these rows alone."""
        others = map_bars()
        for other in others:
            # It moves once a batch, ours with each row: of the two, ours is shown meanwhile.
            other.clear()
        bar = self._bar or self._new_bar(rows, what, leave=not others)
        self._runner.on_starting(bar.status)
        try:
            yield bar
        finally:
            self._runner.on_starting(None)
            if bar is not self._bar:
                bar.close()

    def _new_bar(self, rows: int | None, what: str, leave: bool = True) -> Progress:
        self._at_start = self._usage + self.counters()
        return Progress(rows, what, self.progress, self._details, leave=leave)

    @classmethod
    def _base(cls) -> type:
        """The stage's own transform, which says what its settings are."""
        return [kind for kind in cls.__mro__ if "declared" in vars(kind)][-1]


def _hash_by_result(pickler: Any, transform: "StudentTransform[Any, Any]") -> None:
    """What `datasets` hashes for its cache: the fingerprint alone, where a real pickle holds the runtime too."""
    named = f"{transform._base().__name__} {transform._hashed}"
    pickler.save_reduce(str, (named,), obj=transform)
