"""Laws of the decision, over simulated audits: advice, plan, headline, alerts and JSON agree."""

import math
from collections.abc import Iterator
from dataclasses import replace
from io import StringIO

import numpy as np
import pytest
import torch
from rich.console import Console

from affinity import Grouping, Network, Plan
from affinity.audit import Audit, AuditContext, Candidate, EvaluatedPlan, TaskDescription
from affinity.audit.alert import format_gain
from affinity.cli.summary import show_audit
from affinity.problems.label_counts import LabelCounts
from affinity.reading import DataNote
from affinity.report import audit_headline
from affinity.report.headline import averaged_tasks
from affinity.report.key_numbers import count_verdicts
from affinity.statistics import Gains


def simulated(n: int, seed: int) -> Iterator[Audit]:
    """Audits of any size: gains, losses, identical networks, nothing learned, few labels."""
    random, races = np.random.default_rng(seed), np.random.default_rng(seed + 1)
    for _ in range(n):
        n_tasks, n_replicates = int(random.integers(2, 6)), int(random.choice([1, 2, 3, 8]))
        names = tuple(f"t{task}" for task in range(n_tasks))
        level = random.choice([0.004, 0.5, 2.0], n_tasks)
        noise = random.choice([0.001, 0.03, 0.2])

        def losses(
            gain: float,
            level: np.ndarray = level,
            noise: float = noise,
            shape: tuple[int, int] = (n_replicates, n_tasks),
        ) -> torch.Tensor:
            relative = 1 - gain + noise * random.normal(size=shape)
            return torch.as_tensor(level * np.maximum(relative, 1e-3))

        pair = Grouping((Network.of(*names[:2]), *(Network.of(name) for name in names[2:])))
        sharing = ("hard", *("separate",) * (n_tasks - 2))
        planned = Plan(pair, sharing, ("",) * len(sharing))
        plan = [planned, Plan.separate(names), Plan.all_in_one(names)][int(random.integers(3))]
        plans = {
            "plan": plan,
            "separate": Plan.separate(names),
            "all-in-one": Plan.all_in_one(names),
        }
        separate = losses(0.0), losses(0.0)
        by_plan: dict[tuple[Network, ...], tuple[torch.Tensor, torch.Tensor]] = {
            plans["separate"].grouping.networks: separate
        }
        candidates: dict[str, EvaluatedPlan] = {}
        for name, each in plans.items():
            gain = float(random.choice([-0.3, -0.02, 0.0, 0.004, 0.05, 0.3]))
            scores = by_plan.setdefault(each.grouping.networks, (losses(gain), losses(gain)))
            test, evaluation = (Gains(names, *pair) for pair in zip(scores, separate, strict=True))
            parameters = 1000 * len(each.grouping.networks)
            candidates[name] = EvaluatedPlan(each, test, evaluation, test, parameters, 1.0)
        constant = float(random.choice([1.0, 2.0, 1e-4]))
        few = [int(count) for count in random.choice([3, 50], n_tasks)]
        labels = tuple(
            LabelCounts(name, {"test": 400}, {"test": count})
            for name, count in zip(names, few, strict=True)
        )
        expected = {
            each.grouping.networks: float(races.choice([-0.02, 0.02, 0.2]))
            for each in plans.values()
        }
        expected[plans["separate"].grouping.networks] = 0.0
        race = tuple(
            Candidate(name, each.grouping, gain, gain - 0.01, gain + 0.01, 0.9, 1.0)
            for name, each in plans.items()
            for gain in [expected[each.grouping.networks]]
        )
        yield Audit(
            "simulated",
            tuple(
                TaskDescription(name, "loss", "metric", constant_loss=constant * float(size))
                for name, size in zip(names, level, strict=True)
            ),
            plan,
            candidates,
            context=AuditContext(
                labels=labels if random.random() < 0.4 else (),
                race=race if random.random() < 0.5 else (),
                budget=int(random.integers(1, 6)) if random.random() < 0.3 else None,
            ),
        )


