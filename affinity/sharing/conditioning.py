"""Task conditioning: one network that gets the task as an input."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from affinity.errors import InputError, check_choice
from affinity.tasks import Task

from .sharing import Head, Sharing, Trunk, make_equal


class TaskConditioning(Sharing):
    r"""One trunk whose representation is changed by the task :math:`z_k`, a one-hot vector.

    - ``input``: :math:`f([x; z_k])`, the task concatenated to the inputs; the trunk must begin with
      a linear layer, which gets one more input per task. Runs the trunk once per task;
    - ``concat``: :math:`\sigma(W [h; z_k] + b)`, the task concatenated to the representation;
    - ``add``: :math:`\sigma(W h + b_k)`, one bias per task. The same function: :math:`W [h; z_k] =
      W_h h + W_z z_k`, and the k-th column of :math:`W_z` is the bias;
    - ``film``: :math:`\gamma_k \odot h + \beta_k`, a scale and a shift per task (multiplicative);
    - ``one_hot``: :math:`\sum_l [l = k] f_l(x)`, the task selects one of several complete
      trunks, which is the same as `Separate`.

    Args:
        trunk: Makes the shared module; with ``one_hot``, the module of each task.
        width: Size of the trunk's output.
        conditioning: How the task is used: one of the above.

    Raises:
        InputError: If the conditioning is unknown, or the trunk does not begin with a linear layer.

    References:
        Perez et al. (2018), `FiLM: Visual Reasoning with a General Conditioning Layer
        <https://arxiv.org/abs/1709.07871>`_, equation 2.
    """

    def __init__(
        self,
        tasks: Iterable[Task],
        trunk: Trunk,
        head: Head,
        width: int,
        conditioning: str = "film",
    ) -> None:
        super().__init__(tasks, head)
        choices = ("input", "concat", "add", "film", "one_hot")
        check_choice("the conditioning", conditioning, choices, "unknown-conditioning")
        self.conditioning = conditioning
        n_tasks = len(self.names)
        self.trunks = make_equal(n_tasks if conditioning == "one_hot" else 1, trunk)
        self.register_buffer("z", torch.eye(n_tasks), persistent=False)
        if conditioning == "concat":
            self.mix = nn.Linear(width + n_tasks, width)
        elif conditioning == "add":
            self.mix = nn.Linear(width, width, bias=False)
            self.shift = nn.Parameter(torch.zeros(n_tasks, width))
        elif conditioning == "film":
            self.scale = nn.Parameter(torch.ones(n_tasks, width))
            self.shift = nn.Parameter(torch.zeros(n_tasks, width))
        elif conditioning == "input":
            _widen_first_layer(self.trunks[0], n_tasks)

    z: Tensor

    def represent(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """The representation for each task."""
        if self.conditioning == "one_hot":
            outputs = torch.stack([trunk(inputs) for trunk in self.trunks])  # task batch *
            return tuple(torch.tensordot(self.z.to(outputs), outputs, dims=1).unbind())
        if self.conditioning == "input":
            rows = self.z.to(inputs).unsqueeze(1).expand(-1, len(inputs), -1)  # task batch task
            return tuple(self.trunks[0](torch.cat([inputs, task], dim=1)) for task in rows)
        hidden = self.trunks[0](inputs)
        return tuple(self._conditioned(hidden, number) for number in range(len(self.names)))

    def _conditioned(self, hidden: Tensor, task: int) -> Tensor:
        if self.conditioning == "concat":
            z = self.z[task].to(hidden).expand(len(hidden), -1)
            return self.mix(torch.cat([hidden, z], dim=1)).relu()
        if self.conditioning == "add":
            return (self.mix(hidden) + self.shift[task]).relu()
        return self.scale[task] * hidden + self.shift[task]


def _widen_first_layer(trunk: nn.Module, n_more: int) -> None:
    """Give the linear layer with which a trunk begins `n_more` inputs; the old weights stay."""
    name, first = next(
        (name, module) for name, module in trunk.named_modules() if not list(module.children())
    )
    if not isinstance(first, nn.Linear) or not name:
        raise InputError(
            "Expected a trunk that begins with nn.Linear inside of nn.Sequential, to concatenate "
            f"the task to its inputs, but it begins with {type(first).__name__}. Choose the "
            "conditioning 'film', which works for every trunk.",
            "trunk-does-not-fit",
        )
    has_bias = "bias" in dict(first.named_parameters())
    wide = nn.Linear(first.in_features + n_more, first.out_features, has_bias)
    with torch.no_grad():
        wide.weight[:, : first.in_features] = first.weight
        if has_bias:
            wide.bias.copy_(first.bias)
    parent, _, child = name.rpartition(".")
    setattr(trunk.get_submodule(parent), child, wide)
