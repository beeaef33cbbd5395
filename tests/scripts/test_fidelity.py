"""The measure of decisions, on truths that we made."""

import json
import sys
from dataclasses import dataclass, replace
from itertools import combinations
from pathlib import Path

import fidelities.__main__
import fidelities.many_tasks
import numpy as np
import pandas as pd
import pytest
from fidelities import METHODS, Half, Measured, measure
from fidelities.ceilings import ceilings, spearman_brown
from fidelities.groupings import groupings_of, members
from fidelities.kept import measure_missing
from fidelities.measured import Foretelling, gains_of
from fidelities.shares import rows, shares
from numpy.typing import NDArray

from affinity.estimates import CandidateGroup, GroupScores
from affinity.grouping import solve

N_TASKS = 6
NEEDED = ("all-in-one", "separate", "random", "raw best, 1 replicate", "raw best, all replicates")
SIMPLE = {name: METHODS[name] for name in NEEDED}
ROOT = Path(__file__).parents[2]


@dataclass(frozen=True, eq=False)
class Knows:
    """Predicts what it was told."""

    gains: NDArray[np.float64]

    def __call__(self, half: Half, budget: int, seed: int) -> NDArray[np.float64]:
        return self.gains


def clusters(strength: float) -> NDArray[np.float64]:
    """True gains: partners of the own half of the tasks help, the others harm."""
    member = members(N_TASKS)
    same = np.arange(N_TASKS)[:, None] // 3 == np.arange(N_TASKS) // 3
    effect = np.where(same, strength, -strength)
    np.fill_diagonal(effect, 0.0)
    return np.where(member, member @ effect / N_TASKS, np.nan)


def truth(gains: NDArray[np.float64], noise: float, n_replicates: int = 12) -> Measured:
    """Losses with these gains beside a loss of about 1 alone, and independent noise."""
    generator, n_tasks = np.random.default_rng(0), gains.shape[1]
    losses = 1 - gains + noise * generator.normal(size=(n_replicates, *gains.shape))
    losses[:, ~members(n_tasks)] = np.nan
    return Measured("made", tuple("abcdefgh"[:n_tasks]), losses, losses, np.ones(losses.shape[:2]))


def test_who_knows_the_truth_attains_all_and_who_draws_attains_nothing() -> None:
    gains = clusters(0.3)
    methods = {**SIMPLE, "knows": Knows(gains), "knows the reverse": Knows(-gains)}
    here = shares(measure(truth(gains, noise=0.02), methods, halvings=50), budget=2)
    assert here.is_choice
    share = dict(zip(here.methods, here.share, strict=True))
    assert share["knows"] == pytest.approx(1.0)
    assert abs(share["random"]) < 0.25
    assert share["knows the reverse"] < -0.1
    assert share["raw best, all replicates"] > 0.9


def test_with_nothing_to_gain_there_is_nothing_to_choose() -> None:
    judged = measure(truth(clusters(0.0), noise=0.05), SIMPLE, halvings=20)
    assert not any(shares(judged, budget).is_choice for budget in judged.budgets)
    assert all(row["attained_share"] is None for row in rows(judged))


def test_one_network_for_all_is_no_choice_however_gains_were_rounded() -> None:
    judged = measure(truth(clusters(0.3), noise=0.02), SIMPLE, halvings=4)
    judged = replace(judged, random={1: judged.random[1] - 1e-7})
    assert not shares(judged, budget=1).is_choice


@pytest.mark.parametrize("name", ["ridge, 2T subsets", "race, 4T trainings"])
@pytest.mark.parametrize("n_replicates", [1, 4])
def test_a_replay_costs_as_many_trainings_as_new_replicates(name: str, n_replicates: int) -> None:
    measured = truth(clusters(0.3), noise=0.02, n_replicates=n_replicates)
    half = Half(measured, tuple(range(n_replicates)))
    METHODS[name](half, budget=3, seed=0)
    assert 2 * N_TASKS < half.trainings <= 4 * N_TASKS


