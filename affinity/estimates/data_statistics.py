"""Data statistics: mean gradient and curvature of each data set at one network, projected."""

import hashlib
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from affinity.errors import InputError
from affinity.recording import select_rows
from affinity.recording.preserve_state import preserve_state
from affinity.recording.shared_parameters import unwrapped

from .gradient_files import GradientFile, gradient_path, remove_others
from .gradient_sums import Sums, digests_of_ranks, n_ranks, rank
from .output_losses import OutputLoss, curvature_root, labelled_outputs, sum_of_losses
from .sparse_projection import SparseProjection

EvaluateBatch = Callable[[nn.Module, Any], tuple[Any, Tensor]]
"""From a model and a batch to outputs (a tensor, or one by data set) and labels."""


@dataclass(frozen=True, eq=False)
class DataStatistics:
    """Means over the labels of each data set, at one network.

    Args:
        gradients: Its gradient, projected.
        curvatures: The Gauss-Newton matrix of the loss, projected.
    """

    names: tuple[str, ...]
    losses: Float[Tensor, " data"]
    gradients: Float[Tensor, "data dimension"]
    curvatures: Float[Tensor, "data dimension dimension"]
    n_labels: Int[Tensor, " data"]
    n_rows: Int[Tensor, " data"]

    def check(self) -> "DataStatistics":
        """Itself, unless a data set has no rows or labels, or values are not finite.

        Raises:
            InputError: If there are any.
        """
        counts = zip(self.names, self.n_rows.tolist(), self.n_labels.tolist(), strict=True)
        for row, (name, n_rows, n_labels) in enumerate(counts):
            if not n_rows:
                raise InputError(
                    f"Expected rows of {name!r}, but there are none. Iterators can be read only "
                    "once: pass a list or a data loader.",
                    "no-rows",
                )
            if not n_labels:
                raise InputError(
                    f"Expected labels of {name!r}, but all of its {n_rows} rows are masked (-100 "
                    "or NaN). Check the prompt mask and the truncation.",
                    "no-labels",
                )
            parts = (self.losses[row], self.gradients[row], self.curvatures[row])
            if not all(bool(part.isfinite().all()) for part in parts):
                raise InputError(
                    f"Expected finite losses and gradients of {name!r}, but some are NaN or "
                    "infinite at these parameters.",
                    "not-finite",
                )
        return self


def means(sums: Mapping[str, Sums]) -> DataStatistics:
    """The statistics of data sets, from their sums."""
    totals = sums.values()
    labels = torch.stack([total.counts[0] for total in totals])
    return DataStatistics(
        names=tuple(sums),
        losses=torch.stack([total.loss for total in totals]) / labels,
        gradients=torch.stack([total.gradient for total in totals]) / labels[:, None],
        curvatures=torch.stack([t.curvature for t in totals]) / labels[:, None, None],
        n_labels=labels.long(),
        n_rows=torch.stack([total.counts[1] for total in totals]).long(),
    ).check()


