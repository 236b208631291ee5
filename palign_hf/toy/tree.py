"""Texts with a common beginning as one tree, so that training reads the beginning once.

Forty cuts of one trace are forty prompts which differ only in where they stop. Packed as a trunk and its branches,
with a mask that lets a branch see its own tokens and the trunk before it, they cost about twice the longest instead
of forty times. Nothing leaks: a branch's logits are those of its text alone (a test says so).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple


if TYPE_CHECKING:
    import torch


class Text(NamedTuple):
    """Token ids and how much each token is to be learnt (0: only read)."""

    ids: Sequence[int]
    weights: Sequence[float]


@dataclass(slots=True)
class Tree:
    """The longest text as trunk, the rest of each other one as a branch.

    Token i stands at `positions[i]` of its text; on branch `branches[i]` (0 is the trunk) it sees the trunk up to
    `forks[i]`. `ends` are the places of the last token of each text. A lesson is (place that predicts, token to
    predict, weight).
    """

    ids: list[int] = field(default_factory=list)
    positions: list[int] = field(default_factory=list)
    branches: list[int] = field(default_factory=list)
    forks: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)
    lessons: list[tuple[int, int, float]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)


def grow(texts: Sequence[Text]) -> Tree:
    """Pack the texts of one tree; a lesson of the trunk that several share counts once, with the largest weight."""
    longest = max(range(len(texts)), key=lambda at: len(texts[at].ids))
    trunk = list(texts[longest].ids)
    tree = Tree()
    shared: dict[int, float] = {}
    _add(tree, texts[longest], 0, len(trunk))
    for text in texts:
        fork = _common(trunk, text.ids)
        for at in range(1, fork):
            shared[at] = max(shared.get(at, 0.0), text.weights[at])
        if fork < len(text.ids):
            _add(tree, text, fork, fork)
        tree.ends.append(len(tree) - 1 if fork < len(text.ids) else fork - 1)
    tree.lessons += [(at - 1, trunk[at], weight) for at, weight in sorted(shared.items()) if weight]
    return tree


def _add(tree: Tree, text: Text, fork: int, seen: int) -> None:
    """Put the tokens from `fork` on into the tree; the trunk itself comes with fork 0 and brings no lessons yet."""
    trunk = not tree.ids
    branch = 0 if trunk else tree.branches[-1] + 1
    first = len(tree.ids)
    for at in range(fork, len(text.ids)):
        here = first + at - fork
        tree.ids.append(text.ids[at])
        tree.positions.append(at)
        tree.branches.append(branch)
        tree.forks.append(seen)
        if not trunk and text.weights[at]:
            tree.lessons.append((fork - 1 if at == fork else here - 1, text.ids[at], text.weights[at]))


def _common(first: Sequence[int], second: Sequence[int]) -> int:
    for at, (one, other) in enumerate(zip(first, second, strict=False)):
        if one != other:
            return at
    return min(len(first), len(second))


class Batch(NamedTuple):
    """Trees side by side, as the model takes them, and their lessons as places in the flattened batch."""

    input_ids: "torch.Tensor"
    attention_mask: "torch.Tensor"
    position_ids: "torch.Tensor"
    places: "torch.Tensor"
    targets: "torch.Tensor"
    weights: "torch.Tensor"


def read(model: Any, batch: Batch) -> "torch.Tensor":
    """The last hidden states of a batch, in rows as `input_ids`: each token has seen its own text and no other."""
    states: torch.Tensor = model.model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
        use_cache=False,
    )[0]
    return states


def collate(trees: Sequence[Tree], pad: int) -> Batch:
    """Pad to the longest tree; who sees whom is worked out from branches and forks."""
    import torch

    width = max(map(len, trees))

    def rows(values: Sequence[Sequence[int]], filler: int) -> "torch.Tensor":
        return torch.tensor([[*row, *[filler] * (width - len(row))] for row in values])

    branches, forks = rows([tree.branches for tree in trees], -1), rows([tree.forks for tree in trees], 0)
    order = torch.arange(width)
    before = order[:, None] >= order[None, :]
    same = branches[:, :, None] == branches[:, None, :]
    trunk = (branches[:, None, :] == 0) & (order[None, None, :] < forks[:, :, None])
    lessons = [(row * width + at, target, weight) for row, t in enumerate(trees) for at, target, weight in t.lessons]
    return Batch(
        input_ids=rows([tree.ids for tree in trees], pad),
        attention_mask=(before & (same | trunk))[:, None],
        position_ids=rows([tree.positions for tree in trees], 0),
        places=torch.tensor([at for at, _, _ in lessons]),
        targets=torch.tensor([target for _, target, _ in lessons]),
        weights=torch.tensor([weight for _, _, weight in lessons]),
    )
