"""Predictions and losses of all networks in a stack at once."""

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.func import functional_call, vmap

from affinity.sharing import HardSharing, Sharing
from affinity.sharing.sharing import gradients_of
from affinity.tasks import loss_on_labelled, takes_stacks

from .batched_linear import is_batchable, run_batched
from .head_layout import HeadKind, HeadLayout
from .stacked_tensors import StackedTensors, under


class StackedNetwork:
    """Computes all members with one of their networks as the template: shapes are the same."""

    def __init__(self, network: Sharing, layout: HeadLayout) -> None:
        self._body = _Body(network)
        self._layout = layout
        self._trunk = network.trunk if type(network) is HardSharing else None
        if self._trunk is not None and not is_batchable(self._trunk):
            self._trunk = None
        self._is_smoothed = type(network).smoothed is not Sharing.smoothed

    def set_mode(self, training: bool) -> None:
        """Set training or evaluation mode."""
        self._body.train(training)
        for kind in self._layout.kinds:
            kind.head.train(training)

    def predictions(
        self, tensors: StackedTensors, inputs: Float[Tensor, "member_or_one batch *feature"]
    ) -> list[Float[Tensor, "member _ batch _"]]:
        """Predictions for each kind of head."""
        representation = self._represent(tensors, inputs)
        return [
            self._head(kind, under(f"{number}.", tensors), representation)
            for number, kind in enumerate(self._layout.kinds)
        ]

    def losses(
        self,
        predictions: list[Float[Tensor, "member _ batch _"]],
        targets: Float[Tensor, "member slot batch"],
        weights: Float[Tensor, "member slot batch"] | None = None,
    ) -> Float[Tensor, "member slot"]:
        """One loss per slot; 0 if all its targets are NaN."""
        losses: list[Tensor] = []
        for kind, prediction in zip(self._layout.kinds, predictions, strict=True):
            labels = targets[:, kind.slots]
            if takes_stacks(kind.loss):
                weight = None if weights is None else weights[:, kind.slots]
                losses.append(loss_on_labelled(kind.loss, prediction, labels, weight))
            else:
                is_empty = labels.isnan().all(dim=2)
                some = labels[~is_empty][:1].nan_to_num()  # labels that the loss accepts
                labels = labels.where(~is_empty[:, :, None], some if len(some) else 0.0)
                loss = vmap(vmap(kind.loss))(prediction, labels)
                losses.append(loss.where(~is_empty, 0))
        return torch.cat(losses, dim=1)

    @torch.no_grad()
    def before_step(self, tensors: StackedTensors) -> None:
        """`Sharing.before_step` of all members."""
        if self._is_smoothed:
            gradients = gradients_of(under("body.", tensors))
            for name, gradient in self._smoothed(tensors, gradients, 1.0).items():
                # A fused optimizer reads gradients in the memory layout of their parameters.
                tensors[f"body.{name}"].grad = gradient.contiguous()

    @torch.no_grad()
    def after_step(self, tensors: StackedTensors, learning_rate: float) -> None:
        """`Sharing.after_step` of all members."""
        if self._is_smoothed:
            body = under("body.", tensors)
            values = {name: value for name, value in body.items() if value.requires_grad}
            for name, value in self._smoothed(tensors, values, learning_rate).items():
                tensors[f"body.{name}"].copy_(value)

    def _smoothed(
        self, tensors: StackedTensors, values: StackedTensors, step: float
    ) -> StackedTensors:
        def of_member(body: StackedTensors, values: StackedTensors) -> StackedTensors:
            return functional_call(self._body, body, (None, values, step))

        return vmap(of_member)(_of_body(tensors), values)

    def _represent(
        self, tensors: StackedTensors, inputs: Float[Tensor, "member_or_one batch *feature"]
    ) -> Tensor | tuple[Tensor, ...]:
        """``[member batch *width]``, of each task where they differ."""
        if self._trunk is not None and inputs.dim() == 3:
            count = len(next(iter(tensors.values())))
            return run_batched(self._trunk, tensors, "body.trunk", inputs.expand(count, -1, -1))

        def of_member(body: StackedTensors, inputs: Tensor) -> Tensor | tuple[Tensor, ...]:
            return functional_call(self._body, body, (inputs,), tie_weights=False)

        is_common = len(inputs) == 1
        in_dims = (0, None if is_common else 0)
        return vmap(of_member, in_dims=in_dims, randomness="different")(
            _of_body(tensors), inputs.squeeze(0) if is_common else inputs
        )

    def _head(
        self, kind: HeadKind, head: StackedTensors, representation: Tensor | tuple[Tensor, ...]
    ) -> Float[Tensor, "member slot batch _"]:
        if isinstance(representation, tuple):
            # No slot is empty, and all members have the same layout.
            places = self._layout.places[0][kind.slots]
            by_task = torch.stack([representation[place or 0] for place in places], dim=1)
        elif type(kind.head) is nn.Linear and representation.dim() == 3:
            return _linear(representation, **head)
        else:
            count = kind.slots.stop - kind.slots.start
            by_task = torch.stack([representation] * count, dim=1)

        def of_slot(head: StackedTensors, representation: Tensor) -> Tensor:
            return functional_call(kind.head, head, (representation,), tie_weights=False)

        return vmap(vmap(of_slot, randomness="different"), randomness="different")(head, by_task)


class _Body(nn.Module):
    """A network without its heads, as a module that can be called.

    Without inputs it returns `values`, smoothed.
    """

    def __init__(self, network: Sharing) -> None:
        super().__init__()
        self.network = network

    def forward(
        self, inputs: Tensor | None, values: StackedTensors | None = None, step: float = 0.0
    ) -> Tensor | tuple[Tensor, ...] | StackedTensors:
        if inputs is None:
            return self.network.smoothed(values or {}, step)
        return self.network.represent(inputs)


def _linear(
    representation: Float[Tensor, "member batch width"],
    weight: Float[Tensor, "member slot output width"],
    bias: Float[Tensor, "member slot output"] | None = None,
) -> Float[Tensor, "member slot batch output"]:
    """Linear heads on one representation, as one matrix product."""
    together = weight.flatten(1, 2)
    if bias is None:
        predictions = torch.bmm(together, representation.mT)
    else:
        predictions = torch.baddbmm(bias.flatten(1, 2).unsqueeze(2), together, representation.mT)
    return predictions.unflatten(1, weight.shape[1:3]).mT


def _of_body(tensors: StackedTensors) -> StackedTensors:
    """The tensors of the bodies, as `_Body` calls them."""
    return {f"network.{name}": tensor for name, tensor in under("body.", tensors).items()}
