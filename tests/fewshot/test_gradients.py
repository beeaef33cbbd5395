"""Outer gradients against autograd through an unrolled loop, and against finite differences."""

import pytest
import torch
from plain_loop import adapted_losses as one_after_another
from small_problems import clouds, waves

from affinity.fewshot.maml import adapted_losses
from affinity.fewshot.network import is_of_head
from affinity.fewshot.random_numbers import generator_of
from affinity.fewshot.reptile import Reptile

PROBLEMS = {"waves": waves, "clouds": clouds}


@pytest.fixture(params=PROBLEMS)
def case(request):
    """A problem, a network, its parameters and tasks, in double precision."""
    problem = PROBLEMS[request.param]()
    network = problem.network(0).double()
    parameters = {name: value.requires_grad_() for name, value in network.tensors().items()}
    drawn = problem.training.draw(3, 2, 4, generator_of(0, "test"))
    episodes = type(drawn)(*(part.double() for part in drawn.parts))
    return problem, network, parameters, episodes


def gradient(losses, parameters):
    return torch.autograd.grad(losses.mean(), list(parameters.values()))


def as_one(tensors):
    return torch.cat([tensor.detach().flatten() for tensor in tensors])


@pytest.mark.parametrize("inner_steps", [1, 3])
def test_the_second_order_gradient_is_that_of_the_unrolled_loop(case, inner_steps):
    problem, network, parameters, episodes = case
    at_once = adapted_losses(network, parameters, episodes, problem, inner_steps)
    looped = one_after_another(network, parameters, episodes, problem, inner_steps)
    torch.testing.assert_close(at_once, looped)
    torch.testing.assert_close(gradient(at_once, parameters), gradient(looped, parameters))


def test_the_second_order_gradient_is_that_of_finite_differences(case):
    problem, network, parameters, episodes = case
    found = as_one(gradient(adapted_losses(network, parameters, episodes, problem, 2), parameters))
    names, start = list(parameters), as_one(parameters.values())
    sizes = [parameters[name].numel() for name in names]

    def loss_at(flat):
        own = {
            name: part.view_as(parameters[name])
            for name, part in zip(names, flat.split(sizes), strict=True)
        }
        return adapted_losses(network, own, episodes, problem, 2).mean().item()

    for seed in range(3):
        towards = torch.randn(len(start), generator=generator_of(seed, "direction")).double()
        step = 1e-5 * towards
        slope = (loss_at(start + step) - loss_at(start - step)) / 2e-5
        assert slope == pytest.approx((found @ towards).item(), rel=1e-5)


def test_the_first_order_gradient_is_the_query_gradient_at_the_adapted_parameters(case):
    problem, network, parameters, episodes = case
    first_order = adapted_losses(
        network, parameters, episodes, problem, 2, is_first_order=True
    ).mean()
    found = torch.autograd.grad(first_order, list(parameters.values()))
    expected = [torch.zeros_like(value) for value in parameters.values()]
    for task in episodes:
        inputs, targets, query_inputs, query_targets = (part[0] for part in task.parts)
        own = {name: value.detach().requires_grad_() for name, value in parameters.items()}
        for _ in range(2):
            loss = problem.task.loss(network.run(own, inputs), targets)
            slopes = torch.autograd.grad(loss, list(own.values()))
            own = {
                name: (value - problem.inner_rate * slope).detach().requires_grad_()
                for (name, value), slope in zip(own.items(), slopes, strict=True)
            }
        loss = problem.task.loss(network.run(own, query_inputs), query_targets)
        for total, slope in zip(
            expected, torch.autograd.grad(loss, list(own.values())), strict=True
        ):
            total += slope / len(episodes)
    torch.testing.assert_close(found, tuple(expected))
    second = gradient(adapted_losses(network, parameters, episodes, problem, 2), parameters)
    assert not torch.allclose(
        as_one(found), as_one(second), rtol=1e-3
    )  # it is no other name for it


def test_anil_is_maml_whose_inner_loop_moves_the_head(case):
    problem, network, parameters, episodes = case
    at_once = adapted_losses(network, parameters, episodes, problem, 2, is_of_head)
    looped = one_after_another(network, parameters, episodes, problem, 2, is_of_head)
    torch.testing.assert_close(gradient(at_once, parameters), gradient(looped, parameters))


def test_reptile_ends_in_the_middle_of_where_plain_descent_on_each_task_ends(case):
    problem, network, parameters, episodes = case
    rows = episodes.rows
    order = torch.randperm(rows, generator=generator_of(0, "order"))
    found = Reptile(inner_steps=4).mean_adapted(network, parameters, episodes, problem, order)
    a_step = episodes.support_targets.shape[1]
    ends = []
    for task in episodes:
        inputs = torch.cat([task.support_inputs, task.query_inputs], dim=1)[0, order]
        targets = torch.cat([task.support_targets, task.query_targets], dim=1)[0, order]
        own = problem.network(0).double()
        descent = torch.optim.SGD(own.parameters(), lr=problem.inner_rate)
        for step in range(4):
            mine = torch.arange(step * a_step, (step + 1) * a_step) % rows
            descent.zero_grad()
            problem.task.loss(own(inputs[mine]), targets[mine]).backward()
            descent.step()
        ends.append(own.tensors())
    for name, value in found.items():
        torch.testing.assert_close(value, torch.stack([end[name] for end in ends]).mean(dim=0))
