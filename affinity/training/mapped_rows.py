"""Mapped rows: replicates in files, which processes map into memory instead of copying them."""

import io
import math
import pickle
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from affinity.tasks import Replicate


class _File(NamedTuple):
    path: str
    shape: tuple[int, ...]
    dtype: torch.dtype

    def map(self, is_shared: bool = False) -> Tensor:
        """The file in memory; what a process writes to it stays in that process unless shared."""
        size = math.prod(self.shape)
        return torch.from_file(self.path, is_shared, size, dtype=self.dtype).reshape(self.shape)


class MappedReplicate(NamedTuple):
    """A replicate as the names of its files, which is small to send to another process."""

    data: bytes

    def read(self) -> Replicate:
        """The replicate; all processes that read it share its memory."""
        return _Reader(io.BytesIO(self.data)).load()


class RowFiles(pickle.Pickler):
    """Writes the tensors of replicates to a folder, those that they have in common once."""

    def __init__(self, folder: Path) -> None:
        self._data = io.BytesIO()
        super().__init__(self._data)
        self._folder = folder
        self._written: dict[int, tuple[_File, Tensor]] = {}  # the tensor, so that its id stays

    def write(self, replicate: Replicate) -> MappedReplicate:
        """Write what is not there yet."""
        self.clear_memo()
        start = self._data.tell()
        self.dump(replicate)
        return MappedReplicate(self._data.getvalue()[start:])

    def persistent_id(self, obj: Any) -> _File | None:
        """The file of a tensor, which is written now if it is not there yet."""
        if not isinstance(obj, Tensor) or obj.numel() == 0:  # an empty file cannot be mapped
            return None
        if id(obj) not in self._written:
            path = self._folder / f"{len(self._written)}.rows"
            file = _File(str(path), tuple(obj.shape), obj.dtype)
            file.map(is_shared=True).copy_(obj)
            self._written[id(obj)] = file, obj
        return self._written[id(obj)][0]


class _Reader(pickle.Unpickler):
    def persistent_load(self, pid: _File) -> Tensor:
        return pid.map()
