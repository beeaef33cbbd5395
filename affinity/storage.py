"""Storage: typed results to and from files.

`save` writes a dataclass and all that it holds to one safetensors file: tensors and arrays as
tensors, everything else as JSON in the header. `load` reads it back as the same type. The types
decide what a file holds, so there is no second list of fields, and no pickle. `to_jsonable` and
`json_schema` are for files that other programs read.
"""

import json
import math
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields, is_dataclass
from importlib import import_module
from pathlib import Path, PurePath
from typing import Any, TypeVar, cast

import msgspec
import numpy as np
import torch
from torch import Tensor

from .errors import InputError
from .files import write_atomically
from .tensor_file import read_header, read_tensors, write_tensors

T = TypeVar("T")

KINDS: dict[str, tuple[str, int]] = {
    "affinity": ("affinity.estimates:AffinityMatrix", 1),
    "checkpoint": ("affinity.training.checkpoint:Checkpoint", 2),
    "audit": ("affinity.audit:Audit", 6),
    "diagnosis": ("affinity.audit:Diagnosis", 1),
    "grouping": ("affinity.grouping:Grouping", 1),
    "linearization": ("affinity.estimates:Linearization", 1),
    "objectives": ("affinity.audit:ObjectiveComparison", 1),
    "plan": ("affinity.recommendation:Plan", 1),
    "race": ("affinity.audit:RaceResult", 1),
    "repeated hold-out": ("affinity.audit:RepeatedHoldout", 2),
    "trace": ("affinity.recording:Trace", 2),
    "trained plan": ("affinity.audit:TrainedPlan", 5),
    "transfer": ("affinity.transfer:TransferReport", 1),
    "few-shot": ("affinity.fewshot:FewShotResult", 1),
    "ranking run": ("affinity.ranking:RankingRun", 1),
    "offline comparison": ("affinity.ranking:OfflineComparison", 1),
    "weight front": ("affinity.ranking:WeightFront", 1),
    "ranking checkpoint": ("affinity.ranking:RankingCheckpoint", 1),
}
"""Kind of file -> the type that it holds, and the version of its format (raise it when fields
change)."""


def save(value: object, path: str | Path) -> Path:
    """Write a result to a file that `load` reads back.

    Args:
        value: A result of one of the types in `KINDS`.
        path: The file; it is written completely or not at all.

    Raises:
        InputError: If the type cannot be saved, or the file cannot be written.

    Example:
        >>> import tempfile
        >>> from affinity.estimates import AffinityMatrix
        >>> matrix = AffinityMatrix(("depth", "edges"), torch.tensor([[0.5, -0.25], [0.75, 0.5]]))
        >>> file = save(matrix, Path(tempfile.mkdtemp()) / "matrix.safetensors")
        >>> load(file).onto("edges")
        {'depth': -0.25}
    """
    name = f"{type(value).__module__}.{type(value).__qualname__}"
    for kind, (where, version) in KINDS.items():
        if type(value) is _type_at(where):
            about, tensors = flatten(value)
            return write_tensors(path, tensors, about, kind, version)
    raise InputError(
        f"Expected something that can be saved ({', '.join(KINDS)}), but got {name}.",
        "cannot-be-saved",
    )


def load(path: str | Path) -> Any:
    """Read what `save` wrote: an object of the type that was saved.

    `save` shows an example.

    Raises:
        InputError: If the file is missing, truncated, something else, or of another version.
    """
    kind, _ = read_header(path)
    if kind not in KINDS:
        raise InputError(
            f"Expected a file written by affinity.save in {str(path)!r} ({', '.join(KINDS)}), but "
            f"it holds {kind!r}.",
            "unknown-file-kind",
        )
    return load_as(_type_at(KINDS[kind][0]), path)


def load_as(cls: type[T], path: str | Path) -> T:
    """Read what `save` wrote, where the type is known."""
    kind, version = next(
        (kind, version) for kind, (where, version) in KINDS.items() if _type_at(where) is cls
    )
    tensors, about = read_tensors(path, kind, version)
    try:
        return unflatten(cls, about, tensors)
    except (msgspec.ValidationError, KeyError) as error:
        raise InputError(
            f"Expected {kind} in {str(path)!r}, but its content does not fit: {error}.",
            "damaged-file",
        ) from error


