"""Store of finished trainings on disk, so that the same call trains only what is missing.

Written by hand because one call trains many networks, each of which is looked up separately;
libraries such as joblib cache whole calls, as pickles.
"""

import hashlib
import inspect
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from affinity.files import write_atomically
from affinity.sharing import Sharing
from affinity.tasks import Examples, Replicate, Task

from .initialization import Initialization
from .members import Member
from .rows import columns_of
from .settings import TrainingSettings
from .trained_network import TrainedNetwork


@dataclass(frozen=True)
class Store:
    """One JSON file per training, named after a digest of everything that decides its result.

    That is the initial parameters, the network's modules, tasks and losses, rows and seed, the
    settings and the version of torch. A damaged file counts as missing. Parameters and predictions
    are not stored.
    """

    folder: Path

    def key(
        self,
        network: Sharing,
        tasks: Sequence[Task],
        replicate: Replicate,
        settings: TrainingSettings,
        start: Initialization | None = None,
    ) -> str:
        """The digest of a training."""
        digest = hashlib.sha256()
        if start is not None and start.changes_training:
            digest.update(start.description.encode())
        columns = columns_of(network.names, tasks)
        network_tasks = [tasks[column] for column in columns]
        described = [torch.__version__, network, network_tasks, settings, replicate.seed]
        described += [settings.precision] if settings.precision != "float32" else []
        digest.update(repr(described).encode())
        for module in network.modules():
            digest.update(_own_code(module).encode())
        for name, value in (*network.named_parameters(), *network.named_buffers()):
            digest.update(name.encode())
            digest.update(_bytes(value))
        for part in (
            replicate.training,
            replicate.validation,
            replicate.evaluation,
            replicate.test,
        ):
            if part is not None:
                digest.update(_digest_inputs(part))
                digest.update(_bytes(part.targets[:, columns]))
                if part.weights is not None:
                    digest.update(b"weights" + _bytes(part.weights))
        if replicate.test.groups is not None:
            digest.update(_bytes(replicate.test.groups))
        return digest.hexdigest()[:32]

    def get(self, key: str) -> TrainedNetwork | None:
        """The finished training with this digest, None if there is none."""
        try:
            fields = json.loads(self._file(key).read_text())
            fields["tasks"] = tuple(fields["tasks"])
            return TrainedNetwork(**fields)
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def put(self, key: str, result: TrainedNetwork) -> None:
        """Store a finished training."""
        fields = {**asdict(result), "state": None, "predictions": None}
        write_atomically(self._file(key), json.dumps(fields), is_durable=False)

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.json"


class FinishedTrainings:
    """Results by number of the member; with a store, those in it are there from the start."""

    def __init__(
        self,
        store: Store | None,
        networks: Sequence[Sharing],
        tasks: Sequence[Task],
        members: Sequence[Member],
        replicates: Sequence[Replicate],
        settings: TrainingSettings,
        starts: Sequence[Initialization],
    ) -> None:
        self._store = store
        self._count = len(members)
        self.results: dict[int, TrainedNetwork] = {}
        self.keys: list[str] = []
        if store is None:
            return
        for number, (network, member, start) in enumerate(
            zip(networks, members, starts, strict=True)
        ):
            key = store.key(network, tasks, replicates[member.replicate], settings, start)
            self.keys.append(key)
            if (result := store.get(key)) is not None:
                self.results[number] = replace(result, replicate=member.replicate)

    @property
    def missing(self) -> list[int]:
        """The members that are not finished."""
        return [number for number in range(self._count) if number not in self.results]

    def add(self, number: int, result: TrainedNetwork) -> None:
        """Add a finished training."""
        self.results[number] = result
        if self._store is not None:
            self._store.put(self.keys[number], result)


_ROWS_AT_ONCE = 2**16
_digests: WeakKeyDictionary[Examples, bytes] = WeakKeyDictionary()


def _digest_inputs(examples: Examples) -> bytes:
    """Digest of the inputs; remembered, because many trainings share their rows."""
    if examples not in _digests:
        digest = hashlib.sha256()
        for first in range(0, len(examples), _ROWS_AT_ONCE):
            digest.update(_bytes(examples.inputs_of(slice(first, first + _ROWS_AT_ONCE))))
        _digests[examples] = digest.digest()
    return _digests[examples]


def _own_code(module: torch.nn.Module) -> str:
    """Code and plain settings of a user's module, which may show neither; empty for others."""
    cls = type(module)
    if cls.__module__.split(".")[0] in ("torch", "affinity"):
        return ""
    settings = {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, bool | int | float | str | tuple)
    }
    try:
        return f"{inspect.getsource(cls)}{settings}"
    except (OSError, TypeError):  # made without a file
        return f"{cls.__qualname__}{settings}"


def _bytes(tensor: Tensor) -> memoryview:
    values = tensor.detach().cpu().contiguous().numpy().reshape(-1).view(np.uint8)
    return memoryview(values)  # pyright: ignore[reportArgumentType]
