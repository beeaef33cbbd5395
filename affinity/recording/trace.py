"""What a recorded run leaves behind, with time as an axis."""

import json
import os
from dataclasses import dataclass, fields
from pathlib import Path

from jaxtyping import Float, Int
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from affinity.errors import InputError
from affinity.tasks import check_names

FORMAT, VERSION = "affinity.trace", 1


@dataclass(frozen=True, eq=False)
class Trace:
    """Measurements of one or more training runs, one entry of `time` a measurement.

    What was not measured is None; what was missing at a step (a task without a label in the
    batch, a NaN loss) is NaN. Rows are sources, columns are targets.

    Args:
        tasks: Names, in the order of every task axis.
        steps: Step of the run at which each measurement was made.
        losses: Loss of each task before the step.
        gramians: Inner products of the tasks' gradients on the shared parameters.
        lookahead_losses: Loss of the target after a step along the source's gradient alone.
        held_out_losses: Loss of each task on the held-out batch.
        held_out_gramians: Inner product of the source's gradient with the target's gradient on
            the held-out batch.
        held_out_lookahead_losses: Loss of the target on the held-out batch, after a step along
            the source's gradient.
        layers: Names of the layers, where their Gramians were asked for.
        layer_gramians: The Gramian a layer.
        learning_rates: Learning rate of the lookahead step.
    """

    tasks: tuple[str, ...]
    steps: Int[Tensor, " time"]
    losses: Float[Tensor, "time task"]
    gramians: Float[Tensor, "time task task"] | None = None
    lookahead_losses: Float[Tensor, "time task task"] | None = None
    held_out_losses: Float[Tensor, "time task"] | None = None
    held_out_gramians: Float[Tensor, "time task task"] | None = None
    held_out_lookahead_losses: Float[Tensor, "time task task"] | None = None
    layers: tuple[str, ...] | None = None
    layer_gramians: Float[Tensor, "time layer task task"] | None = None
    learning_rates: Float[Tensor, " time"] | None = None

    def __post_init__(self) -> None:
        check_names(self.tasks)

    def __len__(self) -> int:
        return len(self.steps)

    def save(self, path: str | Path) -> None:
        """Write to a safetensors file, at once or not at all.

        Example:
            >>> import tempfile, torch
            >>> trace = Trace(("a", "b"), torch.tensor([0]), torch.tensor([[0.5, 0.25]]))
            >>> with tempfile.TemporaryDirectory() as folder:
            ...     trace.save(f"{folder}/trace.safetensors")
            ...     Trace.load(f"{folder}/trace.safetensors").losses.tolist()
            [[0.5, 0.25]]
        """
        values = {field.name: getattr(self, field.name) for field in fields(self)}
        tensors = {
            name: value.detach().cpu().contiguous().clone()
            for name, value in values.items()
            if isinstance(value, Tensor)
        }
        names = {name: value for name, value in values.items() if isinstance(value, tuple)}
        path = Path(path)
        unfinished = path.with_name(f".{path.name}.{os.getpid()}.tmp")
        metadata = {"format": FORMAT, "version": str(VERSION), "names": json.dumps(names)}
        try:
            save_file(tensors, unfinished, metadata=metadata)
            os.replace(unfinished, path)
        finally:
            unfinished.unlink(missing_ok=True)

    @classmethod
    def load(cls, path: str | Path) -> "Trace":
        """Read what `save` wrote.

        Raises:
            InputError: If the file is missing, is no trace, or is of a later version.
        """
        try:
            with safe_open(path, framework="pt") as file:
                metadata = file.metadata() or {}
                if metadata.get("format") != FORMAT:
                    raise InputError(
                        f"Expected a trace in {path}, as Trace.save writes it, but got a "
                        "safetensors file of something else."
                    )
                if int(metadata["version"]) > VERSION:
                    raise InputError(
                        f"Expected a trace of version {VERSION} or before in {path}, but got "
                        f"version {metadata['version']}: update task-affinity to read it."
                    )
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except FileNotFoundError:
            raise InputError(f"Expected a trace in {path}, but there is no such file.") from None
        except SafetensorError as error:
            raise InputError(
                f"Expected a trace in {path}, as Trace.save writes it, but it cannot be read "
                f"({error})."
            ) from None
        names = {name: tuple(value) for name, value in json.loads(metadata["names"]).items()}
        return cls(**names, **tensors)
