"""Names for what decides a result: a fingerprint of its description, and what a subclass does otherwise."""

import hashlib
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from palign_hf.students import Student


if TYPE_CHECKING:
    from palign_hf.asking.settings import SamplingSettings

S = TypeVar("S", bound="SamplingSettings")


def fingerprint(description: Mapping[str, Any]) -> str:
    """Sixteen hex digits of a JSON-able description; the order of keys doesn't matter."""
    text = json.dumps(description, sort_keys=True, ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(text.encode("ascii")).hexdigest()[:16]


def changed_by(kind: type, base: type, added: Mapping[str, Any]) -> dict[str, Any]:
    """What a subclass does otherwise than `base`: its code, and the attributes that it has added."""
    classes = kind.__mro__[: kind.__mro__.index(base)]
    if not classes:
        return {}
    from datasets.fingerprint import Hasher

    code = hashlib.sha256("".join(map(_code_of, classes)).encode("utf-8", "surrogatepass")).hexdigest()[:16]
    return {"class": kind.__qualname__, "code": code, **({"added": Hasher.hash(dict(added))} if added else {})}


@dataclass(frozen=True)
class SamplesIdentity(ABC, Generic[S]):
    """Everything that can change a row of a stage that draws samples, and nothing else.

    Samples have a fingerprint of their own, so that another grader, more of them or other rules draw nothing twice.
    """

    student: Student
    settings: S
    context: int | None
    altered: Mapping[str, Any] = field(default_factory=dict)  # engine options that change the student's numbers
    changed_by: Mapping[str, Any] = field(default_factory=dict)  # what a subclass of the transform does otherwise

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
            "context": self.context,
            **({"altered": dict(self.altered)} if self.altered else {}),
            **({"changed_by": dict(self.changed_by)} if self.changed_by else {}),
        }


def _code_of(kind: type) -> str:
    try:
        return inspect.getsource(kind)
    except (OSError, TypeError):  # made at a prompt, where no source is kept
        methods = ((name, getattr(value, "__code__", None)) for name, value in sorted(vars(kind).items()))
        return "".join(f"{name} {code.co_code.hex()} {code.co_consts}" for name, code in methods if code is not None)
