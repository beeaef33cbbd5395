"""Which data sets to fine-tune together: every group of six measured, and every predictor judged.

    scripts/finetuning truth    # every group, three starts, three replicates; stops after --minutes
    scripts/finetuning predict  # the predictions of each replicate
    scripts/finetuning mixtures # published mixtures: what is left beside a target's own share
    scripts/finetuning report   # the tables of reports/finetuning/README.md

Each command continues where it stopped. In a replicate, rows and seeds are new; the pretrained
decoder is the same. Every data set of a group is read equally often, so larger groups train longer.
"""

import argparse
import copy
import itertools
import math
import sys
import time
from collections.abc import Collection, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from scipy.stats import spearmanr
from torch import nn

import affinity
from affinity.estimates import Linearization, MixtureRegression, MixtureRuns
from affinity.transfer import merge_adapters

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "scripts/examples"))
from synthetic_language import (  # noqa: E402
    DATA_SETS,
    Decoder,
    Row,
    add_lora,
    batch_of,
    fine_tune,
    loss_on,
    pretrained,
    rows_of,
)

REPORT = ROOT / "reports/finetuning"
CACHE = ROOT / "run/finetuning"
NAMES = list(DATA_SETS)[:6]
STARTS = {
    "pretrained, LoRA": (60, 3e-3),
    "pretrained, all": (60, 1e-3),
    "scratch, all": (60, 2e-3),
    "joint, all": (20, 3e-4),
}
"""What is trained from where: steps per data set, and the learning rate. `joint` starts from one
of all six data sets (learned from other rows), so that fine-tuning stays near it."""
N_ROWS, N_HELD_OUT, REPLICATES = 128, 256, 2
GROUPS = [g for size in range(1, 7) for g in itertools.combinations(NAMES, size)]


def model_of(start: str, replicate: int) -> nn.Module:
    torch.manual_seed(1000 + replicate)
    if start == "scratch, all":
        return Decoder()
    file = CACHE / "pretrained.pt"
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        torch.save(pretrained().state_dict(), file)
    model = Decoder()
    model.load_state_dict(torch.load(file))
    torch.manual_seed(1000 + replicate)
    if start == "joint, all":
        return joint_of(model)
    return add_lora(model) if start == "pretrained, LoRA" else model


def joint_of(model: nn.Module) -> nn.Module:
    file = CACHE / "joint.pt"
    if not file.exists():
        rows = [row for name in NAMES for row in rows_of(name, N_ROWS, "joint")]
        fine_tune(model, rows, 60 * len(NAMES), 1e-3, seed=0)
        torch.save(model.state_dict(), file)
    model.load_state_dict(torch.load(file))
    return model


def training_rows(replicate: int) -> dict[str, list[Row]]:
    return {name: rows_of(name, N_ROWS, ("train", replicate)) for name in NAMES}


def held_out(replicate: int, part: str) -> dict[str, dict[str, torch.Tensor]]:
    return {name: batch_of(rows_of(name, N_HELD_OUT, (part, replicate))) for name in NAMES}


def tuned(start: str, replicate: int, group: Collection[str]) -> nn.Module:
    model, rows = model_of(start, replicate), training_rows(replicate)
    together = [row for name in group for row in rows[name]]
    steps, rate = STARTS[start]
    fine_tune(model, together, steps * len(group), rate, seed=replicate)
    return model


class Table:
    """A CSV file that grows row by row."""

    def __init__(self, name: str) -> None:
        self.path = REPORT / name
        self.rows = pd.read_csv(self.path).to_dict("records") if self.path.exists() else []

    def has(self, **key: object) -> bool:
        return any(all(row[k] == v for k, v in key.items()) for row in self.rows)

    def add(self, **row: object) -> None:
        self.rows.append(row)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        pd.DataFrame([row]).to_csv(
            self.path, mode="a", header=not self.path.exists(), index=False, float_format="%.5f"
        )


