"""Fingerprints of results: of a description, and of what a subclass of a transform changes."""

import hashlib
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from palign_hf.grading import Grader
from palign_hf.students import Student


if TYPE_CHECKING:
    from palign_hf.asking.settings import SamplingSettings

S = TypeVar("S", bound="SamplingSettings")


def fingerprint(description: Mapping[str, Any]) -> str:
    """Sixteen hex digits of a JSON-able description; the order of keys doesn't matter."""
    text = json.dumps(description, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def changed_by(kind: type, base: type, added: Mapping[str, Any]) -> dict[str, Any]:
    """What a subclass of `base` changes: its code, and the attributes that it adds."""
    classes = kind.__mro__[: kind.__mro__.index(base)]
    if not classes:
        return {}
    from datasets.fingerprint import Hasher

    code = hashlib.sha256("".join(map(_code_of, classes)).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return {"class": kind.__qualname__, "code": code, **({"added": Hasher.hash(dict(added))} if added else {})}


@dataclass(frozen=True, kw_only=True)
class SamplesIdentity(ABC, Generic[S]):
    """Everything that can change a row of a stage that draws samples, and nothing else.

    Samples have a fingerprint of their own, so that another grader, more of them or other rules draw nothing twice.

    Args:
        student (`Student`):
            The student, by commit or content.
        settings (`SamplingSettings`):
            The settings of the stage, as given.
        grader (`Grader`):
            The grader that they name.
        context (`int`, *optional*):
            Most tokens of a request, where it is set.
        altered (`Mapping`, *optional*):
            Engine options that change the student's numbers.
        changed_by (`Mapping`, *optional*):
            What a subclass of the transform changes.
    """

    student: Student
    settings: S
    grader: Grader
    max_model_len: int | None
    altered: Mapping[str, Any] = field(default_factory=dict)
    changed_by: Mapping[str, Any] = field(default_factory=dict)

    @abstractmethod
    def describe_samples(self) -> dict[str, Any]:
        """What decides a sample."""

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """What decides a row."""

    @property
    def samples_fingerprint(self) -> str:
        """Names the ledger."""
        return fingerprint(self.describe_samples())

    @property
    def fingerprint(self) -> str:
        """Names the result."""
        return fingerprint(self.describe())

    def _describe_drawing(self) -> dict[str, Any]:
        """What decides a sample in any stage, given its prompt."""
        return {
            "student": self.student.identity,
            "sampling": self.settings.describe_drawing(),
            "context": self.max_model_len,
            **({"altered": dict(self.altered)} if self.altered else {}),
            **({"changed_by": dict(self.changed_by)} if self.changed_by else {}),
        }

    def _describe_grader(self) -> dict[str, Any]:
        """What decides a grade."""
        grader = self.grader
        description = {"name": grader.name, "version": grader.version, "seconds": self.settings.grading_seconds}
        return description | _parameters(grader)


def _parameters(grader: Grader) -> dict[str, Any]:
    """What a grader was made with: its public attributes but for name and version, hashed."""
    held = {name: value for name, value in getattr(grader, "__dict__", {}).items() if not name.startswith("_")}
    given = {name: value for name, value in held.items() if name not in ("name", "version")}
    if not given:
        return {}
    from datasets.fingerprint import Hasher

    return {"parameters": Hasher.hash(given)}


def _code_of(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # made at a prompt, where no source is kept
        methods = ((name, getattr(value, "__code__", None)) for name, value in sorted(vars(kind).items()))
        return "".join(f"{name} {code.co_code.hex()} {code.co_consts}" for name, code in methods if code is not None)
