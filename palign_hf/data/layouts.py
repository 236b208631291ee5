"""Column layouts of teacher datasets: the known ones, recognition, and manual settings."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from palign_hf.data.cells import ANSWERS, SOLUTIONS, has_thinking, known_columns
from palign_hf.errors import listed, nearest
from palign_hf.schema import TRACES, SchemaError


@dataclass(frozen=True)
class Layout:
    """The columns that a row of TRACES is read from; strings only, so that its hash is the same in every process.

    The type of a value decides how it is read: text as it is, a list of texts (generations) by `correct`, a list of
    turns by role. The columns in `needs` are required; `source`, `correct`, `input` and `id` are optional. `answers`
    and `solutions` are found in the dataset, whatever its layout.
    """

    name: str
    needs: tuple[str, ...]
    question: str
    trace: str
    source: str | None = None
    id: str | None = None
    input: str | None = None
    correct: str | None = None
    # The columns that hold the gold answer, the best first.
    answers: tuple[str, ...] = ()
    solutions: tuple[str, ...] = ()
    # Answers were read before (this is a table of TRACES): even a long one is final.
    final: bool = False
    # `solution` may be the bare answer (s1K): one short line without a box is then taken as it is.
    bare_solution: bool = False
    # A shape that many datasets share yields to a layout that only one dataset has.
    general: bool = False
    # Columns whose presence means that another layout is the better reading.
    unless: tuple[str, ...] = ()

    def columns(self) -> list[str]:
        """The distinct source columns this layout reads."""
        return list(dict.fromkeys([*self.texts(), *self.answers, *self.solutions]))

    def texts(self) -> list[str]:
        """The columns that hold something else than the gold answer."""
        fields = (self.question, self.trace, self.source, self.id, self.input, self.correct)
        return [name for name in fields if name]


LAYOUTS = (
    Layout("traces", ("question", "trace"), "question", "trace", source="source"),
    Layout("p-align", ("question", "Long-CoT"), "question", "Long-CoT"),
    Layout(
        "s1k-1.1-deepseek",
        ("question", "deepseek_thinking_trajectory"),
        "question",
        "deepseek_thinking_trajectory",
        bare_solution=True,
    ),
    Layout(
        "s1k-1.1-gemini",
        ("question", "gemini_thinking_trajectory"),
        "question",
        "gemini_thinking_trajectory",
        bare_solution=True,
        unless=("deepseek_thinking_trajectory",),
    ),
    Layout("s1k", ("question", "thinking_trajectories"), "question", "thinking_trajectories", bare_solution=True),
    Layout("openr1-math", ("problem", "generations"), "problem", "generations", correct="correctness_math_verify"),
    Layout("openthoughts-metadata", ("problem", "deepseek_reasoning"), "problem", "deepseek_reasoning"),
    Layout("limo", ("question", "solution", "answer"), "question", "solution", general=True),
    Layout("alpaca", ("instruction", "output"), "instruction", "output", input="input", general=True),
    Layout("sharegpt", ("conversations",), "conversations", "conversations", general=True),
    Layout("messages", ("messages",), "messages", "messages", general=True),
    Layout("prompt-completion", ("prompt", "completion"), "prompt", "completion", general=True),
)

# Names of datasets that share a general layout, so that `known=` takes the name people look for.
_DATASETS = {"openthoughts": "sharegpt", "bespoke-stratos": "sharegpt"}

KNOWN = (*(layout.name for layout in LAYOUTS), *_DATASETS)

_TARGETS = ("id", "question", "trace", "answer", "source", "solution")
_GOLD = {"answer", "solution"}
IDS = ("id", "uuid", "unique_id")
_QUESTIONS = ("question", "problem", "prompt", "instruction", "query", "input")


def choose_layout(
    present: Sequence[str], rows: Sequence[dict[str, Any]], columns: dict[str, str] | None, known: str | None
) -> Layout:
    """Choose the layout: forced by `known`, set through `columns`, or recognized from the columns.

    `columns` with both `question` and `trace` ignores all layouts; with fewer it changes a known layout.
    """
    columns = columns or {}
    check_named(columns, known)
    _check_columns(columns, present)
    by_hand = known is None and {"question", "trace"} <= columns.keys()
    if by_hand:
        layout = Layout("by hand", (), columns["question"], columns["trace"])
    else:
        layout = _forced(known, present) if known is not None else _recognise(present, rows)
        layout = _present_only(layout, present)
    changes: dict[str, Any] = {target: name for target, name in columns.items() if target not in _GOLD}
    return _with_gold(replace(layout, **changes), present, columns, exactly=by_hand and bool(_GOLD & columns.keys()))


def _with_gold(layout: Layout, present: Sequence[str], columns: dict[str, str], exactly: bool) -> Layout:
    """The layout with the columns of its gold answers: as named, and otherwise (unless `exactly`) as known."""
    known = () if exactly else present
    answers = known_columns(known, ANSWERS, layout.texts())
    solutions = known_columns(known, SOLUTIONS, layout.texts())
    return replace(
        layout,
        answers=(columns["answer"],) if "answer" in columns else answers,
        solutions=(columns["solution"],) if "solution" in columns else solutions,
        final=layout.name == "traces" and set(TRACES.columns) <= set(present) and "answer" not in columns,
    )


def check_named(columns: Mapping[str, str], known: str | None) -> None:
    """Refuse names that are wrong for any dataset, before it is read."""
    for target, name in columns.items():
        if target not in _TARGETS:
            raise SchemaError(
                f"`columns={{{target!r}: ...}}`: a trace has no `{target}`{nearest(target, _TARGETS)}. "
                f"Its keys are {listed(_TARGETS)}; write `columns={{'question': ..., 'trace': ...}}`."
            )
        if not name.strip():
            raise SchemaError(f"`columns={{{target!r}: {name!r}}}`: a column has a name. Give it, or leave this out.")
    if known is not None and known not in KNOWN:
        raise SchemaError(
            f"`known={known!r}`{nearest(known, KNOWN)} is not a known layout. Known are {listed(KNOWN)}."
        )


def _check_columns(columns: Mapping[str, str], present: Sequence[str]) -> None:
    for target, name in columns.items():
        if name not in present:
            raise SchemaError(
                f"`columns={{{target!r}: {name!r}}}`: the dataset has no `{name}`{nearest(str(name), present)}. "
                f"It has {listed(present)}; name one of these."
            )


def _forced(known: str, present: Sequence[str]) -> Layout:
    name = _DATASETS.get(known, known)
    layout = next(layout for layout in LAYOUTS if layout.name == name)
    missing = [column for column in layout.needs if column not in present]
    if missing:
        raise SchemaError(
            f"`known={known!r}` reads {listed(layout.needs)}, but the dataset has no "
            f"{', '.join(f'`{column}`{nearest(column, present)}' for column in missing)}. It has {listed(present)}; "
            f"leave `known` out to have the layout recognised, or pass `columns={{...}}`."
        )
    return layout


def _recognise(present: Sequence[str], rows: Sequence[dict[str, Any]]) -> Layout:
    there = set(present)
    matches = [layout for layout in LAYOUTS if there.issuperset(layout.needs) and there.isdisjoint(layout.unless)]
    matches = [layout for layout in matches if not layout.general] or matches or _thinking(present, rows)
    if len(matches) == 1:
        return matches[0]
    if matches:
        readings = "; ".join(f"`{m.name}` (question `{m.question}`, trace `{m.trace}`)" for m in matches)
        first = matches[0]
        how = f"`known={first.name!r}`" if first in LAYOUTS else "one of them"
        raise SchemaError(
            f"The columns {listed(present)} fit several layouts: {readings}. Choose with {how}, or with "
            f"`columns={{'question': {first.question!r}, 'trace': {first.trace!r}, ...}}`."
        )
    closest = max(LAYOUTS, key=lambda layout: (len(there & set(layout.needs)) / len(layout.needs), -len(layout.needs)))
    lacking = ", ".join(f"`{c}`{nearest(c, there - set(closest.needs))}" for c in closest.needs if c not in there)
    raise SchemaError(
        f"The columns {listed(present)} fit no known layout. Nearest is `{closest.name}`, which also needs {lacking}. "
        f"Pass `columns={{'question': ..., 'trace': ..., 'answer': ...}}` with the columns to read. Known layouts: "
        f"{'; '.join(f'`{layout.name}` ({listed(layout.needs)})' for layout in LAYOUTS)}; "
        f"or a question beside a text with `<think>` tags."
    )


def _thinking(present: Sequence[str], rows: Sequence[dict[str, Any]]) -> list[Layout]:
    """Any dataset with a question column and a text column whose first rows carry thinking tags."""
    questions = [name for name in _QUESTIONS if name in present]
    tagged = [
        name
        for name in present
        if any(isinstance(row.get(name), str) and has_thinking(row[name]) for row in rows) and name not in questions
    ]
    return [Layout("thinking", (question, trace), question, trace) for question in questions for trace in tagged]


def _present_only(layout: Layout, present: Sequence[str]) -> Layout:
    """The layout without the optional columns that are not there, and with the id column that is."""
    optional = ("source", "input", "correct")
    absent: dict[str, Any] = {field: None for field in optional if getattr(layout, field) not in present}
    return replace(layout, id=next((name for name in IDS if name in present), None), **absent)
