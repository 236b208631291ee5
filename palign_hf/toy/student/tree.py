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
    """One tree as the model takes it, in a batch of one, and its lessons as places in it."""

    input_ids: "torch.Tensor"
    attention_mask: "torch.Tensor"
    position_ids: "torch.Tensor"
    places: "torch.Tensor"
    targets: "torch.Tensor"
    weights: "torch.Tensor"


def read(model: Any, batch: Batch) -> "torch.Tensor":
    """The last hidden state of every token of a tree: each has seen its own text and no other."""
    states: torch.Tensor = model.model(
        input_ids=batch.input_ids,
        attention_mask=batch.attention_mask,
        position_ids=batch.position_ids,
        use_cache=False,
    )[0]
    return states[0]


def collate(tree: Tree) -> Batch:
    """Tensors of a tree; who sees whom is worked out from branches and forks."""
    import torch

    branches, forks, order = torch.tensor(tree.branches), torch.tensor(tree.forks), torch.arange(len(tree))
    before = order[:, None] >= order[None, :]
    same = branches[:, None] == branches[None, :]
    trunk = (branches[None, :] == 0) & (order[None, :] < forks[:, None])
    return Batch(
        input_ids=torch.tensor([tree.ids]),
        attention_mask=(before & (same | trunk))[None, None],
        position_ids=torch.tensor([tree.positions]),
        places=torch.tensor([at for at, _, _ in tree.lessons]),
        targets=torch.tensor([target for _, target, _ in tree.lessons]),
        weights=torch.tensor([weight for _, _, weight in tree.lessons]),
    )
