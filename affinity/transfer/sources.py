"""Sources: the tasks or data that a trunk is trained on before it is transferred to a target."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from affinity.errors import InputError, check_known, check_unique
from affinity.problems import Problem
from affinity.sharing import HardSharing
from affinity.tasks import Examples, Replicate
from affinity.training import Member, TrainingSettings, initial, train_members

from .self_supervised import pretrain_on_inputs
from .tune import TRUNK
from .weights import read_trunk

ALL_OTHERS = "all others"
OWN_INPUTS = "own inputs"
"""The control: self-supervised pretraining on the target's own inputs."""

TrunkState = dict[str, Tensor]
"""Parameters and buffers by their name in the network: ``trunk.0.weight``."""


@dataclass(frozen=True, eq=False)
class Sources:
    """Trunks of the sources, for each target and replicate.

    Args:
        names: The sources, in order.
        trunks: ``trunks[source][target]`` has one trunk per replicate; targets that the source was
            trained on are omitted.
        replicates: The data splits that the sources were trained on.
        states: The complete networks of the sources that are single tasks, one per replicate.
    """

    names: tuple[str, ...]
    trunks: Mapping[str, Mapping[str, Sequence[TrunkState]]]
    replicates: Sequence[Replicate]
    states: Mapping[str, Sequence[TrunkState]] = field(
        default_factory=dict[str, Sequence[TrunkState]]
    )


def learn_sources(
    problem: Problem,
    replicates: Sequence[Replicate],
    sources: Sequence[str] | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    weights: Mapping[str, str | Path] | None = None,
    targets: Sequence[str] | None = None,
    settings: TrainingSettings | None = None,
) -> Sources:
    """Train a trunk on every source, on each replicate.

    Args:
        sources: Tasks, ``all others`` (one network for all tasks but the target), and ``own
            inputs`` (the control, see `pretrain_on_inputs`); all of them if None.
        groups: More sources by name: tasks that are trained together.
        weights: More sources by name: files of trunks that were trained elsewhere.
        targets: The tasks to transfer to; all if None.

    Raises:
        InputError: If a source or target is unknown, a name occurs twice, or the weights in a file
            do not fit the trunk.
    """
    targets = list(problem.names if targets is None else targets)
    settings = settings or problem.settings
    tasks_of = _tasks_of_sources(problem, sources, groups or {}, targets)
    names = [*tasks_of, *(weights or {})]
    check_unique("names of sources", names, "duplicate-source")
    others = {target: frozenset(problem.names) - {target} for target in targets}
    networks_of = {
        name: {target: others[target] if tasks is None else tasks for target in targets}
        for name, tasks in tasks_of.items()
        if name != OWN_INPUTS
    }
    networks = list(
        dict.fromkeys(tasks for by_target in networks_of.values() for tasks in by_target.values())
    )
    states = _train(problem, networks, replicates, settings)
    trunks: dict[str, dict[str, Sequence[TrunkState]]] = {
        name: {
            target: [
                {name: value for name, value in state.items() if name.startswith(TRUNK)}
                for state in states[tasks]
            ]
            for target, tasks in by_target.items()
            if target not in tasks
        }
        for name, by_target in networks_of.items()
    }
    if OWN_INPUTS in tasks_of:
        trunks[OWN_INPUTS] = learn_own_inputs(problem, replicates, targets, settings)
    for name, path in (weights or {}).items():
        with torch.random.fork_rng():
            trunk = problem.trunk()
        state = {f"{TRUNK}{key}": value for key, value in read_trunk(trunk, path).items()}
        trunks[name] = {target: [state] * len(replicates) for target in targets}
    return Sources(
        names=tuple(names),
        trunks={name: trunks[name] for name in names},
        replicates=replicates,
        states={name: states[frozenset({name})] for name in names if name in problem.names},
    )


