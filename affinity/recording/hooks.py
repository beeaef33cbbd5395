"""Hooks of the user's that a recorder makes run more often than the run itself does."""

from collections.abc import Iterable
from typing import Any

from torch import nn

from .shared_parameters import unwrapped
from .watched import Watched

LIBRARIES = {"torch", "affinity", "accelerate", "lightning", "transformers", "peft"}
"""Whose hooks count nothing that a recorder could disturb."""


def tell_of_hooks(watched: Watched, *, evaluates: bool) -> None:
    """Warn once of hooks that may count calls, and say what to do.

    Args:
        watched: The model and its shared parameters.
        evaluates: Whether losses are evaluated anew, which runs forward hooks.
    """
    modules = dict(unwrapped(watched.model).named_modules())
    backward = [
        name for name, parameter in watched.parameters.items() if _has(parameter, "_backward_hooks")
    ]
    backward += _hooked(modules, "_backward_hooks", "_backward_pre_hooks")
    what_to_do = (
        "If they count calls or keep something, let them return at once while "
        "recorder.is_observing is True."
    )
    if backward and watched.level != "representation":
        watched.once.tell(
            "backward hooks",
            f"Backward hooks of {backward} run once more for every task that is recorded. "
            f"{what_to_do} Hooks of register_post_accumulate_grad_hook run in the run's own "
            "backward pass alone.",
        )
    forward = _hooked(modules, "_forward_hooks", "_forward_pre_hooks")
    if forward and evaluates:
        watched.once.tell(
            "forward hooks",
            f"Forward hooks of {forward} run once more whenever the closure evaluates the losses "
            f"anew. {what_to_do}",
        )


def _hooked(modules: dict[str, nn.Module], *kinds: str) -> list[str]:
    return [
        name or "the model"
        for name, module in modules.items()
        if any(_has(module, kind) for kind in kinds)
    ]


def _has(place: object, kind: str) -> bool:
    """Whether it has a hook that comes from the user."""
    hooks: Iterable[Any] = (getattr(place, kind, None) or {}).values()
    return any(_library(hook) not in LIBRARIES for hook in hooks)


def _library(hook: Any) -> str:
    module = getattr(hook, "__module__", None) or type(hook).__module__
    return str(module).partition(".")[0]
