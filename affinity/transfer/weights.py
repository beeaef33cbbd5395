"""Weights from a file: a source that was trained elsewhere, checked against the trunk."""

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from affinity.errors import InputError


def save_trunk(trunk: nn.Module, path: str | Path) -> Path:
    """Write a trunk's parameters and buffers as safetensors.

    Example:
        >>> import tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     file = save_trunk(nn.Linear(2, 1), f"{folder}/trunk.safetensors")
        ...     sorted(read_trunk(nn.Linear(2, 1), file))
        ['bias', 'weight']
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({n: t.detach().contiguous().clone() for n, t in trunk.state_dict().items()}, path)
    except (OSError, SafetensorError) as error:
        raise InputError(f"Could not write {str(path)!r}: {error}.") from error
    return path


def read_trunk(trunk: nn.Module, path: str | Path) -> dict[str, Tensor]:
    """The tensors in a safetensors file, as `trunk` names them; the trunk stays as it is.

    Names may stand under one common beginning (``trunk.``, ``model.encoder.``), beside others.

    Raises:
        InputError: If the file cannot be read, or is of another architecture: missing and
            unexpected names, and other shapes, are listed.
    """
    try:
        found = load_file(path)
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"Expected weights as safetensors in {str(path)!r}, but could not read them: {error}. "
            "Write them with affinity.transfer.save_trunk(model.trunk, path)."
        ) from error
    wanted = trunk.state_dict()
    first = next(iter(wanted), "")
    beginnings = [name.removesuffix(first) for name in found if name.endswith(first)]
    beginning = max(
        beginnings, key=lambda each: sum(f"{each}{name}" in found for name in wanted), default=""
    )
    own = {
        name.removeprefix(beginning): tensor
        for name, tensor in found.items()
        if name.startswith(beginning)
    }
    missing = [name for name in wanted if name not in own]
    unexpected = sorted(name for name in own if name not in wanted)
    other = [
        f"{name} {list(own[name].shape)} there, {list(value.shape)} here"
        for name, value in wanted.items()
        if name in own and own[name].shape != value.shape
    ]
    if missing or unexpected or other:
        raise InputError(
            f"Expected weights of this trunk in {str(path)!r}, but they are of another "
            f"architecture. Missing: {missing or 'none'}. Unexpected: {unexpected or 'none'}. "
            f"Other shapes: {other or 'none'}."
        )
    return own
