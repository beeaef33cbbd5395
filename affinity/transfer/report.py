"""Everything that one measurement of transfer found, to be saved, and its summary in numbers."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from jaxtyping import Float
from torch import Tensor

from .choose_recipe import ChosenRecipe, PairRecipe, RecipeGain
from .feature_distortion import FINE_TUNING, FeatureDistortion, PairDistortion, RecipeDistortion
from .joint_or_sequential import JointOrSequential, JointOrSequentialGain
from .low_data import CurvePoint, LowDataCurve
from .transfer import PairGain, Transfer
from .transferability import RankCorrelation, rank_correlation


@dataclass(frozen=True)
class ChoiceSummary:
    """The gain of choosing a recipe for each pair over one recipe for all."""

    over: str
    summary: str
    overall: tuple[RecipeGain, ...]


@dataclass(frozen=True)
class DistortionSummary:
    """The distortion by every recipe: averaged over pairs, and by pair."""

    summary: str
    overall: tuple[RecipeDistortion, ...]
    pairs: tuple[PairDistortion, ...]


@dataclass(frozen=True)
class TransferSummary:
    """The numbers and sentences of a `TransferReport`: what ``transfer.json`` contains.

    `estimates` are transferability scores ``[source, target]`` by name, `scores` their rank
    correlations with the gains; `curve_lines` has one sentence per curve, `lines` the conclusions,
    the most important one first, and `warnings` what is wrong with the data.
    """

    problem: str
    recipe: str
    n_replicates: int
    sources: tuple[str, ...]
    targets: tuple[str, ...]
    pairs: tuple[PairGain, ...]
    best_source: Mapping[str, str | None]
    scores: tuple[RankCorrelation, ...] = ()
    estimates: Mapping[str, tuple[tuple[float, ...], ...]] = field(
        default_factory=dict[str, tuple[tuple[float, ...], ...]]
    )
    curves: tuple[CurvePoint, ...] = ()
    curve_lines: tuple[str, ...] = ()
    joint: tuple[JointOrSequentialGain, ...] = ()
    recipes: tuple[PairRecipe, ...] = ()
    choice: ChoiceSummary | None = None
    distortion: DistortionSummary | None = None
    context: Mapping[str, object] = field(default_factory=dict[str, object])
    lines: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class TransferReport:
    """Measured transfer, with all other measurements on the same sources.

    Args:
        transfer: The gain of each source on each target.
        scores: Transferability scores by name.
        curves: Low-data curves of each target's best source.
        joint: Joint training compared with transfer.
        choice: The recipe chosen for each pair.
        distortion: The change of representations by each recipe.
        warnings: What is wrong with the data, such as a column that gives a target away.
    """

    transfer: Transfer
    scores: Mapping[str, Float[Tensor, "source target"]] = field(default_factory=dict[str, Tensor])
    curves: tuple[LowDataCurve, ...] = ()
    joint: JointOrSequential | None = None
    choice: ChosenRecipe | None = None
    distortion: FeatureDistortion | None = None
    warnings: tuple[str, ...] = ()

    def summary(self) -> TransferSummary:
        """The numbers and sentences."""
        transfer, choice, distortion = self.transfer, self.choice, self.distortion
        over = FINE_TUNING
        if choice is not None and over not in choice.measured:
            over = next(iter(choice.measured))
        return TransferSummary(
            problem=transfer.problem,
            recipe=transfer.recipe,
            n_replicates=transfer.n_replicates,
            sources=transfer.sources,
            targets=transfer.targets,
            pairs=transfer.pair_gains(),
            best_source=transfer.best_sources(),
            scores=tuple(
                rank_correlation(transfer, values, name) for name, values in self.scores.items()
            ),
            estimates={
                name: tuple(tuple(row) for row in values.tolist())
                for name, values in self.scores.items()
            },
            curves=tuple(point for curve in self.curves for point in curve.points()),
            curve_lines=tuple(self._describe(curve) for curve in self.curves),
            joint=self.joint.gains() if self.joint is not None else (),
            recipes=choice.pair_recipes(over) if choice is not None else (),
            choice=None
            if choice is None
            else ChoiceSummary(over, choice.summary(over), choice.recipe_gains(over)),
            distortion=None
            if distortion is None
            else DistortionSummary(
                distortion.summary, distortion.by_recipe(), distortion.by_pair()
            ),
            context=transfer.context,
            warnings=self.warnings,
        )

    def _describe(self, curve: LowDataCurve) -> str:
        if self.choice is None:
            return curve.summary
        recipe = self.choice.recipes[curve.source, curve.target]
        return f"{curve.summary} Recipe: {recipe}, chosen with all rows."
