"""Task conditioning: one network that gets the task as an input."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from affinity.errors import InputError
from affinity.tasks import Task

from .sharing import Head, Sharing, Trunk, make_equal


class TaskConditioning(Sharing):
    r"""One trunk whose representation is changed by the task :math:`z_k`, a one-hot vector.

    - ``concat``: :math:`\sigma(W [h; z_k] + b)`, the task concatenated to the representation;
    - ``add``: :math:`\sigma(W h + b_k)`, one bias per task. The same function: :math:`W [h; z_k] =
      W_h h + W_z z_k`, and the k-th column of :math:`W_z` is the bias;
    - ``film``: :math:`\gamma_k \odot h + \beta_k`, a scale and a shift per task (multiplicative);
    - ``one_hot``: :math:`\sum_l [l = k] f_l(x)`, the task selects one of several complete
      trunks, which is the same as `Separate`.

    Args:
        tasks: The tasks to predict, in order.
        trunk: Makes the shared module; with ``one_hot``, the module of each task.
        head: Makes the head of a task.
        width: Size of the trunk's output.
        conditioning: How the task is used: one of the above.

    Raises:
        InputError: If the conditioning is unknown.

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
        elif conditioning != "one_hot":
            raise InputError(
                "Expected the conditioning 'concat', 'add', 'film' or 'one_hot', but got "
                f"{conditioning!r}.",
                "unknown-conditioning",
            )

    z: Tensor

    def represent(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """The representation for each task."""
        if self.conditioning == "one_hot":
            outputs = torch.stack([trunk(inputs) for trunk in self.trunks])  # task batch *
            return tuple(torch.tensordot(self.z.to(outputs), outputs, dims=1).unbind())
        hidden = self.trunks[0](inputs)
        return tuple(self._conditioned(hidden, number) for number in range(len(self.names)))

    def _conditioned(self, hidden: Tensor, task: int) -> Tensor:
        if self.conditioning == "concat":
            z = self.z[task].to(hidden).expand(len(hidden), -1)
            return self.mix(torch.cat([hidden, z], dim=1)).relu()
        if self.conditioning == "add":
            return (self.mix(hidden) + self.shift[task]).relu()
        return self.scale[task] * hidden + self.shift[task]
