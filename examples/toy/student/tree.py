"""Prefix trees of texts, so that training reads a common beginning once.

Forty cuts of one trace are forty prompts that differ only in where they stop. Packed as a trunk with branches, under a
mask that lets a branch see its own tokens and the trunk before it, they cost about twice the longest instead of forty
times. A branch's logits equal those of its text alone (a test checks it).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import TYPE_CHECKING, Any, NamedTuple


if TYPE_CHECKING:
    import torch


class Text(NamedTuple):
    """Token ids with their loss weights (0: context only)."""

    ids: Sequence[int]
    weights: Sequence[float]


@dataclass(slots=True)
class Tree:
    """The longest text as trunk, the rest of each other text as a branch.

    Token i has position `positions[i]` in its text; on branch `branches[i]` (0 is the trunk) it sees the trunk up to
    `forks[i]`. `ends` are the indices of the last token of each text. A lesson is (predicting index, target token,
    weight).
    """

    ids: list[int]
    positions: list[int]
    branches: list[int]
    forks: list[int]
    ends: list[int] = field(default_factory=list)
    lessons: list[tuple[int, int, float]] = field(default_factory=list)

    def __len__(self) -> int:
        return len(self.ids)


def grow(texts: Sequence[Text]) -> Tree:
    """Pack texts into one tree; a shared lesson of the trunk counts once, with the largest weight."""
    trunk = max((text.ids for text in texts), key=len)
    tree = Tree(list(trunk), list(range(len(trunk))), [0] * len(trunk), [len(trunk)] * len(trunk))
    shared: dict[int, float] = {}
    for ids, weights in texts:
        fork = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(trunk, ids, strict=False)))
        for at in range(1, fork):
            shared[at] = max(shared.get(at, 0.0), weights[at])
        # The first token of a branch is predicted from the trunk, the others from the token before them.
        places = [fork - 1, *range(len(tree), len(tree) + len(ids) - fork)]
        tree.ends.append(places[-1])
        lessons = zip(places, ids[fork:], weights[fork:], strict=False)
        tree.lessons += [lesson for lesson in lessons if lesson[2]]
        rest = len(ids) - fork
        tree.forks += [fork] * rest
        tree.branches += [tree.branches[-1] + 1] * rest
        tree.positions += range(fork, len(ids))
        tree.ids += ids[fork:]
    tree.lessons += [(at - 1, trunk[at], weight) for at, weight in sorted(shared.items()) if weight]
    return tree


class Batch(NamedTuple):
    """One tree as model inputs in a batch of one, and its lessons as indices into it."""

    input_ids: "torch.Tensor"
    attention_mask: "torch.Tensor"
    position_ids: "torch.Tensor"
    places: "torch.Tensor"
    targets: "torch.Tensor"
    weights: "torch.Tensor"


def collate(tree: Tree) -> Batch:
    """Build the tensors of a tree; the attention mask follows from branches and forks."""
    import torch

    branches, forks, order = torch.tensor(tree.branches), torch.tensor(tree.forks), torch.arange(len(tree))
    before = order[:, None] >= order[None, :]
    same = branches[:, None] == branches[None, :]
    trunk = (branches[None, :] == 0) & (order[None, :] < forks[:, None])
    return Batch(
        torch.tensor([tree.ids]),
        (before & (same | trunk))[None, None],
        torch.tensor([tree.positions]),
        *(torch.tensor([lesson[part] for lesson in tree.lessons]) for part in range(3)),
    )


def read(model: Any, batch: Batch) -> "torch.Tensor":
    """Return the last hidden state of every token of a tree; each token sees only its own text."""
    ids, mask, positions, *_ = batch
    states: torch.Tensor = model.model(input_ids=ids, attention_mask=mask, position_ids=positions, use_cache=False)[0]
    return states[0]
