from pathlib import Path

import torch
from codes import raises
from safetensors.torch import save_file

from affinity.recording import Trace, merge_traces
from affinity.storage import load
from affinity.tensor_file import write_tensors


def example() -> Trace:
    return Trace(
        tasks=("a", "b"),
        steps=torch.tensor([0, 10]),
        losses=torch.tensor([[1.0, 2.0], [3.0, torch.nan]]),
        gramians=torch.arange(8.0).view(2, 2, 2),
        layers=("all",),
        layer_gramians=torch.arange(8.0).view(2, 1, 2, 2),
        layer_norms=torch.ones(2, 1),
    )


def test_a_trace_is_read_as_it_was_written(tmp_path: Path) -> None:
    trace = example()
    trace.save(tmp_path / "trace.safetensors")
    read = load(tmp_path / "trace.safetensors")
    assert isinstance(read, Trace)
    assert torch.equal(Trace.load(tmp_path / "trace.safetensors").steps, trace.steps)
    assert (read.tasks, read.layers, read.lookahead_losses) == (trace.tasks, trace.layers, None)
    assert torch.equal(read.losses.nan_to_num(-1), trace.losses.nan_to_num(-1))
    assert read.layer_gramians is not None
    assert torch.equal(read.layer_gramians, torch.arange(8.0).view(2, 1, 2, 2))
    assert [path.name for path in tmp_path.iterdir()] == ["trace.safetensors"]


def test_a_trace_is_written_to_the_same_bytes_every_time(tmp_path: Path) -> None:
    written: set[bytes] = set()
    for number in range(10):
        example().save(tmp_path / f"{number}.safetensors")
        written.add((tmp_path / f"{number}.safetensors").read_bytes())
    assert len(written) == 1


def test_what_is_no_trace_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    with raises("missing-file"):
        Trace.load(path)
    path.write_bytes(b"not a tensor file")
    with raises("damaged-file"):
        Trace.load(path)
    save_file({"x": torch.zeros(1)}, path)
    with raises("unknown-file-kind"):
        Trace.load(path)
    write_tensors(path, {"x": torch.zeros(1)}, {}, "trace", 99)
    with raises("other-version"):
        Trace.load(path)


def test_runs_are_merged_by_the_names_of_tasks() -> None:
    one = example()
    other = Trace(
        tasks=("b", "a"),
        steps=torch.tensor([5]),
        losses=torch.tensor([[20.0, 10.0]]),
        gramians=torch.tensor([[[4.0, 3.0], [2.0, 1.0]]]),
    )
    merged = merge_traces([one, other])
    assert merged.tasks == ("a", "b")
    assert merged.steps.tolist() == [0, 10, 5]
    assert merged.losses[2].tolist() == [10.0, 20.0]
    assert merged.gramians is not None
    assert merged.gramians[2].tolist() == [[1.0, 2.0], [3.0, 4.0]]
    assert merged.layer_gramians is not None
    assert merged.layer_gramians[2].isnan().all()
    assert merged.runs is not None
    assert merge_traces([merged, one]).runs.tolist() == [0, 0, 1, 2, 2]  # pyright: ignore


def test_traces_of_other_tasks_are_not_merged() -> None:
    other = Trace(("a", "c"), torch.tensor([0]), torch.zeros(1, 2))
    with raises("different-tasks"):
        merge_traces([example(), other])
    with raises("no-traces"):
        merge_traces([])
