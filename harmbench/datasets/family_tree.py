"""Relations in a binary family tree."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import Field

from harmbench._torch import torch
from harmbench.datasets._tasks import Items, SampledTask
from harmbench.results.records import Structure

if TYPE_CHECKING:
    from torch import Tensor

PARENT, GRANDPARENT, SIBLING = range(3)


class FamilyTree(SampledTask):
    """Family tree: (person, relation) -> person, 376 items, 2 tokens, vocabulary 130.

    A task of arXiv 2502.01628. The 127 people of a complete binary tree of 7 `generations`, numbered level by level,
    are the tokens 0 to 126. The relations parent, grandparent and sibling follow. A leaf is the answer to one question
    only, that for its sibling: held out, it is learned as an input alone.

    The released tree ends at one person less, whose sibling is then the token of the parent relation. Here every person
    exists. `sampling=as_released` draws from the released 373 items, numbered from 1, that error included.

    >>> inputs, targets = FamilyTree().items()
    >>> len(targets), dict(zip(map(tuple, inputs.tolist()), targets.tolist()))[5, 127]  # the parent of 5
    (376, 2)
    """

    name: ClassVar[str] = "family_tree"

    generations: int = Field(default=7, ge=3, le=12)

    @property
    def people(self) -> int:
        """Nodes of the tree."""
        return (1 << self.generations) - 1

    @property
    def vocabulary(self) -> int:
        return self.people + 3

    def labels(self) -> tuple[str, ...]:
        return (*map(str, range(self.people)), "parent", "grandparent", "sibling")

    def shades(self) -> tuple[int, ...]:
        """Colors by generation. The relations come after the last."""
        shades = [(person + 1).bit_length() - 1 for person in range(self.people)]
        relation_shades = [self.generations] * 3
        return tuple(shades + relation_shades)

    def links(self) -> tuple[tuple[int, int], ...]:
        """Children and their parents."""
        return tuple((person, (person - 1) // 2) for person in range(1, self.people))

    def structure(self) -> Structure:
        if self.sampling == "as_released":  # counted from 1, and the last one is missing
            return Structure(shape="tree", size=self.generations, tokens=self.people - 1, first=1)
        return Structure(shape="tree", size=self.generations, tokens=self.people)

    def items(self) -> Items:
        # Counted from 1, the parent of i is i // 2 and its sibling differs in the last bit; tokens count from 0.
        nodes = torch.arange(1, self.people + 1)
        inputs, targets = relations(nodes, first_relation=self.people + 1)
        return Items(inputs - 1, targets - 1)

    def released_items(self) -> Items:
        return relations(torch.arange(1, self.people), first_relation=self.people)


def relations(nodes: Tensor, first_relation: int) -> Items:
    """Parents, grandparents and siblings of the nodes, counted from 1, that have them.

    >>> import torch
    >>> relations(torch.tensor([1, 2, 3, 4]), first_relation=9).targets.tolist()
    [1, 1, 2, 1, 3, 2, 5]
    """
    children = nodes[nodes > 1]
    grandchildren = nodes[nodes > 3]
    triples = [
        (children, PARENT, children // 2),
        (grandchildren, GRANDPARENT, grandchildren // 4),
        (children, SIBLING, children ^ 1),
    ]
    inputs = []
    targets = []
    for people, relation, relatives in triples:
        relation_tokens = torch.full_like(people, first_relation + relation)
        inputs.append(torch.stack([people, relation_tokens], 1))
        targets.append(relatives)
    return Items(torch.cat(inputs), torch.cat(targets))
