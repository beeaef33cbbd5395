"""Recipes: ways to fine-tune a network that starts from a source."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

from affinity.errors import check_choice, check_number, warn

from .tuning_plan import Phase, TuningPlan

BY_GRADIENT = "by gradient"


@runtime_checkable
class Recipe(Protocol):
    """Makes a tuning plan for a network from the names of its blocks."""

    def __call__(self, blocks: Sequence[str], epochs: int = 100) -> TuningPlan:
        """The plan for these blocks, from inputs to outputs; the last one is the head.

        `epochs` is the total of all phases.
        """
        ...


@dataclass(frozen=True)
class TrainingFromScratch:
    """Random initialization, without the source: the baseline of every transfer gain.

    Example:
        >>> TrainingFromScratch()(["stem", "head"]).fresh
        ('stem', 'head')
    """

    def __call__(self, blocks: Sequence[str], epochs: int = 100) -> TuningPlan:
        """Make the plan."""
        return _one_phase("from scratch", dict.fromkeys(blocks, 1.0), epochs, fresh=blocks)


@dataclass(frozen=True)
class FullFineTuning:
    """Every block starts from the source and is trained at the full learning rate.

    Example:
        >>> FullFineTuning()(["stem", "head"]).phases[0].learning_rate_scales
        {'stem': 1.0, 'head': 1.0}
    """

    def __call__(self, blocks: Sequence[str], epochs: int = 100) -> TuningPlan:
        """Make the plan."""
        return _one_phase("full fine-tuning", dict.fromkeys(blocks, 1.0), epochs)


@dataclass(frozen=True)
class LinearProbe:
    """The trunk is frozen; only a new head is trained.

    Shows how much the source's representation already contains about the target, and cannot change
    it.

    Example:
        >>> LinearProbe()(["stem", "head"]).phases[0].learning_rate_scales
        {'stem': 0.0, 'head': 1.0}
    """

    def __call__(self, blocks: Sequence[str], epochs: int = 100) -> TuningPlan:
        """Make the plan."""
        return _one_phase("linear probe", _trunk_and_head(blocks, 0.0), epochs)


@dataclass(frozen=True)
class SmallerLearningRate:
    """The trunk is trained at a fraction of the head's learning rate.

    Args:
        scale: The fraction; 1 is full fine-tuning, towards 0 it becomes a linear probe.

    Raises:
        InputError: If the scale is not in (0, 1].

    Example:
        >>> SmallerLearningRate(0.5)(["stem", "head"]).phases[0].learning_rate_scales
        {'stem': 0.5, 'head': 1.0}
    """

    scale: float = 0.1

    def __post_init__(self) -> None:
        check_number("scale", self.scale, "invalid-fraction", above=0, most=1)

    def __call__(self, blocks: Sequence[str], epochs: int = 100) -> TuningPlan:
        """Make the plan."""
        return _one_phase("smaller learning rate", _trunk_and_head(blocks, self.scale), epochs)


@dataclass(frozen=True)
class LayerwiseDecay:
    r"""Layer-wise learning-rate decay: blocks closer to the inputs are trained more slowly.

    .. math::
        s_k = d^{K - k}, \qquad k = 1, \dots, K

    counted from the inputs, so that the head has the full rate.

    Args:
        decay: :math:`d`; 1 is full fine-tuning.

    Raises:
        InputError: If the decay is not in (0, 1].

    References:
        Howard and Ruder (2018), `Universal Language Model Fine-tuning for Text Classification
        <https://arxiv.org/abs/1801.06146>`_, section 3.2 (discriminative fine-tuning, with
        :math:`d = 1/2.6`).

    Example:
        >>> LayerwiseDecay(0.5)(["stem", "body", "head"]).phases[0].learning_rate_scales
        {'stem': 0.25, 'body': 0.5, 'head': 1.0}
    """

    decay: float = 0.5

    def __post_init__(self) -> None:
        check_number("decay", self.decay, "invalid-fraction", above=0, most=1)

    def __call__(self, blocks: Sequence[str], epochs: int = 100) -> TuningPlan:
        """Make the plan."""
        last = len(blocks) - 1
        scales = {block: self.decay ** (last - place) for place, block in enumerate(blocks)}
        return _one_phase("layer-wise decay", scales, epochs)


@dataclass(frozen=True)
class ReinitializedLastLayer:
    """The head, the layer most specific to the source, is re-initialized; all blocks are trained.

    The same as full fine-tuning where the head is new in any case, as between tasks of a table.

    Example:
        >>> ReinitializedLastLayer()(["stem", "body", "head"]).fresh
        ('head',)
    """

    def __call__(self, blocks: Sequence[str], epochs: int = 100) -> TuningPlan:
        """Make the plan."""
        scales = dict.fromkeys(blocks, 1.0)
        return _one_phase("re-initialized last layer", scales, epochs, blocks[-1:])


@dataclass(frozen=True)
class ReinitializedTopBlocks:
    """The head and the blocks before it are re-initialized, since they may fit the source only.

    Args:
        count: Number of blocks before the head; 0 re-initializes the head only, all is from
            scratch.

    Raises:
        InputError: If the count is negative.

    References:
        Zhang et al. (2021), `Revisiting Few-sample BERT Fine-tuning
        <https://arxiv.org/abs/2006.05987>`_, section 5.

    Example:
        >>> ReinitializedTopBlocks()(["stem", "body", "head"]).fresh
        ('body', 'head')
    """

    count: int = 1

    def __post_init__(self) -> None:
        check_number("count", self.count, "invalid-count", least=0)

    def __call__(self, blocks: Sequence[str], epochs: int = 100) -> TuningPlan:
        """Make the plan."""
        fresh = blocks[max(0, len(blocks) - 1 - self.count) :]
        scales = dict.fromkeys(blocks, 1.0)
        return _one_phase("re-initialized top blocks", scales, epochs, fresh)


@dataclass(frozen=True)
class GradualUnfreezing:
    """One phase per block: first only the head is trained, then one more block in each phase.

    With fewer epochs than blocks there is one phase per epoch, and several blocks are unfrozen at
    once, with a warning.

    Args:
        share: Fraction of the epochs for each phase but the last, which gets the remaining epochs.

    Raises:
        InputError: If the share is not in (0, 1].

    References:
        Howard and Ruder (2018), `Universal Language Model Fine-tuning for Text Classification
        <https://arxiv.org/abs/1801.06146>`_, section 3.3 (there one epoch per layer).

    Example:
        >>> for phase in GradualUnfreezing()(["stem", "body", "head"], epochs=10).phases:
        ...     print(phase.epochs, phase.learning_rate_scales)
        1 {'stem': 0.0, 'body': 0.0, 'head': 1.0}
        1 {'stem': 0.0, 'body': 1.0, 'head': 1.0}
        8 {'stem': 1.0, 'body': 1.0, 'head': 1.0}
    """

    share: float = 0.1

    def __post_init__(self) -> None:
        check_number("share", self.share, "invalid-fraction", above=0, most=1)

    def __call__(self, blocks: Sequence[str], epochs: int = 100) -> TuningPlan:
        """Make the plan."""
        n_blocks = len(blocks)
        n_phases = min(n_blocks, epochs)
        if n_phases < n_blocks:
            warn(
                f"Gradual unfreezing of {n_blocks} blocks has only {epochs} epochs: several blocks "
                "are unfrozen in the same epoch.",
                "several-blocks-at-once",
            )
        per_phase = max(1, min(round(self.share * epochs), epochs // n_phases))
        phases: list[Phase] = []
        for number in range(1, n_phases + 1):
            count = 1 + round((n_blocks - 1) * (number - 1) / max(1, n_phases - 1))
            count = count if n_phases > 1 else n_blocks
            phases.append(
                Phase(
                    f"{count} of {n_blocks} blocks",
                    {block: float(place >= n_blocks - count) for place, block in enumerate(blocks)},
                    per_phase if number < n_phases else epochs - per_phase * (n_phases - 1),
                )
            )
        return TuningPlan("gradual unfreezing", tuple(phases))


@dataclass(frozen=True)
class ProbeThenTune:
    """LP-FT: a linear probe, then full fine-tuning at a smaller learning rate.

    A randomly initialized head sends large gradients into the trunk and distorts its
    representation; a head that already fits does not.

    Args:
        share: Fraction of the epochs for the probe.
        scale: Factor on the learning rate in the second phase.

    Raises:
        InputError: If a setting is not in (0, 1].

    References:
        Kumar et al. (2022), `Fine-Tuning can Distort Pretrained Features and Underperform
        Out-of-Distribution <https://arxiv.org/abs/2202.10054>`_, section 4.

    Example:
        >>> for phase in ProbeThenTune()(["stem", "head"], epochs=10).phases:
        ...     print(phase.name, phase.epochs, phase.learning_rate_scales)
        probe 5 {'stem': 0.0, 'head': 1.0}
        tuning 5 {'stem': 0.1, 'head': 0.1}
    """

    share: float = 0.5
    scale: float = 0.1

    def __post_init__(self) -> None:
        check_number("share", self.share, "invalid-fraction", above=0, most=1)
        check_number("scale", self.scale, "invalid-fraction", above=0, most=1)

    def __call__(self, blocks: Sequence[str], epochs: int = 100) -> TuningPlan:
        """Make the plan."""
        check_number("epochs, to probe and to tune,", epochs, "too-few-epochs", least=2)
        probe = min(epochs - 1, max(1, round(self.share * epochs)))
        phases = (
            Phase("probe", _trunk_and_head(blocks, 0.0), probe),
            Phase("tuning", dict.fromkeys(blocks, self.scale), epochs - probe),
        )
        return TuningPlan("linear probe then fine-tuning", phases)


@dataclass(frozen=True)
class SurgicalFineTuning:
    r"""Trains one block (and a new head), or scales all blocks by their gradients.

    The first blocks adapt to shifts of the inputs, the middle ones to shifts of features, the last
    ones to shifts of labels. By default (Auto-RGN), the learning rate of each block is scaled by
    its relative gradient norm

    .. math::
        \mathrm{RGN}_k = \lVert \nabla_k L \rVert / \lVert \theta_k \rVert

    divided by the largest one.

    Args:
        block: ``first``, ``middle``, ``last`` (of all blocks including the head), the name of a
            block, or ``by gradient``.
        head: Whether the head is trained at the full rate in any case, because it is new.

    References:
        Lee et al. (2023), `Surgical Fine-Tuning Improves Adaptation to Distribution Shifts
        <https://arxiv.org/abs/2210.11466>`_, sections 2 and 4. There, norms are per tensor; here,
        per block.

    Example:
        >>> SurgicalFineTuning("first")(["stem", "body", "head"]).phases[0].learning_rate_scales
        {'stem': 1.0, 'body': 0.0, 'head': 1.0}
        >>> SurgicalFineTuning()(["stem", "body", "head"]).phases[0].by_gradient
        ('stem', 'body')
    """

    block: str = BY_GRADIENT
    head: bool = True

    def __call__(self, blocks: Sequence[str], epochs: int = 100) -> TuningPlan:
        """Make the plan."""
        if self.block == BY_GRADIENT:
            by_gradient = tuple(blocks[:-1] if self.head else blocks)
            phase = Phase("tuning", dict.fromkeys(blocks, 1.0), epochs, by_gradient)
            return TuningPlan("surgical fine-tuning", (phase,))
        places = {"first": blocks[0], "middle": blocks[(len(blocks) - 1) // 2], "last": blocks[-1]}
        choices = [*blocks, *places, BY_GRADIENT]
        check_choice("the block", self.block, choices, "unknown-block")
        block = self.block if self.block in blocks else places[self.block]
        scales = dict.fromkeys(blocks, 0.0) | {block: 1.0}
        if self.head:
            scales[blocks[-1]] = 1.0
        return _one_phase(f"surgical fine-tuning of {block}", scales, epochs)


@dataclass(frozen=True)
class L2SP:
    r"""L2-SP: full fine-tuning with a penalty on the distance from the source.

    .. math::
        L + \frac{\alpha}{2} \lVert w - w_0 \rVert^2

    over the parameters that come from the source. At 0 it is full fine-tuning, towards infinity a
    linear probe. (The paper also penalizes the norm of the new head; here that is left to weight
    decay.)

    Args:
        pull: :math:`\alpha`.

    References:
        Li et al. (2018), `Explicit Inductive Bias for Transfer Learning with Convolutional
        Networks <https://arxiv.org/abs/1802.01483>`_, equation 3.

    Example:
        >>> L2SP(0.5)(["stem", "head"]).pull
        0.5
    """

    pull: float = 0.1

    def __call__(self, blocks: Sequence[str], epochs: int = 100) -> TuningPlan:
        """Make the plan."""
        return _one_phase("L2-SP", dict.fromkeys(blocks, 1.0), epochs, pull=self.pull)


def _trunk_and_head(blocks: Sequence[str], scale: float) -> dict[str, float]:
    """One scale for all blocks of the trunk; the head has the full rate."""
    return {**dict.fromkeys(blocks[:-1], scale), blocks[-1]: 1.0}


def _one_phase(
    recipe: str, scales: dict[str, float], epochs: int, fresh: Sequence[str] = (), pull: float = 0.0
) -> TuningPlan:
    return TuningPlan(recipe, (Phase("tuning", scales, epochs),), tuple(fresh), pull)


RECIPES: Mapping[str, Recipe] = {
    "from scratch": TrainingFromScratch(),
    "linear probe": LinearProbe(),
    "full fine-tuning": FullFineTuning(),
    "smaller learning rate": SmallerLearningRate(),
    "layer-wise decay": LayerwiseDecay(),
    "re-initialized last layer": ReinitializedLastLayer(),
    "re-initialized top blocks": ReinitializedTopBlocks(),
    "gradual unfreezing": GradualUnfreezing(),
    "linear probe then fine-tuning": ProbeThenTune(),
    "surgical fine-tuning": SurgicalFineTuning(),
    "L2-SP": L2SP(),
}

TRANSFER_RECIPES: Mapping[str, Recipe] = {
    name: recipe for name, recipe in RECIPES.items() if not isinstance(recipe, TrainingFromScratch)
}
"""The recipes that start from a source."""