def test_believing_every_measurement_does_harm_where_there_is_nothing_to_gain() -> None:
    gains = clusters(0.0) - 0.1
    gains[1 << np.arange(N_TASKS)] = 0.0
    judged = measure(truth(gains, noise=0.3, n_replicates=60), SIMPLE, halvings=20)
    harm = {row["method"]: row["harm"] for row in rows(judged) if row["budget"] == N_TASKS}
    assert harm["separate"] == 0.0
    assert harm["raw best, 1 replicate"] < -0.03


def test_the_ceiling_is_what_the_truth_itself_reaches() -> None:
    n_tasks, spread, noise = 8, 0.1, 0.2
    gains = spread * np.random.default_rng(1).normal(size=members(n_tasks).shape)
    methods = {"all-in-one": METHODS["all-in-one"], "knows": Knows(gains)}
    judged = measure(truth(gains, noise), methods, halvings=20)
    # What a task's own loss alone adds to all of its groups does not change their order.
    reliability = spread**2 / (spread**2 + noise**2 / 6)  # of the mean of a half of 12 replicates
    assert judged.ceiling == pytest.approx(reliability**0.5, abs=0.05)
    assert judged.choices["knows", 2].spearman == pytest.approx(judged.ceiling, abs=0.05)


def test_the_best_grouping_is_that_of_the_exact_solver() -> None:
    generator = np.random.default_rng(0)
    member, groupings = members(N_TASKS), groupings_of(N_TASKS)
    assert len(groupings.sizes) == 203  # Bell's number
    tasks = tuple("abcdef")
    for budget in (1, 2, 3, N_TASKS):
        gains = np.where(member, generator.normal(size=member.shape), np.nan)
        scores = GroupScores(
            tasks,
            tuple(
                CandidateGroup(
                    {tasks[t]: float(gains[group, t]) for t in np.flatnonzero(member[group])}
                )
                for group in range(1, 1 << N_TASKS)
            ),
        )
        best = groupings.best(gains, budget)
        expected = solve(scores, budget, overlap=False).score
        assert groupings.totals(gains)[best] == pytest.approx(expected)
        assert groupings.number(tuple(g for g in groupings.groups[best].tolist() if g)) == best


def test_a_half_tells_what_was_asked_and_counts_it_once() -> None:
    half = Half(truth(clusters(0.3), noise=0.02), replicates=(3, 5))
    assert np.isnan(half.losses()).all()
    half.measure([0b11, 0b01], [1])
    half.measure([0b01, 0b10], [1])
    assert half.trainings == 3
    assert half.seconds == 3.0
    seen = half.losses()
    assert np.isfinite(seen[1, 0b11, :2]).all()
    assert np.isfinite(seen).sum() == 4
    whole = gains_of(half.measured.losses[5:6])[0]
    np.testing.assert_allclose(half.gains()[0b11, :2], whole[0b11, :2])
    assert half.measurements().networks == (frozenset("a"), frozenset("b"), frozenset("ab"))
    half.measured.foretold["oracle"] = {5: Foretelling(clusters(0.3), seconds=2.0)}
    np.testing.assert_array_equal(half.foretold("oracle", 0, trainings=6), clusters(0.3))
    assert (half.trainings, half.seconds) == (9, 5.0)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_decides_within_the_budget(name: str) -> None:
    measured = truth(clusters(0.3), noise=0.02, n_replicates=8)
    pairs = clusters(0.3)[3, 0] * np.ones((N_TASKS, N_TASKS))
    for method in METHODS.values():
        if estimator := getattr(method, "estimator", None):
            measured.affinities[estimator] = dict.fromkeys(range(8), pairs)
            told = Foretelling(clusters(0.3), seconds=1.0)
            measured.foretold[estimator] = dict.fromkeys(range(8), told)
    measured.affinities["label correlation"] = {-1: pairs}
    measured = replace(measured, branches=measured.losses, branch_cost=0.2)
    judged = measure(measured, {**SIMPLE, name: METHODS[name]}, halvings=2)
    assert np.isfinite(judged.choices[name, 2].gains).all()


