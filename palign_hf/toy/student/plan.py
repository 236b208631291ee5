"""What decides the weights of a toy student; the defaults are the plan of the shipped one."""

from dataclasses import dataclass

from palign_hf.errors import UserError
from palign_hf.toy.world.problems import SEED


# A head of 32 is the smallest that vLLM's attention takes on every device.
HEAD = 32
# So many streams of problems a student's lessons are drawn from, each with a seed of its own.
STREAMS = 4


@dataclass(frozen=True)
class Plan:
    """All that decides the weights; the counts are problems a step."""

    seed: int = 0
    steps: int = 2400
    judging: int = 1
    finishing: int = 5
    solving: int = 4
    sums: int = 20
    rate: float = 2e-3
    matrix_rate: float = 4e-3
    warm_up: int = 50
    layers: int = 6
    width: int = 192
    inner: int = 512
    vocabulary: int = 1280
    texts: int = 2000

    def __post_init__(self) -> None:
        if not 0 <= self.seed < SEED // STREAMS:
            raise UserError(
                f"`seed={self.seed}` is none that lessons are drawn from. Give 0 to {SEED // STREAMS - 1}."
            )
        for name in ("steps", "layers", "inner", "texts", "warm_up"):
            if getattr(self, name) < 1:
                raise UserError(f"`{name}={getattr(self, name)}` makes no student. Give 1 or more.")
        if self.width < HEAD or self.width % HEAD:
            raise UserError(f"`width={self.width}` can't be parted into heads of {HEAD}. Give a multiple of {HEAD}.")
        counts = {name: getattr(self, name) for name in ("judging", "finishing", "solving", "sums")}
        if min(counts.values()) < 0 or not any(counts.values()):
            raise UserError(f"A step of {counts} teaches nothing. Give counts of 0 or more, and not only zeros.")