def measure(end: float, starts: list[str]) -> None:
    table = Table("truth.csv")
    for replicate, start in itertools.product(range(REPLICATES), starts):
        test = held_out(replicate, "test")
        for group in GROUPS:
            key = {"start": start, "replicate": replicate, "way": "joint", "group": "+".join(group)}
            if table.has(**key):
                continue
            if time.time() > end:
                return
            began = time.process_time()
            model = tuned(start, replicate, group)
            seconds = round(time.process_time() - began, 2)
            table.add(**key, seconds=seconds, **{n: loss_on(model, test[n]) for n in NAMES})
        measure_merged(table, start, replicate, end)


def measure_merged(table: Table, start: str, replicate: int, end: float) -> None:
    """Merge the models of single data sets."""
    ways = {"averaged": None, "added": 1.0}
    key = {"start": start, "replicate": replicate}
    if start not in list(STARTS)[:2] or table.has(**key, way="added", group="+".join(NAMES)):
        return
    model, test = model_of(start, replicate), held_out(replicate, "test")
    base = copy.deepcopy(model.state_dict())
    states = {name: tuned(start, replicate, [name]).state_dict() for name in NAMES}
    for group, (way, weight) in itertools.product(GROUPS, ways.items()):
        if len(group) == 1 or table.has(**key, way=way, group="+".join(group)):
            continue
        if time.time() > end:
            return
        model.load_state_dict(merge_adapters({n: states[n] for n in group}, base, weight))
        losses = {n: loss_on(model, test[n]) for n in NAMES}
        table.add(**key, way=way, group="+".join(group), seconds=0, **losses)


def predictors(start: str, replicate: int) -> Iterator[tuple[str, float, Linearization]]:
    rows, validation = training_rows(replicate), held_out(replicate, "validation")
    batches = {name: [batch_of(of_data)] for name, of_data in rows.items()}
    judged = {name: [batch] for name, batch in validation.items()}
    model = model_of(start, replicate)
    warm = copy.deepcopy(model)
    parameters = [p for p in warm.parameters() if p.requires_grad]
    adam = torch.optim.Adam(parameters, STARTS[start][1])
    every = batch_of([row for of_data in rows.values() for row in of_data])
    for _ in range(20):
        at = torch.randint(len(every["labels"]), (32,))
        adam.zero_grad()
        warm(**{name: value[at] for name, value in every.items()})["loss"].backward()
        adam.step()
    for label, network, settings in (
        ("linearized, d = 200", model, {"dimensions": 200}),
        ("linearized, d = 400", model, {"dimensions": 400}),
        ("linearized, d = 400, Adam", warm, {"dimensions": 400, "optimizer": adam}),
        ("linearized, d = 400, by batch", model, {"dimensions": 400, "per_row": False}),
    ):
        by_batch = label.endswith("by batch")
        yield (
            label,
            *_timed(
                network,
                _in_parts(batches, 16) if by_batch else batches,
                _in_parts(judged, 16) if by_batch else judged,
                rows=96,
                **settings,
            ),
        )


def _in_parts(batches: dict, size: int) -> dict:
    return {
        name: [
            {k: v[at : at + size] for k, v in batch.items()}
            for at in range(0, len(batch["labels"]), size)
        ]
        for name, (batch,) in batches.items()
    }


def _timed(model: nn.Module, batches: dict, judged: dict, **settings: object):
    began = time.process_time()
    made = affinity.linearize(
        model, batches, judged, "next token", same_epochs=True, seed=1, **settings
    )
    return time.process_time() - began, made


