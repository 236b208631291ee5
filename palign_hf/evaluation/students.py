"""Evaluation of several students in turn, each in its own folder, and their comparison.

One engine is up at a time. A failed student is reported and doesn't stop the others, and the same command draws only
what is missing. The others are compared with the first student.
"""

import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from palign_hf.errors import UserError, listed, shown
from palign_hf.evaluation.compare import check_home, compare_files
from palign_hf.plotting import needs_matplotlib
from palign_hf.runs.launch import Ending
from palign_hf.runs.shards import Shard
from palign_hf.runs.transform import TransformRun
from palign_hf.terminal import print_err, print_out


def named(students: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """Map folder names to students: as given, else the students' own names; clashes are refused."""
    given = list(students.items()) if isinstance(students, Mapping) else [(_called(one), one) for one in students]
    if len(given) < 2:
        alone = [one for _, one in given]
        raise UserError(f"`students={alone}` is one alone. Give two or more, or `student` instead.")
    homes: dict[str, str] = {}
    places: dict[str, str] = {}
    for name, student in given:
        if name != Path(name).name or name in ("", ".", "..") or "\0" in name:
            raise UserError(
                f"`{shown(name)}` can't be the folder of `{shown(student)}`. Name the students, each by a plain word: "
                f"`students={{'before': ..., 'after': ...}}`."
            )
        if (place := _place(student)) in places:
            raise UserError(f"`{shown(student)}` is listed twice in `students`. Remove one of them.")
        # Some file systems ignore case.
        if (other := homes.get(name.casefold())) is not None:
            raise UserError(
                f"`{shown(other)}` and `{shown(student)}` would both be written to the folder `{shown(name)}`. Name "
                f"them: `students={{'before': ..., 'after': ...}}`."
            )
        homes[name.casefold()] = places[place] = student
    return dict(given)


def _called(student: str) -> str:
    path = Path(student).expanduser()
    return (path.resolve() if path.is_dir() else path).name.lower()


def _place(student: str) -> str:
    path = Path(student).expanduser()
    return str(path.resolve()) if path.is_dir() else student


class SeveralRun:
    """One process's part in the evaluations of several students; the comparison goes to `folder`."""

    def __init__(self, folder: Path, runs: Mapping[str, TransformRun[Any, Any]], overwrite: bool = False) -> None:
        """`overwrite` is whether the comparison of other files may be overwritten."""
        needs_matplotlib("students")
        self._folder, self._runs, self._replace = folder, runs, overwrite
        check_home(folder, [str(folder / name) for name in runs], overwrite, "output_dir")
        self._endings: dict[str, Ending] = {}
        self._failed: list[str] = []

    def agree(self) -> Any:
        """The settings that all processes share."""
        return {name: run.agree() for name, run in self._runs.items()}

    def work(self, shard: Shard, agreed: Any) -> None:
        """Evaluate the shard of each student; in one process each is reported before the next begins."""
        for name, run in self._runs.items():
            with self._alone(name):
                try:
                    run.work(shard, agreed[name])
                finally:
                    run.transform.close()
                if shard.count == 1:
                    self._finish(name, 1)

    def finish(self, count: int) -> Ending:
        """Report the remaining students, and compare all."""
        for name in self._runs:
            if name not in self._endings and name not in self._failed:
                with self._alone(name):
                    self._finish(name, count)
        failed = sum(one.failed for one in self._endings.values()) + len(self._failed)
        return Ending("\n".join([*self._compared(), *self._lost()]), failed)

    def _finish(self, name: str, count: int) -> None:
        ending = self._runs[name].finish(count)
        self._endings[name] = ending
        print_out(f"== {name}\n{ending.words}\n")

    def _compared(self) -> list[str]:
        names = [name for name in self._runs if name in self._endings]
        if len(names) < 2:
            return ["Fewer than two students were evaluated, so nothing is compared."]
        found = compare_files([str(self._folder / name) for name in names], names)
        written = found.write(self._folder, self._replace)
        return ["== side by side", found.text(), "", *(f"wrote {path}" for path in written)]

    def _lost(self) -> list[str]:
        if not self._failed:
            return []
        return [
            f"{len(self._failed)} of {len(self._runs)} students failed, for the reasons above: "
            f"{listed(self._failed)}. The same command retries those, and draws only what is missing of the others."
        ]

    @contextmanager
    def _alone(self, name: str) -> Iterator[None]:
        """Report an error that ends one student's evaluation, and continue with the next."""
        try:
            yield
        except Exception as error:
            if not isinstance(error, UserError | OSError):
                print_err(traceback.format_exc())
            print_err(f"evaluate: {name}: {' '.join(str(error).split())}")
            self._failed.append(name)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with ExitStack() as all_of_them:
            for run in self._runs.values():
                all_of_them.callback(run.transform.close)
