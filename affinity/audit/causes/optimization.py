"""Optimization: tasks that could share, but are not trained well together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import torch
from torch import Tensor

from affinity.errors import InputError
from affinity.problems import train_networks
from affinity.tasks import Examples, Replicate
from affinity.training import GradNorm, JacobianDescent, Objective
from affinity.words import listed

from .cause_result import CauseResult
from .context import DiagnosisContext, Losses
from .intervention import Intervention
from .longer import trained_longer
from .loss_scale import by_loss_scale

MOST_TASKS = 20
"""Above this, what takes a training or a backward pass a task is left out."""


@dataclass(frozen=True)
class Optimization:
    """Weights losses, trains longer, settles conflicts, stops each task at its own best epoch.

    Args:
        one_by_one: Whether to train with GradNorm and PCGrad too, which need every task's own
            gradient at every step.
        alphas: How strongly GradNorm pushes slow tasks: that of the lowest validation loss counts.
    """

    one_by_one: bool = True
    alphas: tuple[float, ...] = (0.5, 1.5, 3.0)

    def __call__(self, case: DiagnosisContext) -> CauseResult:
        """Train in each way."""
        if not case.shares:
            return CauseResult("optimization", skipped=("no two tasks share a network",))
        more_epochs, what_they_did = trained_longer(case)
        changes, skipped = [_weighted(case), more_epochs], []
        evidence = [_norms(case), _conflicts(case), what_they_did]
        n_tasks = max(len(network.trained) for network in case.plan.grouping.networks)
        if n_tasks > MOST_TASKS:
            skipped.append(
                f"each task's own best epoch, GradNorm and PCGrad: {n_tasks} tasks in a network, "
                f"tried up to {MOST_TASKS}"
            )
        else:
            own_pace, said = _own_pace(case)
            changes.append(own_pace)
            evidence.append(said)
            if self.one_by_one:
                balanced, said = _gradnorm(case, self.alphas, passes=1.0 + n_tasks)
                changes.append(balanced)
                evidence.append(said)
                try:
                    changes.append(_pcgrad(case, passes=float(n_tasks)))
                except InputError as error:
                    skipped.append(f"PCGrad: {error}")
        return CauseResult("optimization", tuple(evidence), tuple(changes), tuple(skipped))


def _weighted(case: DiagnosisContext) -> Intervention:
    settings = replace(case.problem.settings, objective=by_loss_scale(case.problem))
    return case.change(
        "weights of 1 / loss scale",
        "weight each loss by 1 / the loss of its best constant prediction",
        case.losses(case.plan, settings=settings),
    )


def _gradnorm(
    case: DiagnosisContext, alphas: Sequence[float], passes: float
) -> tuple[Intervention, str]:
    """With the alpha whose validation loss is lowest, a mean over the tasks concerned."""
    tried = {alpha: _trained_with(case, GradNorm(alpha)) for alpha in alphas}
    size = case.alone.validation.nanmean(dim=0)

    def score(alpha: float) -> float:
        return float((tried[alpha].validation / size)[:, case.concerned].nanmean())

    best = min(alphas, key=score)
    change = case.change(
        "GradNorm", f"train with GradNorm (alpha {best:g})", tried[best], passes=passes
    )
    scores = listed([f"{score(alpha):.2f} at {alpha:g}" for alpha in alphas])
    return change, (
        f"GradNorm's alpha is {best:g}, by validation loss as a share of the separate networks': "
        f"{scores}."
    )


def _pcgrad(case: DiagnosisContext, passes: float) -> Intervention:
    objective = JacobianDescent("PCGrad")
    objective.start(case.problem.names, torch.zeros(()))  # says what is not installed, at once
    joint = _trained_with(case, objective)
    return case.change("PCGrad", "train with PCGrad", joint, passes=passes)


def _trained_with(case: DiagnosisContext, objective: Objective) -> Losses:
    return case.losses(case.plan, settings=replace(case.problem.settings, objective=objective))


def _own_pace(case: DiagnosisContext) -> tuple[Intervention, str]:
    """Each task stops, and is kept, where its own validation loss is best."""
    names, n_replicates = case.problem.names, len(case.replicates)
    evaluation, test = (losses.clone() for losses in (case.joint.evaluation, case.joint.test))
    for network in case.plan.grouping.networks:
        served = [at for at, name in enumerate(names) if name in network.served]
        if network.is_alone:
            continue
        masked = [_stopping_by(at, replicate) for at in served for replicate in case.replicates]
        found = train_networks(
            case.problem, [network.trained], masked, case.problem.settings, store=case.store
        )
        for number, at in enumerate(served):
            own = slice(number * n_replicates, (number + 1) * n_replicates)
            evaluation[:, at] = found.evaluation_loss[0, own, at]
            test[:, at] = found.test_loss[0, own, at]
    change = case.change(
        "each task's own best epoch",
        "keep for each task the network of its own best epoch",
        replace(
            case.joint,
            evaluation=evaluation,
            test=test,
            parameters=case.joint.parameters * len(names),
        ),
    )
    kept = float(np.nanmean(change.on("evaluation", case.concerned)))
    return change, (
        f"Tasks are best at epochs {_epochs(case, case.joint)} in the shared network, at "
        f"{_epochs(case, case.alone)} in separate ones. Kept at its own best epoch rather than at "
        f"that of all tasks together, a task recovers {100 * kept:+.1f} % on average."
    )


def _epochs(case: DiagnosisContext, losses: Losses) -> str:
    means = losses.best_epoch.nanmean(dim=0).tolist()
    epochs = sorted(zip(means, case.problem.names, strict=True))
    (first, fast), (last, slow) = epochs[0], epochs[-1]
    return f"{first:.0f} ({fast}) to {last:.0f} ({slow})"


def _stopping_by(task: int, replicate: Replicate) -> Replicate:
    """The replicate whose validation rows are labelled for one task alone."""
    rows = replicate.validation
    is_other = torch.arange(rows.targets.shape[1]) != task
    return replace(
        replicate,
        validation=Examples(rows.inputs, rows.targets.masked_fill(is_other, torch.nan)),
    )


def _norms(case: DiagnosisContext) -> str:
    trace = case.recorded
    norms = trace.gradient_norms().double().nanmedian(dim=0).values
    sizes = [(float(size), name) for size, name in zip(norms, trace.tasks, strict=True)]
    (least, weak), (most, strong) = min(sizes), max(sizes)
    return (
        f"The largest gradient on the shared trunk ({strong}) is {most / max(least, 1e-12):.1f} "
        f"times the smallest ({weak})."
    )


def _conflicts(case: DiagnosisContext) -> str:
    trace = case.recorded
    assert trace.gramians is not None
    together = [network.trained for network in case.plan.grouping.networks]
    pairs = [
        (first, second)
        for first, second in combinations(range(len(trace.tasks)), 2)
        if any({trace.tasks[first], trace.tasks[second]} <= group for group in together)
    ]
    if not pairs:
        return "No two tasks share a network."
    share = _share_of_conflicts(trace.gramians, pairs)
    worst = int(share.nan_to_num(nan=0.0).argmax())
    first, second = (trace.tasks[at] for at in pairs[worst])
    said = (
        f"Gradients of two tasks point apart at {100 * float(share.nanmean()):.0f} % of the "
        f"measured steps (a half is what unrelated tasks show), most often those of {first} and "
        f"{second} ({100 * float(share[worst]):.0f} %)"
    )
    if trace.layers is not None and trace.layer_gramians is not None and len(trace.layers) > 1:
        by_layer = [
            f"{100 * float(_share_of_conflicts(gramians, pairs).nanmean()):.0f} % in {layer}"
            for layer, gramians in zip(trace.layers, trace.layer_gramians.unbind(1), strict=True)
        ]
        said += f"; by layer {', '.join(by_layer)}"
    return said + "."


def _share_of_conflicts(gramians: Tensor, pairs: list[tuple[int, int]]) -> Tensor:
    """For each pair the share of measured steps with a negative inner product."""
    first, second = torch.tensor(pairs).T
    products = gramians[:, first, second]  # time pair
    return torch.where(products.isnan(), torch.nan, (products < 0).float()).nanmean(dim=0)