@dataclass(frozen=True, eq=False)
class Measure:
    """Measures data sets at one network: one backward pass per row and probe, plus one."""

    model: nn.Module
    parameters: Mapping[str, Tensor]  # those whose gradients are taken, with the factor of each
    factors: Mapping[str, Tensor] | None
    projection: SparseProjection  # of their gradients
    loss: Mapping[str, OutputLoss]  # by data set
    evaluate: EvaluateBatch  # outputs and labels of a batch
    rows: int | None  # at most, per data set
    probes: int  # random vectors per row, for the curvature
    per_row: bool  # gradients by row; otherwise by batch
    seed: int
    folder: Path | None  # where gradients are written to, if they are kept
    bits: int  # of each of their numbers, 8 or 32

    def __call__(
        self, batches: Mapping[str, Iterable[Any]], part: str
    ) -> tuple[DataStatistics, dict[str, set[str]]]:
        """The statistics, and the digests of the rows of each data set."""
        sums: dict[str, Sums] = {}
        digests: dict[str, set[str]] = {}
        with preserve_state(self.model), evaluation_mode(self.model):
            for number, (name, of_data) in enumerate(batches.items()):
                file = None
                if self.folder is not None:
                    path = gradient_path(self.folder, part, number, rank())
                    if rank() == 0:
                        remove_others(self.folder, part, number, n_ranks())
                    shape = 1 + self.probes, self.projection.dimensions
                    file = GradientFile(path, shape, self.bits)
                with file or nullcontext():
                    total, of_rank = self._measure(name, of_data, file)
                sums[name] = total.over_ranks()
                digests[name] = digests_of_ranks(of_rank)
        return means(sums), digests

    def _measure(
        self, name: str, batches: Iterable[Any], file: GradientFile | None
    ) -> tuple[Sums, set[str]]:
        total, digests, left = Sums(self.projection.dimensions), set[str](), self.rows
        for batch in batches:
            n_rows = count_rows(batch)
            n_taken = n_rows if left is None else min(left, n_rows)
            if left is not None:
                left -= n_taken
            parts = [[row] for row in range(n_taken)] if self.per_row else [range(n_taken)]
            for rows in parts if n_taken else []:
                is_all = len(rows) == n_rows
                part = batch if is_all else select_rows(batch, _mask(rows, n_rows))
                each = [select_rows(batch, _mask([row], n_rows)) for row in rows]
                keys = list(map(digest_of, [part] if len(rows) == 1 else each))
                digests.update(keys)
                loss, n_labels, vectors = self._gradients(name, part, " ".join(keys))
                total.add(loss, n_labels, len(rows), vectors)
                if file is not None:
                    file.write(loss, n_labels, len(rows), vectors)
            if left == 0:
                break
        return total, digests

    def _gradients(
        self, name: str, batch: Any, key: str
    ) -> tuple[float, int, Float[Tensor, "vector dimension"]]:
        """The sum of losses, the number of labels, the gradient and roots of the curvature."""
        kind = self.loss[name]
        with torch.enable_grad():
            outputs, labels = self.evaluate(self.model, batch)
            if isinstance(outputs, Mapping):
                outputs = _output_of(cast("Mapping[str, Tensor]", outputs), name)
            outputs, labels = labelled_outputs(kind, outputs, labels.to(outputs.device))
            if not len(labels):
                return 0.0, 0, torch.zeros(1, self.projection.dimensions).double()
            outputs = outputs.to(torch.promote_types(outputs.dtype, torch.float32))
            loss = sum_of_losses(kind, outputs, labels)
        root = curvature_root(kind, outputs)
        scale = 1.0 if outputs.numel() <= self.probes else self.probes**-0.5
        probes = _probes(outputs, self.probes, f"{self.seed} {key}")
        roots = [self._project(outputs, root(probe)) * scale for probe in probes]
        vectors = torch.stack([self._project(loss, None), *roots])
        return loss.item(), len(labels), vectors

    def _project(self, outputs: Tensor, vector: Tensor | None) -> Float[Tensor, " dimension"]:
        parameters = list(self.parameters.values())
        gradient = cast(
            "tuple[Tensor | None, ...]",
            torch.autograd.grad(outputs, parameters, vector, retain_graph=True, allow_unused=True),
        )
        parts = [
            torch.zeros_like(parameter) if part is None else part
            for part, parameter in zip(gradient, parameters, strict=True)
        ]
        if self.factors is not None:
            parts = [p * f for p, f in zip(parts, self.factors.values(), strict=True)]
        return self.projection(parts)


