"""A results store: finished trainings on disk, so that the same call does only what is missing."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from affinity.files import write_atomically
from affinity.sharing import Sharing
from affinity.tasks import Examples, Replicate, Task

from .columns import columns_of
from .initialization import Initialization
from .settings import TrainingSettings
from .trained_network import TrainedNetwork


@dataclass(frozen=True)
class Store:
    """One JSON file a training, named after everything that decides its result.

    That is the start parameters, the network's parts, tasks and losses, rows and seed, settings
    and the version of torch: a training that differs in any of them has another name. A damaged
    file counts as missing. Parameters and predictions are not stored.

    Args:
        folder: Where the files lie; a run directory's own folder.
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
        """The name of this training."""
        digest = hashlib.sha256()
        if start is not None and start.changes_training:
            digest.update(start.description.encode())
        own = [tasks[column] for column in columns_of(network.names, tasks)]
        digest.update(repr([torch.__version__, network, own, settings, replicate.seed]).encode())
        for name, value in {
            **dict(network.named_parameters()),
            **dict(network.named_buffers()),
        }.items():
            digest.update(name.encode() + _bytes(value))
        columns = columns_of(network.names, tasks)
        for part in (
            replicate.training,
            replicate.validation,
            replicate.evaluation,
            replicate.test,
        ):
            if part is not None:
                digest.update(_digest(part) + _bytes(part.targets[:, columns]))
        return digest.hexdigest()[:32]

    def get(self, key: str) -> TrainedNetwork | None:
        """The finished training of this name, None if there is none."""
        try:
            facts: dict[str, Any] = json.loads(self._file(key).read_text())
            facts["tasks"] = tuple(facts["tasks"])
            return TrainedNetwork(**facts)
        except (OSError, ValueError, TypeError, KeyError):
            return None

    def put(self, key: str, result: TrainedNetwork) -> None:
        """Keep a finished training."""
        slim = {**asdict(result), "state": None, "predictions": None}
        write_atomically(self._file(key), json.dumps(slim), is_durable=False)

    def _file(self, key: str) -> Path:
        return self.folder / f"{key}.json"


_digests: dict[int, tuple[Examples, bytes]] = {}


def _digest(examples: Examples) -> bytes:
    """Of the inputs; remembered, because many trainings share their rows."""
    found = _digests.get(id(examples))
    if found is None or found[0] is not examples:
        if len(_digests) > 256:
            _digests.clear()
        found = examples, hashlib.sha256(_bytes(examples.inputs)).digest()
        _digests[id(examples)] = found
    return found[1]


def _bytes(tensor: Tensor) -> bytes:
    return tensor.detach().cpu().contiguous().numpy().tobytes()