def test_a_choice_beyond_the_budget_is_an_error() -> None:
    def separate(half: Half, budget: int, seed: int) -> tuple[int, ...]:
        return tuple(1 << task for task in range(half.n_tasks))

    with pytest.raises(ValueError, match="at most 1 groups"):
        measure(truth(clusters(0.3), noise=0.02), {**SIMPLE, "wrong": separate}, halvings=2)


def test_kept_judgements_are_those_of_judging_again(tmp_path: Path) -> None:
    measured = truth(clusters(0.3), noise=0.05)
    path = tmp_path / "made.json"
    few = {name: SIMPLE[name] for name in ("all-in-one", "separate", "raw best, 1 replicate")}
    measure_missing(measured, few, 4, 0, path)
    from_both = measure_missing(measured, SIMPLE, 4, 0, path)
    stamp = path.stat().st_mtime_ns
    again = measure_missing(measured, SIMPLE, 4, 0, path)
    assert path.stat().st_mtime_ns == stamp
    at_once = measure(measured, SIMPLE, 4, 0)
    assert list(from_both.choices) == list(again.choices) == list(at_once.choices)
    for key, choices in at_once.choices.items():
        for kept in (from_both, again):
            np.testing.assert_allclose(kept.choices[key].gains, choices.gains, atol=1e-6)
            assert kept.choices[key].trainings == choices.trainings
    measure_missing(truth(clusters(0.2), noise=0.05), SIMPLE, 4, 0, path)
    assert path.stat().st_mtime_ns > stamp


def test_added_methods_are_judged_and_others_stay_as_they_were(tmp_path: Path) -> None:
    measured, path = truth(clusters(0.3), noise=0.05), tmp_path / "made.json"
    before = measure_missing(measured, {"all-in-one": METHODS["random"]}, 4, 0, path)
    now = {name: SIMPLE[name] for name in ("all-in-one", "separate", "raw best, 1 replicate")}
    added = measure_missing(measured, now, 4, 0, path, add=["separate"])
    assert {name for name, _ in added.choices} == {"all-in-one", "separate"}
    for key, choices in before.choices.items():
        np.testing.assert_array_equal(added.choices[key].gains, choices.gains.round(6))


def replay(folder: Path) -> Path:
    """Three tasks: the first two help each other, on validation and on test rows."""
    lines = []
    for group in range(1, 8):
        inside = [group >> task & 1 for task in range(3)]
        together = 0.2 if group & 3 == 3 else 0.0
        harmed = -0.1 if inside[2] and group != 4 else 0.0
        gains = [inside[t] * (together * (t < 2) + harmed) for t in range(3)]
        lines.append([*inside, *gains, *(2 * gain for gain in gains)])
    names = [f"{task}.{part}" for part in ("validation", "test") for task in "abc"]
    pd.DataFrame(lines, columns=[*"abc", *names]).to_csv(folder / "three.csv", index=False)
    return folder / "three.csv"


def test_committed_truths_are_whole() -> None:
    tables = [
        Measured.read(path.parent) for path in (ROOT / "reports/truth").glob("*/truth.csv.gz")
    ]
    assert len(tables) == 8
    for table in tables:
        assert table.n_replicates >= 12
        assert {"inter-task affinity", "gradient cosine", "etap"} <= table.estimators
        assert {"representation similarity", "gradient surrogate"} <= table.estimators


def test_two_halves_of_the_truth_agree_as_their_noise_allows() -> None:
    gains = clusters(0.3)
    found = ceilings(truth(gains, noise=0.001))
    assert min(found.values()) > 0.8
    nothing = ceilings(truth(clusters(0.0), noise=0.1))
    assert abs(nothing["within tasks"]) < 0.2
    assert spearman_brown(0.5) == pytest.approx(2 / 3)


