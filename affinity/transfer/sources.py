"""Sources: what a trunk is trained on before it comes to a target."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from affinity.errors import InputError
from affinity.problems import Problem
from affinity.sharing import HardSharing
from affinity.tasks import Replicate
from affinity.training import Member, TrainingSettings, initial, train_members

from .own_inputs import pretrain_on_inputs, rows_of
from .tune import TRUNK
from .weights import read_trunk

ALL_OTHERS = "all others"
OWN_INPUTS = "own inputs"

Trunk = dict[str, Tensor]
"""Parameters and buffers by name, as the network has them: ``trunk.0.weight``."""


@dataclass(frozen=True, eq=False)
class Sources:
    """Trunks of sources, for each target and replicate.

    Args:
        names: Of the sources, in order.
        trunks: ``trunks[source][target]`` is a trunk a replicate; without a target that the source
            was trained on.
        replicates: On whose training rows they learned.
        states: The whole network of each source that is a single task, a replicate each.
    """

    names: tuple[str, ...]
    trunks: Mapping[str, Mapping[str, Sequence[Trunk]]]
    replicates: Sequence[Replicate]
    states: Mapping[str, Sequence[Trunk]] = field(default_factory=dict[str, Sequence[Trunk]])


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
        problem: Tasks, trunk and heads.
        replicates: Draws of rows.
        sources: Tasks, ``all others`` (a network of all tasks but the target), and ``own inputs``
            (the control, see `pretrain_on_inputs`); all of them if None.
        groups: More sources: names of tasks that are trained together, under a name.
        weights: More sources: files of trunks that were trained elsewhere, under a name.
        targets: The tasks that they are for; all if None.
        settings: How to train; the problem's own settings if None.

    Raises:
        InputError: If a source or target is unknown, a name comes twice, or a file's weights do not
            fit the trunk.
    """
    targets = list(problem.names if targets is None else targets)
    settings = settings or problem.settings
    sets = _sets_of(problem, sources, groups or {}, targets)
    names = [*sets, *(weights or {})]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"Expected sources of different names, but got {twice} twice.")
    others = {target: frozenset(problem.names) - {target} for target in targets}
    wanted = {
        name: {target: others[target] if tasks is None else tasks for target in targets}
        for name, tasks in sets.items()
        if name != OWN_INPUTS
    }
    networks = list(dict.fromkeys(each for of in wanted.values() for each in of.values()))
    learned = _train(problem, networks, replicates, settings)
    trunks: dict[str, dict[str, Sequence[Trunk]]] = {
        name: {
            target: [_trunk_of(state) for state in learned[tasks]]
            for target, tasks in of.items()
            if target not in tasks
        }
        for name, of in wanted.items()
    }
    if OWN_INPUTS in sets:
        trunks[OWN_INPUTS] = learn_own_inputs(problem, replicates, targets, settings)
    for name, path in (weights or {}).items():
        with torch.random.fork_rng():
            trunk = problem.trunk()
        found = {f"{TRUNK}{key}": value for key, value in read_trunk(trunk, path).items()}
        trunks[name] = {target: [found] * len(replicates) for target in targets}
    return Sources(
        names=tuple(names),
        trunks={name: trunks[name] for name in names},
        replicates=replicates,
        states={name: learned[frozenset({name})] for name in names if name in problem.names},
    )


def check_fit(problem: Problem, sources: Sources, targets: Sequence[str]) -> None:
    """Whether the trunks of the sources fit the networks of the targets.

    Raises:
        InputError: If one does not; source, target and shapes are named.
    """
    with torch.random.fork_rng():
        wanted = problem.network(problem.tasks[:1]).state_dict()
    for source in sources.names:
        for target in targets:
            for trunk in sources.trunks[source].get(target, ())[:1]:
                wrong = [
                    f"{name} {list(value.shape)} there, "
                    + (f"{list(wanted[name].shape)} here" if name in wanted else "none here")
                    for name, value in trunk.items()
                    if name not in wanted or wanted[name].shape != value.shape
                ]
                if wrong:
                    raise InputError(
                        f"Expected the trunk of the source {source!r} to fit the network of the "
                        f"target {target!r}, but these do not: {wrong}. Train both with the same "
                        "trunk and inputs."
                    )


def learn_own_inputs(
    problem: Problem,
    replicates: Sequence[Replicate],
    targets: Sequence[str],
    settings: TrainingSettings | None = None,
) -> dict[str, Sequence[Trunk]]:
    """Trunks that learned to restore each target's own inputs, a replicate each."""
    found: dict[str, Sequence[Trunk]] = {}
    done: dict[tuple[int, bytes], Trunk] = {}
    for target in targets:
        column = problem.names.index(target)
        trunks: list[Trunk] = []
        for number, replicate in enumerate(replicates):
            labelled = replicate.training.labelled[:, column].numpy().tobytes()
            if (number, labelled) not in done:
                network = initial(problem.network, problem.tasks[:1], replicate.seed)
                assert isinstance(network, HardSharing)
                state = pretrain_on_inputs(
                    network.trunk, rows_of(replicate, column), settings or problem.settings
                )
                done[number, labelled] = {f"{TRUNK}{name}": each for name, each in state.items()}
            trunks.append(done[number, labelled])
        found[target] = trunks
    return found


def _sets_of(
    problem: Problem,
    sources: Sequence[str] | None,
    groups: Mapping[str, Sequence[str]],
    targets: Sequence[str],
) -> dict[str, frozenset[str] | None]:
    """The tasks of each source; None where they depend on the target, or there are none."""
    known = [*problem.names, ALL_OTHERS, OWN_INPUTS]
    chosen = known if sources is None else list(sources)
    if len(problem.names) < 3 and sources is None:
        chosen.remove(ALL_OTHERS)  # it is the other task
    members = [task for group in groups.values() for task in group]
    unknown = [name for name in chosen if name not in known]
    unknown += [name for name in (*members, *targets) if name not in problem.names]
    if unknown:
        raise InputError(
            f"Expected sources among {known}, and targets and groups among the tasks "
            f"{list(problem.names)}, but got {unknown}."
        )
    if empty := [name for name, group in groups.items() if not group]:
        raise InputError(f"Expected at least one task in every group, but {empty} have none.")
    if clash := [name for name in groups if name in chosen]:
        raise InputError(f"Expected sources of different names, but got {clash} twice.")
    return {
        **{
            name: frozenset({name}) if name in problem.names else None
            for name in dict.fromkeys(chosen)
        },
        **{name: frozenset(group) for name, group in groups.items()},
    }


def _train(
    problem: Problem,
    networks: Sequence[frozenset[str]],
    replicates: Sequence[Replicate],
    settings: TrainingSettings,
) -> dict[frozenset[str], list[Trunk]]:
    members = [Member(tasks, at) for tasks in networks for at in range(len(replicates))]
    results = train_members(
        problem.network, problem.tasks, members, replicates, settings, keep=True
    )
    found: dict[frozenset[str], list[Trunk]] = {tasks: [] for tasks in networks}
    for member, result in zip(members, results, strict=True):
        assert result.state is not None
        if result.diverged is not None:
            raise InputError(
                f"Expected the source {sorted(member.tasks)} to train, but {result.diverged}. A "
                "smaller learning rate may help."
            )
        found[member.tasks].append(result.state)
    return found


def _trunk_of(state: Trunk) -> Trunk:
    return {name: value for name, value in state.items() if name.startswith(TRUNK)}
