"""Comparison of few-shot methods on the same meta-training and meta-test tasks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from affinity.errors import InputError, check_known, check_number
from affinity.progress import track

from .baselines import FromScratch, LinearModel, Pretrained
from .distribution_shift import MAX_TASKS, check_distribution_shift
from .episodes import Episodes
from .learner import FewShotLearner, task_losses
from .maml import ANIL, MAML, FirstOrderMAML
from .problem import FewShotProblem
from .prototypical_network import PrototypicalNetwork
from .random_numbers import generator_of
from .reptile import Reptile
from .results import BASELINE, FewShotResult, MethodScores

FewShotMethod = Callable[[FewShotProblem, int], FewShotLearner]
"""Learns from the meta-training tasks of a problem, with a random seed."""

METHODS: dict[str, FewShotMethod] = {
    "linear model": LinearModel(),
    BASELINE: FromScratch(),
    "pretrained head only": Pretrained(moves="head"),
    "pretrained": Pretrained(),
    "prototypical network": PrototypicalNetwork(),
    "Reptile": Reptile(),
    "first-order MAML": FirstOrderMAML(),
    "ANIL": ANIL(),
    "MAML": MAML(),
}
"""From the simplest to the most expensive."""


def methods_for(
    problem: FewShotProblem, names: Sequence[str] | None = None
) -> dict[str, FewShotMethod]:
    """The methods with these names, or all that are applicable to the problem.

    Raises:
        InputError: If a name is unknown.
    """
    check_known("methods", names or (), METHODS, "unknown-method")
    return {
        name: method
        for name, method in METHODS.items()
        if (name in names if names else problem.has_classes or name != "prototypical network")
    }


def compare_few_shot(
    problem: FewShotProblem,
    shots: Sequence[int] = (1, 5),
    methods: Mapping[str, FewShotMethod] | None = None,
    n_tasks: int = 200,
    replicates: int = 1,
    seed: int = 0,
) -> FewShotResult:
    """Learn with every method at every number of shots, and evaluate on the same meta-test tasks.

    Each replicate has its own initial network and meta-training batches, which all methods share;
    the meta-test tasks are the same for all replicates.

    Args:
        shots: Support rows per task, or per class.
        methods: By name, the simplest first; all applicable ones of `METHODS` by default.
        n_tasks: Maximum number of meta-test tasks; no task is used twice.

    Raises:
        InputError: If there is nothing to compare, or the tasks have too few rows.
        DivergenceError: If a meta-training diverges.

    Example:
        >>> from affinity.fewshot import MetaTraining, few_shot_sines
        >>> problem = few_shot_sines(MetaTraining(iterations=2))
        >>> methods = {"MAML": MAML()}
        >>> result = compare_few_shot(problem, shots=(5,), methods=methods, n_tasks=4)
        >>> result.frame()[["shots", "method", "steps"]].values.tolist()[-1]
        [5, 'MAML', 10]
    """
    chosen = methods_for(problem) if methods is None else methods
    if not chosen or not shots:
        raise InputError(
            "Expected at least one method and one number of shots.", "nothing-to-compare"
        )
    check_number("the number of meta-test tasks", n_tasks, "too-few-tasks", least=2)
    check_number("replicates", replicates, "too-few-replicates", least=1)
    first = seed * 1_000_003
    problems = {number: problem.with_shots(number) for number in dict.fromkeys(shots)}
    scores: dict[int, dict[str, MethodScores]] = {}
    with track("methods", len(problems) * len(chosen) * replicates) as progress:
        for number, with_shots in problems.items():
            scores[number] = {}
            for name, method in chosen.items():
                parts: list[tuple[Tensor, Tensor]] = []
                for replicate in range(replicates):
                    parts.append(_evaluate(with_shots, method, n_tasks, first + replicate, first))
                    progress.advance()
                test, validation = (torch.stack(part) for part in zip(*parts, strict=True))
                scores[number][name] = MethodScores(test, validation)
    return FewShotResult(
        name=problem.name,
        score="accuracy" if problem.has_classes else "loss",
        steps=problem.steps,
        scores=scores,
        shift=check_distribution_shift(
            problem.training, problem.test, seed, _losses_from_scratch(problem, seed)
        ),
        context={
            "seed": seed,
            "queries": problem.queries,
            "inner_rate": problem.inner_rate,
            "settings": asdict(replace(problem.settings, batch=problem.batch)),
            "methods": [repr(method) for method in chosen.values()],
        },
        warnings=tuple(note.message for note in problem.notes if note.severity != "note"),
    )


def _losses_from_scratch(
    problem: FewShotProblem, seed: int
) -> tuple[np.ndarray, np.ndarray] | None:
    """Losses of training from scratch on meta-training and meta-test tasks; for regressions only.

    Episodes of classes are mixtures of a few classes, so that they are no independent tasks.
    """
    if problem.has_classes:
        return None
    learner = FromScratch()(problem, seed)
    losses: list[np.ndarray] = []
    for family, purpose in ((problem.training, "training losses"), (problem.test, "test losses")):
        count = int(min(MAX_TASKS, family.max_draws))
        generator = generator_of(seed, purpose)
        episodes = family.draw(count, problem.shots, problem.queries, generator)
        predictions = learner.predict(episodes, problem.steps)[-1:]
        losses.append(task_losses(problem.task, predictions, episodes)[0].double().numpy())
    return losses[0], losses[1]


def _evaluate(
    problem: FewShotProblem, method: FewShotMethod, n_tasks: int, seed: int, seed_of_tasks: int
) -> tuple[Float[Tensor, "step task"], Float[Tensor, " task"]]:
    """Scores on meta-test tasks, and on validation tasks after the last step."""
    learner = method(problem, seed)
    scores: list[Tensor] = []
    for family, purpose in ((problem.test, "test"), (problem.validation, "validation")):
        count = int(min(n_tasks, family.max_draws))
        generator = generator_of(seed_of_tasks, purpose)
        episodes = family.draw(count, problem.shots, problem.queries, generator)
        scores.append(_scores(problem, learner, episodes))
    return scores[0], scores[1][-1]


def _scores(
    problem: FewShotProblem, learner: FewShotLearner, episodes: Episodes
) -> Float[Tensor, "step task"]:
    predictions = learner.predict(episodes, problem.steps)
    if not problem.has_classes:
        return task_losses(problem.task, predictions, episodes)
    is_correct = predictions.argmax(dim=-1) == episodes.query_targets
    return is_correct.float().mean(dim=-1)
