"""Which data sets to fine-tune together: every group of six measured, and every predictor judged.

    scripts/finetuning truth    # every group, every start and replicate; stops after --minutes
    scripts/finetuning predict  # the predictions of each replicate
    scripts/finetuning report   # the tables of reports/finetuning/README.md
    scripts/finetuning decide   # a study: which data sets share a network, jointly or merged
    scripts/finetuning mixtures # published mixtures: what is left beside a target's own share

Each command continues where it stopped. `--case vision` is a convolution on variations of MNIST.
"""

import argparse
import copy
import functools
import itertools
import math
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from finetuning_cases import CACHE, CASES, N_HELD_OUT, REPORT, Batch, Case, joined, size_of, taken
from scipy.stats import spearmanr
from sklearn.ensemble import RandomForestRegressor
from sklearn.isotonic import IsotonicRegression
from torch import nn

import affinity
from affinity.estimates import Linearization, MixtureRegression, MixtureRuns
from affinity.transfer import merge_adapters


class Table:
    """A CSV file that grows row by row."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows = pd.read_csv(self.path).to_dict("records") if self.path.exists() else []

    def has(self, **key: object) -> bool:
        return any(all(row[k] == v for k, v in key.items()) for row in self.rows)

    def add(self, **row: object) -> None:
        self.rows.append(row)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame([row]).to_csv(
            self.path, mode="a", header=not self.path.exists(), index=False, float_format="%.5f"
        )


def groups_of(case: Case) -> list[tuple[str, ...]]:
    sizes = range(1, len(case.names) + 1)
    return [group for size in sizes for group in itertools.combinations(case.names, size)]


@torch.no_grad()
def losses_on(
    case: Case, model: nn.Module, test: dict[str, Batch], names: Collection[str] = ()
) -> dict[str, float]:
    return {name: case.loss_on(model, test[name]).item() for name in names or case.names}


def measure(case: Case, end: float, starts: list[str]) -> None:
    table = Table(case.report / "truth.csv")
    for replicate, start in itertools.product(range(case.replicates), starts):
        test = case.held_out(replicate, "test")
        for group in groups_of(case):
            key = {"start": start, "replicate": replicate, "way": "joint", "group": "+".join(group)}
            if table.has(**key):
                continue
            if time.time() > end:
                return
            began = time.process_time()
            model = case.tuned(start, replicate, group)
            seconds = round(time.process_time() - began, 2)
            table.add(**key, seconds=seconds, **losses_on(case, model, test))
        measure_merged(case, table, start, replicate, end)


def measure_merged(case: Case, table: Table, start: str, replicate: int, end: float) -> None:
    """Merge the networks of single data sets."""
    key = {"start": start, "replicate": replicate}
    if start not in case.merged or table.has(**key, way="added", group="+".join(case.names)):
        return
    model, test = case.model_of(start, replicate), case.held_out(replicate, "test")
    base = copy.deepcopy(model.state_dict())
    states = {name: case.tuned(start, replicate, [name]).state_dict() for name in case.names}
    ways = (("averaged", None), ("added", 1.0))
    for group, (way, weight) in itertools.product(groups_of(case), ways):
        if len(group) == 1 or table.has(**key, way=way, group="+".join(group)):
            continue
        if time.time() > end:
            return
        model.load_state_dict(merge_adapters({n: states[n] for n in group}, base, weight))
        table.add(**key, way=way, group="+".join(group), seconds=0, **losses_on(case, model, test))


def predictors(
    case: Case, start: str, replicate: int
) -> Iterator[tuple[str, float, Linearization]]:
    rows, validation = case.training(replicate), case.held_out(replicate, "validation")
    model = case.model_of(start, replicate)
    warm = copy.deepcopy(model)
    parameters = [p for p in warm.parameters() if p.requires_grad]
    adam = torch.optim.Adam(parameters, case.starts[start][1])
    every = joined(rows.values())
    for _ in range(20):
        at = torch.randint(size_of(every), (32,))
        adam.zero_grad()
        case.loss_on(warm, taken(every, at)).backward()
        adam.step()
    for label, network, settings in (
        ("linearized, d = 200", model, {"dimensions": 200}),
        ("linearized, d = 400", model, {"dimensions": 400}),
        ("linearized, d = 400, Adam", warm, {"dimensions": 400, "optimizer": adam}),
        ("linearized, d = 400, by batch", model, {"dimensions": 400, "per_row": False}),
    ):
        size = 16 if label.endswith("by batch") else N_HELD_OUT
        batches, judged = (
            {name: _in_parts(batch, size) for name, batch in part.items()}
            for part in (rows, validation)
        )
        began = time.process_time()
        made = affinity.linearize(
            network, batches, judged, case.loss, same_epochs=True, seed=1, rows=96, **settings
        )
        yield label, time.process_time() - began, made


def _in_parts(batch: Batch, size: int) -> list[Batch]:
    return [taken(batch, slice(at, at + size)) for at in range(0, size_of(batch), size)]


def predict(case: Case, end: float, starts: list[str]) -> None:
    table = Table(case.report / "predictions.csv")
    for start, replicate in itertools.product(starts, range(case.replicates)):
        key = {"start": start, "replicate": replicate}
        if table.has(**key, predictor="gradient cosine"):
            continue
        if time.time() > end:
            return
        made = {label: (seconds, fit) for label, seconds, fit in predictors(case, start, replicate)}
        seconds, plain = made["linearized, d = 400"]
        made["first order, d = 400"] = seconds, plain.with_ridge(plain.ridge * 1e5)
        for label, (seconds, fit) in made.items():
            for group in groups_of(case):
                table.add(
                    **key,
                    predictor=label,
                    group="+".join(group),
                    seconds=round(seconds, 2),
                    **fit.losses(group),
                )
        training, held_out = (
            nn.functional.normalize(part.gradients, dim=1)
            for part in (plain.training, plain.held_out)
        )
        cosine = training @ held_out.T
        for group in groups_of(case):
            rows = [case.names.index(name) for name in group]
            values = {
                name: -cosine[[r for r in rows if r != t], t].mean().nan_to_num().item()
                for t, name in enumerate(case.names)
            }
            table.add(
                **key,
                predictor="gradient cosine",
                group="+".join(group),
                seconds=round(made["linearized, d = 400"][0], 2),
                **values,
            )


def gains_of(case: Case, frame: pd.DataFrame) -> pd.DataFrame:
    """The gain of each target in each group; of targets outside of the group, too."""
    names = list(case.names)
    losses = frame.set_index("group")[names].loc[["+".join(group) for group in groups_of(case)]]
    alone = np.array([losses.loc[name, name] for name in names])
    return 1 - losses / alone


def members(case: Case, outside: bool) -> np.ndarray:
    """Which cells of the table of groups and targets count; a data set alone does not."""
    inside = np.array([[name in group for name in case.names] for group in groups_of(case)])
    several = inside.sum(axis=1) > 1
    return ~inside if outside else inside & several[:, None]


def agreement(predicted: pd.DataFrame, truth: pd.DataFrame, cells: np.ndarray) -> float:
    """Spearman's correlation over groups, for each target; the mean."""
    values = [
        spearmanr(predicted.to_numpy()[cells[:, t], t], truth.to_numpy()[cells[:, t], t])[0]
        for t in range(cells.shape[1])
    ]
    return float(np.mean([0.0 if math.isnan(value) else value for value in values]))


