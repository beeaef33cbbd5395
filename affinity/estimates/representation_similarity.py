"""Representation similarity: similarity of networks trained separately on each task."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.errors import InputError
from affinity.problems import Problem
from affinity.sharing import HardSharing
from affinity.training import Member, train_members

from .matrix import AffinityMatrix
from .over_runs import combine

Representations = Mapping[str, Float[Tensor, "row feature"]]  # by task: of its separate network


@dataclass(frozen=True)
class RepresentationSimilarity:
    r"""Linear centred kernel alignment of the representations of separately trained networks.

    .. math::
        A_{ij} = \frac{\|H_i^T H_j\|_F^2}{\|H_i^T H_i\|_F \, \|H_j^T H_j\|_F}

    with H the centred representations ``[row feature]`` of the same rows by the networks of the two
    tasks. 1: they are the same up to rotation and scale; 0: they share no linear direction.
    Symmetric; it does not distinguish help from harm, and with as many features as rows it tends
    to 1 for any two tasks.

    References:
        Kornblith et al. (2019), `Similarity of Neural Network Representations Revisited
        <https://arxiv.org/abs/1905.00414>`_, section 3; Dwivedi and Roig (2019), `Representation
        Similarity Analysis for Efficient Task Taxonomy & Transfer Learning
        <https://arxiv.org/abs/1904.11740>`_, compare tasks by representations this way.

    Example:
        >>> rows = torch.tensor([[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
        >>> matrix = RepresentationSimilarity()({"depth": rows, "edges": 3 * rows.flip(1)})
        >>> round(matrix.between("depth", "edges"), 6)
        1.0
    """

    def __call__(
        self, representations: Representations | Sequence[Representations]
    ) -> AffinityMatrix:
        """Compare representations; those of several replicates are averaged, with an error."""
        if isinstance(representations, Mapping):
            return self._of_replicate(representations)
        return combine([self._of_replicate(replicate) for replicate in representations])

    def _of_replicate(self, representations: Representations) -> AffinityMatrix:
        sizes = {name: len(rows) for name, rows in representations.items()}
        if len(set(sizes.values())) != 1:
            raise InputError(
                f"Expected representations of the same rows for each of at least one task, but got "
                f"these numbers of rows: {sizes}.",
                "different-rows",
            )
        centred = [(h.double() - h.double().mean(dim=0)) for h in representations.values()]
        products = torch.stack(
            [torch.stack([(one.T @ other).square().sum() for other in centred]) for one in centred]
        )
        norms = products.diagonal().sqrt()
        values = products / (norms[:, None] * norms[None, :])  # NaN where a network is constant
        return AffinityMatrix(tuple(representations), values, estimator=repr(self))


def separate_representations(
    problem: Problem, replicates: int = 1, seed: int = 0
) -> list[dict[str, Tensor]]:
    """Representations of the selection rows by separate networks, for each replicate.

    It trains every task alone: one training per task and replicate.

    Example:
        >>> from affinity.problems import planted
        >>> from affinity.training import TrainingSettings
        >>> problem = planted(n_rows=60).with_settings(TrainingSettings(epochs=1))
        >>> (of_one,) = separate_representations(problem)
        >>> sorted(of_one)[:2], of_one["a1"].shape  # a fifth of the rows, eight features
        (['a1', 'a2'], torch.Size([12, 8]))
    """
    drawn = problem.replicates(replicates, seed)
    members = [
        Member(frozenset({name}), number) for number in range(replicates) for name in problem.names
    ]
    trained = train_members(
        problem.network, problem.tasks, members, drawn, problem.settings, keep=True
    )
    found: list[dict[str, Tensor]] = [{} for _ in drawn]
    for member, result in zip(members, trained, strict=True):
        (name,) = member.tasks
        network = problem.network([task for task in problem.tasks if task.name == name])
        assert isinstance(network, HardSharing)
        assert result.state is not None
        network.load_state_dict(result.state)
        rows = drawn[member.replicate].evaluation
        judged = drawn[member.replicate].validation if rows is None or not len(rows) else rows
        network.eval()
        with torch.no_grad():
            found[member.replicate][name] = network.represent(judged.inputs).flatten(1)
    return found
