"""Weights of a trunk in a safetensors file, checked against the architecture when they are read."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from affinity.errors import InputError
from affinity.files import write_atomically


def save_trunk(trunk: nn.Module, path: str | Path) -> Path:
    """Write a trunk's parameters and buffers as safetensors.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = save_trunk(nn.Linear(2, 1), f"{folder}/trunk.safetensors")
        ...     sorted(read_trunk(nn.Linear(2, 1), file))
        ['bias', 'weight']
    """
    state = {name: t.detach().contiguous().clone() for name, t in trunk.state_dict().items()}
    return write_atomically(path, save(state))


def read_trunk(trunk: nn.Module, path: str | Path) -> dict[str, Tensor]:
    """The tensors in a safetensors file under the names of `trunk`, which is not changed.

    The names in the file may have a common prefix (``trunk.``, ``model.encoder.``); tensors without
    this prefix are ignored.

    Raises:
        InputError: If the file cannot be read, or is of another architecture: lists missing and
            unexpected names, and different shapes.
    """
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"Expected weights as safetensors in {str(path)!r}, but could not read them: {error}. "
            "Write them with affinity.transfer.save_trunk(model.trunk, path).",
            "unreadable-file",
        ) from error
    expected = trunk.state_dict()
    first = next(iter(expected), "")
    prefixes = [name.removesuffix(first) for name in tensors if name.endswith(first)]
    prefix = max(
        prefixes, key=lambda text: sum(f"{text}{name}" in tensors for name in expected), default=""
    )
    state = {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }
    missing = [name for name in expected if name not in state]
    unexpected = sorted(name for name in state if name not in expected)
    different = [
        f"{name} {list(state[name].shape)} in the file, {list(value.shape)} in the trunk"
        for name, value in expected.items()
        if name in state and state[name].shape != value.shape
    ]
    if missing or unexpected or different:
        raise InputError(
            f"Expected weights of this trunk in {str(path)!r}, but they are of another "
            f"architecture. Missing: {missing or 'none'}. Unexpected: {unexpected or 'none'}. "
            f"Different shapes: {different or 'none'}.",
            "different-architecture",
        )
    return state