def predict(end: float, starts: list[str]) -> None:
    table = Table("predictions.csv")
    for start, replicate in itertools.product(starts, range(REPLICATES)):
        key = {"start": start, "replicate": replicate}
        if table.has(**key, predictor="gradient cosine"):
            continue
        if time.time() > end:
            return
        made: dict[str, tuple[float, Linearization]] = {}
        for label, seconds, linearization in predictors(start, replicate):
            made[label] = seconds, linearization
        plain = made["linearized, d = 400"]
        made["first order, d = 400"] = plain[0], plain[1].with_ridge(plain[1].ridge * 1e5)
        for label, (seconds, linearization) in made.items():
            for group in GROUPS:
                table.add(
                    **key,
                    predictor=label,
                    group="+".join(group),
                    seconds=round(seconds, 2),
                    **linearization.losses(group),
                )
        unit = [nn.functional.normalize(part.gradients, dim=1) for part in statistics(plain[1])]
        cosine = unit[0] @ unit[1].T
        for group in GROUPS:
            rows = [NAMES.index(name) for name in group]
            values = {
                name: -cosine[[r for r in rows if r != t], t].mean().nan_to_num().item()
                for t, name in enumerate(NAMES)
            }
            table.add(
                **key,
                predictor="gradient cosine",
                group="+".join(group),
                seconds=round(plain[0], 2),
                **values,
            )


def statistics(linearization: Linearization):
    return linearization.training, linearization.held_out


def gains_of(frame: pd.DataFrame) -> pd.DataFrame:
    """The gain of each target in each group; of targets outside of the group, too."""
    losses = frame.set_index("group")[NAMES].loc[["+".join(group) for group in GROUPS]]
    alone = np.array([losses.loc[name, name] for name in NAMES])
    return 1 - losses / alone


def members(outside: bool) -> np.ndarray:
    """Which cells of the table of groups and targets count; a data set alone does not."""
    inside = np.array([[name in group for name in NAMES] for group in GROUPS])
    several = np.array([len(group) > 1 for group in GROUPS])
    return ~inside if outside else inside & several[:, None]


