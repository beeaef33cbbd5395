"""Ranking model: embeddings, a shared hidden layer, a way to share on it, a position tower."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal, cast, get_args

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from affinity.errors import InputError, check_choice, check_number, check_same, warn
from affinity.sharing import SHARINGS, Perceptron

from .impressions import BUCKETS, Impressions
from .objective import RankingObjective, chain_of, check_objectives

PositionUse = Literal["tower", "feature", "none"]


@dataclass(frozen=True)
class RankingSettings:
    """Sizes of a ranking model, and how it is trained.

    Args:
        sharing: A way to share on the hidden layer, a name in `SHARINGS`.
        sharing_settings: Its settings, such as ``n_experts`` and ``gate_dropout``.
        position: How training uses the position: in a shallow tower, as an ordinary feature, or
            not at all. It is missing when serving.
        position_dropout: Probability that the position and device of a row are missing in training.
        n_positions: Positions beyond it count as it.
        embedding: Width of the embedding of each identifier.
        hidden: Width of the shared hidden layer.
        width: Width of experts, or of the trunks of other ways to share.
        depth: Number of their layers; some ways to share need two.
        tower: Width of each objective's tower.
        buckets: Number of hash values per identifier, as in `read_impressions`.
        learning_rate: Of Adagrad.
        batch_size: Impressions per step.

    Raises:
        InputError: If a name is unknown or a number out of range.

    References:
        Zhao et al. (2019), `Recommending What Video to Watch Next
        <https://doi.org/10.1145/3298689.3346997>`_.
    """

    sharing: str = "mmoe"
    sharing_settings: Mapping[str, float | int | str] = field(
        default_factory=dict[str, float | int | str]
    )
    position: PositionUse = "tower"
    position_dropout: float = 0.1
    n_positions: int = 20
    embedding: int = 8
    hidden: int = 64
    width: int = 32
    depth: int = 1
    tower: int = 16
    buckets: int = BUCKETS
    learning_rate: float = 0.05
    batch_size: int = 64
    seed: int = 0

    def __post_init__(self) -> None:
        check_choice("sharing", self.sharing, SHARINGS, "unknown-sharing")
        SHARINGS[self.sharing].with_settings(self.sharing_settings)
        check_choice("position", self.position, get_args(PositionUse), "unknown-position-use")
        check_number("position_dropout", self.position_dropout, "invalid-dropout", least=0, below=1)
        sizes = (
            *(self.n_positions, self.embedding, self.hidden, self.width, self.depth, self.tower),
            *(self.buckets - 1, self.batch_size),
        )
        if min(sizes) < 1 or not self.learning_rate > 0:
            raise InputError(
                "Expected sizes of at least 1 (two buckets) and a learning rate above 0, but got "
                f"{self}.",
                "out-of-range",
            )


class RankingModel(nn.Module):
    """Predicts every objective of an impression.

    Embeddings of the hashed identifiers and standardized numbers go through one hidden layer that
    all objectives share; on it stands a way to share (a mixture of experts with one gate per
    objective, by default) with a tower per objective. A shallow tower adds a scalar that depends
    on position and device alone to the outputs of objectives with position bias.

    Example:
        >>> objectives = [RankingObjective("click")]
        >>> model = RankingModel(objectives, ["user", "video"], [], RankingSettings())
        >>> model.hidden_layer[0].in_features  # 2 identifiers x 8
        16
    """

    mean: Tensor
    variance: Tensor
    rows_seen: Tensor
    seen_positions: Tensor

    def __init__(
        self,
        objectives: Sequence[RankingObjective],
        identifier_names: Sequence[str],
        number_names: Sequence[str],
        settings: RankingSettings,
    ) -> None:
        super().__init__()
        self.objectives = check_objectives(objectives)
        self.settings = settings
        self._chains = [chain_of(self.objectives, objective) for objective in self.objectives]
        self.embeddings = nn.ModuleList(
            nn.Embedding(settings.buckets, settings.embedding) for _ in identifier_names
        )
        n_inputs = len(identifier_names) * settings.embedding + 2 * len(number_names)
        if not n_inputs:
            raise InputError("Expected at least one feature, but got none.", "no-features")
        if settings.position == "feature":
            self.position_embedding = nn.Embedding(settings.n_positions + 1, settings.embedding)
            n_inputs += settings.embedding
        for embedding in self.embeddings:
            nn.init.normal_(cast("nn.Embedding", embedding).weight, std=0.05)
        self.hidden_layer = nn.Sequential(nn.Linear(n_inputs, settings.hidden), nn.ReLU())
        method = SHARINGS[settings.sharing].with_settings(settings.sharing_settings)
        self.sharing = method(
            tuple(objective.task for objective in self.objectives),
            lambda: Perceptron(settings.hidden, settings.width, settings.depth),
            lambda _: nn.Sequential(
                nn.Linear(settings.width, settings.tower), nn.ReLU(), nn.Linear(settings.tower, 1)
            ),
            torch.zeros(1, settings.hidden),
        )
        self.biased = [place for place, o in enumerate(self.objectives) if o.is_biased]
        if settings.position == "tower" and self.biased:
            self.position_tower = PositionTower(settings.n_positions, len(self.biased))
        for name, size in (("mean", len(number_names)), ("variance", len(number_names))):
            self.register_buffer(name, torch.zeros(size))
        self.register_buffer("rows_seen", torch.zeros(len(number_names)))
        self.register_buffer("seen_positions", torch.zeros(settings.n_positions + 1).bool())

    def forward(
        self, impressions: Impressions, positions: Int[Tensor, " row"] | None = None
    ) -> dict[str, Float[Tensor, " row"]]:
        """The output of each objective.

        Args:
            positions: In place of the logged ones, which are used in training only; 0 is missing.
        """
        if positions is None:
            positions = (
                self._dropped(impressions.positions)
                if self.training
                else torch.zeros_like(impressions.positions)
            )
        positions = positions.clamp(max=self.settings.n_positions)
        outputs = self.sharing(self.represent(impressions, positions))
        outputs = {name: output.squeeze(-1) for name, output in outputs.items()}
        if self.settings.position == "tower" and self.biased:
            devices = impressions.devices * (positions > 0)
            scalars = self.position_tower(positions, devices)
            for number, place in enumerate(self.biased):
                name = self.objectives[place].name
                outputs[name] = outputs[name] + scalars[:, number]
        return outputs

    def represent(
        self, impressions: Impressions, positions: Int[Tensor, " row"] | None = None
    ) -> Float[Tensor, "row hidden"]:
        """The output of the shared hidden layer, which gates and experts see."""
        expected = self.settings.buckets
        check_same("buckets of impressions", impressions.buckets, expected, "buckets-differ")
        codes = impressions.identifiers
        parts = [embedding(codes[:, n]) for n, embedding in enumerate(self.embeddings)]
        if len(self.mean):
            numbers = impressions.numbers
            is_missing = numbers.isnan()
            scaled = (numbers - self.mean) / (self.variance + 1e-6).sqrt()
            parts += [scaled.where(~is_missing, 0).clamp(-5, 5), is_missing.to(scaled.dtype)]
        if self.settings.position == "feature":
            if positions is None:
                positions = torch.zeros_like(impressions.positions)
            parts.append(self.position_embedding(positions))
        return self.hidden_layer(torch.cat(parts, dim=1))

    def losses(self, impressions: Impressions) -> dict[str, Float[Tensor, ""]]:
        """The loss of each objective with a label in these rows, without its weight."""
        outputs = list(self(impressions).values())
        labels = impressions.labels
        return {
            objective.name: objective.loss([outputs[number] for number in chain], labels[:, place])
            for place, (objective, chain) in enumerate(
                zip(self.objectives, self._chains, strict=True)
            )
            if not bool(labels[:, place].isnan().all())
        }

    @torch.no_grad()
    def predict(
        self, impressions: Impressions, positions: Int[Tensor, " row"] | None = None
    ) -> dict[str, Float[Tensor, " row"]]:
        """The prediction of each objective as when serving: without gate dropout or positions.

        Args:
            positions: Predict as if shown at these positions; 0 is missing, and one that training
                never met counts as missing, with a warning.

        Raises:
            InputError: If there is not a position of at least 0 for each row.
        """
        if positions is not None:
            if positions.shape != impressions.positions.shape or bool((positions < 0).any()):
                raise InputError(
                    f"Expected a position of at least 0 for each of {len(impressions)} rows, but "
                    f"got {tuple(positions.shape)} positions, the smallest "
                    f"{int(positions.min()) if len(positions) else None}.",
                    "invalid-position",
                )
            positions = positions.clamp(max=self.settings.n_positions)
            unseen = (positions > 0) & ~self.seen_positions[positions]
            if bool(unseen.any()):
                warn(
                    f"Positions {sorted(set(positions[unseen].tolist()))} were never met in "
                    "training, and count as missing.",
                    "unseen-position",
                )
                positions = positions.where(~unseen, 0)
        was_training = self.training
        self.eval()
        outputs = list(self(impressions, positions).values())
        self.train(was_training)
        return {
            objective.name: objective.prediction([outputs[number] for number in chain])
            for objective, chain in zip(self.objectives, self._chains, strict=True)
        }

    @torch.no_grad()
    def fit_scales(self, impressions: Impressions) -> None:
        """Update the mean and variance of numbers, and the positions met, with a day to train on.

        Days before it were used before; later days never are.
        """
        positions = impressions.positions.clamp(max=self.settings.n_positions)
        self.seen_positions[positions] = True
        numbers = impressions.numbers
        known = ~numbers.isnan()
        count = known.sum(dim=0)
        mean = numbers.where(known, 0).sum(dim=0) / count.clamp(min=1)
        squares = (numbers - mean).where(known, 0).square().sum(dim=0)
        total = (self.rows_seen + count).clamp(min=1)
        step = mean - self.mean
        squares += self.variance * self.rows_seen + step.square() * self.rows_seen * count / total
        self.mean += step * count / total
        self.variance.copy_(squares / total)
        self.rows_seen += count

    def _dropped(self, positions: Int[Tensor, " row"]) -> Int[Tensor, " row"]:
        if self.settings.position == "none":
            return torch.zeros_like(positions)
        stays = torch.rand(len(positions), device=positions.device)
        return positions * (stays >= self.settings.position_dropout)


class PositionTower(nn.Module):
    """A scalar per objective that depends on position and device alone.

    Args:
        n_positions: The largest position; 0 stands for a missing one.
        width: Width of both embeddings and of the hidden layer.

    Example:
        >>> PositionTower(10, 2)(torch.tensor([1, 0]), torch.tensor([0, 0])).shape
        torch.Size([2, 2])
    """

    def __init__(self, n_positions: int, n_outputs: int, width: int = 8) -> None:
        super().__init__()
        self.position = nn.Embedding(n_positions + 1, width)
        self.device = nn.Embedding(64, width)
        self.layers = nn.Sequential(
            nn.Linear(2 * width, width), nn.ReLU(), nn.Linear(width, n_outputs)
        )

    def forward(
        self, positions: Int[Tensor, " row"], devices: Int[Tensor, " row"]
    ) -> Float[Tensor, "row output"]:
        """What is added to each objective's output."""
        return self.layers(torch.cat([self.position(positions), self.device(devices)], dim=1))
