"""Relationship networks: heads with a prior that learns how tasks, classes and features covary."""

from collections.abc import Iterable, Sequence
from math import inf

import torch
from jaxtyping import Float
from torch import Tensor, nn

from affinity.errors import InputError, check_number
from affinity.tasks import Task

from .hard import HardSharing
from .sharing import Head, Trunk

_ROUNDS = 20  # of the flip-flop algorithm for given weights


class RelationshipNetwork(HardSharing):
    r"""Hard sharing whose heads have a tensor-normal prior with learned covariances.

    The heads' weights W, of T tasks with C outputs and D features each, have the prior

    .. math::
        \operatorname{vec}(W) \sim \mathcal{N}\!\left(0, \;
        \lambda^{-1} \, \Sigma_D \otimes \Sigma_C \otimes \Sigma_T\right),

    so that tasks with a positive covariance are pulled towards each other, and tasks with a
    negative one apart. After every step of the optimizer, of size :math:`\eta`, the weights take
    the prior's proximal step

    .. math::
        W \leftarrow \left(I + \eta \lambda \,
        (\Sigma_D \otimes \Sigma_C \otimes \Sigma_T)^{-1}\right)^{-1} W

    and every `every` steps the covariances follow the weights (`flip_flop`). A head of several
    linear layers has such a prior on each. Layers of different shapes are not related: each shape
    has a prior of its own. Biases have none.

    Compared with the paper: the prior is a proximal step, decoupled from the loss as weight decay
    is in AdamW, not a term of the loss; and :math:`\lambda` is given, since the covariances' scale
    cannot be learned together with the weights (both would shrink to 0). The released code learns
    the covariance of tasks alone, here all three are learned.

    Args:
        trunk: Makes the shared module.
        head: Makes the head of a task, with at least one `nn.Linear`.
        strength: :math:`\lambda`, at least 0; 0 is hard sharing.
        every: Steps between updates of the covariances.

    Raises:
        InputError: If the strength is negative, `every` below 1, or a head has no `nn.Linear`.

    References:
        Long et al. (2017), `Learning Multiple Tasks with Multilinear Relationship Networks
        <https://arxiv.org/abs/1506.02117>`_, equations 3 to 7.

    Example:
        >>> from affinity.tasks import RSquared, SquaredError, Task
        >>> tasks = [Task(name, SquaredError(), RSquared()) for name in ("depth", "edges")]
        >>> network = RelationshipNetwork(
        ...     tasks, lambda: nn.Linear(3, 4), lambda task: nn.Linear(4, 1), every=1
        ... )
        >>> with torch.no_grad():
        ...     network.heads[1].weight.copy_(-network.heads[0].weight)
        ...     network.after_step(learning_rate=0.01)
        Parameter ...
        >>> bool(network.task_correlations()[0, 1] < -0.5)
        True
    """

    steps: Tensor

    def __init__(
        self,
        tasks: Iterable[Task],
        trunk: Trunk,
        head: Head,
        strength: float = 0.1,
        every: int = 10,
    ) -> None:
        super().__init__(tasks, trunk, head)
        check_number("strength", strength, "invalid-strength", least=0, below=inf)
        check_number("every", every, least=1)
        self.strength = float(strength)
        self.every = every
        self.register_buffer("steps", torch.zeros((), dtype=torch.long))
        groups: dict[tuple[int, torch.Size], list[int]] = {}
        for place in range(len(self.heads)):
            layers = self._layers(place)
            if not layers:
                raise InputError(
                    f"Expected heads with an nn.Linear for a relationship network, but that of "
                    f"{self.names[place]!r} is {type(self.heads[place]).__name__}.",
                    "head-does-not-fit",
                )
            for depth, layer in enumerate(layers):
                groups.setdefault((depth, layer.weight.shape), []).append(place)
        last_first = sorted(groups.items(), key=lambda group: group[0][0])
        self._groups = [(depth, places) for (depth, _), places in last_first]
        for number, (depth, places) in enumerate(self._groups):
            for axis, size in zip("TCD", self._weights(depth, places).shape, strict=True):
                self.register_buffer(f"covariance_{number}_{axis}", torch.eye(size))

    @torch.no_grad()
    def after_step(self, learning_rate: float) -> None:
        """Take the prior's step, and update the covariances when it is time."""
        self.steps += 1
        learns = int(self.steps) % self.every == 0
        for number, (depth, places) in enumerate(self._groups):
            weights = self._weights(depth, places)
            covariances = self._covariances(number)
            if learns:
                covariances = flip_flop(weights, covariances, rounds=1)
                for axis, covariance in zip("TCD", covariances, strict=True):
                    getattr(self, f"covariance_{number}_{axis}").copy_(covariance)
            pulled = _proximal(weights, covariances, learning_rate * self.strength)
            for place, weight in zip(places, pulled, strict=True):
                self._layers(place)[depth].weight.copy_(weight)

    def task_correlations(self) -> Float[Tensor, "task task"]:
        """The normalized task covariance of the last layers; NaN between those of other shapes."""
        result = torch.full((len(self.names),) * 2, torch.nan)
        for number, (depth, places) in enumerate(self._groups):
            if depth > 0:
                continue
            covariance = self._covariances(number)[0].cpu()
            deviation = covariance.diagonal().sqrt()
            rows = torch.tensor(places)
            result[rows[:, None], rows] = covariance / deviation / deviation[:, None]
        return result

    def _weights(self, depth: int, places: Sequence[int]) -> Float[Tensor, "task output feature"]:
        return torch.stack([self._layers(place)[depth].weight.detach() for place in places])

    def _layers(self, place: int) -> list[nn.Linear]:
        """The linear layers of a head, the last one first."""
        return [part for part in self.heads[place].modules() if isinstance(part, nn.Linear)][::-1]

    def _covariances(self, number: int) -> tuple[Tensor, ...]:
        return tuple(getattr(self, f"covariance_{number}_{axis}") for axis in "TCD")


