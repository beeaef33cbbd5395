"""Measure feature distortion: tune on familiar rows, and look at those and at shifted ones."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from affinity.errors import InputError
from affinity.problems import Problem
from affinity.tasks import Examples
from affinity.training import TrainedNetwork, TrainingSettings
from affinity.training.judge import block_losses, predict

from .distortion import distortion
from .feature_distortion import WHERE, FeatureDistortion
from .network_of import network_of
from .recipes import RECIPES, FromScratch, Recipe
from .shifted_rows import Place, hold_out_shifted
from .sources import Sources, check_fit
from .tune import TuningJob, plan_for, tune


def measure_distortion(
    problem: Problem,
    sources: Sources,
    pairs: Sequence[tuple[str, str]] | None = None,
    recipes: Mapping[str, Recipe] | None = None,
    share: float = 0.25,
    place: Place | None = None,
    settings: TrainingSettings | None = None,
) -> FeatureDistortion:
    """Tune by every recipe on familiar rows; look at those and at shifted ones.

    The source has learned from rows of both kinds, the target learns from familiar rows alone, as
    in Kumar et al. (2022), so that what tuning forgets shows on the shifted rows.

    Args:
        problem: Tasks, trunk and heads.
        sources: From `learn_sources`.
        pairs: Source and target each; all that the sources allow if None.
        recipes: By name; all of `RECIPES` that start from the source if None.
        share: Of the rows that are shifted, see `hold_out_shifted`.
        place: What they are shifted in; the inputs' first principal component if None.
        settings: How to train; the problem's own if None.

    Raises:
        InputError: If a pair is unknown, a trunk does not fit, or rows of one kind are too few.

    Example:
        >>> from affinity.problems import planted
        >>> from affinity.transfer import FullFineTuning, LinearProbe, learn_sources
        >>> problem = planted(n_rows=80).with_settings(TrainingSettings(epochs=2))
        >>> sources = learn_sources(problem, problem.replicates(2), ["a1"], targets=["a2"])
        >>> found = measure_distortion(problem, sources,
        ...     recipes={"linear probe": LinearProbe(), "full fine-tuning": FullFineTuning()})
        >>> found.overall().set_index(["recipe", "rows"]).loc["linear probe", "drift"].tolist()
        [0.0, 0.0]
    """
    settings = settings or problem.settings
    known = [(name, target) for name in sources.names for target in sources.trunks[name]]
    chosen = known if pairs is None else list(pairs)
    if unknown := [pair for pair in chosen if pair not in known]:
        raise InputError(f"Expected pairs among {known}, but got {unknown}.")
    check_fit(problem, sources, [target for _, target in chosen])
    recipes = recipes or {
        name: each for name, each in RECIPES.items() if not isinstance(each, FromScratch)
    }
    divided = [hold_out_shifted(each, share, place) for each in sources.replicates]
    on = [each.familiar for each in divided]
    jobs = [
        TuningJob(target, at, sources.trunks[source][target][at])
        for source, target in chosen
        for at in range(len(on))
    ]
    looks: list[_Look] = []
    for recipe in recipes.values():
        plan = plan_for(problem, recipe, settings.epochs)
        results = tune(problem, plan, jobs, on, settings, keep=True)
        for job, result in zip(jobs, results, strict=True):
            own = divided[job.replicate]
            looks += [_look(problem, job, result, own.familiar.test)]
            looks += [_look(problem, job, result, own.shifted)]
    shape = (len(recipes), len(chosen), len(on), len(WHERE))

    def table(name: str) -> Tensor:
        return torch.tensor([getattr(look, name) for look in looks]).double().reshape(shape)

    most = max(len(look.blocks) for look in looks)
    blocks = [[*look.blocks, *[math.nan] * (most - len(look.blocks))] for look in looks]
    return FeatureDistortion(
        pairs=tuple(chosen),
        recipes=tuple(recipes),
        drift=table("drift"),
        similarity=table("similarity"),
        loss=table("loss"),
        blocks=torch.tensor(blocks).reshape(*shape, most),
    )


@dataclass(frozen=True)
class _Look:
    """A tuned network on some rows; NaN where it diverged or nothing is labelled."""

    drift: float = math.nan
    similarity: float = math.nan
    loss: float = math.nan
    blocks: Sequence[float] = field(default_factory=list[float])


def _look(problem: Problem, job: TuningJob, result: TrainedNetwork, rows: Examples) -> _Look:
    """Beside the source's trunk."""
    column = problem.names.index(job.target)
    rows = rows.take(rows.labelled[:, column].nonzero().squeeze(1))
    if result.diverged is not None or result.state is None or not len(rows):
        return _Look()
    task, targets = problem.tasks[column], rows.targets[:, column]
    before = network_of(problem, job.trunk, job.target)
    after = network_of(problem, result.state, job.target)
    moved = distortion(before.trunk, after.trunk, rows.inputs)
    prediction = predict(after, rows)[job.target]
    with torch.no_grad():
        loss = float(task.loss(prediction, targets))
    return _Look(moved.drift, moved.similarity, loss, block_losses(task, prediction, targets))
