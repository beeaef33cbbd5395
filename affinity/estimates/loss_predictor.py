"""Loss predictor: gains of groups, from the losses that a method predicts for their tasks."""

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Mapping
from itertools import combinations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from .group_scores import CandidateGroup, GroupScores
from .matrix import AffinityMatrix


class LossPredictor(ABC):
    """Predicts the loss of each task of any group; gains follow from the losses alone."""

    @property
    @abstractmethod
    def tasks(self) -> tuple[str, ...]:
        """The tasks' names."""

    @property
    @abstractmethod
    def method(self) -> str:
        """The name of the method, for the matrix."""

    @abstractmethod
    def losses(self, group: Collection[str]) -> Mapping[str, float]:
        """Predicted loss of (at least) each task of the group, trained together."""

    def predict(self, groups: Iterable[Collection[str]]) -> GroupScores:
        r"""Predicted gain of each task in each group, and alone: the reduction of its loss.

        .. math:: G_j(S) = (L_j(\{j\}) - L_j(S)) / |L_j(\{j\})|
        """
        alone = {name: self.losses([name])[name] for name in self.tasks}
        distinct = dict.fromkeys(map(frozenset, (*([name] for name in self.tasks), *groups)))
        candidates: list[CandidateGroup] = []
        for group in distinct:
            losses = self.losses(group)
            gains = {
                name: (alone[name] - losses[name]) / abs(alone[name])
                for name in self.tasks
                if name in group
            }
            candidates.append(CandidateGroup(gains))
        return GroupScores(self.tasks, tuple(candidates))

    def mean(self, groups: Bool[Tensor, "group task"]) -> Float[Tensor, "group task"]:
        """The same gains as a table; NaN for tasks that are not in the group."""
        named = [
            frozenset(name for name, inside in zip(self.tasks, group, strict=True) if inside)
            for group in groups.tolist()
        ]
        scores = {group.trained: group.scores for group in self.predict(named).candidates}
        rows = [[scores[group].get(name, math.nan) for name in self.tasks] for group in named]
        return torch.tensor(rows, dtype=torch.double)

    def matrix(self) -> AffinityMatrix:
        """Predicted gain of the target in a pair with the source."""
        values = torch.zeros(len(self.tasks), len(self.tasks)).double()
        for candidate in self.predict(combinations(self.tasks, 2)).candidates:
            for target, gain in candidate.scores.items():
                for source in candidate.trained - {target}:
                    values[self.tasks.index(source), self.tasks.index(target)] = gain
        return AffinityMatrix(self.tasks, values, estimator=self.method)
