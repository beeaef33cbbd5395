"""Laws that every few-shot method keeps, and what single ones are known to do."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from codes import raises
from fake_gpu import GPU, fake_gpu
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import NearestCentroid
from small_problems import clouds, waves
from torch import nn

from affinity.errors import DivergenceError
from affinity.fewshot import (
    ANIL,
    MAML,
    METHODS,
    Episodes,
    FromScratch,
    LearnedEmbedding,
    LinearModel,
    MetaTraining,
    Pretrained,
    PrototypicalNetwork,
    Reptile,
    few_shot_sines,
    methods_for,
)
from affinity.fewshot.learner import task_losses
from affinity.fewshot.random_numbers import generator_of

CASES = [
    (name, make) for make in (clouds, waves) for name in methods_for(make())
]  # prototypical networks need classes
each_method = pytest.mark.parametrize(("name", "make"), CASES)


def drawn(problem, count=6, purpose="test"):
    return problem.test.draw(count, problem.shots, problem.queries, generator_of(0, purpose))


@each_method
def test_the_same_seed_learns_the_same_and_leaves_random_numbers_alone(name, make):
    problem = make()
    episodes = drawn(problem)
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = METHODS[name](problem, 3).predict(episodes, problem.steps)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert torch.equal(METHODS[name](problem, 3).predict(episodes, problem.steps), first)
    assert first.shape == (2, 6, *episodes.query_targets.shape[1:], problem.task.n_outputs)
    assert not first.requires_grad
    assert first.isfinite().all()


@pytest.mark.parametrize(
    "name", [n for n in methods_for(clouds()) if n not in ("linear model", "from scratch")]
)
def test_networks_are_on_the_device_and_predictions_on_the_cpu(name, monkeypatch):
    problem = clouds(MetaTraining(iterations=2, batch=4, device="cpu"))
    episodes = drawn(problem)
    expected = METHODS[name](problem, 3).predict(episodes, problem.steps)
    monkeypatch.setattr("affinity.fewshot.problem.find_device", lambda _: GPU)
    adam = torch.optim.Adam  # the stand-in knows no fused kernels
    monkeypatch.setattr(torch.optim, "Adam", lambda *a, **k: adam(*a, **k, foreach=False))
    with fake_gpu():
        predictions = METHODS[name](problem, 3).predict(episodes, problem.steps)
    assert type(predictions) is torch.Tensor
    assert torch.allclose(predictions, expected, rtol=1e-3, atol=1e-4)


def test_a_problem_takes_the_device_of_its_networks():
    assert waves().settings.device == "auto"
    assert waves(device="cpu").settings.device == "cpu"
    with raises("no-device"):
        waves(device="cuda:99")


@each_method
def test_tasks_are_adapted_to_each_by_itself(name, make):
    problem = make()
    episodes = drawn(problem)
    learned = METHODS[name](problem, 0)
    together = learned.predict(episodes, problem.steps)
    alone = [learned.predict(task, problem.steps) for task in episodes]
    torch.testing.assert_close(together, torch.cat(alone, dim=1), rtol=1e-4, atol=1e-5)


@each_method
def test_an_adaptation_never_sees_query_targets(name, make):
    problem = make()
    episodes = drawn(problem)
    hidden = replace(episodes, query_targets=torch.full_like(episodes.query_targets, torch.nan))
    learned = METHODS[name](problem, 0)
    assert torch.equal(
        learned.predict(episodes, problem.steps), learned.predict(hidden, problem.steps)
    )


def test_a_prototypical_network_predicts_the_nearest_class_mean():
    problem = clouds().with_shots(3)
    episodes = drawn(problem)
    learned = PrototypicalNetwork()(problem, 0)
    predicted = learned.predict(episodes, (1,))[0].argmax(dim=2)
    for task, found in zip(episodes, predicted, strict=True):
        support, query = (
            learned.network.represent(learned.parameters, part[0]).detach().numpy()
            for part in (task.support_inputs, task.query_inputs)
        )
        nearest = NearestCentroid().fit(support, task.support_targets[0].numpy())
        assert np.array_equal(nearest.predict(query), found.numpy())


def test_the_means_of_a_prototypical_network_follow_labels_not_places():
    identity = LearnedEmbedding(problem_of_identity(), {}, ways=2)
    support = torch.tensor([[[0.0], [10.0], [2.0], [14.0]]])
    asked = Episodes(
        support, torch.tensor([[1.0, 0, 1, 0]]), torch.tensor([[[1.0]]]), torch.zeros(1, 1)
    )
    assert identity.scores(asked).tolist() == [[[-121.0, 0.0]]]


def problem_of_identity():
    from affinity.fewshot.network import FewShotNetwork

    return FewShotNetwork(nn.Identity(), nn.Identity())


def test_adapted_parameters_of_anil_and_linear_probes_share_the_trunk():
    for method in (ANIL(), Pretrained(moves="head")):
        learned = method(clouds(), 0)
        assert not any(learned.is_adapted(name) for name in learned.parameters if "trunk" in name)
        assert any(learned.is_adapted(name) for name in learned.parameters)


@pytest.mark.slow
def test_maml_learns_sine_waves_and_a_pretrained_network_does_not():
    problem = few_shot_sines(MetaTraining(iterations=400, batch=25))
    episodes = drawn(problem, 200)
    losses = {
        type(method).__name__: task_losses(
            problem.task, method(problem, 0).predict(episodes, problem.steps), episodes
        )[-1]
        for method in (FromScratch(), Pretrained(), MAML())
    }
    advantage = losses["Pretrained"] - losses["MAML"]
    assert advantage.mean() > 3 * advantage.std() / len(episodes) ** 0.5
    assert losses["MAML"].mean() < 0.6 * losses["Pretrained"].mean()


def test_a_trunk_with_running_statistics_is_refused():
    problem = replace(
        waves(), trunk=lambda: nn.Sequential(nn.Linear(1, 8), nn.BatchNorm1d(8), nn.ReLU())
    )
    with raises("running-statistics") as info:
        MAML()(problem, 0)
    assert "trunk.1" in str(info.value)


def test_a_trunk_with_dropout_is_adapted_without_it():
    problem = replace(waves(), trunk=lambda: nn.Sequential(nn.Linear(1, 8), nn.Dropout(0.5)))
    learned = MAML()(problem, 0)
    episodes = drawn(problem)
    assert torch.equal(
        learned.predict(episodes, problem.steps), learned.predict(episodes, problem.steps)
    )


def test_a_meta_training_that_diverges_says_so():
    with pytest.raises(DivergenceError, match="MAML"):
        MAML()(waves(inner_rate=1e12), 0)


def test_prototypes_of_a_regression_are_refused():
    with raises("needs-classes"):
        PrototypicalNetwork()(waves(), 0)


def test_reptile_needs_two_steps_and_maml_one():
    with raises("too-few-steps"):
        Reptile(inner_steps=1)
    with raises("too-few-steps"):
        MAML(inner_steps=0)


def test_a_linear_model_is_scikit_learn_s_on_the_support_rows():
    problem = clouds()
    episodes = drawn(problem, 3)
    learner = LinearModel()(problem, 0)
    predictions = learner.predict(episodes, (1, 2))
    assert torch.equal(predictions[0], predictions[1])
    for task, of_task in zip(episodes, predictions[0], strict=True):
        model = LogisticRegression(C=1 / learner.penalty, max_iter=1000).fit(
            task.support_inputs[0].double().numpy(), task.support_targets[0].numpy()
        )
        expected = model.predict_proba(task.query_inputs[0].double().numpy())
        assert of_task.softmax(1).numpy() == pytest.approx(expected, abs=1e-4)


@pytest.mark.slow
def test_training_from_scratch_goes_on_until_it_no_longer_improves():
    problem = few_shot_sines(MetaTraining(iterations=2, batch=2))
    learner = FromScratch()(problem, 0)
    episodes = drawn(problem, 50)

    def loss(n_steps):
        predictions = learner.initialization.predict(episodes, (n_steps,))
        return task_losses(problem.task, predictions, episodes).mean()

    assert loss(learner.n_steps) < loss(10)
