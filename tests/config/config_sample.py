"""A dataclass with a setting of every kind, as a stage might declare them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from palign_hf.config import check_settings, setting
from palign_hf.errors import UserError


if TYPE_CHECKING:
    from somewhere_not_installed import Runner


class Spelling:
    """A class that only Python can give."""


class Speaks(Protocol):
    """A protocol that isinstance can't be asked about."""

    def speak(self) -> str: ...


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where rows come from."""

    path: str = setting(help="file or folder")
    max_samples: int | None = setting(help="at most so many rows", default=None, least=1)

    def __post_init__(self) -> None:
        check_settings(self)


@dataclass(frozen=True, kw_only=True)
class Pilot:
    """What is looked at first."""

    rows: int = setting(help="how many", default=200, least=1)


@dataclass(frozen=True, kw_only=True)
class Base:
    """What every stage has."""

    source: Source
    student: str = setting(help="who answers")
    batch_size: int = setting(help="rows at once: 100% of them", default=10, least=1, most=100)


@dataclass(frozen=True, kw_only=True)
class Sample(Base):
    """A setting of every kind."""

    cut: Literal["sentence", "paragraph", "step"] = setting(help="how traces are cut", default="sentence")
    mode: Literal["auto", "off"] | int = setting(help="a word or a number", default="auto", least=0)
    share: float = setting(help="a share", default=0.5, least=0, most=1)
    heat: float | None = setting(help="above nothing", default=None, above=0.0, below=2)
    weight: float = setting(help="as much as you like", default=math.inf, most=math.inf)
    search: str | dict[str, Any] | Spelling = setting(help="name, or name and settings", default="ascend")
    columns: dict[str, str] | None = setting(help="which column is which", default=None)
    options: Mapping[str, Any] = setting(help="whatever there is", default_factory=dict)
    sizes: list[int] = setting(help="sizes", default_factory=list, least=1)
    stops: tuple[str, ...] = setting(help="texts that end an answer", default=())
    parts: tuple[str, ...] | dict[str, str] = setting(help="texts, or named ones", default=(), metavar="PART")
    names: Sequence[str] = setting(help="names", default=())
    trust: bool = setting(help="run code of others", default=False)
    shown: bool | None = setting(help="show a bar", default=None)
    engine: "str | Runner" = setting(help="engine", default="auto", metavar="ENGINE")
    voice: Speaks | None = setting(help="who speaks", default=None)
    pilot: Pilot | None = setting(help="", default=None)
    counted: int = field(default=0, init=False)

    def __post_init__(self) -> None:
        check_settings(self)
        if self.heat == 1.5 and self.share == 1:
            raise UserError("`heat` and `share` don't go\ntogether.")
