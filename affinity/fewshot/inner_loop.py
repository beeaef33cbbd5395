"""The inner loop: a few gradient steps on the support rows of one task, as a function."""

from collections.abc import Callable

from torch import Tensor
from torch.func import grad

from .network import Network, Tensors, everything

Loss = Callable[[Tensor, Tensor], Tensor]


def adapt(
    network: Network,
    parameters: Tensors,
    inputs: Tensor,
    targets: Tensor,
    loss: Loss,
    rate: float,
    is_moved: Callable[[str], bool] = everything,
    is_first_order: bool = False,
) -> Tensors:
    r"""One step of the inner loop.

    .. math::
        \phi = \theta - \alpha \nabla_\theta L(\theta, D^{\text{support}})

    It is a function of θ that can be differentiated again, and that `torch.func.vmap` runs for
    many tasks at once.

    Args:
        network: What is adapted; its own parameters are not touched.
        parameters: θ, by name.
        inputs: Support rows of the task.
        targets: Their targets.
        loss: Of predictions and targets.
        rate: α.
        is_moved: Which parameters move, by name; all, by default.
        is_first_order: Whether the gradient counts as a constant when φ is differentiated.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> network = Network(nn.Identity(), nn.Linear(1, 1, bias=False))
        >>> theta = {"head.weight": torch.tensor([[1.0]])}
        >>> squared = lambda prediction, target: (prediction.squeeze(-1) - target).square().mean()
        >>> phi = adapt(network, theta, torch.ones(2, 1), torch.zeros(2), squared, rate=0.25)
        >>> phi["head.weight"].item()  # 1 - 0.25 * 2 * 1
        0.5
    """
    moving = {name: value for name, value in parameters.items() if is_moved(name)}

    def support_loss(moving: Tensors) -> Tensor:
        return loss(network.run({**parameters, **moving}, inputs), targets)

    gradients = grad(support_loss)(moving)
    steps = {name: value.detach() if is_first_order else value for name, value in gradients.items()}
    moved = {name: moving[name].add(step, alpha=-rate) for name, step in steps.items()}
    return {**parameters, **moved}