def flip_flop(
    weights: Float[Tensor, "task output feature"],
    covariances: Sequence[Tensor] | None = None,
    rounds: int = _ROUNDS,
) -> tuple[Tensor, ...]:
    r"""The covariances over tasks, outputs and features of weights, each from the other two.

    With the weights unfolded along axis k, of size :math:`n_k`, and n numbers in all,

    .. math::
        S_k = \frac{n_k}{n} \, W_{(k)} \Big(\bigotimes_{l \ne k} \Sigma_l\Big)^{-1} W_{(k)}^T,
        \qquad
        \Sigma_k = \frac{\frac{n}{n_k} S_k + n_k I}{\frac{n}{n_k} + n_k},

    in turn: the mode of a tensor-normal likelihood with an inverse-Wishart prior of :math:`n_k`
    observations at the identity. Each covariance is scaled to a mean variance of 1.

    Args:
        weights: At least one of them is not 0.
        covariances: Where to start; identities if None.

    Example:
        >>> related = torch.tensor([[[1.0, 2.0, -1.0]], [[1.0, 2.0, -1.0]]])
        >>> task_covariance = flip_flop(related)[0]
        >>> bool(task_covariance[0, 1] > 0.4)
        True
    """
    scaled = weights / weights.square().mean().sqrt().clamp(min=torch.finfo(weights.dtype).tiny)
    result = list(covariances or [torch.eye(size).to(weights) for size in weights.shape])
    for _ in range(rounds):
        for axis, size in enumerate(weights.shape):
            whitened = scaled
            for other, covariance in enumerate(result):
                if other != axis:
                    whitened = _along(torch.linalg.inv(covariance), whitened, other)
            count = weights.numel() / size
            product = scaled.movedim(axis, 0).flatten(1) @ whitened.movedim(axis, 0).flatten(1).T
            mixed = (product + size * torch.eye(size).to(weights)) / (count + size)
            mixed = (mixed + mixed.T) / 2
            result[axis] = mixed / mixed.diagonal().mean()
    return tuple(result)


def _proximal(weights: Tensor, covariances: Sequence[Tensor], step: float) -> Tensor:
    """The weights after the prior's proximal step, in the covariances' eigenvectors."""
    rotated, variances = weights, torch.ones((), device=weights.device)
    modes: list[Tensor] = []
    for axis, covariance in enumerate(covariances):
        variance, vectors = torch.linalg.eigh(covariance)
        modes.append(vectors)
        rotated = _along(vectors.T, rotated, axis)
        variances = variances.unsqueeze(-1) * variance
    rotated = rotated * variances / (variances + step)
    for axis, vectors in enumerate(modes):
        rotated = _along(vectors, rotated, axis)
    return rotated


def _along(matrix: Tensor, tensor: Tensor, axis: int) -> Tensor:
    """The matrix times the tensor along one axis."""
    return (matrix @ tensor.movedim(axis, -2)).movedim(-2, axis)
