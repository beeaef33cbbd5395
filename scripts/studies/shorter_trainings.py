"""Shorter trainings: whether races of more of them choose better than races of few full ones.

    python scripts/studies/shorter_trainings.py reports/truth --tables scene --kept runs/short \
      --variants 0.25,0.5

The groups and replicates of a table are trained again with a fraction of the epochs that a full
training takes on average. Races decide on selection losses of the short trainings; the groupings
are judged on the full trainings of the other half of the replicates, as in `scripts/fidelity`.
Cost is counted in epochs over the rows of a replicate.

A variant is a fraction of the epochs, with `c` if the learning rate starts higher, at the usual one
over that fraction, and falls along half a cosine.
"""

import argparse
import json
import math
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from averaged_decisions import WithinOne, groups_of_several, read
from fidelities.half import Half
from fidelities.kept import measure_missing
from fidelities.measure import Choices, Judged, Method
from fidelities.measured import Measured, gains_of
from fidelities.measurements import measure_random_groups
from fidelities.methods import METHODS
from fidelities.ours import RaceResult, measure_on, number_of
from fidelities.report import differences, markdown, mean_over_tables
from fidelities.shares import rows, shares
from fidelities.simple import AllInOne
from numpy.typing import NDArray
from truth import networks_of, problem_of

from affinity.audit import Race
from affinity.audit import RaceResult as Raced
from affinity.estimates import CalibratedGains
from affinity.problems import Problem, TrainingResults
from affinity.problems.train_networks import train_each
from affinity.training import Member

COUNTED = 4  # replicates on which the epochs of full trainings are counted
DRAWS = 200
REFERENCE = "race, 4T trainings"
REFERENCES = (
    "all-in-one",
    "separate",
    "raw best, 3 replicates",
    "raw best, all replicates",
    "random",
)


@dataclass(frozen=True, eq=False)
class Trained:
    """The trainings of a table's groups.

    Args:
        losses: ``[replicate group task]``, on selection rows.
        epochs: ``[replicate group]``.
    """

    losses: NDArray[np.float64]
    epochs: NDArray[np.float64]


@dataclass(frozen=True)
class ShortRace:
    """A race of more, shorter trainings: in each round every task alone, and three groups per task.

    Args:
        trainings: Maximum number of trainings.
        corrected: Number of replicates on which the tasks alone and all-in-one are trained to the
            end; what all-in-one gains more there than in short trainings is added to the gain of
            every group, in proportion to its size.
        full: The full trainings of the same table.
    """

    trainings: int
    corrected: int = 0
    full: Measured | None = field(default=None, repr=False)

    def __call__(self, half: Half, budget: int, seed: int) -> tuple[int, ...]:
        """The groups chosen."""
        if budget == 1:
            return AllInOne()(half, budget, seed)
        order = np.random.default_rng(seed).permutation(half.n_replicates).tolist()
        names, measure = half.measured.tasks, measure_on(half, order)
        n_tasks = len(names)
        shift = self._shift(half, order) if self.corrected else np.zeros(n_tasks)

        def train(networks: Sequence[frozenset[str]], number: int) -> TrainingResults:
            results = measure(networks, number)
            partners = np.array([len(network) - 1 for network in networks])
            saved = torch.from_numpy(np.multiply.outer(partners / (n_tasks - 1), shift))
            return replace(results, evaluation_loss=results.evaluation_loss - saved[:, None])

        race = Race(
            budget=budget,
            trainings=self.trainings,
            confidence=1.0,
            groups=3 * n_tasks,
            seed=seed,
        )
        return groups_chosen(race.over(names, train), names)

    def _shift(self, half: Half, order: Sequence[int]) -> NDArray[np.float64]:
        """``[task]``; by how much the loss of each task in all-in-one is lowered."""
        assert self.full is not None
        chosen = [half.replicates[number] for number in order[: self.corrected]]
        gained = [
            np.nanmean(gains_of(each.losses[chosen])[:, -1]) for each in (self.full, half.measured)
        ]
        alone = 1 << np.arange(half.n_tasks)
        scale = half.measured.losses[chosen][:, alone, np.arange(half.n_tasks)].mean(axis=0)
        return (gained[0] - gained[1]) * scale


