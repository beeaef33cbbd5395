"""Stages of a trunk: what stands between them, and whether there are any."""

from torch import Tensor, nn

from affinity.errors import InputError


def stages_of(trunk: nn.Module, purpose: str) -> list[nn.Module]:
    """The stages of a sequential trunk, at least two.

    Raises:
        InputError: If the trunk is not `nn.Sequential`, or has one stage.
    """
    if not isinstance(trunk, nn.Sequential) or len(trunk) < 2:
        what = f"{len(trunk)} stage" if isinstance(trunk, nn.Sequential) else type(trunk).__name__
        raise InputError(
            f"Expected a trunk of at least two stages (nn.Sequential) for {purpose}, but got "
            f"{what}. Make the trunk nn.Sequential, or share it hard.",
            "trunk-without-stages",
        )
    return list(trunk)


def widths_of(stages: list[nn.Module], sample: Tensor, purpose: str) -> list[int]:
    """How many numbers each stage puts out for a row of `sample`.

    Raises:
        InputError: If a stage puts out anything but one vector a row.
    """
    widths: list[int] = []
    outputs = sample
    for number, stage in enumerate(stages):
        outputs = stage(outputs)
        if outputs.dim() != 2:
            raise InputError(
                f"Expected stages that put out [batch width] for {purpose}, but stage {number} "
                f"puts out {list(outputs.shape)}.",
                "trunk-without-stages",
            )
        widths.append(outputs.shape[1])
    return widths
