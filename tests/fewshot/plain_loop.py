"""MAML as one would write it without `torch.func`: a loop over tasks, unrolled by autograd."""

import torch
from torch.func import functional_call


def adapted_losses(network, parameters, episodes, problem, inner_steps, moved=None, detach=False):
    """The query loss of each task, one task after another."""
    losses = []
    for task in episodes:
        inputs, targets, query_inputs, query_targets = (part[0] for part in task.parts)
        own = dict(parameters)
        for _ in range(inner_steps):
            names = [name for name in own if moved is None or moved(name)]
            loss = problem.task.loss(functional_call(network, own, (inputs,)), targets)
            gradients = torch.autograd.grad(
                loss, [own[name] for name in names], create_graph=not detach
            )
            for name, gradient in zip(names, gradients, strict=True):
                own[name] = own[name] - problem.inner_rate * gradient
        losses.append(
            problem.task.loss(functional_call(network, own, (query_inputs,)), query_targets)
        )
    return torch.stack(losses)