@pytest.mark.parametrize("seed", range(2))
def test_one_decision_is_followed_everywhere(seed: int) -> None:
    findings: set[str | None] = set()
    for proposed in simulated(14, seed):
        audit = proposed.decide()
        assert audit.advice == "plan"
        assert audit.decide() is audit
        chosen = proposed.candidates[proposed.advice]
        assert audit.plan.grouping == chosen.plan.grouping
        assert audit.gains is chosen.test
        again = Plan.from_yaml(audit.plan.to_yaml(), tasks=tuple(task.name for task in audit.tasks))
        assert (again, again.provenance) == (audit.plan, audit.plan.provenance)
        budget = audit.context.budget
        if proposed.advice != "plan" and budget is not None:
            assert len(audit.plan.grouping.networks) <= budget
        summary = audit.summary()
        assert summary.advice == "plan"
        assert summary.overall.verdict == audit.overall.verdict
        assert summary.alerts == audit.alerts
        assert {"verdict": audit.overall.verdict == "harmful"} == {
            "verdict": "plan-harms" in {alert.code for alert in audit.alerts}
        }
        shown = [name for names in audit.distinct.values() for name in names]
        assert sorted(shown) == sorted(audit.candidates)
        networks = [
            frozenset(audit.candidates[name].plan.grouping.networks) for name in audit.distinct
        ]
        assert len(set(networks)) == len(networks)
        findings.add(audit_headline(audit).finding)
    assert {"gain", "undecided"} <= findings


@pytest.mark.parametrize("seed", range(2))
def test_a_headline_says_only_what_its_interval_shows(seed: int) -> None:
    for proposed in simulated(8, seed + 10):
        for audit in (proposed, proposed.decide()):
            headline = audit_headline(audit)
            names = {task.name for task in audit.tasks}
            if set(audit.not_learned) == names:
                assert headline.finding == "nothing-learned"
                assert not any("replicates are needed" in each for each in headline.sentences)
                assert audit.alerts[0].code == "nothing-learned"
            elif set(audit.too_few_labels) == names:
                assert headline.finding == "too-few-to-judge"
            elif audit.gains.n_replicates == 1:
                assert headline.finding == "one-replicate"
            if headline.finding in ("gain", "harm", "equal"):
                shared = [
                    audit.overall_of(name)
                    for name, candidate in audit.candidates.items()
                    if any(len(network.trained) > 1 for network in candidate.plan.grouping.networks)
                ]
                assert any(
                    verdict.low > 0
                    if headline.finding == "gain"
                    else verdict.high < 0
                    if headline.finding == "harm"
                    else verdict.verdict == "neutral"
                    for verdict in shared
                )
                assert headline.is_sure
            else:
                assert not headline.is_sure


@pytest.mark.slow
@pytest.mark.parametrize(("epochs", "share"), [(8, 0.9), (8, 0.4), (25, 0.9)])
def test_networks_that_had_not_finished_training_decide_nothing(epochs: int, share: float) -> None:
    for finished in simulated(6, 21):
        for name in finished.candidates:
            candidates = dict(finished.candidates)
            candidates[name] = replace(candidates[name], unfinished=share)
            context = replace(
                finished.context, settings={"epochs": epochs}, enough_minutes=float(epochs)
            )
            proposed = replace(finished, candidates=candidates, context=context)
            is_unfinished = (epochs, share) == (8, 0.9)
            for audit in (proposed, proposed.decide()):
                headline = audit_headline(audit)
                assert (headline.finding == "unfinished") == audit.is_unfinished == is_unfinished
                assert not (is_unfinished and headline.is_sure)
                summary = audit.summary()
                assert max(each.unfinished for each in summary.candidates.values()) == share
                serious = {each.code for each in summary.alerts if each.severity == "serious"}
                assert ("few-epochs" in serious) == is_unfinished
                told = {each.code for each in summary.alerts}
                assert ("few-epochs" in told) == (share > 0.5)
                shown = StringIO()
                show_audit(Console(file=shown, width=1000), audit)
                assert headline.title in shown.getvalue().splitlines()[-1]
            assert proposed.advice == finished.advice
            assert proposed.decide().plan.grouping == finished.decide().plan.grouping


def test_too_few_labels_give_no_verdict_and_no_interval() -> None:
    n_seen = 0
    for audit in simulated(12, 5):
        for name in audit.too_few_labels:
            verdict = audit.verdicts[name]
            assert verdict.verdict == "undecided"
            assert math.isnan(verdict.low)
            assert math.isnan(verdict.p_value)
            assert "too-few-to-judge" in {alert.code for alert in audit.alerts}
            n_seen += 1
        of_page = {each.verdict: each.count for each in count_verdicts(audit)}
        known = set(audit.same_as_separate) | set(audit.too_few_labels)
        shown = [each.verdict for task, each in audit.verdicts.items() if task not in known]
        assert of_page.get("undecided", 0) == shown.count("undecided")
    assert n_seen > 3