@dataclass(frozen=True)
class ShortFirst:
    """A race of one round of 2T full trainings, to which short ones before it predict gains.

    Args:
        rounds: Rounds of 2T short trainings of random groups; their weight is learned.
        full: The full trainings of the same table.
    """

    rounds: int
    full: Measured = field(repr=False)

    def __call__(self, half: Half, budget: int, seed: int) -> tuple[int, ...]:
        """The groups chosen."""
        if budget == 1:
            return AllInOne()(half, budget, seed)
        measure_random_groups(half, self.rounds, seed)
        predicted = CalibratedGains()(half.measurements())
        names = half.measured.tasks
        order = np.random.default_rng(seed).permutation(half.n_replicates).tolist()
        train = measure_on(Half(self.full, half.replicates), order)
        race = Race(budget=budget, trainings=2 * len(names) + 1, confidence=1.0, seed=seed)
        raced = race.over(names, train, predictors={"short": predicted})
        return groups_chosen(raced, names)


def groups_chosen(raced: Raced, names: tuple[str, ...]) -> tuple[int, ...]:
    """The groups of the grouping that a race chose within its budget."""
    chosen = raced.candidate("within the budget").grouping
    return tuple(number_of(network.trained, names) for network in chosen.networks)


def settings_of(folder: Path) -> argparse.Namespace:
    """The options with which `scripts/truth` made this folder."""
    told = json.loads((folder / "settings.json").read_text())
    training, resampling = told["training"], told["resampling"]

    def number(name: str) -> int | None:
        found = re.search(rf"{name}=(\d+)", resampling)
        return int(found.group(1)) if found else None

    return argparse.Namespace(
        source=folder.name,
        targets=",".join(told["tasks"]),
        exclude=None,
        rows=number("rows"),
        blocks=number("blocks"),
        validation_share=0.15,
        evaluation_share=0.3,
        width=32,
        depth=2,
        average_weights=False,
        **{name: training[name] for name in ("epochs", "batch_size", "learning_rate", "patience")},
    )


def trained(problem: Problem, replicates: int, path: Path) -> Trained:
    """Train every group on the first replicates; what the file holds is not trained again."""
    names = problem.names
    networks = networks_of(names)
    shape = 1 << len(names), len(names)
    losses, epochs = np.full((0, *shape), np.nan), np.zeros((0, shape[0]))
    if path.exists():
        held = np.load(path)
        losses, epochs = held["losses"], held["epochs"]
    path.parent.mkdir(parents=True, exist_ok=True)
    for number in range(len(losses), replicates):
        members = [Member(network, 0) for network in networks]
        own, taken = np.full(shape, np.nan), np.zeros(shape[0])
        for result in train_each(problem, members, [problem.replicate(number)]):
            group = number_of(frozenset(result.tasks), names)
            taken[group] = result.epochs
            for task, loss in result.evaluation_loss.items():
                own[group, names.index(task)] = loss
        losses, epochs = np.append(losses, own[None], 0), np.append(epochs, taken[None], 0)
        np.savez(path, losses=losses, epochs=epochs)
    return Trained(losses[:replicates], epochs[:replicates])


def short(problem: Problem, variant: str, usual: float) -> Problem:
    """The problem with this part of the usual epochs."""
    settings = problem.settings
    fraction = float(variant.rstrip("c"))
    epochs = max(1, round(fraction * usual))
    if variant.endswith("c"):
        rate = settings.learning_rate / fraction
        settings = replace(settings, schedule="cosine", learning_rate=rate)
    return problem.with_settings(replace(settings, epochs=epochs))


