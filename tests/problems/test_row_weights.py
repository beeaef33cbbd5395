"""A row of weight 2 counts as two equal rows, in every loss, metric, constant and training."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from codes import raises

from affinity import load_table
from affinity.audit.reference import train_reference
from affinity.estimates import GradientSurrogate
from affinity.problems import Problem, planted, train_networks
from affinity.tasks import (
    METRICS,
    BinaryCrossEntropy,
    CensoredDeviance,
    CrossEntropy,
    Examples,
    NamedMetric,
    OrdinalCrossEntropy,
    PoissonDeviance,
    RocAuc,
    RSquared,
    SquaredError,
    SquaredLogError,
    Task,
    VectorError,
    VectorRSquared,
)
from affinity.tasks.losses import balanced
from affinity.training import Member, Store, TrainingSettings, initial, train_members
from affinity.training.judge import block_losses, block_metrics
from affinity.training.reference import constant_loss

WEIGHTS = torch.tensor([1, 2, 3, 1, 2, 1, 1, 3]).float()
OUTPUTS = torch.randn(8, 3, generator=torch.Generator().manual_seed(0))
VECTORS = torch.randn(8, 3, generator=torch.Generator().manual_seed(1))
CLASSES = torch.tensor([0.0, 1.0, 2.0, 1.0, torch.nan, 0.0, 2.0, 0.0])
BINARY = CLASSES.clamp(max=1)
TIMES = torch.tensor([1.0, 2.0, -1.5, 0.5, torch.nan, -3.0, 2.0, 4.0])
CASES = {
    "binary": (BinaryCrossEntropy(), OUTPUTS[:, :1], BINARY),
    "balanced": (BinaryCrossEntropy((1.0, 3.0)), OUTPUTS[:, :1], BINARY),
    "classes": (CrossEntropy(), OUTPUTS, CLASSES),
    "regression": (SquaredError(), OUTPUTS[:, :1], TIMES),
    "positive": (PoissonDeviance(), OUTPUTS[:, :1], CLASSES),
    "logarithm": (SquaredLogError(), OUTPUTS[:, :1], TIMES.abs()),
    "ordinal": (OrdinalCrossEntropy(), OUTPUTS[:, :2], CLASSES),
    "censored": (CensoredDeviance(), OUTPUTS[:, :1], TIMES),
    "vector": (VectorError(VECTORS), OUTPUTS, torch.arange(8.0)),
}


def repeated(*values):
    return [value.repeat_interleave(WEIGHTS.long(), dim=0) for value in values]


@pytest.mark.parametrize("case", CASES)
def test_a_weighted_loss_is_that_of_repeated_rows(case):
    loss, outputs, target = CASES[case]
    weighted = loss(outputs, target, WEIGHTS)
    assert weighted.item() == pytest.approx(loss(*repeated(outputs, target)).item(), rel=1e-5)
    task = Task("task", loss, RSquared(), n_outputs=outputs.shape[1])
    rows = Examples(outputs, target[:, None], weights=WEIGHTS)
    many = Examples(*repeated(outputs, target[:, None]))
    constants = [constant_loss(task, each, each, 0) for each in (rows, many)]
    assert constants[0] == pytest.approx(constants[1], rel=1e-3)
    blocks = torch.tensor(block_losses(task, outputs, target, weights=WEIGHTS))
    assert blocks.mean().item() == pytest.approx(weighted.item(), rel=1e-5)


@pytest.mark.parametrize("name", METRICS)
def test_a_weighted_metric_is_that_of_repeated_rows(name):
    for output, (_, outputs, target) in CASES.items():
        if output in METRICS[name].functions:
            metric = NamedMetric.of(name, output, "task")
            value = metric(outputs, target, WEIGHTS)
            if name != "median_absolute_error":  # a median between two rows is not unique
                assert value == pytest.approx(metric(*repeated(outputs, target)), rel=1e-6)


def test_the_usual_metrics_are_those_of_repeated_rows():
    vectors = VectorRSquared(CASES["vector"][0])
    for metric, case in ((RocAuc(), "binary"), (RSquared(), "regression"), (vectors, "vector")):
        _, outputs, target = CASES[case]
        value = metric(outputs, target, WEIGHTS)
        assert value == pytest.approx(metric(*repeated(outputs, target)), rel=1e-5)
    task = Task("task", BinaryCrossEntropy(), RocAuc(), judge_by="metric")
    _, outputs, target = CASES["binary"]
    outputs, target, weights = (torch.cat([each] * 4) for each in (outputs, target, WEIGHTS))
    values = block_metrics(task, outputs, target, None, 1.0, weights)
    whole = RocAuc()(outputs, target, weights)
    assert np.mean(values) == pytest.approx(whole, abs=0.05)


def test_balanced_classes_have_the_same_total_weight():
    loss = balanced(BinaryCrossEntropy(), BINARY, WEIGHTS)
    of_class = torch.tensor(loss.weights)[BINARY.nan_to_num().long()]
    totals = [float((WEIGHTS * of_class)[each == BINARY].sum()) for each in (0, 1)]
    assert totals[0] == pytest.approx(totals[1])


@pytest.fixture(scope="module")
def table():
    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(300, 3)), columns=list("abc"))
    frame["late"] = (frame["a"] + random.normal(size=300) > 0).astype(int)
    # The sign of the effect differs between light and heavy rows.
    frame["weight"] = random.choice([1.0, 0.0, 20.0], 300)
    frame["price"] = frame["b"] * np.where(frame["weight"] == 20, 1, -1)
    return frame


def weigh(table, **options) -> Problem:
    settings = TrainingSettings(epochs=30, learning_rate=0.01)
    return load_table(
        table, ["late", "price"], sample_weight="weight", settings=settings, **options
    )


def test_heavy_rows_decide_in_every_way_to_train(table):
    problem = weigh(table, width=8)
    assert problem.development.weights is not None
    assert problem.source.features == 3
    is_zero = problem.development.weights == 0
    assert problem.development.targets[is_zero].isnan().all()
    (note,) = [note for note in problem.notes if note.code == "weights"]
    assert 100 < note.value < 150
    networks = [frozenset({"late", "price"}), frozenset({"price"})]
    replicates = problem.replicates(2)
    stacked = train_networks(problem, networks, replicates)
    (single,) = train_members(
        lambda tasks: problem.network(tasks),
        problem.tasks,
        [Member(networks[0], 1)],
        replicates,
        problem.settings,
        at_once=1,
    )
    for name in ("test_loss", "evaluation_loss", "validation_loss", "test_metric"):
        scores = dict(zip(problem.names, getattr(stacked, name)[0, 1].tolist(), strict=True))
        assert getattr(single, name) == pytest.approx(scores, rel=1e-3)
    unweighted = load_table(table, ["late", "price"], exclude=["weight"], width=8)
    plain = train_networks(unweighted, networks, unweighted.replicates(2), problem.settings)
    assert stacked.test_metric[1, :, 1].mean() > 0.5 > plain.test_metric[1, :, 1].mean()


def test_the_reference_weighs_rows(table):
    weighted = train_reference(weigh(table), [0], 8)
    plain = train_reference(load_table(table, ["late", "price"], exclude=["weight"]), [0], 8)
    assert weighted.metrics[0, 1] > plain.metrics[0, 1] + 0.2


def test_the_linearized_network_weighs_rows(table):
    problem = weigh(table, width=4)
    network = initial(problem.network, problem.tasks, 0)
    counts = torch.randint(1, 4, (60,), generator=torch.Generator().manual_seed(0))
    rows = problem.development.take(torch.arange(60))
    many = replace(rows.take(torch.arange(60).repeat_interleave(counts)), weights=None)
    surrogate = GradientSurrogate(dimensions=10, rows=None, ridge=0.1)
    weighted = replace(rows, weights=counts.float())
    losses = [
        surrogate.linearize(network, problem.tasks, each, each).losses(problem.names)
        for each in (weighted, many)
    ]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


@pytest.mark.parametrize(
    ("weights", "code"),
    [
        ([1.0, np.nan] * 150, "invalid-weight"),
        ([1.0, -1.0] * 150, "invalid-weight"),
        (np.array(["heavy", "1"] * 150), "invalid-weight"),
        ([0.0] * 300, "invalid-weight"),
        ([1.0] * 299, "weights-do-not-fit"),
        ("nothing", "missing-column"),
        ("late", "row-column-is-target"),
    ],
)
def test_weights_that_cannot_be_used_are_refused(table, weights, code):
    with raises(code):
        load_table(table, ["late", "price"], sample_weight=weights)


def test_losses_without_weights_are_refused(table):
    problem = weigh(table)
    absolute = Task("late", lambda p, t: (p.squeeze(-1) - t).abs().nanmean(), RSquared())
    with raises("loss-without-weights"):
        Problem(
            "own",
            (absolute, problem.tasks[1]),
            problem.development,
            problem.test,
            problem.trunk,
            problem.head,
        )


@pytest.mark.parametrize("part", ["training", "validation", "evaluation", "test"])
def test_a_store_tells_the_weights_of_every_part_apart(tmp_path, part):
    problem = planted(n_rows=40)
    replicate, network = problem.replicate(0), problem.network()
    rows = getattr(replicate, part)
    weighted = replace(rows, weights=torch.linspace(0.5, 1.5, len(rows)))
    keys = {
        Store(tmp_path).key(network, problem.tasks, each, problem.settings)
        for each in (replicate, replace(replicate, **{part: weighted}))
    }
    assert len(keys) == 2
