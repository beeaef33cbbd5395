"""Feature distortion: the change of a representation by fine-tuning, in and out of distribution."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import pandas as pd
import torch
from jaxtyping import Float
from torch import Tensor, nn

from affinity.errors import check_choice, check_known
from affinity.estimates import RepresentationSimilarity
from affinity.problems import Problem
from affinity.statistics import Gains, interval
from affinity.tasks import Examples, loss_on_labelled
from affinity.training import TrainedNetwork, TrainingSettings
from affinity.training.judge import block_losses, predict
from affinity.words import count, gain_in_percent

from .covariate_shift import RowPosition, hold_out_shifted
from .recipes import TRANSFER_RECIPES, Recipe
from .sources import Sources, check_trunks
from .transfer import ARROW
from .tune import TuningJob, load_network, plan_for, tune

IN_DISTRIBUTION, SHIFTED = "in distribution", "shifted"
ROWS = (IN_DISTRIBUTION, SHIFTED)
FINE_TUNING = "full fine-tuning"
PROBE_FIRST = "linear probe then fine-tuning"


@dataclass(frozen=True)
class Distortion:
    r"""The change of the representation of some rows by fine-tuning.

    Args:
        drift: Mean distance between a row's representations before and after, relative to their
            mean norm before:
            :math:`\sum_x \lVert f'(x) - f(x) \rVert / \sum_x \lVert f(x) \rVert`. 0: no change.
        similarity: Linear centred kernel alignment (CKA) of the two; 1 if they are equal up to
            rotation and scale, which a new head can compensate.
    """

    drift: float
    similarity: float


def distortion(
    before: nn.Module, after: nn.Module, inputs: Float[Tensor, "row *feature"]
) -> Distortion:
    """Measure how far `after` is from `before` on these rows, in evaluation mode.

    If the representation changes more in distribution than on shifted rows, a head that fits the
    former no longer fits the latter: how fine-tuning loses out of distribution (Kumar et al. 2022).

    Args:
        before: The source's trunk.
        after: The trunk after fine-tuning.

    References:
        Kumar et al. (2022), `Fine-Tuning can Distort Pretrained Features and Underperform
        Out-of-Distribution <https://arxiv.org/abs/2202.10054>`_, section 3; Kornblith et al.
        (2019) for the similarity, see `affinity.estimates.RepresentationSimilarity`.

    Example:
        >>> trunk, twice = nn.Linear(2, 2, bias=False), nn.Linear(2, 2, bias=False)
        >>> with torch.no_grad():
        ...     _ = twice.weight.copy_(2 * trunk.weight)
        >>> change = distortion(trunk, twice, torch.randn(9, 2))
        >>> round(change.drift, 5), round(change.similarity, 5)
        (1.0, 1.0)
    """
    old, new = _represent(before, inputs), _represent(after, inputs)
    matrix = RepresentationSimilarity()({"before": old, "after": new})
    return Distortion(
        drift=float((new - old).norm(dim=1).sum() / old.norm(dim=1).sum()),
        similarity=matrix.between("before", "after"),
    )


@dataclass(frozen=True)
class RecipeDistortion:
    """Drift, similarity and gain of one recipe on one kind of rows, with 95 % intervals.

    `rows` is ``in distribution`` or ``shifted``; for drift and similarity see `Distortion`; `gain`
    is over full fine-tuning, NaN if that was not measured.
    """

    recipe: str
    rows: str
    drift: float
    drift_low: float
    drift_high: float
    similarity: float
    similarity_low: float
    similarity_high: float
    gain: float
    low: float
    high: float


@dataclass(frozen=True)
class PairDistortion(RecipeDistortion):
    """The same for one source and target."""

    source: str
    target: str


@dataclass(frozen=True, eq=False)
class FeatureDistortion:
    """Drift, similarity and losses after each recipe, in distribution and on shifted test rows.

    Before fine-tuning the representation is the source's: the drift is 0, the similarity 1.

    Args:
        drift: See `Distortion`.
        similarity: See `Distortion`.
        blocks: Losses on blocks of the rows; NaN beyond a task's own.
    """

    pairs: tuple[tuple[str, str], ...]
    recipes: tuple[str, ...]
    drift: Float[Tensor, "recipe pair replicate rows"]
    similarity: Float[Tensor, "recipe pair replicate rows"]
    loss: Float[Tensor, "recipe pair replicate rows"]
    blocks: Float[Tensor, "recipe pair replicate rows block"]

    def gains(self, recipe: str, rows: str, against: str = FINE_TUNING) -> Gains:
        """The gains of one recipe over another, for all pairs.

        Raises:
            InputError: If a recipe was not measured.
        """
        for name in (recipe, against):
            check_choice("the recipe", name, self.recipes, "unknown-recipe")
        one, other = self.recipes.index(recipe), self.recipes.index(against)
        place = ROWS.index(rows)
        return Gains(
            tasks=tuple(ARROW.join(pair) for pair in self.pairs),
            scores=self.loss[one, :, :, place].T,
            baseline=self.loss[other, :, :, place].T,
            score_blocks=self.blocks[one, :, :, place].transpose(0, 1),
            baseline_blocks=self.blocks[other, :, :, place].transpose(0, 1),
        )

    def by_pair(self) -> tuple[PairDistortion, ...]:
        """Every pair, recipe and kind of rows."""
        return tuple(
            PairDistortion(recipe, rows, *drift, *similarity, *gain, *pair)
            for recipe, rows, drifts, similarities in self._cells()
            for pair, drift, similarity, gain in zip(
                self.pairs,
                _intervals(drifts),
                _intervals(similarities),
                self._gain_intervals(recipe, rows, is_mean=False),
                strict=True,
            )
        )

    def by_recipe(self) -> tuple[RecipeDistortion, ...]:
        """Every recipe and kind of rows, averaged over the pairs."""
        rows_of_recipes: list[RecipeDistortion] = []
        for recipe, rows, drifts, similarities in self._cells():
            (drift,) = _intervals(drifts.mean(dim=0, keepdim=True))
            (similarity,) = _intervals(similarities.mean(dim=0, keepdim=True))
            (gain,) = self._gain_intervals(recipe, rows, is_mean=True)
            rows_of_recipes.append(RecipeDistortion(recipe, rows, *drift, *similarity, *gain))
        return tuple(rows_of_recipes)

    def frame(self) -> pd.DataFrame:
        """One row per pair, recipe and kind of rows: the fields of `PairDistortion`."""
        return pd.DataFrame(self.by_pair())

    def overall(self) -> pd.DataFrame:
        """One row per recipe and kind of rows: the fields of `RecipeDistortion`."""
        return pd.DataFrame(self.by_recipe())

    @property
    def summary(self) -> str:
        """LP-FT compared with full fine-tuning, in words; empty if one was not measured."""
        if PROBE_FIRST not in self.recipes or not self._has_baseline:
            return ""
        results = {(row.recipe, row.rows): row for row in self.by_recipe()}
        parts: list[str] = []
        for rows in ROWS:
            row = results[PROBE_FIRST, rows]
            where = "on shifted rows" if rows == SHIFTED else rows
            parts.append(f"{gain_in_percent(row.gain, row.low, row.high)} {where}")
        drift, other = (
            results[recipe, IN_DISTRIBUTION].drift for recipe in (PROBE_FIRST, FINE_TUNING)
        )
        return (
            f"A linear probe before fine-tuning gains {' and '.join(parts)} over fine-tuning "
            f"alone, averaged over {count(len(self.pairs), 'pair')}; the drift of the "
            f"representation is {drift:.2f} instead of {other:.2f}."
        )

    @property
    def _has_baseline(self) -> bool:
        return FINE_TUNING in self.recipes

    def _cells(self) -> Iterator[tuple[str, str, Tensor, Tensor]]:
        """Every recipe and kind of rows, with drift and similarity ``[pair replicate]``."""
        for number, recipe in enumerate(self.recipes):
            for place, rows in enumerate(ROWS):
                yield (
                    recipe,
                    rows,
                    self.drift[number, ..., place],
                    self.similarity[number, ..., place],
                )

    def _gain_intervals(
        self, recipe: str, rows: str, is_mean: bool
    ) -> list[tuple[float, float, float]]:
        """Gain over fine-tuning of each pair, or their mean, with its interval."""
        if not self._has_baseline:
            return [(math.nan, math.nan, math.nan)] * (1 if is_mean else len(self.pairs))
        gains = self.gains(recipe, rows)
        ratio = gains.estimate_overall() if is_mean else gains.estimate()
        low, high = ratio.interval(0.95)
        return list(zip(ratio.mean.tolist(), low.tolist(), high.tolist(), strict=True))


def _intervals(values: Float[Tensor, "pair replicate"]) -> list[tuple[float, float, float]]:
    """Mean of each pair with its interval over replicates."""
    low, high = interval(values.T.numpy())
    return list(zip(values.mean(dim=1).tolist(), low.tolist(), high.tolist(), strict=True))


def measure_distortion(
    problem: Problem,
    sources: Sources,
    pairs: Sequence[tuple[str, str]] | None = None,
    recipes: Mapping[str, Recipe] | None = None,
    share: float = 0.25,
    position: RowPosition | None = None,
    settings: TrainingSettings | None = None,
) -> FeatureDistortion:
    """Fine-tune with every recipe, and measure the distortion in distribution and on shifted rows.

    The source was trained on rows of both kinds, the target is fine-tuned without shifted rows, as
    in Kumar et al. (2022), so that forgetting shows on the shifted rows.

    Args:
        sources: From `learn_sources`.
        pairs: Source and target of each pair; all pairs of the sources if None.
        recipes: By name; all that start from the source if None.
        share: Fraction of shifted rows, see `hold_out_shifted`.
        position: What the rows are shifted in; their first principal component if None.

    Raises:
        InputError: If a pair is unknown, a trunk does not fit, or there are too few rows.

    Example:
        >>> from affinity.problems import planted
        >>> from affinity.transfer import FullFineTuning, LinearProbe, learn_sources
        >>> problem = planted(n_rows=80).with_settings(TrainingSettings(epochs=2))
        >>> sources = learn_sources(problem, problem.replicates(2), ["a1"], targets=["a2"])
        >>> distortion = measure_distortion(problem, sources,
        ...     recipes={"linear probe": LinearProbe(), "full fine-tuning": FullFineTuning()})
        >>> distortion.overall().set_index(["recipe", "rows"]).loc["linear probe", "drift"].tolist()
        [0.0, 0.0]
    """
    settings = settings or problem.settings
    known = [(name, target) for name in sources.names for target in sources.trunks[name]]
    chosen = known if pairs is None else list(pairs)
    check_known("pairs", chosen, known, "unknown-pair")
    check_trunks(problem, sources, [target for _, target in chosen])
    recipes = recipes or TRANSFER_RECIPES
    splits = [hold_out_shifted(each, share, position) for each in sources.replicates]
    replicates = [split.in_distribution for split in splits]
    jobs = [
        TuningJob(target, number, sources.trunks[source][target][number])
        for source, target in chosen
        for number in range(len(replicates))
    ]
    measured: list[_Measured] = []
    for recipe in recipes.values():
        plan = plan_for(problem, recipe, settings.epochs)
        results = tune(problem, plan, jobs, replicates, settings, keep=True)
        for job, result in zip(jobs, results, strict=True):
            split = splits[job.replicate]
            measured.append(_measure(problem, job, result, split.in_distribution.test))
            measured.append(_measure(problem, job, result, split.shifted))
    shape = (len(recipes), len(chosen), len(replicates), len(ROWS))
    n_blocks = max(len(each.blocks) for each in measured)
    blocks = [[*each.blocks, *[math.nan] * (n_blocks - len(each.blocks))] for each in measured]
    return FeatureDistortion(
        pairs=tuple(chosen),
        recipes=tuple(recipes),
        drift=torch.tensor([each.drift for each in measured]).double().reshape(shape),
        similarity=torch.tensor([each.similarity for each in measured]).double().reshape(shape),
        loss=torch.tensor([each.loss for each in measured]).double().reshape(shape),
        blocks=torch.tensor(blocks).reshape(*shape, n_blocks),
    )


@dataclass(frozen=True)
class _Measured:
    """A fine-tuned network on some rows; NaN if it diverged or no row is labelled."""

    drift: float = math.nan
    similarity: float = math.nan
    loss: float = math.nan
    blocks: Sequence[float] = ()


def _measure(problem: Problem, job: TuningJob, result: TrainedNetwork, rows: Examples) -> _Measured:
    column = problem.names.index(job.target)
    rows = rows.take(rows.labelled[:, column].nonzero().squeeze(1))
    if result.diverged is not None or result.state is None or not len(rows):
        return _Measured()
    task, targets = problem.tasks[column], rows.targets[:, column]
    before = load_network(problem, job.trunk, job.target)
    after = load_network(problem, result.state, job.target)
    change = distortion(before.trunk, after.trunk, rows.inputs)
    prediction = predict(after, rows)[job.target]
    with torch.no_grad():
        loss = float(loss_on_labelled(task.loss, prediction, targets, rows.weights))
    blocks = block_losses(task, prediction, targets, weights=rows.weights)
    return _Measured(change.drift, change.similarity, loss, blocks)


def _represent(trunk: nn.Module, inputs: Tensor) -> Float[Tensor, "row width"]:
    was_training = trunk.training
    trunk.eval()
    with torch.no_grad():
        representation = trunk(inputs).flatten(1)
    trunk.train(was_training)
    return representation