def agreement(full: NDArray[np.float64], brief: NDArray[np.float64], cost: float) -> dict[str, str]:
    """How well mean gains of the groups in full trainings are known from short ones.

    Signal, noise and correlations are of the groups' mean gains, the last less the mean of all
    groups of that size. At equal cost, one full training of each group and several short ones are
    compared with the full trainings on all other replicates.

    Args:
        full: ``[replicate group task]``, losses.
        brief: The same of short trainings, perhaps of the first replicates alone.
        cost: Of a short training, in full ones.
    """
    n_tasks = full.shape[-1]
    several = groups_of_several(n_tasks)
    sizes = np.array([int(group).bit_count() for group in several])
    of_size = (sizes[:, None] == sizes).astype(float)
    of_size /= of_size.sum(axis=1, keepdims=True)
    random = np.random.default_rng(0)
    count, n_brief = len(full), min(len(brief) - 1, round(1 / cost))
    alone = 1 << np.arange(n_tasks)
    of_alone = [
        each[: len(brief), alone, np.arange(n_tasks)].mean(axis=0) for each in (full, brief)
    ]
    told = {"cost": f"{cost:.2f}", "loss alone": f"{np.mean(of_alone[1] / of_alone[0]):.3f}"}
    means = [np.nanmean(gains_of(each)[:, several], axis=2) for each in (full, brief)]
    told["all-in-one gains in %"] = _both(100 * each[:, -1].mean() for each in means)
    for what in ("", ", within size"):
        if what:
            means = [each - each @ of_size.T for each in means]
        noise = [float(each.var(axis=0, ddof=1).mean()) for each in means]
        signal = [
            max(1e-12, float(each.mean(0).var(ddof=1)) - n / len(each))
            for each, n in zip(means, noise, strict=True)
        ]
        crossed: list[float] = []
        known: list[list[float]] = []
        for _ in range(DRAWS):
            order = random.permutation(len(brief))
            some, few = order[: len(brief) // 2], order[:n_brief]
            others = means[0][np.setdiff1d(np.arange(count), some)].mean(0)
            crossed.append(float(np.cov(means[1][some].mean(0), others)[0, 1]))
            others = means[0][np.setdiff1d(np.arange(count), few)].mean(0)
            by_cost = means[0][few[0]], means[1][few].mean(0)
            known.append([float(np.corrcoef(each, others)[0, 1]) for each in by_cost])
        told |= {
            f"signal in %{what}": _both(100 * math.sqrt(each) for each in signal),
            f"noise / signal{what}": _both(n / s for n, s in zip(noise, signal, strict=True)),
            f"true correlation{what}": f"{np.mean(crossed) / math.sqrt(math.prod(signal)):.2f}",
            f"correlation at equal cost{what}": _both(np.mean(known, axis=0)),
        }
    return told


def _both(values: Iterable[float]) -> str:
    """Of full and of short trainings."""
    return ", ".join(f"{value:.2f}" for value in values)


def main() -> None:
    """Train, decide, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--tables", required=True)
    parser.add_argument("--variants", default="0.25,0.5")
    parser.add_argument(
        "--replicates", type=int, help="train on this number only, and do not decide"
    )
    parser.add_argument(
        "--ways", default="0", help="replicates corrected by full trainings; or 'first'"
    )
    parser.add_argument("--races", default=REFERENCE, help="of full trainings, separated by ';'")
    parser.add_argument("--halvings", type=int, default=12)
    parser.add_argument("--kept", type=Path, required=True, help="keep trainings here")
    given = parser.parse_args()
    torch.set_num_threads(1)
    judged: list[Judged] = []
    known: list[dict[str, object]] = []
    for name in given.tables.split(","):
        full = read(given.folder / name)
        problem = problem_of(settings_of(given.folder / name))
        counted = trained(problem, COUNTED, given.kept / f"{name}-full.npz")
        drift = np.nanmax(np.abs(counted.losses / full.losses[:COUNTED] - 1))
        usual = counted.epochs[:, 1:].mean()
        print(f"{name}: {usual:.1f} epochs, at most {drift:.1e} from the truth", flush=True)
        of_variant: dict[str, tuple[Measured, float]] = {}
        for variant in given.variants.split(","):
            path = given.kept / f"{name}-{variant}.npz"
            n_replicates = given.replicates or full.n_replicates
            brief = trained(short(problem, variant, usual), n_replicates, path)
            cost = brief.epochs[:, 1:].mean() / usual
            told = agreement(full.losses, brief.losses, cost)
            known.append({"table": name, "variant": variant, **told})
            if not given.replicates:
                measured = replace(full, losses=brief.losses, judging=full.losses)
                of_variant[variant] = measured, cost
        print(markdown(pd.DataFrame(known)), flush=True)
        if not given.replicates:
            judged.append(decide(full, of_variant, given))
            report(judged)


def decide(
    full: Measured, brief: dict[str, tuple[Measured, float]], given: argparse.Namespace
) -> Judged:
    """Judge races of full and of short trainings on the same halvings; costs in full trainings."""
    methods = {name: METHODS[name] for name in REFERENCES}
    for name in given.races.split(";"):
        race = METHODS[name]
        assert isinstance(race, RaceResult)
        methods[name] = WithinOne(race)
    path = given.kept / "judged" / f"{full.table}.json"
    found = measure_missing(full, methods, given.halvings, 0, path)
    choices: dict[tuple[str, int], Choices] = dict(found.choices)
    n_tasks = len(full.tasks)
    for variant, (measured, cost) in brief.items():
        races: dict[str, Method] = {}
        besides: dict[str, float] = {}  # full trainings
        for way in given.ways.split(","):
            name = f"race, {variant} {way}"
            if way == "first":
                races[name] = ShortFirst(round(1 / cost), full)
                besides[name] = 2 * n_tasks + 1
            else:
                to_the_end = 1 if variant.endswith("c") else 1 - cost
                besides[name] = int(way) * to_the_end * (n_tasks + 1)
                room = (4 * n_tasks - besides[name]) / cost
                races[name] = ShortRace(round(room), int(way), full)
        path = given.kept / "judged" / f"{full.table}-{variant}.json"
        judged = measure_missing(measured, races, given.halvings, 0, path)
        choices |= {
            (name, budget): replace(each, trainings=each.trainings * cost + besides[name])
            for (name, budget), each in judged.choices.items()
        }
    return replace(found, choices=choices)


def more_gain(judged: Sequence[Judged], cases: Collection[tuple[str, int]], method: str) -> str:
    """How much more than the race of 4T full trainings a method gains, with a 95 % interval."""
    random = np.random.default_rng(0)
    total = np.zeros(1 + 10 * DRAWS)
    for each in judged:
        budgets = [budget for budget in each.budgets if (each.table, budget) in cases]
        if budgets:
            choices = each.choices
            more = [
                choices[method, budget].gains - choices[REFERENCE, budget].gains
                for budget in budgets
            ]
            own = 100 * np.sum(more, axis=0) / len(cases)
            drawn = random.integers(len(own), size=(10 * DRAWS, len(own)))
            total += np.append(own.mean(), own[drawn].mean(axis=1))
    low, high = np.quantile(total[1:], [0.025, 0.975])
    return f"{total[0]:+.2f} ({low:+.2f} to {high:+.2f})"


def report(judged: Sequence[Judged]) -> None:
    """Shares, differences from the race of 4T, gains over the safe choice, worst losses, costs."""
    every = [shares(each, budget) for each in judged for budget in each.budgets]
    print(f"\nup to {judged[-1].table}\n\n{markdown(mean_over_tables(every).round(2))}\n")
    print(markdown(differences(every, REFERENCE).round(2)), "\n")
    found = pd.DataFrame([row for each in judged for row in rows(each)])
    worth = found.groupby(["table", "budget"])["harm"].transform("max") > 0.01
    worthwhile = set(zip(found[worth]["table"], found[worth]["budget"], strict=True))
    by_method = found.groupby("method", sort=False)
    table = pd.DataFrame(
        {
            "gain in %": 100 * found[worth].groupby("method")["harm"].mean(),
            "more than 4T": {
                method: more_gain(judged, worthwhile, method) for method in found["method"].unique()
            },
            "worst in %": 100 * by_method["harm"].min(),
            "full trainings": found[found["budget"] > 1].groupby("method")["trainings"].mean(),
        }
    )
    print(markdown(table.round(2).reset_index(names="method")), len(worthwhile), "cases")
    shown = found.pivot_table(
        index=["table", "budget"], columns="method", values="attained_share", sort=False
    )
    print(markdown(shown.round(2).reset_index()), flush=True)


if __name__ == "__main__":
    main()
