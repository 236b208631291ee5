"""Base class of the `datasets` map transforms that run a student: runner, ledger, progress bar, hash and copies.

A transform has settings, and resolves what they name (a search, a grader) once. It hashes by what changes the result
and nothing else, so the cache of `datasets` is right whether or not an engine runs, and across processes. A copy in
another process starts an engine of its own.
"""

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, fields
from functools import partial, wraps
from inspect import Parameter, signature
from typing import Any, ClassVar, Concatenate, Generic, ParamSpec, Self, TypeVar

from datasets.utils._dill import pklregister

from palign_hf.config import arguments
from palign_hf.config.resolve import renamed
from palign_hf.engines.base import EngineIdentity
from palign_hf.errors import UserError, shown
from palign_hf.generation.jobs import map_bars
from palign_hf.generation.ledger import ledger_folder
from palign_hf.generation.runner import StudentRunner
from palign_hf.generation.settings import AskingSettings
from palign_hf.generation.store import AnswerTable, Store
from palign_hf.students import resolve_student
from palign_hf.terminal import Progress


A = TypeVar("A")
U = TypeVar("U", bound=Any)
T = TypeVar("T")
S = TypeVar("S", bound=AskingSettings)
P = ParamSpec("P")


def takes(declared: Callable[P, S]) -> Callable[[Callable[[T, S], None]], Callable[Concatenate[T, P], None]]:
    """Decorator of an `__init__(self, settings)`: the constructor takes the settings as arguments, and checks them.

    Args:
        declared (`type`):
            The dataclass of settings; its signature becomes that of the constructor.

    Returns:
        `Callable`: The decorator.
    """

    def decorate(begin: Callable[[T, S], None]) -> Callable[Concatenate[T, P], None]:
        @wraps(begin)
        def constructor(self: T, *given: P.args, **named: P.kwargs) -> None:
            known = list(arguments_of.parameters)
            for name in named:
                if name not in known and (instead := renamed(name, known)):
                    raise UserError(instead)
            begin(self, declared(*given, **named))

        arguments_of = signature(declared)
        own = Parameter("self", Parameter.POSITIONAL_OR_KEYWORD)
        shown_one: Any = constructor
        shown_one.__signature__ = arguments_of.replace(
            parameters=[own, *arguments_of.parameters.values()], return_annotation=None
        )
        return constructor

    return decorate