def evaluate_batch(model: nn.Module, batch: Any) -> tuple[Any, Tensor]:
    """Outputs and labels of a batch as Transformers or data loaders make it.

    A mapping with "labels" is passed by name, without them; of a pair (inputs, labels) the inputs.
    """
    device = next(model.parameters()).device
    if isinstance(batch, Mapping) and "labels" in batch:
        entries = cast("Mapping[str, Any]", batch)
        inputs = {name: _on(value, device) for name, value in entries.items() if name != "labels"}
        _check_length(model, inputs.get("input_ids"))
        return _logits_of(model(**inputs)), cast("Tensor", entries["labels"])
    if isinstance(batch, list | tuple) and len(cast("list[Any]", batch)) == 2:
        return _logits_of(model(_on(batch[0], device))), cast("Tensor", batch[1])
    raise InputError(
        "Expected batches that are mappings with labels, or pairs of inputs and labels, but got "
        f"{type(batch).__name__}: pass evaluate=, a function of model and batch that returns "
        "outputs and labels.",
        "unknown-batch",
    )


def _logits_of(output: Any) -> Any:
    """The logits of an output of Transformers; other outputs as they are."""
    if isinstance(output, Mapping):
        return cast("Mapping[str, Any]", output).get("logits", output)
    if isinstance(output, tuple):
        return cast("tuple[Any, ...]", output)[0]
    return getattr(output, "logits", output)


def _on(value: Any, device: torch.device) -> Any:
    return value.to(device) if isinstance(value, Tensor) else value


def count_rows(batch: Any) -> int:
    """The number of rows: the length of the first tensor in it."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.dim() else 1
    values = batch.values() if isinstance(batch, Mapping) else batch
    if isinstance(values, Iterable) and not isinstance(values, str):
        for value in values:
            if isinstance(value, Tensor | Mapping | list | tuple):
                return count_rows(value)
    raise InputError(
        f"Expected batches with tensors, but got {type(batch).__name__}.", "unknown-batch"
    )


def _check_length(model: nn.Module, tokens: object) -> None:
    config = getattr(unwrapped(model), "config", None)
    limit = getattr(config, "max_position_embeddings", None) or getattr(config, "n_positions", None)
    if isinstance(tokens, Tensor) and isinstance(limit, int) and tokens.shape[-1] > limit:
        raise InputError(
            f"Expected sequences of at most {limit} tokens, the length that the model takes, but "
            f"got {tokens.shape[-1]}: truncate them in the tokenizer or the collator.",
            "sequence-too-long",
        )


def _probes(
    outputs: Float[Tensor, "label output"], count: int, key: str
) -> Generator[Float[Tensor, "label output"]]:
    """Every unit vector where `count` allows it, otherwise random signs that follow from `key`."""
    if outputs.numel() <= count:
        for unit in torch.eye(outputs.numel(), dtype=outputs.dtype, device=outputs.device):
            yield unit.view_as(outputs)
        return
    digest = hashlib.blake2b(key.encode(), digest_size=6).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest, "big"))
    for _ in range(count):
        signs = torch.randint(0, 2, outputs.shape, generator=generator) * 2 - 1
        yield signs.to(outputs)


def _mask(rows: Iterable[int], count: int) -> Tensor:
    mask = torch.zeros(count, dtype=torch.bool)
    mask[list(rows)] = True
    return mask


def digest_of(row: Any) -> str:
    """A digest of all tensors of a row, without padding where an attention mask marks it."""
    state = hashlib.blake2b(digest_size=12)
    values = row.values() if isinstance(row, Mapping) else [row] if isinstance(row, Tensor) else row
    mask = (
        cast("Mapping[str, Any]", row).get("attention_mask") if isinstance(row, Mapping) else None
    )
    for value in values:
        if isinstance(value, Tensor):
            if isinstance(mask, Tensor) and value.shape == mask.shape:
                value = value[mask.bool()]
            state.update(
                value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes()
            )
        elif isinstance(value, Mapping | list | tuple):
            state.update(digest_of(value).encode())
        else:
            state.update(repr(value).encode())
    return state.hexdigest()


def _output_of(outputs: Mapping[str, Tensor], name: str) -> Tensor:
    if name not in outputs:
        raise InputError(
            f"Expected an output of the model for the data set {name!r}, but got {list(outputs)}.",
            "missing-output",
        )
    return outputs[name]


@contextmanager
def evaluation_mode(model: nn.Module) -> Generator[None]:
    """Evaluation mode for all modules, each of which is put back afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
