"""One decision: the audit of a study, its plan, page, summary and files name the same grouping."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from affinity import Plan, Scores, Study
from affinity.audit.trainings import FIRST_SEED
from affinity.report import study_page_of
from affinity.study import summarize_study

TASKS = ("a", "b", "c")


def simulated(seed: int) -> Callable[..., Scores]:
    """Effects of sharing that may differ between the trainings that decide and those that judge."""
    random = np.random.default_rng(seed)
    effects = random.choice([-0.2, -0.03, 0.0, 0.03, 0.2], size=(2, len(TASKS)))
    effects[1] = effects[0] if seed % 2 else effects[1]

    def train(tasks: tuple[str, ...], seed: int) -> Scores:
        noise = np.random.default_rng([seed, *map(ord, tasks)])
        effect = dict(zip(TASKS, effects[int(seed >= FIRST_SEED)], strict=True))
        parts = (
            {task: 0.7 + (len(tasks) > 1) * effect[task] + noise.normal(0, 0.003) for task in tasks}
            for _ in range(2)
        )
        return Scores(validation=next(parts), test=next(parts))

    return train


def networks_of(plan: Plan) -> set[tuple[str, ...]]:
    return {tuple(sorted(network.served)) for network in plan.grouping.networks}


def selection_gains(study: Study, plans: dict[str, Plan]) -> dict[str, float]:
    """The mean gain of each plan, from the table of all trainings."""
    frame = (
        study.frame().query("purpose == 'judge'").set_index(["tasks", "task", "seed"]).sort_index()
    )
    scores = frame["validation"]

    def mean(networks: set[tuple[str, ...]]) -> float:
        return float(
            np.mean([scores[" + ".join(net), task].mean() for net in networks for task in net])
        )

    separate = mean({(task,) for task in TASKS})
    return {name: mean(networks_of(plan)) - separate for name, plan in plans.items()}


@pytest.mark.parametrize("number", range(5))
def test_plan_page_summary_and_audit_name_one_grouping(tmp_path: Path, number: int) -> None:
    train = simulated(number)
    study = Study(tmp_path, dict.fromkeys(TASKS, "maximize"), budget=1 + number % 3, trainings=9)
    study.run(train)
    proposal = study.proposal()
    assert study.plan() == proposal
    audit = study.audit(train, replicates=3)
    assert audit.advice == "plan"
    assert study.plan() == audit.plan
    assert study.proposal() == proposal
    decision = study.decision()
    assert decision is not None
    assert decision.plan == audit.plan

    plans = {"plan": proposal, "all": Plan.all_in_one(TASKS), "separate": Plan.separate(TASKS)}
    gains = selection_gains(study, plans)
    allowed = {n for n, p in plans.items() if n == "plan" or len(networks_of(p)) <= 1 + number % 3}
    enough = max(gains[name] for name in allowed) - 0.01
    best = min(len(networks_of(plans[name])) for name in allowed if gains[name] >= enough)
    assert len(networks_of(audit.plan)) == best
    if "proposed" not in audit.candidates:
        assert networks_of(audit.plan) == networks_of(proposal)

    summary = summarize_study(study)
    assert summary.plan is not None
    assert summary.audit is not None
    assert set(summary.plan.networks) == networks_of(audit.plan)
    assert "plan" in summary.plan.names
    assert summary.audit.gain == pytest.approx(audit.overall.gain)
    assert summary.audit.verdict == audit.overall.verdict
    assert summary.audit.is_replaced == ("proposed" in audit.candidates)
    names = [name for candidate in summary.candidates for name in candidate.names]
    assert names.count("plan") == 1
    assert ("proposed" in names) == summary.audit.is_replaced
    page = study_page_of(study)
    result = re.search(r'<script type="application/json" id="result">(.*?)</script>', page, re.S)
    assert result
    shown = json.loads(result[1])
    assert {tuple(network) for network in shown["candidates"][0]["networks"]} == networks_of(
        audit.plan
    )
    assert Study(tmp_path).audit(replicates=3).summary() == audit.summary()


def test_some_simulated_audits_replace_the_proposal(tmp_path: Path) -> None:
    study = Study(tmp_path, dict.fromkeys(TASKS, "maximize"), budget=3, trainings=9)

    def train(tasks: tuple[str, ...], seed: int) -> dict[str, float]:
        effect = -0.2 if seed >= FIRST_SEED else 0.2
        return {task: 0.5 + effect * (len(tasks) - 1) + 0.001 * (seed % 7) for task in tasks}

    study.run(train)
    assert networks_of(study.proposal()) == {TASKS}
    audit = study.audit(train, replicates=2)
    assert networks_of(audit.plan) == {("a",), ("b",), ("c",)}
    assert audit.overall.verdict == "neutral"
    assert "race-contradicted" in {alert.code for alert in audit.alerts}
    assert audit.plan.provenance.unknown is None
    (proposed,) = (c for c in summarize_study(study).candidates if "proposed" in c.names)
    assert proposed.networks == (TASKS,)

    given = study.audit(train, replicates=2, plan=Plan.all_in_one(TASKS))
    assert networks_of(given.plan) == {TASKS}  # judged itself
    assert given.overall.verdict == "harmful"
    assert study.decision() is None  # the latest audit judged a plan that was given
    again = study.audit(train, replicates=2)
    assert networks_of(again.plan) == networks_of(study.plan()) == {("a",), ("b",), ("c",)}


def test_later_trainings_that_change_the_proposal_end_a_decision(tmp_path: Path) -> None:
    study = Study(tmp_path, dict.fromkeys(TASKS, "maximize"), budget=3, trainings=5)

    def train(effect: float) -> Callable[..., dict[str, float]]:
        return lambda tasks, seed: {
            task: 0.5 + effect * (len(tasks) - 1) + 0.001 * (seed % 7) for task in tasks
        }

    study.run(train(0.2))
    study.audit(train(0.2), replicates=2)
    assert study.decision() is not None
    study.extend(24)
    study.run(train(-0.9))
    assert networks_of(study.plan()) == {("a",), ("b",), ("c",)}
    assert study.decision() is None
    assert summarize_study(study).audit is None
