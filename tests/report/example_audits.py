"""Audits of made-up measurements, of any size and with hostile names."""

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from affinity.audit import (
    Audit,
    AuditContext,
    Candidate,
    Diagnosis,
    EvaluatedPlan,
    Gates,
    TaskDescription,
)
from affinity.audit.causes import CauseResult, Intervention
from affinity.estimates import AffinityMatrix, InterTaskAffinity
from affinity.grouping import Grouping, Network
from affinity.problems import DataSource
from affinity.recommendation import Plan, recommend
from affinity.recording import Trace
from affinity.sharing import Cost
from affinity.statistics import Gains
from affinity.tasks import Score

HOSTILE = (
    "</script><script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"double\" & 'single' quotes",
    "$a_b^{c$ %d {{ 7 * 7 }} {% raw %}",
    "\u202eright to left override",
    "משימה בעברית",
    "任务・タスク",
    '=HYPERLINK("http://example.org")',
    "a very long name of a task that goes on and on " * 6,
    "tab\tnew\nline",
    "https://example.org/x.png",
    "]]> --> */ ;",
)


def names(n_tasks: int) -> tuple[str, ...]:
    return tuple(f"task {number:02d}" for number in range(1, n_tasks + 1))


def matrix_of(tasks: tuple[str, ...], n_groups: int = 3, seed: int = 0) -> AffinityMatrix:
    """Tasks of one remainder help each other, the others oppose."""
    draw = torch.Generator().manual_seed(seed)
    n_tasks = len(tasks)
    home = torch.arange(n_tasks) % n_groups
    block = torch.where(home[:, None] == home[None, :], 0.02, -0.008)
    return AffinityMatrix(
        tasks=tasks,
        values=block + 0.008 * torch.randn(n_tasks, n_tasks, generator=draw),
        standard_error=torch.full((n_tasks, n_tasks), 0.004),
        n_steps=torch.full((n_tasks, n_tasks), 60),
        estimator=repr(InterTaskAffinity()),
    )


def plan_of(matrix: AffinityMatrix, n_groups: int = 3) -> Plan:
    members = [matrix.tasks[start::n_groups] for start in range(min(n_groups, len(matrix.tasks)))]
    networks = tuple(Network.of(*group) for group in members)
    return recommend(matrix, Grouping(networks, 1.0, 1.0, "dynamic_programming", 0.01))


def an_audit(
    tasks: tuple[str, ...] | int = 6,
    n_replicates: int = 5,
    n_groups: int = 3,
    seed: int = 0,
    effect: float = 0.05,
    **context: Any,
) -> Audit:
    """Every third task gains from the plan, every third loses, every third does not care."""
    tasks = names(tasks) if isinstance(tasks, int) else tasks
    draw = torch.Generator().manual_seed(seed)
    n_tasks = len(tasks)
    matrix = matrix_of(tasks, n_groups, seed)
    plan = plan_of(matrix, n_groups)
    shape = (n_replicates, n_tasks)
    separate = 0.5 + 0.2 * torch.rand(n_tasks, generator=draw) + torch.zeros(shape)
    leaning = torch.tensor([(1.0, -0.3, 0.0)[at % 3] for at in range(n_tasks)])

    def arrangement(plan: Plan, gain: float, spread: float, parameters: int) -> EvaluatedPlan:
        def losses() -> torch.Tensor:
            noise = spread * torch.randn(*shape, generator=draw)
            return separate * (1 - gain * leaning + noise)

        metrics = 1 - losses() / 2
        return EvaluatedPlan(
            plan=plan,
            test=Gains(tasks, losses(), separate),
            evaluation=Gains(tasks, losses(), separate),
            metrics=Gains(tasks, metrics, 1 - separate / 2, (Score("maximize"),) * n_tasks),
            parameters=parameters,
            seconds=1.5,
        )

    return Audit(
        problem="a made-up problem",
        tasks=tuple(
            TaskDescription(task, "BinaryCrossEntropy", "ROC AUC")
            if at % 2
            else TaskDescription(task, "SquaredError", "R²")
            for at, task in enumerate(tasks)
        ),
        plan=plan,
        candidates={
            "plan": arrangement(plan, effect, 0.012, 2000 * len(plan.grouping.networks)),
            "separate": arrangement(Plan.separate(tasks), 0.0, 0.0, 2000 * n_tasks),
            "all-in-one": arrangement(Plan.all_in_one(tasks), -2 * effect, 0.02, 2000),
        },
        matrix=matrix,
        context=replace(
            AuditContext(
                command="affinity audit made-up.csv --targets a,b",
                versions={"python": "3.11.9", "torch": "2.13.0"},
                seed=0,
                every=10,
                budget=n_groups,
                rows={"development": 1600, "test": 500},
                source=DataSource("made-up.csv", kinds=dict.fromkeys(tasks, "binary")),
                settings={"epochs": 30, "learning_rate": 1e-3},
                seconds={"record": 2.5, "retrain": 31.0},
            ),
            **context,
        ),
    )


