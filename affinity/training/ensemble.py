"""Ensembles: many networks of one architecture trained at once with `torch.func`."""

import math
from collections.abc import Sequence
from copy import deepcopy

import torch
from jaxtyping import Float
from torch import Tensor, nn

from affinity.progress import track
from affinity.sharing import Sharing, check_fit
from affinity.tasks import Examples, Replicate, Task, ignores_missing

from .batch_losses import FEW_TASKS
from .device import find_device, use_seed
from .head_layout import head_kinds
from .initialization import Initialization
from .loop import train_one
from .members import Build, Member, start_all
from .rows import columns_of, labelled, normalizes_batches
from .sampling import JointBatches
from .settings import TrainingSettings
from .stack import Stack
from .stacked_tensors import body_tensors
from .store import FinishedTrainings, Store
from .trained_network import TrainedNetwork

_CACHE = 48 * 2**20  # bytes that networks trained at once may touch in a step
_GPU_MEMORY = 2 * 2**30  # the same on a GPU, where kernels for few networks leave most of it idle
_MOST = 512  # networks trained at once
_FROZEN = "a frozen normalization keeps its statistics"
_STEPS = (Sharing.before_step, Sharing.after_step)  # a stack takes these for all its members


def train_members(
    build: Build | Sequence[Build],
    tasks: Sequence[Task],
    members: Sequence[Member],
    replicates: Sequence[Replicate],
    settings: TrainingSettings,
    keep: bool = False,
    at_once: int | None = None,
    store: Store | None = None,
    starts: Sequence[Initialization] | None = None,
) -> list[TrainedNetwork]:
    """Train every member; members of one shape are trained at once, without affecting each other.

    A member minimizes the sum of its own tasks' losses over the rows labelled for at least one of
    them. The seed of its replicate sets the order of the rows and the initial parameters, which are
    the same for all members on that replicate. Early stopping and the best epoch depend on the
    member's own validation loss (see `train`). A member whose loss becomes NaN or infinite is
    marked as `diverged` and removed; the others continue.

    Members are stacked if their shapes agree: any sets of tasks with hard sharing, otherwise sets
    with the same number of tasks. Networks that cannot be stacked (recurrent cells, code that
    `vmap` does not support, BatchNorm where labels are missing) and trainings that cannot
    (objectives other than a fixed weighted sum, batches of some tasks) are run one at a time, and
    the result holds the reason. `fan_out` runs them in parallel.

    Args:
        build: Makes a new network of some of the tasks; one for all members, or one per member.
        tasks: All tasks, in the order of the targets' columns.
        replicates: The rows and seeds that members refer to.
        keep: Whether to return parameters and predictions.
        at_once: Maximum number of members to train at once; chosen to fit the machine if None.
        store: Store of finished trainings, which are not repeated. Ignored with `keep`, because
            the store holds no parameters.
        starts: The initialization of each member; new parameters if None.

    Returns:
        One result per member, in the order of `members`.

    Raises:
        InputError: If a member has no task, an unknown task, no labelled row, or no replicate; if
            the objective names an unknown task.
    """
    settings.objective.check_tasks([task.name for task in tasks])
    networks = start_all(build, tasks, members, replicates, starts)
    starts = starts or [Initialization()] * len(members)
    finished = FinishedTrainings(
        None if keep else store, networks, tasks, members, replicates, settings, starts
    )
    results = finished.results
    with track("training networks", len(members)) as progress:
        progress.advance(len(results))
        for numbers in _groups(networks, tasks, members, replicates, settings, finished.missing):
            first = networks[numbers[0]]
            replicate = replicates[members[numbers[0]].replicate]
            check_fit(first, tasks, replicate.training.inputs_of(slice(2)))
            reason = unbatched_reason(first, tasks, replicate, settings)
            size = 1 if reason else at_once or _fitting(first, replicates[0], settings)
            frozen = [n for n in numbers if starts[n].frozen_normalizations(networks[n])]
            together = [number for number in numbers if number not in frozen]
            pending = [*_chunks(together, size), *_chunks(frozen, 1)]
            while pending:
                chunk = pending.pop(0)
                try:
                    number = chunk[0]
                    is_large = len(networks[number].names) > FEW_TASKS  # heads together are faster
                    if len(chunk) == 1 and (reason or number in frozen or not is_large):
                        result = train_one(
                            networks[number],
                            tasks,
                            replicates,
                            members[number].replicate,
                            settings,
                            start=starts[number],
                            keep=keep,
                            unbatched_reason=reason or (_FROZEN if number in frozen else None),
                        )
                        finished.add(number, result)
                        progress.advance()
                        continue
                    stack = Stack(
                        [networks[number] for number in chunk],
                        tasks,
                        [members[number].replicate for number in chunk],
                        replicates,
                        settings,
                        [starts[number] for number in chunk],
                    )
                    for position, result in enumerate(stack.train(keep)):
                        finished.add(chunk[position], result)
                        progress.advance()
                except (MemoryError, RuntimeError) as error:
                    if len(chunk) == 1 or not _is_out_of_memory(error):
                        raise
                    left = [number for number in chunk if number not in results]
                    pending = [*_chunks(left, max(1, len(chunk) // 2)), *pending]
    return [results[number] for number in range(len(members))]


def works_at_once(tasks: Sequence[Task], settings: TrainingSettings) -> bool:
    """Whether networks can be trained at once with this objective and sampling."""
    is_fixed = settings.objective.fixed_weights([task.name for task in tasks]) is not None
    return is_fixed and isinstance(settings.sampling, JointBatches)


def _groups(
    networks: Sequence[Sharing],
    tasks: Sequence[Task],
    members: Sequence[Member],
    replicates: Sequence[Replicate],
    settings: TrainingSettings,
    numbers: Sequence[int],
) -> list[list[int]]:
    """Members that can be stacked: equal shapes, and the same number of batches per epoch."""
    groups: dict[object, list[int]] = {}
    steps: dict[Member, int] = {}
    for number in numbers:
        network, member = networks[number], members[number]
        if member not in steps:
            columns = columns_of(network.names, tasks)
            training = replicates[member.replicate].training
            rows, _ = labelled(training, columns, network.names)
            labelled(replicates[member.replicate].validation, columns, network.names)
            steps[member] = math.ceil(len(rows) / settings.batch_size)
        shape = steps[member], _shape_of(network, tasks)
        takes_padding = all(ignores_missing(task.loss, task.n_outputs) for task in tasks)
        if normalizes_batches(network) or not takes_padding:
            shape = *shape, _without_padding(network, tasks, replicates[member.replicate]) or number
        groups.setdefault(shape, []).append(number)
    # Networks of similar size next to each other, so that a chunk pads few heads.
    return [sorted(group, key=lambda n: len(networks[n].names)) for group in groups.values()]


def _without_padding(
    network: Sharing, tasks: Sequence[Task], replicate: Replicate
) -> tuple[int, ...] | None:
    """The numbers of rows that have to agree in a stack without padding.

    None if labels of the network's tasks are missing: some of its losses do not accept that, or
    its networks would normalize rows that only fill up a batch, so it is trained by itself.
    """
    columns = columns_of(network.names, tasks)
    splits = [replicate.training, replicate.validation, replicate.test, replicate.evaluation]
    rows = [split for split in splits if split is not None]
    if any(bool(split.targets[:, columns].isnan().any()) for split in rows):
        return None
    return tuple(map(len, rows))


def _chunks(numbers: Sequence[int], size: int) -> list[list[int]]:
    count = math.ceil(len(numbers) / size)
    return [
        list(numbers[len(numbers) * k // count : len(numbers) * (k + 1) // count])
        for k in range(count)
    ]


def _fitting(network: Sharing, replicate: Replicate, settings: TrainingSettings) -> int:
    each = _bytes_per_step(network, replicate.training.inputs_of(slice(settings.batch_size)))
    on_cpu = find_device(settings.device).type == "cpu"
    return max(1, min(_MOST, (_CACHE if on_cpu else _GPU_MEMORY) // each))


def _is_out_of_memory(error: BaseException) -> bool:
    words = ("out of memory", "not enough memory", "alloc")
    return isinstance(error, MemoryError) or any(word in str(error).lower() for word in words)


def _shape_of(network: Sharing, tasks: Sequence[Task]) -> object:
    """A key that is equal for networks that can be stacked."""
    body = tuple(
        (name, tuple(tensor.shape), tensor.dtype, tensor.requires_grad)
        for name, tensor in body_tensors(network).items()
    )
    if network.represents_once:
        size = len(network.names)
        heads = 0 if len(tasks) <= FEW_TASKS else math.ceil(math.log2(size))
    else:
        heads = tuple(head_kinds(network, tasks))
    return type(network), body, heads


def unbatched_reason(
    network: Sharing, tasks: Sequence[Task], replicate: Replicate, settings: TrainingSettings
) -> str | None:
    """Why `network` cannot be trained in a stack, None if it can."""
    if not works_at_once(tasks, settings):
        return (
            f"{settings.objective} or {settings.sampling} needs each network's own losses, "
            "gradients or batches"
        )
    if (type(network).before_step, type(network).after_step) != _STEPS:
        return "it changes gradients or parameters at each step in its own way"
    if any(isinstance(module, nn.RNNBase) for module in network.modules()):
        return "recurrent cells cannot be stacked"
    some = Examples(
        inputs=replicate.training.inputs_of(slice(2)),
        targets=torch.zeros_like(replicate.training.targets[:2]),
    )
    tiny = Replicate(seed=0, training=some, validation=some, test=some)
    try:
        with use_seed():
            on_cpu = TrainingSettings(device="cpu")
            Stack([network] * 2, tasks, [0, 1], [tiny, tiny], on_cpu).try_step()
    except (RuntimeError, ValueError, TypeError) as error:
        return f"vmap does not support it: {str(error).splitlines()[0]}"
    return None


def _bytes_per_step(network: Sharing, inputs: Float[Tensor, "batch *feature"]) -> int:
    """Approximate memory of one member in a step: parameters, moments, activations."""
    saved: dict[int, int] = {}

    def pack(tensor: Tensor) -> Tensor:
        saved[tensor.data_ptr()] = tensor.nbytes
        return tensor

    with use_seed(), torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        outputs = deepcopy(network)(inputs)  # a pass in training mode changes running statistics
    parameters = sum(parameter.nbytes for parameter in network.parameters())
    return 4 * parameters + 2 * sum(saved.values()) + sum(o.nbytes for o in outputs.values())
