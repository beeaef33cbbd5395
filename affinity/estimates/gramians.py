"""The Gramians of a trace, of all shared parameters or of one layer's."""

from jaxtyping import Float
from torch import Tensor

from affinity.errors import InputError
from affinity.recording import Trace


def gramians_of(trace: Trace, layer: str | None = None) -> Float[Tensor, "time task task"]:
    """Inner products of the tasks' gradients."""
    if layer is None:
        if trace.gramians is None:
            raise InputError(
                "Expected a trace with Gramians, but this one has none.", "missing-in-trace"
            )
        return trace.gramians
    if trace.layers is None or trace.layer_gramians is None or layer not in trace.layers:
        raise InputError(
            f"Expected a trace with the layer {layer!r}, but it has "
            f"{list(trace.layers) if trace.layers else 'none'}: record with Recorder(layers=...).",
            "unknown-layer",
        )
    return trace.layer_gramians[:, trace.layers.index(layer)]
