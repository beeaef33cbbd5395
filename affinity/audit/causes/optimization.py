"""Optimization: tasks could share a network, but are not trained well together."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import torch
from torch import Tensor

from affinity.errors import InputError
from affinity.grouping import Grouping
from affinity.problems import NetworkTrainer, Problem
from affinity.recommendation import Plan
from affinity.recording import Trace
from affinity.training import GradNorm, JacobianDescent
from affinity.training.reference import constant_loss
from affinity.words import listed

from .context import DiagnosisContext, PlanLosses
from .intervention import CauseResult, Intervention

EPOCHS_FACTOR = 3  # multiple of the epochs, and of the patience, of a longer training
MOST_TASKS = 20  # above, no intervention that needs a training or backward pass per task


@dataclass(frozen=True)
class Optimization:
    """Weight losses, train longer, resolve conflicts, and stop each task at its own best epoch.

    Args:
        one_by_one: Whether to train with GradNorm and PCGrad, too; they need the gradient of each
            task at every step.
        alphas: Values for the strength with which GradNorm favours slow tasks; the one with the
            lowest validation loss is used.
    """

    one_by_one: bool = True
    alphas: tuple[float, ...] = (0.5, 1.5, 3.0)

    def __call__(self, context: DiagnosisContext) -> CauseResult:
        """Train in each way."""
        if not context.shares:
            return CauseResult("optimization", skipped=("no two tasks share a network",))
        changes: list[Intervention] = []
        evidence: list[str] = []
        skipped: list[str] = []
        own = context.own
        if own is not None:
            weighted = context.losses(context.plan, {"weights": by_loss_scale(own.problem)})
            advice = "weight each loss by 1 / the loss of its best constant prediction"
            changes.append(context.intervention("weights of 1 / loss scale", advice, weighted))
        if context.recorded is not None:
            evidence += [_compare_norms(context.recorded), _count_conflicts(context)]
        if context.offers("length"):
            change, text = _train_longer(context)
            changes.append(change)
            evidence.append(text)
        else:
            skipped.append("longer training: the trainer has no setting 'length'")
        n_tasks = max(len(network.trained) for network in context.plan.grouping.networks)
        if n_tasks > MOST_TASKS:
            skipped.append(
                f"each task's own best epoch, GradNorm and PCGrad: {n_tasks} tasks in a network, "
                f"tried up to {MOST_TASKS}"
            )
            return CauseResult("optimization", tuple(evidence), tuple(changes), tuple(skipped))
        if context.offers("stop"):
            change, text = _own_best_epochs(context)
            changes.append(change)
            evidence.append(text)
        if self.one_by_one and own is not None:
            change, text = _gradnorm(context, own, self.alphas, passes=1.0 + n_tasks)
            changes.append(change)
            evidence.append(text)
            try:
                changes.append(_pcgrad(context, own, passes=float(n_tasks)))
            except InputError as error:
                skipped.append(f"PCGrad: {error}")
        return CauseResult("optimization", tuple(evidence), tuple(changes), tuple(skipped))


def _gradnorm(
    context: DiagnosisContext, own: NetworkTrainer, alphas: Sequence[float], passes: float
) -> tuple[Intervention, str]:
    """GradNorm with the alpha of lowest mean validation loss over the tasks of `concerned`."""
    losses = {
        alpha: context.losses(context.plan, trainer=own.with_objective(GradNorm(alpha)))
        for alpha in alphas
    }
    size = context.alone.validation.nanmean(dim=0).abs()

    def score(alpha: float) -> float:
        return float((losses[alpha].validation / size)[:, context.concerned].nanmean())

    best = min(alphas, key=score)
    change = context.intervention(
        "GradNorm", f"train with GradNorm (alpha {best:g})", losses[best], passes=passes
    )
    scores = listed([f"{score(alpha):.2f} at {alpha:g}" for alpha in alphas])
    return change, (
        f"GradNorm's alpha is {best:g}, by validation loss as a share of the separate networks': "
        f"{scores}."
    )


def _pcgrad(context: DiagnosisContext, own: NetworkTrainer, passes: float) -> Intervention:
    objective = JacobianDescent("PCGrad")
    objective.start(context.names, torch.zeros(()))  # raises if torchjd is missing
    joint = context.losses(context.plan, trainer=own.with_objective(objective))
    return context.intervention("PCGrad", "train with PCGrad", joint, passes=passes)


def _own_best_epochs(context: DiagnosisContext) -> tuple[Intervention, str]:
    """Each task keeps the network of the epoch where its own validation loss is lowest."""
    names = context.names
    evaluation, test = (losses.clone() for losses in (context.joint.evaluation, context.joint.test))
    plan = context.plan
    for network, sharing, how_exactly, _ in plan.parts:
        if network.is_alone:
            continue
        alone = Plan(
            Grouping((network,)), (sharing,), ("",), width=plan.width, settings=(how_exactly,)
        )
        served = [task for task in names if task in network.served]
        stopped = context.losses_of_each([(alone, {"stop": task}) for task in served])
        for task, losses in zip(served, stopped, strict=True):
            column = names.index(task)
            evaluation[:, column] = losses.evaluation[:, column]
            test[:, column] = losses.test[:, column]
    parameters = context.joint.parameters and context.joint.parameters * len(names)
    joint = replace(context.joint, evaluation=evaluation, test=test, parameters=parameters)
    change = context.intervention(
        "each task's own best epoch", "for each task, keep the network of its own best epoch", joint
    )
    recovered = context.format(change.on("evaluation", context.concerned))
    epochs = (
        f"Tasks are best at epochs {_epochs(context, context.joint)} in the shared network, at "
        f"{_epochs(context, context.alone)} in separate ones. "
        if context.own is not None
        else ""
    )
    return change, (
        f"{epochs}At its own best epoch instead of that of all tasks together, a task recovers "
        f"{recovered} on average."
    )


def _epochs(context: DiagnosisContext, losses: PlanLosses) -> str:
    means = losses.best_epoch.nanmean(dim=0).tolist()
    epochs = sorted(zip(means, context.names, strict=True))
    (first, fast), (last, slow) = epochs[0], epochs[-1]
    return f"{first:.0f} ({fast}) to {last:.0f} ({slow})"


def _compare_norms(trace: Trace) -> str:
    norms = trace.gradient_norms().double().nanmedian(dim=0).values
    sizes = [(float(size), name) for size, name in zip(norms, trace.tasks, strict=True)]
    (least, weak), (most, strong) = min(sizes), max(sizes)
    return (
        f"The largest gradient on the shared trunk ({strong}) is {most / max(least, 1e-12):.1f} "
        f"times the smallest ({weak})."
    )


def _count_conflicts(context: DiagnosisContext) -> str:
    trace = context.recorded
    assert trace is not None
    assert trace.gramians is not None
    groups = [network.trained for network in context.plan.grouping.networks]
    pairs = [
        (first, second)
        for first, second in combinations(range(len(trace.tasks)), 2)
        if any({trace.tasks[first], trace.tasks[second]} <= group for group in groups)
    ]
    if not pairs:
        return "No two tasks share a network."
    share = _share_of_conflicts(trace.gramians, pairs)
    worst = int(share.nan_to_num(nan=0.0).argmax())
    first, second = (trace.tasks[task] for task in pairs[worst])
    text = (
        f"Gradients of two tasks conflict at {100 * float(share.nanmean()):.0f} % of the measured "
        f"steps (unrelated tasks: 50 %), most often those of {first} and {second} "
        f"({100 * float(share[worst]):.0f} %)"
    )
    if trace.layers is not None and trace.layer_gramians is not None and len(trace.layers) > 1:
        by_layer = [
            f"{100 * float(_share_of_conflicts(gramians, pairs).nanmean()):.0f} % in {layer}"
            for layer, gramians in zip(trace.layers, trace.layer_gramians.unbind(1), strict=True)
        ]
        text += f"; by layer {', '.join(by_layer)}"
    return text + "."


def _share_of_conflicts(gramians: Tensor, pairs: list[tuple[int, int]]) -> Tensor:
    """For each pair the share of measured steps with a negative inner product."""
    first, second = torch.tensor(pairs).T
    products = gramians[:, first, second]  # time pair
    return torch.where(products.isnan(), torch.nan, (products < 0).float()).nanmean(dim=0)


def by_loss_scale(problem: Problem) -> dict[str, float]:
    """A weight for each task, proportional to 1 / loss scale; the mean weight is 1.

    Example:
        >>> from affinity.problems import load_digits
        >>> weights = by_loss_scale(load_digits())
        >>> weights["ink"] < weights["prime"]  # a variance of 1, an entropy of 0.67
        True
    """
    rows = problem.development
    scales = {
        task.name: constant_loss(task, rows, rows, column)
        for column, task in enumerate(problem.tasks)
    }
    mean = sum(1 / scale for scale in scales.values()) / len(scales)
    return {name: 1 / scale / mean for name, scale in scales.items()}


def _train_longer(context: DiagnosisContext) -> tuple[Intervention, str]:
    """The loss that longer training recovers (also of separate networks), and the evidence."""
    ((joint, alone),) = context.with_each("length", [EPOCHS_FACTOR])
    name, advice = f"{EPOCHS_FACTOR} times the length", f"train {EPOCHS_FACTOR} times as long"
    if context.own is not None:
        usual = context.own.problem.settings
        name = f"{EPOCHS_FACTOR} times the epochs"
        advice += (
            f" (up to {EPOCHS_FACTOR * usual.epochs} epochs, patience "
            f"{EPOCHS_FACTOR * usual.patience})"
        )
    change = context.intervention(name, advice, joint, alone, passes=float(EPOCHS_FACTOR))
    return change, (
        f"Trained {EPOCHS_FACTOR} times as long, with patience in proportion, the loss of the "
        f"shared network differs by {context.format_harm(joint)} from that of unchanged separate "
        f"networks, that of equally long trained separate networks by "
        f"{context.format_harm(alone)}; sharing then harms by {context.format_harm(joint, alone)}."
    )