def test_the_terminal_begins_with_serious_warnings_and_shows_networks_once() -> None:
    n_serious = n_separate = 0
    for proposed in simulated(12, 11):
        audit, out = proposed.decide(), StringIO()
        show_audit(Console(file=out, width=500), audit)
        lines = out.getvalue().splitlines()
        titles = [alert.title for alert in audit.alerts if alert.severity == "serious"]
        for line, title in zip(lines, titles, strict=False):
            assert line.startswith(f"Warning: {title}.")
        n_serious += len(titles) > 0
        (heading,) = (line.split() for line in lines if line.startswith("task net"))
        if "separate" in audit.distinct["plan"]:
            assert "plan" not in heading
            n_separate += 1
        elif "all-in-one" in audit.distinct["plan"]:
            assert "all-in-one" not in heading
    assert n_serious > 3
    assert n_separate > 1


def test_means_leave_out_tasks_with_too_few_labels() -> None:
    n_seen = 0
    for audit in simulated(12, 5):
        left_out, summary = audit.left_out_of_means, audit.summary()
        assert summary.left_out_of_means == left_out
        if not left_out:
            continue
        n_seen += 1
        kept = [name for name in audit.gains.tasks if name not in left_out]
        for name, candidate in audit.candidates.items():
            mean = np.mean([candidate.test.by_task()[task] for task in kept])
            assert math.isclose(audit.overall_of(name).gain, mean, abs_tol=1e-9)
            shown = summary.candidates[name].gain.mean
            assert shown is not None
            assert math.isclose(shown, mean, abs_tol=1e-9)
            selection = np.mean([candidate.evaluation.by_task()[task] for task in kept])
            assert math.isclose(audit.selection_gain(name), selection, abs_tol=1e-9)
        assert f"the {len(kept)} of {len(audit.tasks)} tasks" in averaged_tasks(audit)
    assert n_seen > 1


def test_a_task_with_too_few_labels_does_not_decide() -> None:
    names = ("common", "rare")
    plans = {
        "plan": Plan.separate(names),
        "separate": Plan.separate(names),
        "all-in-one": Plan.all_in_one(names),
    }
    baseline = torch.ones(5, 2, dtype=torch.double)
    together = torch.tensor([1.05, 0.5]).double().expand(5, 2)  # the rare task seems to gain half
    candidates: dict[str, EvaluatedPlan] = {}
    for name, plan in plans.items():
        gains = Gains(names, together if name == "all-in-one" else baseline, baseline)
        size = 1000 * len(plan.grouping.networks)
        candidates[name] = EvaluatedPlan(plan, gains, gains, gains, size, 1.0)
    labels = tuple(
        LabelCounts(name, {"test": 400}, {"test": number})
        for name, number in zip(names, (50, 3), strict=True)
    )
    tasks = tuple(TaskDescription(name, "loss", "metric") for name in names)
    audit = Audit("fraud", tasks, plans["plan"], candidates, context=AuditContext(labels=labels))
    assert audit.advice == "plan"
    assert replace(audit, context=AuditContext()).advice == "all-in-one"


def measured(gain_of: dict[str, list[float]], budget: int | None = None) -> Audit:
    """An audit of "plan" (c apart), "separate" and "all-in-one", with these gains of a, b, c."""
    names = ("a", "b", "c")
    grouping = Grouping((Network.of("a", "b"), Network.of("c")))
    plans = {
        "plan": Plan(grouping, ("hard", "separate"), ("", "")),
        "separate": Plan.separate(names),
        "all-in-one": Plan.all_in_one(names),
    }
    noise = torch.tensor([-0.001, 0.0, 0.001, 0.0, -0.001, 0.001]).double()[:, None]
    baseline = torch.ones(6, 3, dtype=torch.double)
    candidates: dict[str, EvaluatedPlan] = {}
    for name, plan in plans.items():
        losses = 1 - torch.tensor(gain_of.get(name, [0.0] * 3)).double() + noise
        gains = Gains(names, baseline if name == "separate" else losses, baseline)
        candidates[name] = EvaluatedPlan(plan, gains, gains, gains, 0, 1.0)
    tasks = tuple(TaskDescription(name, "loss", "metric") for name in names)
    return Audit("abc", tasks, plans["plan"], candidates, context=AuditContext(budget=budget))


ALL = {"all-in-one": [0.03, 0.03, -0.03]}
HARMFUL = {"plan": ("b",), "all-in-one": ("c",)}