def partitions(names: list[str], most: int) -> Iterator[list[tuple[str, ...]]]:
    if not names:
        yield []
        return
    first, rest = names[0], names[1:]
    for size in range(len(rest) + 1):
        for others in itertools.combinations(rest, size):
            left = [name for name in rest if name not in others]
            for parts in partitions(left, most - 1) if most > 1 or not left else ():
                yield [(first, *others), *parts]


def total_gain(partition: list[tuple[str, ...]], gains: pd.DataFrame) -> float:
    return float(np.mean([gains.loc["+".join(part), name] for part in partition for name in part]))


def complete(case: Case, truth: pd.DataFrame) -> dict[int, pd.DataFrame]:
    """The gains of the replicates in which every group was measured."""
    n_groups = len(groups_of(case))
    return {
        int(replicate): gains_of(case, frame)
        for replicate, frame in truth.groupby("replicate")
        if len(frame) == n_groups
    }


def judged_by(
    case: Case, truth: pd.DataFrame, predictions: pd.DataFrame, start: str
) -> pd.DataFrame:
    """One row per predictor: agreement with the mean of the other replicates, and decisions."""
    by_replicate, names = complete(case, truth), list(case.names)
    rows: list[dict[str, object]] = []
    for replicate, own in by_replicate.items():
        rest = [gains for other, gains in by_replicate.items() if other != replicate]
        if not rest:
            continue
        mean = sum(rest) / len(rest)
        candidates = {"this group, trained once": own, "pairs, trained once": pairs_of(case, own)}
        sizes = pd.DataFrame(
            [[-len(group)] * len(names) for group in groups_of(case)], own.index, names
        )
        candidates["group size"] = -sizes
        of_run = predictions[predictions.replicate == replicate]
        seconds = dict.fromkeys(candidates, math.nan)
        for label, frame in of_run.groupby("predictor", sort=False):
            is_cosine = label == "gradient cosine"
            raw = frame.set_index("group")[names].loc[own.index]
            candidates[label] = -raw if is_cosine else gains_of(case, frame)
            seconds[label] = frame.seconds.iloc[0]
        for label, predicted in candidates.items():
            row: dict[str, object] = {"start": start, "predictor": label, "seconds": seconds[label]}
            row["groups"] = agreement(predicted, mean, members(case, outside=False))
            if label != "pairs, trained once":
                row["outside"] = agreement(predicted, mean, members(case, outside=True))
            for most in (2, 3):
                best = max(partitions(names, most), key=lambda p, g=predicted: total_gain(p, g))
                row[f"gain at {most}"] = 100 * total_gain(best, mean)
            rows.append(row)
        for most in (2, 3):
            every = [100 * total_gain(p, mean) for p in partitions(names, most)]
            for label, value in (("best of all", max(every)), ("random", np.mean(every))):
                rows.append({"start": start, "predictor": label, f"gain at {most}": value})
        together = 100 * total_gain([case.names], mean)
        alone = {"start": start, "predictor": "all together"}
        rows.append({**alone, "gain at 2": together, "gain at 3": together})
    return pd.DataFrame(rows)


