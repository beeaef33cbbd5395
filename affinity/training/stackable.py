"""Which networks can be trained at once: those of one shape whose code `vmap` can follow."""

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from affinity.sharing import Sharing
from affinity.tasks import Examples, Replicate, Task

from .settings import TrainingSettings
from .slots import kinds_of
from .stack import Stack
from .stacked_tensors import body_tensors

_FEW_TASKS = 16  # below this, padding heads costs less than splitting the stack


def shape_of(network: Sharing, tasks: Sequence[Task]) -> object:
    """What networks must agree in to be stacked: compares equal where they can."""
    body = tuple(
        (name, tuple(tensor.shape), tensor.dtype, tensor.requires_grad)
        for name, tensor in body_tensors(network).items()
    )
    if network.represents_once:
        size = len(network.names)
        heads = 0 if len(tasks) <= _FEW_TASKS else math.ceil(math.log2(size))
    else:
        heads = tuple(kinds_of(network, tasks))
    return type(network), body, heads


def why_alone(network: Sharing, tasks: Sequence[Task], replicate: Replicate) -> str | None:
    """Why `network` cannot be stacked, None if it can."""
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm) and module.track_running_stats:  # pyright: ignore[reportPrivateUsage]
            return "BatchNorm's running statistics cannot be stacked"
        if isinstance(module, nn.RNNBase):
            return "recurrent cells cannot be stacked"
    some = Examples(
        inputs=replicate.training.inputs[:2],
        targets=torch.zeros_like(replicate.training.targets[:2]),
    )
    tiny = Replicate(seed=0, training=some, validation=some, test=some)
    try:
        with torch.random.fork_rng():
            Stack([network] * 2, tasks, [0, 1], [tiny, tiny], TrainingSettings()).try_step()
    except (RuntimeError, ValueError, TypeError) as error:
        return f"vmap cannot follow it: {str(error).splitlines()[0]}"
    return None


def bytes_a_step(network: Sharing, inputs: Float[Tensor, "batch *feature"]) -> int:
    """About how much memory one member touches in a step: parameters, moments, activations."""
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        saved[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with (
        torch.random.fork_rng(),
        torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor),
    ):
        outputs = network(inputs)
    parameters = sum(parameter.nbytes for parameter in network.parameters())
    return 4 * parameters + 2 * sum(saved.values()) + sum(o.nbytes for o in outputs.values())