@pytest.mark.parametrize(
    ("gains", "budget", "advice", "passed_over"),
    [
        ({**ALL, "plan": [0.02, 0.02, 0.0]}, None, "plan", {"all-in-one": ("c",)}),
        ({**ALL, "plan": [0.02, -0.02, 0.0]}, None, "separate", HARMFUL),
        ({**ALL, "plan": [0.02, -0.02, 0.0]}, 2, "all-in-one", {}),  # both harm one task
        ({"all-in-one": [0.06, 0.06, -0.03], "plan": [0.02, 0.02, 0.0]}, None, "all-in-one", {}),
        ({"all-in-one": [0.0] * 3, "plan": [0.02, -0.02, 0.0]}, None, "all-in-one", {}),
    ],
)  # fmt: skip
def test_of_candidates_that_are_as_good_on_average_one_that_harms_no_task_is_advised(
    gains: dict[str, list[float]],
    budget: int | None,
    advice: str,
    passed_over: dict[str, tuple[str, ...]],
) -> None:
    audit = measured(gains, budget)
    assert (audit.advice, audit.passed_over) == (advice, passed_over)
    decided = audit.decide()
    codes = {alert.code for alert in decided.alerts}
    assert ("fewer-networks-harm" in codes) == bool(passed_over)
    harmed = audit.harmed_on_selection(advice)
    assert ("harmful-tasks" in codes) == bool(harmed)


def test_no_candidate_that_is_as_good_harms_fewer_tasks_than_the_advised_one() -> None:
    random, n_seen = np.random.default_rng(8), 0
    for _ in range(20):
        gains = {name: (0.03 * random.normal(size=3)).tolist() for name in ("plan", "all-in-one")}
        audit = measured(gains)
        harmed = {name: len(audit.harmed_on_selection(name)) for name in audit.as_good_as_best}
        assert harmed[audit.advice] == min(harmed.values())
        n_seen += len(set(harmed.values())) > 1
    assert n_seen > 1


def test_a_race_that_the_audit_contradicts_is_told_with_both_figures() -> None:
    n_told = n_agreeing = 0
    for proposed in simulated(16, 6):
        audit, race = proposed.decide(), proposed.context.race
        told = {alert.code: alert.text for alert in audit.alerts}.get("race-contradicted")
        is_replaced = audit is not proposed
        for candidate in race:
            name = audit.name_of(candidate.grouping)
            assert name is not None
            measured = audit.overall_of(name)
            is_one_sided = candidate.low > 0 > measured.high or candidate.high < 0 < measured.low
            are_apart = measured.low > candidate.high or measured.high < candidate.low
            is_separate = all(network.is_alone for network in candidate.grouping.networks)
            if is_separate or not (is_one_sided or are_apart):
                n_agreeing += told is None
                continue
            if abs(measured.gain - candidate.gain) > audit.test.tolerance:
                assert told is not None
                for gain in (candidate, measured):
                    assert format_gain(gain.gain, gain.low, gain.high) in told
                n_told += 1
        if race and is_replaced:
            assert told is not None
        assert (told is None) or race
    assert n_told > 3
    assert n_agreeing > 1


def test_serious_alerts_are_in_the_headline() -> None:
    leak = DataNote("looks-like-groups", "Column 'patient' looks like groups.", "serious")
    audit = measured({"plan": [0.02] * 3})
    assert audit_headline(audit).sentences[0] == audit_headline(audit.decide()).sentences[0]
    warned = replace(audit, context=AuditContext(notes=(leak,)))
    (alert,) = (alert for alert in warned.alerts if alert.code == leak.code)
    assert alert.title in audit_headline(warned).sentences[0]


def test_tasks_of_a_separate_network_are_the_same_as_separate() -> None:
    audit = measured({"plan": [0.02, 0.02, 0.0]})
    baseline = audit.candidates["separate"].test.scores
    gains = audit.candidates["plan"].test
    scores = torch.cat([gains.scores[:, :2], baseline[:, 2:]], dim=1)
    planned = replace(audit.candidates["plan"], test=Gains(gains.tasks, scores, baseline))
    audit = replace(audit, candidates={**audit.candidates, "plan": planned})
    assert audit.same_as_separate == ("c",)
    assert audit.verdict_words == {"a": "beneficial", "b": "beneficial", "c": "same as separate"}
    assert audit.as_table().rows[2] == ["c", "same as separate", "", ""]
    assert [(each.verdict, each.count) for each in count_verdicts(audit)] == [
        ("beneficial", 2),
        ("same", 1),
    ]


def test_a_budget_that_binds_is_told() -> None:
    for audit in simulated(20, 7):
        free = replace(audit, context=replace(audit.context, budget=None))
        is_told = "budget-binds" in {alert.code for alert in audit.alerts}
        assert is_told == (audit.beyond_budget is not None)
        if is_told:
            assert free.advice != audit.advice
