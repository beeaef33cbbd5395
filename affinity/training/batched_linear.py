"""Linear layers and elementwise functions, computed for many members at once.

They need no `vmap`: the linear layers of all members are one batched matrix product, and an
elementwise function works on a tensor of any shape. For small networks this is twice as fast.
"""

import torch
from jaxtyping import Float
from torch import Tensor, nn

from affinity.sharing import Perceptron
from affinity.sharing.perceptron import ResidualLayer

from .stacked_tensors import StackedTensors

_ELEMENTWISE = (
    nn.ReLU,
    nn.LeakyReLU,
    nn.ELU,
    nn.GELU,
    nn.SiLU,
    nn.Tanh,
    nn.Sigmoid,
    nn.Softplus,
    nn.Identity,
    nn.Dropout,
)


def is_batchable(module: nn.Module) -> bool:
    """Whether `module` has only these layers; subclasses and modules with hooks do not count."""
    if module._forward_hooks or module._forward_pre_hooks:  # pyright: ignore[reportPrivateUsage]
        return False
    if type(module) in (nn.Sequential, Perceptron, ResidualLayer):
        return all(is_batchable(part) for part in module.children())
    return type(module) is nn.Linear or type(module) in _ELEMENTWISE


def run_batched(
    module: nn.Module, tensors: StackedTensors, prefix: str, inputs: Float[Tensor, "member batch _"]
) -> Float[Tensor, "member batch _"]:
    """The output of `module` for every member; the names of its tensors start with `prefix`."""
    if type(module) is nn.Linear:
        weight, bias = tensors[f"{prefix}.weight"], tensors.get(f"{prefix}.bias")
        if bias is None:
            return torch.bmm(inputs, weight.mT)
        return torch.baddbmm(bias.unsqueeze(1), inputs, weight.mT)
    if isinstance(module, nn.Sequential):
        outputs = inputs
        for name, part in module.named_children():
            outputs = run_batched(part, tensors, f"{prefix}.{name}", outputs)
        return inputs + outputs if isinstance(module, ResidualLayer) else outputs
    return module(inputs)