class StudentTransform(ABC, Generic[A, U]):
    """A transform that runs a student.

    A stage declares the dataclass of its settings (`declared`), what is stored (`answers`), what is counted
    (`counters`, values that can be added and subtracted), the label of its progress bar (`verb`), and the attributes
    that are resolved from the settings (`resolved`). `{settings}` in its docstring stands for their `Args`.

    Args:
        settings (`AskingSettings`):
            The settings, as given.
    """

    settings: AskingSettings
    declared: ClassVar[type[AskingSettings]]
    answers: ClassVar[AnswerTable[Any]]
    counters: ClassVar[type[Any]]
    verb: ClassVar[str]
    advice: ClassVar[str] = "Make another one."
    # Attributes that are made from the settings when the transform is made, and go with its copies.
    resolved: ClassVar[frozenset[str]] = frozenset({"settings"})
    # Attributes that are made anew in every process.
    runtime: ClassVar[frozenset[str]] = frozenset(
        {"_runner", "_identity", "_usage", "_at_start", "_taken", "_store", "_bar"}
    )

    def __init__(self, settings: AskingSettings) -> None:
        self.settings = settings
        self._settle(self._find_runner())

    @property
    @abstractmethod
    def fingerprint(self) -> str:
        """Sixteen hex digits that stand for everything that can change the result."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """The description that the fingerprint is made of, for reports and cards."""

    @abstractmethod
    def _ledger(self) -> tuple[str, dict[str, Any]]:
        """The fingerprint of what decides an answer, which names the ledger, and what that is made of."""

    @abstractmethod
    def _details(self, seconds: float) -> dict[str, str]:
        """Rates for the progress bar, `seconds` after the first answer."""

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

        Only those in flight are in memory; `count` is the number of inputs, for the bar.
        """
        for group in self.groups(rows, count):
            yield from group

    @property
    def runner(self) -> StudentRunner:
        """The student with its engine, for other stages to borrow: give it to them as `engine`."""
        return self._runner

    @property
    def usage(self) -> U:
        """Counts and costs of all batches so far; empty if `map` took the result from its cache."""
        return self._usage

    def take_usage(self) -> U:
        """The counts since the last call, for files that each carry their part of the costs."""
        taken, self._taken = self._usage - self._taken, self._usage + self.counters()
        return taken

    @property
    def engine_identity(self) -> EngineIdentity | None:
        """The engine's name, release and number format; None before its first answer."""
        return self._runner.identity()

    @property
    def ledger_path(self) -> str:
        """The file that holds the answers."""
        return str(ledger_folder(self.settings.ledger) / f"{self._ledger()[0]}.sqlite")

    def expect(self, rows: int, what: str | None = None) -> None:
        """Show one bar over `rows` rows, however they are batched; without this each batch has a bar of its own."""
        self._bar = self._new_bar(rows, what or self.verb)

    def close(self) -> None:
        """End the engine with its processes and memory, and the ledger; a later call opens them again.

        A runner that was given as `engine` stays open: its owner closes it.
        """
        bar, self._bar = self._bar, None
        if bar is not None:
            bar.close()
        try:
            if not isinstance(self.settings.engine, StudentRunner):
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
        given = [repr(self.settings.student)]
        for one in fields(self.declared):
            value, factory = getattr(self.settings, one.name), one.default_factory
            default = one.default if factory is MISSING else factory()
            if one.name != "student" and value != default:
                given.append(f"{one.name}={shown(repr(value), 80)}")
        return f"{type(self).__name__}({', '.join(given)})"

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._names() and "_runner" in vars(self):
            raise AttributeError(
                f"`{name}` was settled when the transform was made, and its ledger and fingerprint with it. "
                f"{self.advice}"
            )
        super().__setattr__(name, value)

    def __getstate__(self) -> dict[str, Any]:
        """Settings, and what a subclass added; a copy in another process starts an engine of its own."""
        return {name: value for name, value in vars(self).items() if name not in self.runtime}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        self._settle(self._find_runner())

    def __init_subclass__(cls, **given: Any) -> None:
        super().__init_subclass__(**given)
        pklregister(cls)(_hash_by_result)
        if "declared" in vars(cls) and cls.__doc__:
            listed = partial(arguments, cls.declared)
            cls.__doc__ = re.sub(r"^( *)\{settings\}", lambda found: listed(found[1]), cls.__doc__, flags=re.MULTILINE)

    _usage: U
    _at_start: U
    _taken: U
    _store: Store[A] | None
    _bar: Progress | None
    _runner: StudentRunner

    def _settle(self, runner: StudentRunner) -> None:
        """Make the attributes of one process."""
        self._usage, self._at_start, self._taken = self.counters(), self.counters(), self.counters()
        self._store = self._bar = None
        self._runner = runner

    def _find_runner(self) -> StudentRunner:
        settings = self.settings
        if not isinstance(settings.engine, StudentRunner):
            return StudentRunner(
                settings.student,
                revision=settings.revision,
                engine=settings.engine,
                engine_options=settings.engine_options,
                max_model_len=settings.max_model_len,
                trust_remote_code=settings.trust_remote_code,
            )
        runner = settings.engine
        if settings.engine_options:
            raise UserError(
                "`engine_options` belong to the `StudentRunner` that was given as `engine`: give them there."
            )
        same = (settings.student, settings.revision) == (runner.student.name, None)
        if not same and resolve_student(settings.student, settings.revision).identity != runner.student.identity:
            raise UserError(
                f"`engine` runs the student `{runner.student.name}`, not `{settings.student}`. Give a `StudentRunner` "
                f"of `{settings.student}`, or the name of an engine."
            )
        if settings.max_model_len is not None and settings.max_model_len > runner.max_model_len:
            raise UserError(
                f"`max_model_len={settings.max_model_len}` is more than the {runner.max_model_len} tokens of the "
                f"`StudentRunner` that was given as `engine`. Give at most that, or leave it out."
            )
        return runner

    @property
    def _hashed(self) -> str:
        """Its key in the cache of `datasets`."""
        return self.fingerprint

    @property
    def _max_model_len(self) -> int:
        """Tokens that a request may have."""
        return self.settings.max_model_len or self._runner.max_model_len

    def _names(self) -> set[str]:
        """The names of the settings, and what is resolved from them."""
        return {one.name for one in fields(self.declared)} | self.resolved

    @property
    def _added(self) -> dict[str, Any]:
        """The attributes of a subclass."""
        return {name: value for name, value in vars(self).items() if name not in self._names() | self.runtime}

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
        return Progress(rows, what, self.settings.progress, self._details, leave=leave)

    @classmethod
    def _base(cls) -> type:
        """The stage's own transform, which declares the settings."""
        return [kind for kind in cls.__mro__ if "declared" in vars(kind)][-1]


def _hash_by_result(pickler: Any, transform: "StudentTransform[Any, Any]") -> None:
    """Pickle for the hash of `datasets`: the fingerprint alone, where a real pickle holds the settings too."""
    named = f"{transform._base().__name__} {transform._hashed}"
    pickler.save_reduce(str, (named,), obj=transform)
