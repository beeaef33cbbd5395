"""Initialization: the initial parameters of a network, and a learning-rate scale for each."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from affinity.errors import InputError


@dataclass(frozen=True, eq=False)
class Initialization:
    r"""Initial parameters, a learning-rate scale for each, and values that they are pulled towards.

    With a scale :math:`s` a parameter's steps are :math:`s` times as long, weight decay
    included; at 0 it does not change. A pull :math:`\alpha` adds
    :math:`\frac{\alpha}{2} \lVert w - w_0 \rVert^2` to the loss, :math:`w_0` being `toward`.

    Args:
        state: Values of some of the network's parameters and buffers, by name; the others get
            new values.
        scales: Learning-rate scales by parameter name; 1 for parameters that are not named.
        pull: Strength of the pull.
        toward: The values that parameters are pulled towards, by name.

    Raises:
        InputError: If a scale or the pull is negative or not finite.
    """

    state: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])
    scales: Mapping[str, float] = field(default_factory=dict[str, float])
    pull: float = 0.0
    toward: Mapping[str, Tensor] = field(default_factory=dict[str, Tensor])

    def __post_init__(self) -> None:
        wrong = {
            name: scale for name, scale in self.scales.items() if not 0 <= scale < float("inf")
        }
        if wrong or not 0 <= self.pull < float("inf"):
            raise InputError(
                f"Expected finite scales of at least 0 and a pull of at least 0, but got "
                f"{wrong or self.pull}.",
                "invalid-scale",
            )

    def scale_of(self, name: str) -> float:
        """The scale of the learning rate of this parameter."""
        return self.scales.get(name, 1.0)

    @property
    def changes_training(self) -> bool:
        """Whether scales or a pull change the training, in addition to the initial state."""
        return bool(self.pull) or any(scale != 1 for scale in self.scales.values())

    @property
    def description(self) -> str:
        """Scales and pull as text, part of the digest that identifies a training."""
        sums = {name: float(value.double().sum()) for name, value in self.toward.items()}
        return f"scales {dict(self.scales)}, pull {self.pull} to {sums}"

    def put_into(self, network: nn.Module) -> None:
        """Load the state, and freeze the parameters whose scale is 0.

        Raises:
            InputError: If the network has no parameter or buffer of that name, or one of
                another shape.
        """
        own = network.state_dict()
        unknown = [name for name in self.state if name not in own]
        other = [
            f"{name} {list(value.shape)}, here {list(own[name].shape)}"
            for name, value in self.state.items()
            if name in own and value.shape != own[name].shape
        ]
        if unknown or other:
            raise InputError(
                "Expected a start that fits the network, but "
                + " and ".join(
                    [f"it has no {unknown}"] * bool(unknown)
                    + [f"these have other shapes: {other}"] * bool(other)
                )
                + f". The network has {list(own)}.",
                "start-does-not-fit",
            )
        network.load_state_dict({**own, **self.state})
        for name, parameter in network.named_parameters():
            if self.scale_of(name) == 0:
                parameter.requires_grad_(False)

    def penalty(self, network: nn.Module) -> Tensor | float:
        """The pull penalty of `network`."""
        if not self.pull:
            return 0.0
        own = dict(network.named_parameters())
        squares = [(own[name] - value).square().sum() for name, value in self.toward.items()]
        return self.pull / 2 * torch.stack(squares).sum()

    def frozen_normalizations(self, network: nn.Module) -> list[nn.Module]:
        """The normalizations with running statistics of which every parameter is frozen."""
        kind = nn.modules.batchnorm._BatchNorm  # pyright: ignore[reportPrivateUsage]
        frozen: list[nn.Module] = []
        for name, module in network.named_modules():
            own = [f"{name}.{each}" for each, _ in module.named_parameters(recurse=False)]
            if isinstance(module, kind) and own and all(self.scale_of(each) == 0 for each in own):
                frozen.append(module)
        return frozen

    def settle(self, network: nn.Module) -> None:
        """Keep the running statistics of frozen normalizations as they are."""
        for module in self.frozen_normalizations(network):
            module.eval()