def with_gates(audit: Audit, *, polarized: bool = False) -> Audit:
    """The same audit, but the plan's first network is a mixture of four experts."""
    plan = replace(audit.plan, sharing=("mmoe", *audit.plan.sharing[1:]))
    first, *others = plan.grouping.networks
    tasks = tuple(task.name for task in audit.tasks if task.name in first.trained)
    n_replicates = audit.gains.n_replicates
    draw = torch.Generator().manual_seed(0)
    gates = Gates(
        tasks=tasks,
        utilization=torch.rand(n_replicates, len(tasks), 4, generator=draw).softmax(dim=2),
        entropy=torch.rand(n_replicates, len(tasks), generator=draw),
        polarized=torch.full((n_replicates, len(tasks)), polarized),
        identical=torch.full((n_replicates,), polarized),
    )
    planned = replace(
        audit.candidates["plan"],
        plan=plan,
        costs=tuple(Cost(2000, 1900) for _ in plan.grouping.networks),
    )
    return replace(
        audit,
        plan=plan,
        candidates={**audit.candidates, "plan": planned},
        gates=(gates, *(None for _ in others)),
    )


def a_race(tasks: tuple[str, ...]) -> tuple[Candidate, ...]:
    """Two groupings, one of them under two names."""
    together, apart = (plan.grouping for plan in (Plan.all_in_one(tasks), Plan.separate(tasks)))
    return (
        Candidate("plan", together, 0.1, 0.05, 0.15, 0.9, 1.0),
        Candidate("separate", apart, 0.0, 0.0, 0.0, 0.1, 0.1),
        Candidate("all-in-one", together, 0.1, 0.05, 0.15, 0.9, 1.0),
    )


def a_diagnosis(name: str = "task 01") -> Diagnosis:
    """Of three tasks, of which one is better trained apart."""
    tasks, noise = (name, "b", "c"), 0.01 * np.random.default_rng(0).normal(size=(5, 3))
    apart = Intervention(f"{name} apart", f"train {name} apart", 0.3 + noise, 0.28 + noise, 2.0)
    wide = Intervention("2 times the width", "give the trunk twice the width", noise, noise, 3.0)
    findings = (
        CauseResult("mismatch", (f"{name} wants something else.",), (apart,)),
        CauseResult("capacity", ("Nothing changed.",), (wide,)),
        CauseResult("data", skipped=("not asked",)),
    )
    plan = Plan.all_in_one(tasks)
    return Diagnosis("p", tasks, plan, (name,), 0.3 + noise, 0.3 + noise, findings)


def trace_of(
    tasks: tuple[str, ...],
    n_measurements: int = 40,
    layers: tuple[str, ...] = ("trunk.0", "trunk.2"),
) -> Trace:
    """Noise, with what every picture of a trace needs."""
    draw = torch.Generator().manual_seed(0)
    n_tasks = len(tasks)
    losses = 1 + torch.rand(n_measurements, n_tasks, generator=draw)
    lookahead = 0.01 * torch.randn(n_measurements, n_tasks, n_tasks, generator=draw)
    gramians = torch.randn(n_measurements, len(layers), n_tasks, n_tasks, generator=draw)
    gramians = gramians + gramians.transpose(2, 3)
    return Trace(
        tasks=tasks,
        steps=torch.arange(0, 10 * n_measurements, 10),
        losses=losses,
        gramians=gramians.sum(dim=1) + 4 * torch.eye(n_tasks),
        lookahead_losses=losses[:, None, :] * (1 - lookahead),
        layers=layers,
        layer_gramians=gramians,
    )