def test_a_replay_prints_a_list_of_objects(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "README.md").write_text("# Ours\n\nWritten by hand.\n")
    arguments = ["--replay", str(replay(tmp_path)), "--json", "--halvings", "2"]
    arguments += ["--out", str(tmp_path), "--paired", "raw best, all replicates"]
    monkeypatch.setattr(sys, "argv", ["fidelity", *arguments])
    fidelities.__main__.main()
    found = json.loads(capsys.readouterr().out)
    expected = (
        "table method budget attained_share low high harm per_task_spearman ceiling trainings "
        "seconds"
    )
    assert all(set(expected.split()) <= set(row) for row in found)
    best = {(row["method"], row["budget"]): row for row in found}
    row = best["raw best, all replicates", 2]
    assert row["attained_share"] == 1.0
    assert row["trainings"] == 7
    # a and b gain 0.4 each by test rows and c nothing; together all lose 0.2 of that.
    assert row["harm"] == pytest.approx((0.4 + 0.4) / 3 - (0.2 + 0.2 - 0.2) / 3, abs=1e-4)
    assert best["HOA, all replicates", 2]["trainings"] == 6
    readme = (tmp_path / "README.md").read_text()
    assert readme.startswith("# Ours\n\nWritten by hand.\n")
    assert "### three" in readme
    assert "| HOA, all replicates | 1 | +0.00 (+0.00, +0.00) |" in readme
    assert (tmp_path / "share_and_cost.png").exists()


def test_a_replay_without_test_gains_says_what_is_missing(tmp_path: Path) -> None:
    path = replay(tmp_path)
    pd.read_csv(path).drop(columns="b.test").to_csv(path, index=False)
    with pytest.raises(fidelities.__main__.InputError, match=r"'<task>\.test'"):
        Measured.read_replay(path)


@pytest.mark.skipif(not (ROOT / "../shared/data/published").exists(), reason="no published tables")
def test_published_tables_become_replays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    written = fidelities.__main__.write_published(tmp_path)
    tables = [Measured.read_replay(path) for path in written]
    assert [len(table.tasks) for table in tables] == [7, 5, 5, 5, 5]
    # Standley's first setting: the loss of semantic segmentation alone, and of all five together.
    first = gains_of(tables[1].judging)[0]
    assert np.isfinite(first[-1]).all()
    assert (first[1 << np.arange(5), np.arange(5)] == 0).all()


def test_a_replay_of_many_tasks_needs_memory_for_measured_groups_alone(tmp_path: Path) -> None:
    names = [f"t{number}" for number in range(26)]  # 2^26 groups would take gigabytes
    member = np.array([[at in pair for at in range(26)] for pair in combinations(range(26), 2)])
    is_good = np.array([first % 2 == 0 and other == first + 1 for first, other in pairs_of(member)])
    frame = pd.DataFrame(member.astype(int), columns=names)
    for name in names:
        for part in ("validation", "test"):
            frame[f"{name}.{part}"] = frame[name] * np.where(is_good, 0.3, -0.1)
    path = tmp_path / "many.csv"
    frame.to_csv(path, index=False)
    found = {row["method"]: row for row in fidelities.many_tasks.replay(path, draws=1)}
    best = found["every measured group"]
    assert (best["attained_share"], best["gain"], best["trainings"]) == (1.0, 0.3, 26 + 325)
    assert found["size alone, 4T trainings"]["gain"] <= 0.0  # all groups have one size
    assert found["calibrated gains, 4T trainings"]["trainings"] == 4 * 26
    assert all(row["gain"] <= 0.3 for row in found.values())
    frame.drop(columns="t3.test").to_csv(path, index=False)
    with pytest.raises(fidelities.__main__.InputError, match=r"t3\.test"):
        fidelities.many_tasks.replay(path, draws=1)


def pairs_of(member: NDArray[np.bool_]) -> list[list[int]]:
    return [np.flatnonzero(row).tolist() for row in member]