def agreement(predicted: pd.DataFrame, truth: pd.DataFrame, cells: np.ndarray) -> float:
    """Spearman's correlation over groups, for each target; the mean."""
    values = [
        spearmanr(predicted.to_numpy()[cells[:, t], t], truth.to_numpy()[cells[:, t], t])[0]
        for t in range(len(NAMES))
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


def judged_by(truth: pd.DataFrame, predictions: pd.DataFrame, start: str) -> pd.DataFrame:
    """One row per predictor: agreement with the mean of the other replicates, and decisions."""
    by_replicate = {
        int(r): gains_of(frame) for r, frame in truth.groupby("replicate") if len(frame) == 63
    }
    rows: list[dict[str, object]] = []
    for replicate, own in by_replicate.items():
        rest = [gains for other, gains in by_replicate.items() if other != replicate]
        if not rest:
            continue
        mean = sum(rest) / len(rest)
        candidates = {"this group, trained once": own, "pairs, trained once": pairs_of(own)}
        sizes = pd.DataFrame(
            [[-len(group)] * 6 for group in GROUPS], index=own.index, columns=NAMES
        )
        candidates["group size"] = -sizes
        of_run = predictions[predictions.replicate == replicate]
        seconds = dict.fromkeys(candidates, math.nan)
        for label, frame in of_run.groupby("predictor", sort=False):
            is_cosine = label == "gradient cosine"
            raw = frame.set_index("group")[NAMES].loc[own.index]
            candidates[label] = -raw if is_cosine else gains_of(frame)
            seconds[label] = frame.seconds.iloc[0]
        for label, predicted in candidates.items():
            row: dict[str, object] = {"start": start, "predictor": label, "seconds": seconds[label]}
            row["groups"] = agreement(predicted, mean, members(False))
            if label != "pairs, trained once":
                row["outside"] = agreement(predicted, mean, members(True))
            for most in (2, 3):
                best = max(partitions(NAMES, most), key=lambda p, g=predicted: total_gain(p, g))
                row[f"gain at {most}"] = 100 * total_gain(best, mean)
            rows.append(row)
        for most in (2, 3):
            every = [100 * total_gain(p, mean) for p in partitions(NAMES, most)]
            for label, value in (("best of all", max(every)), ("random", np.mean(every))):
                rows.append({"start": start, "predictor": label, f"gain at {most}": value})
        together = 100 * total_gain([tuple(NAMES)], mean)
        alone = {"start": start, "predictor": "all together"}
        rows.append({**alone, "gain at 2": together, "gain at 3": together})
    return pd.DataFrame(rows)


def pairs_of(gains: pd.DataFrame) -> pd.DataFrame:
    """Of every group, the mean gain in its pairs."""
    pair = {
        (a, b): gains.loc["+".join(sorted((a, b), key=NAMES.index)), b]
        for a in NAMES
        for b in NAMES
        if a != b
    }
    values = [
        [
            np.mean([pair[other, name] for other in group if other != name] or [0.0])
            for name in NAMES
        ]
        for group in GROUPS
    ]
    return pd.DataFrame(values, index=gains.index, columns=NAMES)


def report() -> None:
    truth, predictions = (pd.read_csv(REPORT / f"{n}.csv") for n in ("truth", "predictions"))
    joint = truth[truth.way == "joint"]
    tables = [
        judged_by(joint[joint.start == start], predictions[predictions.start == start], start)
        for start in STARTS
    ]
    judged = pd.concat(tables)
    means = judged.groupby(["start", "predictor"], sort=False).mean().reset_index()
    means.to_csv(REPORT / "fidelity.csv", index=False, float_format="%.3f")
    pairs: list[pd.DataFrame] = []
    for start in STARTS:
        gains = [
            gains_of(f) for _, f in joint[joint.start == start].groupby("replicate") if len(f) == 63
        ]
        table = pd.DataFrame(index=NAMES, columns=NAMES, dtype=float)
        for a, b in itertools.permutations(NAMES, 2):
            key = "+".join(sorted((a, b), key=NAMES.index))
            table.loc[a, b] = 100 * np.mean([g.loc[key, b] for g in gains])
        pairs.append(table.assign(start=start))
    pd.concat(pairs).rename_axis("source").to_csv(REPORT / "pairs.csv", float_format="%.1f")
    merged: list[dict[str, object]] = []
    for start in list(STARTS)[:2]:
        for _, frame in truth[truth.start == start].groupby("replicate"):
            ways = dict(list(frame.groupby("way")))
            alone = ways["joint"].set_index("group")
            for way, of_way in ways.items():
                rows = of_way.set_index("group")
                for group in GROUPS:
                    if len(group) == 1 or "+".join(group) not in rows.index:
                        continue
                    gain = np.mean(
                        [1 - rows.loc["+".join(group), n] / alone.loc[n, n] for n in group]
                    )
                    merged.append(
                        {"start": start, "way": way, "size": len(group), "gain": 100 * gain}
                    )
    merge = pd.DataFrame(merged).groupby(["start", "way", "size"]).gain.mean().unstack("size")
    merge.to_csv(REPORT / "merging.csv", float_format="%.1f")
    print(means.to_string(), "\n", pd.concat(pairs).round(1).to_string(), "\n", merge.round(1))
    print(joint.groupby(["start", "replicate"]).agg({"group": "count", "seconds": "sum"}))


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
            rows.append({"learned_from": count, "scale": scale, "targets": len(fits), **means})
    table = pd.DataFrame(rows)
    REPORT.mkdir(parents=True, exist_ok=True)
    table.to_csv(REPORT / "regmix.csv", index=False, float_format="%.3f")
    print(table.to_string())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("step", choices=("truth", "predict", "mixtures", "report"))
    parser.add_argument("--minutes", type=float, default=9)
    parser.add_argument("--start", choices=STARTS, help="only this start")
    parser.add_argument("--folder", default="../shared/data/published/regmix2024", type=Path)
    arguments = parser.parse_args()
    end = time.time() + 60 * arguments.minutes
    if arguments.step == "report":
        report()
    elif arguments.step == "mixtures":
        mixtures(arguments.folder)
    else:
        {"truth": measure, "predict": predict}[arguments.step](
            end, [arguments.start] if arguments.start else list(STARTS)
        )


if __name__ == "__main__":
    main()