def flatten(value: object) -> tuple[Any, dict[str, Tensor]]:
    """A dataclass as JSON can hold it, and its tensors by the names that stand for them there."""
    flattener = _Flattener()
    return flattener(value), flattener.tensors


def unflatten(cls: type[T], about: object, tensors: Mapping[str, Tensor]) -> T:
    """Rebuild an object of the type `cls` from what `flatten` returned."""

    def decode(expected: type, value: object) -> object:
        if expected is object:  # plain JSON of any kind
            return value
        tensor = tensors[cast("str", value)]
        held = getattr(expected, "array_type", expected)  # jaxtyping's Float[np.ndarray, "..."]
        return tensor.numpy() if held is np.ndarray else tensor

    # In a new thread: under jaxtyping's import hook, all axes with the same name would have to be
    # of the same size within this call, but the parts of a result may differ.
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(msgspec.convert, about, cls, strict=False, dec_hook=decode).result()


def to_jsonable(value: object) -> Any:
    """Plain values for JSON: numbers that are not finite become None, sets sorted lists."""
    if is_dataclass(value) and not isinstance(value, type):
        own = [field.name for field in fields(value) if not field.name.startswith("_")]
        return {name: to_jsonable(getattr(value, name)) for name in own}
    if isinstance(value, Mapping):
        pairs = cast("Mapping[object, object]", value).items()
        return {str(key): to_jsonable(entry) for key, entry in pairs}
    if isinstance(value, Tensor | np.ndarray | np.generic):
        return to_jsonable(value.tolist())
    if isinstance(value, frozenset | set):
        return sorted(to_jsonable(entry) for entry in cast("frozenset[Any]", value))
    if isinstance(value, list | tuple):
        return [to_jsonable(entry) for entry in cast("list[Any]", value)]
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    return str(value) if isinstance(value, PurePath) else value


def write_json(summary: object, path: str | Path | None = None) -> str:
    """A summary as JSON; also written to `path`, if one is given."""
    values = to_jsonable(summary)
    text = json.dumps(values, indent=1, ensure_ascii=False, allow_nan=False) + "\n"
    if path is not None:
        write_atomically(path, text)
    return text


def json_schema(cls: type) -> dict[str, Any]:
    """The JSON Schema of what `to_jsonable` makes of an object of this type; no other fields."""
    schema = msgspec.json.schema(cls)
    for definition in schema["$defs"].values():
        if "properties" in definition:
            definition["additionalProperties"] = False
    return schema


def _type_at(where: str) -> Any:
    module, name = where.split(":")
    return getattr(import_module(module), name)


class _Flattener:
    """Turns a value into what JSON holds; its tensors are kept under their place in it, once."""

    def __init__(self) -> None:
        self.tensors: dict[str, Tensor] = {}
        self._places: dict[int, str] = {}

    def __call__(self, value: object, name: str = "") -> Any:
        if isinstance(value, Tensor | np.ndarray):
            place = self._places.setdefault(id(value), name)
            self.tensors.setdefault(place, torch.as_tensor(value))
            return place
        if is_dataclass(value) and not isinstance(value, type):
            return {
                field.name: self(getattr(value, field.name), f"{name}/{field.name}")
                for field in fields(value)
                if not field.name.startswith("_")
            }
        if isinstance(value, Mapping):
            pairs = cast("Mapping[str, object]", value).items()
            return {key: self(entry, f"{name}/{key}") for key, entry in pairs}
        if isinstance(value, list | tuple | frozenset | set):
            is_set = isinstance(value, frozenset | set)
            entries = cast("list[Any]", sorted(value) if is_set else value)  # pyright: ignore
            return [self(entry, f"{name}/{number}") for number, entry in enumerate(entries)]
        return str(value) if isinstance(value, PurePath) else value