def pairs_of(case: Case, gains: pd.DataFrame) -> pd.DataFrame:
    """Of every group, the mean gain in its pairs."""
    names = list(case.names)
    pair = {
        (a, b): gains.loc["+".join(sorted((a, b), key=names.index)), b]
        for a, b in itertools.permutations(names, 2)
    }
    values = [
        [
            np.mean([pair[other, name] for other in group if other != name] or [0.0])
            for name in names
        ]
        for group in groups_of(case)
    ]
    return pd.DataFrame(values, index=gains.index, columns=names)


def report(case: Case) -> None:
    truth, predictions = (pd.read_csv(case.report / f"{n}.csv") for n in ("truth", "predictions"))
    joint, names = truth[truth.way == "joint"], list(case.names)
    judged = pd.concat(
        judged_by(case, joint[joint.start == start], predictions[predictions.start == start], start)
        for start in case.starts
    )
    means = judged.groupby(["start", "predictor"], sort=False).mean().reset_index()
    means.to_csv(case.report / "fidelity.csv", index=False, float_format="%.3f")
    pairs: list[pd.DataFrame] = []
    for start in case.starts:
        gains = complete(case, joint[joint.start == start]).values()
        table = pd.DataFrame(index=names, columns=names, dtype=float)
        for a, b in itertools.permutations(names, 2):
            key = "+".join(sorted((a, b), key=names.index))
            table.loc[a, b] = 100 * np.mean([g.loc[key, b] for g in gains])
        pairs.append(table.assign(start=start))
    pd.concat(pairs).rename_axis("source").to_csv(case.report / "pairs.csv", float_format="%.1f")
    merge = merging(case, truth)
    merge.to_csv(case.report / "merging.csv", float_format="%.1f")
    print(means.to_string(), "\n", pd.concat(pairs).round(1).to_string(), "\n", merge.round(1))
    print(joint.groupby(["start", "replicate"]).agg({"group": "count", "seconds": "sum"}))


def merging(case: Case, truth: pd.DataFrame) -> pd.DataFrame:
    """The mean gain of merged and of jointly trained networks, by number of data sets."""
    rows: list[dict[str, object]] = []
    for start in case.merged:
        for _, frame in truth[truth.start == start].groupby("replicate"):
            ways = dict(list(frame.groupby("way")))
            alone = ways["joint"].set_index("group")
            for way, of_way in ways.items():
                losses = of_way.set_index("group")
                for group in groups_of(case):
                    key = "+".join(group)
                    if len(group) > 1 and key in losses.index:
                        gain = np.mean([1 - losses.loc[key, n] / alone.loc[n, n] for n in group])
                        row = {"start": start, "way": way, "size": len(group)}
                        rows.append(row | {"gain": 100 * gain})
    return pd.DataFrame(rows).groupby(["start", "way", "size"]).gain.mean().unstack("size")


