"""Few-shot methods side by side, on the same meta-training and the same meta-test tasks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace

import torch
from jaxtyping import Float
from torch import Tensor

from affinity.errors import InputError
from affinity.progress import track

from .anil import ANIL
from .episodes import Episodes
from .first_order_maml import FirstOrderMAML
from .from_scratch import FromScratch
from .learned import Learned, task_losses
from .maml import MAML
from .one_distribution import check_one_distribution
from .pretrained import Pretrained
from .problem import FewShotProblem
from .prototypical_network import PrototypicalNetwork
from .random_numbers import generator_of
from .reptile import Reptile
from .results import BASELINE, FewShotResult, Scores

Method = Callable[[FewShotProblem, int], Learned]
"""Learns from the meta-training tasks of a problem, with a seed."""

METHODS: dict[str, Method] = {
    BASELINE: FromScratch(),
    "pretrained, head only": Pretrained(moves="head"),
    "pretrained": Pretrained(),
    "prototypical network": PrototypicalNetwork(),
    "Reptile": Reptile(),
    "first-order MAML": FirstOrderMAML(),
    "ANIL": ANIL(),
    "MAML": MAML(),
}
"""From the simplest to the most expensive."""


def methods_for(problem: FewShotProblem, names: Sequence[str] | None = None) -> dict[str, Method]:
    """The methods asked for, or all that fit the problem.

    Raises:
        InputError: If a name is unknown.
    """
    unknown = [name for name in names or () if name not in METHODS]
    if unknown:
        raise InputError(f"Expected methods among {list(METHODS)}, but got {unknown}.")
    return {
        name: method
        for name, method in METHODS.items()
        if (name in names if names else problem.has_classes or name != "prototypical network")
    }


def compare(
    problem: FewShotProblem,
    shots: Sequence[int] = (1, 5),
    methods: Mapping[str, Method] | None = None,
    n_tasks: int = 200,
    replicates: int = 1,
    seed: int = 0,
) -> FewShotResult:
    """Learn with every method at every number of shots, and judge on the same meta-test tasks.

    A replicate has its own initial network and meta-training batches, which all methods share; the
    meta-test tasks are the same for all replicates.

    Args:
        problem: The tasks, trunk and head.
        shots: Support rows a task, or a class.
        methods: By name, the simplest first; all of `METHODS` that fit, by default.
        n_tasks: Meta-test tasks; no more than can be drawn before one comes again.
        replicates: Meta-trainings.
        seed: Of the first replicate; the others follow.

    Raises:
        InputError: If there is nothing to compare, or the tasks have too few rows.
        DivergenceError: If a meta-training diverges.

    Example:
        >>> from affinity.fewshot import MetaTraining, few_shot_sines
        >>> result = compare(few_shot_sines(MetaTraining(iterations=2)), shots=(5,),
        ...                  methods={"from scratch": FromScratch(), "MAML": MAML()}, n_tasks=20)
        >>> result.frame()[["shots", "method", "steps"]].values.tolist()[-1]
        [5, 'MAML', 10]
    """
    chosen = methods_for(problem) if methods is None else methods
    if not chosen or not shots:
        raise InputError("Expected at least one method and one number of shots.")
    if n_tasks < 2 or replicates < 1:
        raise InputError(
            f"Expected at least two meta-test tasks and one replicate, but got {n_tasks} and "
            f"{replicates}."
        )
    first = seed * 1_000_003
    problems = {each: problem.with_shots(each) for each in dict.fromkeys(shots)}
    scores: dict[int, dict[str, Scores]] = {}
    with track("methods", len(problems) * len(chosen) * replicates) as progress:
        for each, own in problems.items():
            scores[each] = {}
            for name, method in chosen.items():
                parts: list[tuple[Tensor, Tensor]] = []
                for number in range(replicates):
                    parts.append(_judge(own, method, n_tasks, first + number, first))
                    progress.advance()
                test, validation = (torch.stack(each) for each in zip(*parts, strict=True))
                scores[each][name] = Scores(test, validation)
    return FewShotResult(
        name=problem.name,
        score="accuracy" if problem.has_classes else "loss",
        steps=problem.steps,
        scores=scores,
        check=check_one_distribution(problem.training, problem.test, seed),
        context={
            "seed": seed,
            "queries": problem.queries,
            "inner_rate": problem.inner_rate,
            "settings": asdict(replace(problem.settings, batch=problem.batch)),
            "methods": [repr(method) for method in chosen.values()],
        },
    )


def _judge(
    problem: FewShotProblem, method: Method, n_tasks: int, seed: int, seed_of_tasks: int
) -> tuple[Float[Tensor, "step task"], Float[Tensor, " decision"]]:
    """Scores on meta-test tasks, and on validation tasks after the last step."""
    learned = method(problem, seed)
    scores: list[Tensor] = []
    for family, purpose in ((problem.test, "test"), (problem.validation, "validation")):
        count = int(min(n_tasks, family.most_draws))
        generator = generator_of(seed_of_tasks, purpose)
        episodes = family.draw(count, problem.shots, problem.queries, generator)
        scores.append(_scores(problem, learned, episodes))
    return scores[0], scores[1][-1]


def _scores(
    problem: FewShotProblem, learned: Learned, episodes: Episodes
) -> Float[Tensor, "step task"]:
    predictions = learned.predict(episodes, problem.steps)
    if not problem.has_classes:
        return task_losses(problem.task, predictions, episodes)
    is_right = predictions.argmax(dim=-1) == episodes.query_targets
    return is_right.float().mean(dim=-1)