def learn_own_inputs(
    problem: Problem,
    replicates: Sequence[Replicate],
    targets: Sequence[str],
    settings: TrainingSettings | None = None,
) -> dict[str, Sequence[TrunkState]]:
    """Trunks pretrained on the inputs of each target's labelled rows, one per replicate."""
    trunks: dict[str, Sequence[TrunkState]] = {}
    cache: dict[tuple[int, bytes], TrunkState] = {}  # targets may be labelled on the same rows
    for target in targets:
        column = problem.names.index(target)
        of_target: list[TrunkState] = []
        for number, replicate in enumerate(replicates):
            key = number, replicate.training.labelled[:, column].numpy().tobytes()
            if key not in cache:
                network = initial(problem.network, problem.tasks[:1], replicate.seed)
                assert isinstance(network, HardSharing)
                state = pretrain_on_inputs(
                    network.trunk, _labelled_rows(replicate, column), settings or problem.settings
                )
                cache[key] = {f"{TRUNK}{name}": value for name, value in state.items()}
            of_target.append(cache[key])
        trunks[target] = of_target
    return trunks


def check_trunks(problem: Problem, sources: Sources, targets: Sequence[str]) -> None:
    """Check that the trunks of the sources fit the networks of the targets."""
    with torch.random.fork_rng():
        expected = problem.network(problem.tasks[:1]).state_dict()
    for source in sources.names:
        for target in targets:
            for trunk in sources.trunks[source].get(target, ())[:1]:
                mismatches = [
                    f"{name} {list(value.shape)} in the source, "
                    + (f"{list(expected[name].shape)}" if name in expected else "none")
                    + " in the target"
                    for name, value in trunk.items()
                    if name not in expected or expected[name].shape != value.shape
                ]
                if mismatches:
                    raise InputError(
                        f"Expected the trunk of the source {source!r} to fit the network of the "
                        f"target {target!r}, but these parameters differ: {mismatches}. Train both "
                        "with the same trunk and inputs.",
                        "different-architecture",
                    )


def _tasks_of_sources(
    problem: Problem,
    sources: Sequence[str] | None,
    groups: Mapping[str, Sequence[str]],
    targets: Sequence[str],
) -> dict[str, frozenset[str] | None]:
    """The tasks of each source; None if they depend on the target, or there are none."""
    known = [*problem.names, ALL_OTHERS, OWN_INPUTS]
    names = known if sources is None else list(sources)
    if len(problem.names) < 3 and sources is None:
        names.remove(ALL_OTHERS)  # the same as the other task
    members = [task for group in groups.values() for task in group]
    check_known("sources", names, known, "unknown-task")
    check_known("targets and tasks of groups", [*members, *targets], problem.names, "unknown-task")
    if empty := [name for name, group in groups.items() if not group]:
        raise InputError(
            f"Expected at least one task in every group, but {empty} have none.", "empty-group"
        )
    check_unique("names of sources", [*dict.fromkeys(names), *groups], "duplicate-source")
    single = {name: frozenset({name}) if name in problem.names else None for name in names}
    return {**single, **{name: frozenset(group) for name, group in groups.items()}}


def _train(
    problem: Problem,
    networks: Sequence[frozenset[str]],
    replicates: Sequence[Replicate],
    settings: TrainingSettings,
) -> dict[frozenset[str], list[TrunkState]]:
    members = [Member(tasks, number) for tasks in networks for number in range(len(replicates))]
    results = train_members(
        problem.network, problem.tasks, members, replicates, settings, keep=True
    )
    states: dict[frozenset[str], list[TrunkState]] = {tasks: [] for tasks in networks}
    for member, result in zip(members, results, strict=True):
        assert result.state is not None
        if result.diverged is not None:
            raise InputError(
                f"Expected the source {sorted(member.tasks)} to train, but {result.diverged}. A "
                "smaller learning rate may help.",
                "source-diverged",
            )
        states[member.tasks].append(result.state)
    return states


def _labelled_rows(replicate: Replicate, column: int) -> Replicate:
    """The training and validation rows with a label for the target in this column."""

    def labelled(part: Examples) -> Examples:
        return part.take(part.labelled[:, column].nonzero().squeeze(1))

    return Replicate(
        replicate.seed, labelled(replicate.training), labelled(replicate.validation), replicate.test
    )
