"""Cross-stitch: one trunk per task, with activations mixed after every stage."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from affinity.errors import InputError, check_number
from affinity.tasks import Task

from .sharing import Head, Sharing, Trunk, make_equal, stages_of


class CrossStitch(Sharing):
    r"""One trunk per task; after every stage each task gets a learned mixture of all activations.

    .. math::
        \tilde{x}_k = \sum_{l} \alpha_{kl} x_l

    with one :math:`\alpha` a stage, started at `own` on the diagonal and the rest shared out
    evenly. With :math:`\alpha = I` this is `Separate`.

    Args:
        trunk: Makes the trunk of a task: an `nn.Sequential` of at least two stages.
        own: Weight of a task's own activation at the start.

    Raises:
        InputError: If the trunk has no stages to stitch.

    References:
        Misra et al. (2016), `Cross-stitch Networks for Multi-task Learning
        <https://arxiv.org/abs/1604.03539>`_, equation 1, with one unit a stage rather than one
        a channel.
    """

    def __init__(self, tasks: Iterable[Task], trunk: Trunk, head: Head, own: float = 0.9) -> None:
        super().__init__(tasks, head)
        check_number("own", own, "invalid-weight", least=0, most=1)
        n_tasks = len(self.names)
        self.trunks = make_equal(n_tasks, trunk)
        n_stages = [len(stages_of(each, "cross-stitch")) for each in self.trunks]
        if len(set(n_stages)) > 1:
            raise InputError(
                f"Expected the same number of stages in all trunks, but got {n_stages}.",
                "stages-differ",
            )
        rest = (1 - own) / max(1, n_tasks - 1)
        start = torch.full((n_tasks, n_tasks), rest).fill_diagonal_(own if n_tasks > 1 else 1.0)
        self.stitches = nn.ParameterList(start.clone() for _ in range(n_stages[0]))

    def represent(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """The stitched output of the last stage, for each task."""
        activations = (inputs,) * len(self.names)
        columns = zip(*(stages_of(trunk, "cross-stitch") for trunk in self.trunks), strict=True)
        for number, (stitch, stages) in enumerate(zip(self.stitches, columns, strict=True)):
            outputs = [stage(one) for stage, one in zip(stages, activations, strict=True)]
            if len({output.shape for output in outputs}) > 1:
                raise InputError(
                    f"Expected outputs of one shape to cross-stitch, but stage {number} returns "
                    f"{[list(output.shape) for output in outputs]}.",
                    "stages-differ",
                )
            stacked = torch.stack(outputs)  # task batch *
            mixed = torch.einsum("kl,lx->kx", stitch, stacked.flatten(1)).unflatten(
                1, stacked.shape[1:]
            )
            activations = tuple(mixed.unbind())
        return activations