def decide(case: Case, trainings: int, replicates: int = 5) -> None:
    """A study of all data sets for two networks, each trained jointly or merged, and its audit.

    More trainings than before extend it.
    """
    start = next(iter(case.starts))

    @functools.cache
    def single(name: str, seed: int) -> dict[str, torch.Tensor]:
        return case.tuned(start, seed, [name]).state_dict()

    def train(names: tuple[str, ...], seed: int, sharing: str = "hard") -> affinity.Scores:
        if sharing == "hard":
            model = case.tuned(start, seed, names)
        else:
            model = case.model_of(start, seed)
            states = {name: single(name, seed) for name in names}
            model.load_state_dict(merge_adapters(states, model.state_dict(), sharing))
        validation, test = (
            losses_on(case, model, case.held_out(seed, part), names)
            for part in ("validation", "test")
        )
        return affinity.Scores(validation=validation, test=test)

    _, _, predictor = next(predictors(case, start, 0))
    study = affinity.Study(
        CACHE / case.loss / "study",
        dict.fromkeys(case.names, "minimize"),
        budget=2,
        trainings=None if (CACHE / case.loss / "study").exists() else trainings,
        prior=[predictor.matrix()],
        merging=["averaged", "added"],
    )
    if trainings > study.status().trainings:
        study.extend(trainings)
    study.run(train)
    audit = study.audit(train, replicates)
    affinity.write_report(audit, study.folder / "report.html")
    rows: list[dict[str, object]] = []
    for name, candidate in audit.candidates.items():
        networks = zip(candidate.plan.grouping.networks, candidate.plan.sharing, strict=True)
        shown = (f"{' + '.join(sorted(net.served))} ({sharing})" for net, sharing in networks)
        verdict = audit.overall_of(name)
        rows.append(
            {
                "trainings": study.status().trainings,
                "candidate": name,
                "networks": "; ".join(shown) if name != "random" else "",
                **{key: 100 * getattr(verdict, key) for key in ("gain", "low", "high")},
                "verdict": verdict.verdict,
            }
        )
    table, path = pd.DataFrame(rows), case.report / "decisions.csv"
    if path.exists():
        before = pd.read_csv(path)
        table = pd.concat([before[before.trainings != trainings], table])
    table.to_csv(path, index=False, float_format="%.1f")
    print(study.status(), study.plan(), table.round(1).to_string(), sep="\n")


def rest_of_forest(small: MixtureRuns, test: MixtureRuns, count: int) -> float:
    """What a forest on all shares knows beyond the own share's effect at the small scale.

    Spearman's correlation of the forest's predictions minus a falling function of the own share,
    learned from the same small runs, with losses minus such a function at the scale itself. Mean
    over targets and over five choices of `count` runs.
    """

    def of_share(share: np.ndarray, losses: np.ndarray) -> IsotonicRegression:
        return IsotonicRegression(increasing=False, out_of_bounds="clip").fit(share, losses)

    generator, values = np.random.default_rng(0), []
    n_choices = 5 if count < len(small) else 1
    choices = [generator.permutation(len(small))[:count] for _ in range(n_choices)]
    for runs, (column, target) in itertools.product(choices, enumerate(small.targets)):
        share, losses = small.own_share(target)[runs], small.losses[runs, column]
        forest = RandomForestRegressor(100, random_state=0).fit(small.shares[runs], losses)
        new, measured = test.own_share(target), test.losses[:, column]
        expected = forest.predict(test.shares) - of_share(share, losses).predict(new)
        left = measured - of_share(new, measured).predict(new)
        values.append(spearmanr(expected, left)[0])
    return float(np.mean(values))


def mixtures(folder: Path) -> None:
    """Learn from runs at 1 million parameters; rank the runs at three scales."""

    def read(part: str, scale: str) -> MixtureRuns:
        files = f"{part}_mixture_{scale}.csv.gz", f"{part}_pile_loss_{scale}.csv.gz"
        return MixtureRuns.read(*(folder / file for file in files))

    small, rows = read("train", "1m"), []
    for count in (68, 512):
        runs = MixtureRuns(small.sources, small.targets, small.shares[:count], small.losses[:count])
        learned = MixtureRegression(runs)
        for scale in ("1m", "60m", "1B"):
            fits = learned.check(read("test", scale))
            means = {
                name: float(np.nanmean([getattr(fit, name) for fit in fits]))
                for name in ("own_share", "full", "rest")
            }
            means["rest_of_forest"] = rest_of_forest(small, read("test", scale), count)
            rows.append({"learned_from": count, "scale": scale, "targets": len(fits), **means})
            print(rows[-1], flush=True)
    table = pd.DataFrame(rows)
    REPORT.mkdir(parents=True, exist_ok=True)
    table.to_csv(REPORT / "regmix.csv", index=False, float_format="%.3f")
    print(table.to_string())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=("truth", "predict", "decide", "mixtures", "report"))
    parser.add_argument("--case", choices=CASES, default="language")
    parser.add_argument("--minutes", type=float, default=9)
    parser.add_argument("--start", help="only this start")
    parser.add_argument("--trainings", type=int, default=24, help="to decide")
    parser.add_argument("--folder", default="../shared/data/published/regmix2024", type=Path)
    arguments = parser.parse_args()
    case, end = CASES[arguments.case], time.time() + 60 * arguments.minutes
    if arguments.step == "report":
        report(case)
    elif arguments.step == "decide":
        decide(case, arguments.trainings)
    elif arguments.step == "mixtures":
        mixtures(arguments.folder)
    else:
        starts = [arguments.start] if arguments.start else list(case.starts)
        {"truth": measure, "predict": predict}[arguments.step](case, end, starts)


if __name__ == "__main__":
    main()
