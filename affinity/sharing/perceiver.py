"""Perceiver IO: latent vectors attend to the inputs; each task reads them out with its query."""

from collections.abc import Collection, Iterable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from affinity.errors import InputError, check_choice, check_number
from affinity.tasks import Task

from .sharing import Head, Sharing

QUERIES = ("task", "shared")


class Perceiver(Sharing):
    r"""A latent array attends to the inputs; queries of tasks attend to the latents.

    .. math::
        Z_0 = \mathrm{attend}(Z, X), \qquad Z_l = \mathrm{attend}(Z_{l-1}, Z_{l-1}), \qquad
        h_k = \mathrm{attend}(q_k, Z_L)

    where :math:`\mathrm{attend}(A, B) = A + \mathrm{softmax}(Q_A K_B^T / \sqrt{d}) V_B`, followed
    by a small perceptron, as in a transformer. Inputs become tokens X: a column of a table is one
    token, its value times a learned vector plus another; an input with more axes ``[row channel
    ...]`` has one token per position. There is no trunk: everything but queries and heads is
    shared.

    Args:
        head: Makes the head of a task, on a representation of `width` numbers.
        sample: A few rows of inputs, from which the number of tokens is read.
        width: d, the size of tokens, latents and queries.
        n_latents: Number of latent vectors.
        depth: Layers of attention between the latents.
        queries: ``"task"``: one query per task; ``"shared"``: one for all tasks, which then differ
            by their heads only; or groups of tasks, each of which has one query.

    Raises:
        InputError: If `width` or `n_latents` is below 1, `depth` below 0, or the queries do not fit
            the tasks.

    References:
        Jaegle et al. (2021), `Perceiver IO: A General Architecture for Structured Inputs & Outputs
        <https://arxiv.org/abs/2107.14795>`_, section 3.

    Example:
        >>> from affinity.tasks import RSquared, SquaredError, Task
        >>> tasks = [Task(name, SquaredError(), RSquared()) for name in ("depth", "edges")]
        >>> network = Perceiver(tasks, lambda task: nn.Linear(8, 1), torch.zeros(2, 5), width=8)
        >>> network(torch.randn(4, 5))["depth"].shape
        torch.Size([4, 1])
        >>> network.column_weights(torch.randn(4, 5)).shape  # task token
        torch.Size([2, 5])
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        head: Head,
        sample: Tensor,
        width: int,
        n_latents: int = 8,
        depth: int = 1,
        queries: str | Sequence[Collection[str]] = "task",
    ) -> None:
        super().__init__(tasks, head)
        check_number("width", width, least=1)
        check_number("n_latents", n_latents, least=1)
        check_number("depth", depth, least=0)
        self._query_of = _query_numbers(queries, self.names)
        is_table = sample.dim() == 2
        n_tokens = sample.shape[1] if is_table else sample[0, 0].numel()
        self.embedding = (
            nn.Parameter(torch.randn(n_tokens, width))
            if is_table
            else nn.Linear(sample.shape[1], width)
        )
        self.position = nn.Parameter(torch.randn(n_tokens, width))
        self.latents = nn.Parameter(torch.randn(n_latents, width))
        self.queries = nn.Parameter(torch.randn(1 + max(self._query_of), width))
        self.read = _Attention(width)
        self.layers = nn.ModuleList(_Attention(width) for _ in range(depth))
        self.write = _Attention(width)

    def represent(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """What the query of each task reads."""
        latents = self._latents(inputs)
        queries = self.queries.repeat(len(inputs), 1, 1)
        outputs = self.write(queries, latents)  # row query width
        return tuple(outputs[:, number] for number in self._query_of)

    @torch.no_grad()
    def column_weights(self, inputs: Tensor) -> Float[Tensor, "task token"]:
        """How much each task's query attends to each column or position, by way of the latents.

        The product of the first and the last attention, averaged over rows; each row sums to 1.
        """
        tokens = self._tokens(inputs)
        read = self.read.weights(self.latents.repeat(len(inputs), 1, 1), tokens)
        queries = self.queries.repeat(len(inputs), 1, 1)
        written = self.write.weights(queries, self._latents(inputs))
        return (written @ read).mean(dim=0)[self._query_of]

    def _latents(self, inputs: Tensor) -> Float[Tensor, "row latent width"]:
        latents = self.read(self.latents.repeat(len(inputs), 1, 1), self._tokens(inputs))
        for layer in self.layers:
            latents = layer(latents, latents)
        return latents

    def _tokens(self, inputs: Tensor) -> Float[Tensor, "row token width"]:
        if isinstance(self.embedding, nn.Linear):
            return self.embedding(inputs.flatten(2).mT) + self.position
        return inputs.unsqueeze(2) * self.embedding + self.position


class _Attention(nn.Module):
    """Attention of some vectors to others, and a perceptron, each with a residual connection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query = nn.Linear(width, width, bias=False)
        self.key = nn.Linear(width, width, bias=False)
        self.value = nn.Linear(width, width)
        self.norm_to = nn.LayerNorm(width)
        self.norm_from = nn.LayerNorm(width)
        self.norm = nn.LayerNorm(width)
        self.perceptron = nn.Sequential(nn.Linear(width, 2 * width), nn.GELU())
        self.out = nn.Linear(2 * width, width)

    def forward(
        self, to: Float[Tensor, "row a width"], source: Float[Tensor, "row b width"]
    ) -> Float[Tensor, "row a width"]:
        query, source = self.query(self.norm_to(to)), self.norm_from(source)
        to = to + functional.scaled_dot_product_attention(
            query, self.key(source), self.value(source)
        )
        return to + self.out(self.perceptron(self.norm(to)))

    def weights(
        self, to: Float[Tensor, "row a width"], source: Float[Tensor, "row b width"]
    ) -> Float[Tensor, "row a b"]:
        """The weights of the attention; each row sums to 1."""
        query, key = self.query(self.norm_to(to)), self.key(self.norm_from(source))
        return (query @ key.mT / query.shape[-1] ** 0.5).softmax(dim=-1)


def _query_numbers(queries: str | Sequence[Collection[str]], names: Sequence[str]) -> list[int]:
    """The number of each task's query."""
    if isinstance(queries, str):
        check_choice("queries that are no groups of tasks", queries, QUERIES, "unknown-queries")
        return [0] * len(names) if queries == "shared" else list(range(len(names)))
    number_of = {task: number for number, group in enumerate(queries) for task in group}
    if sorted(number_of) != sorted(names) or sum(map(len, queries)) != len(names):
        raise InputError(
            f"Expected groups that hold each of the tasks {list(names)} once, but got "
            f"{[list(group) for group in queries]}.",
            "queries-do-not-fit",
        )
    return [number_of[name] for name in names]
