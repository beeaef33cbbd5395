"""Tensors and a description in one safetensors file: written whole or not at all, no pickle."""

import json
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from .errors import InputError
from .files import write_atomically


def write_tensors(
    path: str | Path,
    tensors: Mapping[str, Tensor],
    about: Mapping[str, Any],
    kind: str,
    version: int,
) -> Path:
    """Write tensors and what is to be known of them, which JSON can hold."""
    # Cloned: the format refuses tensors that share memory, as parts of one result may do.
    values = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    header = {"format": f"affinity.{kind}", "version": version, "about": about}
    # One entry: several would be written in an order that changes from run to run.
    return write_atomically(path, save(values, metadata={"affinity": json.dumps(header)}))


def read_header(path: str | Path) -> tuple[str, int]:
    """The kind and the version of what `write_tensors` wrote."""
    what = f"Expected a file of task-affinity in {str(path)!r}"
    with _opened(path, what) as (_, header):
        if "format" not in header:
            raise InputError(
                f"{what}, but it is a safetensors file of something else.", "unknown-file-kind"
            )
    return header["format"].removeprefix("affinity."), header["version"]


def read_tensors(path: str | Path, kind: str, version: int) -> tuple[dict[str, Tensor], Any]:
    """Read what `write_tensors` wrote."""
    what = f"Expected {kind} of version {version} in {str(path)!r}"
    with _opened(path, what) as (file, header):
        if header.get("format") != f"affinity.{kind}":
            raise InputError(
                f"{what}, but it is a safetensors file of something else.", "unknown-file-kind"
            )
        if header["version"] != version:
            raise InputError(f"{what}, but it is of version {header['version']}.", "other-version")
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    return tensors, header["about"]


@contextmanager
def _opened(path: str | Path, what: str) -> Generator[tuple[Any, dict[str, Any]]]:
    """The file and its description; `what` begins the error if it cannot be read."""
    try:
        with safe_open(path, framework="pt") as file:
            yield file, json.loads((file.metadata() or {}).get("affinity", "{}"))
    except FileNotFoundError:
        raise InputError(f"{what}, but there is no such file.", "missing-file") from None
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{what}, but it cannot be read ({error}): it is truncated or something else.",
            "damaged-file",
        ) from error
