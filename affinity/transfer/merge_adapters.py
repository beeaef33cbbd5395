"""Merging: one model from several that were fine-tuned apart, starting from the same parameters."""

from collections.abc import Mapping

import torch
from torch import Tensor

from affinity.errors import InputError, check_choice
from affinity.tasks import check_names


def merge_adapters(
    states: Mapping[str, Mapping[str, Tensor]],
    base: Mapping[str, Tensor],
    weight: float | str | None = None,
) -> dict[str, Tensor]:
    r"""Add the changes of several fine-tuned models or adapters to their common start.

    .. math:: \theta = \theta_0 + \sum_k a \, (\theta_k - \theta_0)

    Averaging with :math:`a = 1/K`, the default; task arithmetic with a larger weight, such as 1.
    An adapter whose parameters are products, as in LoRA, is merged factor by factor.

    Args:
        states: Parameters by name, for each task or data set.
        base: The parameters before fine-tuning, the same for all.
        weight: a, or what a study asks for: "averaged" (1/K, the default) or "added" (1).

    Raises:
        InputError: If names or shapes differ from those of `base`, the weight is unknown, or there
            is nothing to merge.

    References:
        Ilharco et al. (2023), `Editing Models with Task Arithmetic
        <https://arxiv.org/abs/2212.04089>`_.

    Example:
        >>> base, one, two = ({"w": torch.tensor([x])} for x in (1.0, 2.0, 5.0))
        >>> merge_adapters({"a": one, "b": two}, base)["w"].item()
        3.5
        >>> merge_adapters({"a": one, "b": two}, base, weight=1.0)["w"].item()
        6.0
    """
    if not check_names(states):
        raise InputError("Expected at least one state to merge, but got none.", "no-tasks")
    for name, state in states.items():
        differences = sorted(set(state) ^ set(base))
        differences += [key for key in base if key in state and state[key].shape != base[key].shape]
        if differences:
            raise InputError(
                f"Expected the state of {name!r} to have the names and shapes of the base, but "
                f"these differ: {differences[:5]}. Merge adapters of one configuration (rank, "
                "target modules), saved the same way.",
                "different-parameters",
            )
    if isinstance(weight, str):
        check_choice("the weight", weight, ("averaged", "added"), "unknown-sharing")
    size = 1.0 if weight == "added" else weight
    size = size if isinstance(size, float | int) else 1 / len(states)
    merged: dict[str, Tensor] = {}
    for key, start in base.items():
        if start.is_floating_point():
            change = torch.stack([state[key].to(start) - start for state in states.values()])
            merged[key] = start + size * change.sum(dim=0)
        else:
            merged[key] = start.clone()
    return merged
