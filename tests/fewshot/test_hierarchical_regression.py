"""Hierarchical Bayesian linear regression: closed form, sampling, and learned initializations."""

import math
from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from codes import raises
from torch import nn

from affinity.fewshot import (
    MAML,
    FewShotProblem,
    FromScratch,
    HierarchicalRegression,
    MetaTraining,
    Reptile,
    entropy,
)
from affinity.fewshot.learner import task_losses
from affinity.fewshot.random_numbers import generator_of
from affinity.tasks import Examples

MODEL = HierarchicalRegression(n_features=3, shared=2.0, own=0.5, noise=0.5)


def rows_of(model, count, shots, seed=0):
    drawn = model.draw(count, shots, 1, generator_of(seed, "rows"))
    return [
        Examples(inputs, targets.unsqueeze(1))
        for inputs, targets in zip(drawn.support_inputs, drawn.support_targets, strict=True)
    ]


def test_entropy_falls_when_theta_is_known_by_half_the_log_of_the_variances_a_feature():
    fall = entropy(MODEL.prior(is_known=False)) - entropy(MODEL.prior(is_known=True))
    assert fall == pytest.approx(3 / 2 * math.log((4 + 0.25) / 0.25))


def test_other_tasks_bring_the_entropy_from_that_of_an_unknown_theta_to_that_of_a_known_one():
    tasks = rows_of(MODEL, 3000, 4)
    entropies = [entropy(MODEL.prior_given(tasks[:count])) for count in (0, 1, 3, 10, 3000)]
    assert entropies[0] == pytest.approx(entropy(MODEL.prior(is_known=False)))
    assert all(later < earlier for earlier, later in pairwise(entropies))
    assert entropies[-1] == pytest.approx(entropy(MODEL.prior(is_known=True)), abs=0.01)


def test_closed_form_is_that_of_one_big_gaussian():
    """θ and the parameters of all tasks as one linear model, solved at once."""
    tasks = rows_of(MODEL, 3, 2)
    d, n = MODEL.n_features, len(tasks)
    inputs = torch.block_diag(*(rows.inputs.double() for rows in tasks))  # on the tasks' parameters
    targets = torch.cat([rows.targets[:, 0].double() for rows in tasks])
    common = torch.full((n, n), MODEL.shared**2).double() + MODEL.own**2 * torch.eye(n).double()
    prior = torch.kron(common, torch.eye(d).double())
    gain = (
        prior
        @ inputs.T
        @ torch.linalg.inv(
            inputs @ prior @ inputs.T + MODEL.noise**2 * torch.eye(len(targets)).double()
        )
    )
    mean, covariance = gain @ targets, prior - gain @ inputs @ prior
    found = MODEL.posterior(MODEL.prior_given(tasks[1:]), tasks[0])
    torch.testing.assert_close(found[0], mean[:d])
    torch.testing.assert_close(found[1], covariance[:d, :d])


def test_sampling_agrees_with_the_closed_form():
    first, *others = rows_of(MODEL, 4, 2)
    mean, covariance = MODEL.posterior(MODEL.prior_given(others), first)
    draws = MODEL.sample(first, others, 4000, generator_of(0, "sampling"))
    batches = draws.view(20, -1, 3).mean(dim=1)  # consecutive draws are correlated
    error = batches.std(dim=0) / 20**0.5
    assert ((draws.mean(dim=0) - mean).abs() < 4 * error).all()
    assert (error < 0.1 * covariance.diagonal().sqrt()).all()
    sampled = torch.from_numpy(np.cov(draws.numpy().T))
    assert entropy((mean, sampled)) == pytest.approx(entropy((mean, covariance)), abs=0.1)
    without = entropy(MODEL.posterior(MODEL.prior(is_known=False), first))
    assert entropy((mean, sampled)) < without - 0.3


def test_the_expected_loss_is_the_loss_of_the_posterior_mean():
    losses, expected = [], []
    drawn = MODEL.draw(800, 2, 20, generator_of(0, "loss"))
    for inputs, targets, queries, answers in zip(*drawn.parts, strict=True):
        rows = Examples(inputs, targets.unsqueeze(1))
        posterior = MODEL.posterior(MODEL.prior(is_known=True), rows)
        losses.append((queries.double() @ posterior[0] - answers).square().mean())
        expected.append(MODEL.expected_loss(posterior))
    error = torch.stack(losses).std() / len(losses) ** 0.5
    assert abs(torch.stack(losses).mean() - np.mean(expected)) < 4 * error


@pytest.mark.slow
def test_a_learned_initialization_finds_theta_and_gains_most_of_what_knowing_it_gains():
    """And no learned initialization can be better than the Bayesian who knows θ."""
    problem = FewShotProblem(
        name="linear",
        training=MODEL,
        validation=MODEL,
        test=MODEL,
        trunk=nn.Identity,
        head=lambda task: nn.Linear(3, task.n_outputs, bias=False),
        shots=2,
        queries=10,
        steps=(1, 3),
        inner_rate=0.05,
        settings=MetaTraining(iterations=150, batch=16, learning_rate=0.1),
    )
    drawn = MODEL.draw(500, 2, 10, generator_of(1, "meta-test"))
    losses = {}
    for method in (MAML(inner_steps=1), Reptile(inner_steps=2), FromScratch()):
        learned = method(problem, 0)
        losses[type(method)] = task_losses(
            problem.task, learned.predict(drawn, problem.steps), drawn
        )[-1].mean()
        if not isinstance(method, FromScratch):
            start = learned.parameters["head.weight"][0].double()
            assert (start - MODEL.theta).norm() < 0.2 * MODEL.theta.norm()
    bayes = {
        is_known: np.mean(
            [
                MODEL.expected_loss(
                    MODEL.posterior(MODEL.prior(is_known), Examples(inputs, targets.unsqueeze(1)))
                )
                for inputs, targets in zip(*drawn.parts[:2], strict=True)
            ]
        )
        for is_known in (False, True)
    }
    assert bayes[True] < losses[MAML]
    for method in (MAML, Reptile):
        assert losses[FromScratch] - losses[method] > 0.8 * (bayes[False] - bayes[True])
        assert losses[method] < bayes[False]


def test_deviations_of_zero_are_refused():
    with raises("not-positive"):
        replace(MODEL, own=0.0)
