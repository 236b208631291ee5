"""What decides the weights of a toy student; the defaults are the plan of the shipped one."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Plan:
    """All that decides the weights; the counts are problems a step."""

    seed: int = 0
    steps: int = 1200
    judging: int = 1
    finishing: int = 2
    solving: int = 6
    sums: int = 30
    rate: float = 2e-3
    matrix_rate: float = 4e-3
    warm_up: int = 50
    layers: int = 6
    width: int = 192
    inner: int = 512
    vocabulary: int = 1280
    texts: int = 2000
