"""A stack: networks of equal shape in one set of tensors, each trained on its own rows."""

import math
import time
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from affinity.sharing import Sharing
from affinity.tasks import Examples, Replicate, Task

from .device import find_device, use_seed
from .early_stopping import EarlyStopping
from .head_layout import HeadLayout
from .initialization import Initialization
from .judge import RowScores, describe_divergence, metrics_of, scales_of, score_test_rows
from .per_parameter_lr import ParameterRates
from .row_sets import RowSets
from .rows import normalizes_batches, ranks
from .settings import TrainingSettings
from .stacked_network import StackedNetwork
from .stacked_tensors import StackedTensors, optimizer_of, stacked, unstacked, without
from .trained_network import TrainedNetwork
from .weight_average import move_average

_AT_ONCE = 2**22  # numbers in one tensor of a pass over rows that are judged


class Stack:
    """Networks that are trained at once.

    Every parameter stands in one tensor ``[member ...]``; heads of one shape under one loss in
    one tensor ``[member slot ...]``: a slot for each task, the rest empty. A missing label and an
    empty slot are both NaN targets, whose loss is 0.
    """

    def __init__(
        self,
        networks: Sequence[Sharing],
        tasks: Sequence[Task],
        on: Sequence[int],
        replicates: Sequence[Replicate],
        settings: TrainingSettings,
        starts: Sequence[Initialization] | None = None,
    ) -> None:
        self._networks = networks
        self._tasks = tasks
        self._on = on
        self._replicates = replicates
        self._settings = settings
        self._device = find_device(settings.device)
        self._layout = HeadLayout(networks, tasks)
        self._normalizes = normalizes_batches(networks[0])
        self._network = StackedNetwork(networks[0], self._layout)
        self._n_steps = 0  # in an epoch
        self._starts = starts or [Initialization()] * len(networks)
        fixed = settings.objective.fixed_weights([task.name for task in tasks])
        assert fixed is not None  # checked by `train_members`
        dtype = next(networks[0].parameters()).dtype
        weights = torch.tensor([*fixed, 0.0], dtype=dtype)[self._layout.columns]
        self._weights = weights.to(self._device)  # member slot

    def train(self, keep: bool) -> list[TrainedNetwork]:
        """Train all members and return one result per member, in order."""
        settings = self._settings
        training = self._rows([r.training for r in self._replicates], is_ordered=True)
        validation = self._rows([r.validation for r in self._replicates])
        scales = self._scales()
        n_members = len(self._networks)
        seconds = torch.zeros(n_members, dtype=torch.double)
        diverged: dict[int, str] = {}
        here = torch.arange(n_members)  # the members in the stack
        going = torch.ones(n_members, dtype=torch.bool)  # those of them that are not done
        tensors = stacked(self._networks, self._layout, self._device)
        averaged = tensors if settings.average_weights else {}
        average = {name: tensor.detach().clone() for name, tensor in averaged.items()}
        stopping = EarlyStopping(tensors, (n_members, self._layout.columns.shape[1]))
        optimizer = optimizer_of(tensors, settings)
        rates = ParameterRates(self._networks, self._layout, self._starts, tensors)
        with use_seed(self._replicates[self._on[0]].seed):
            for epoch in range(1, settings.epochs + 1):
                start = time.perf_counter()
                losses = self._epoch(epoch, tensors, average, optimizer, rates, training, here)
                for position in (~losses.isfinite().all(dim=2).all(dim=0)).nonzero().flatten():
                    number = int(here[position])
                    if going[position]:
                        diverged[number] = self._divergence(number, losses[:, position], epoch)
                    going[position] = False
                weights = self._weights.cpu()[here].double()
                for candidate in (tensors, average) if average else (tensors,):
                    reached = self._losses(candidate, validation, here)
                    score = settings.objective.score(reached, scales[here], weights)
                    stopping.see(epoch, here, going, score, reached, candidate)
                seconds[here[going]] += (time.perf_counter() - start) / int(going.sum().clamp(1))
                going &= epoch - stopping.best_epoch[here] < settings.patience
                if not going.any():
                    break
                # Leaving costs about as much as a few steps of those who leave.
                if int((~going).sum()) * len(losses) * 4 > len(here):
                    tensors, optimizer = without(~going, tensors, optimizer, settings)
                    average = {name: tensor[going] for name, tensor in average.items()}
                    here, going = here[going], going[going]
        return self._results(stopping, training, validation, seconds, diverged, keep)

    def try_step(self) -> None:
        """One forward and backward pass, to find out whether `vmap` can follow the code."""
        training = self._rows([r.training for r in self._replicates], is_ordered=True)
        tensors = stacked(self._networks, self._layout, self._device)
        inputs, targets, weights = training.take(training.rows, torch.arange(len(self._networks)))
        predictions = self._network.predictions(tensors, inputs)
        losses = self._network.losses(predictions, targets, weights)
        losses.sum().backward()
        self._network.before_step(tensors)
        self._network.after_step(tensors, self._settings.learning_rate)

    def _epoch(
        self,
        epoch: int,
        tensors: StackedTensors,
        average: StackedTensors,
        optimizer: torch.optim.Optimizer,
        rates: ParameterRates,
        training: RowSets,
        here: Int[Tensor, " member"],
    ) -> Float[Tensor, "step member slot"]:
        """One pass over the training rows of every member."""
        self._network.set_mode(training=True)
        learning_rate = self._settings.learning_rate_at(epoch)
        for group in optimizer.param_groups:
            group["lr"] = learning_rate
        here = here.to(self._device)
        weights = self._weights[here]
        rank = [ranks(len(r.training), r.seed, epoch) for r in self._replicates]
        losses: list[Tensor] = []
        size = self._settings.batch_size
        for rows in training.batches(rank, size):  # set batch
            if self._normalizes and losses and rows.shape[1] == 1 < size:
                continue
            inputs, targets, row_weights = training.take(rows, here)
            with self._settings.autocast(self._device):
                predictions = self._network.predictions(tensors, inputs)
            predictions = [kind.to(self._weights.dtype) for kind in predictions]
            loss = self._network.losses(predictions, targets, row_weights)
            optimizer.zero_grad()
            ((weights * loss).sum() + rates.penalty(tensors, here)).backward()
            self._network.before_step(tensors)
            rates.step(optimizer, tensors, here)
            self._network.after_step(tensors, learning_rate)
            losses.append(loss.detach())
            if average:
                if epoch == 1:
                    self._n_steps = len(losses)
                move_average(average, tensors, self._n_steps)
        return torch.stack(losses).cpu()

    def _judge(
        self, tensors: StackedTensors, rows: RowSets, here: Int[Tensor, " member"]
    ) -> tuple[
        list[Tensor], Float[Tensor, "member slot row"], Float[Tensor, "member slot row"] | None
    ]:
        """Predictions ``[member slot row output]`` of each kind of head, targets and weights."""
        self._network.set_mode(training=False)
        width = max(1, _AT_ONCE // (len(here) * rows.row_size))
        predictions: list[list[Tensor]] = []
        targets: list[Tensor] = []
        weights: list[Tensor] = []
        with torch.no_grad():
            for some in rows.rows.split(width, dim=1):
                inputs, own, weight = rows.take(some, here)
                predictions.append(self._network.predictions(tensors, inputs))
                targets.append(own)
                weights += [] if weight is None else [weight]
            return (
                [torch.cat(kind, dim=2) for kind in zip(*predictions, strict=True)],
                torch.cat(targets, dim=2),
                torch.cat(weights, dim=2) if weights else None,
            )

    def _losses(
        self, tensors: StackedTensors, rows: RowSets, here: Int[Tensor, " member"]
    ) -> Float[Tensor, "member slot"]:
        """Losses on these rows; NaN without labels."""
        count = max(1, _AT_ONCE // (rows.rows.shape[1] * self._layout.columns.shape[1]))
        losses: list[Tensor] = []
        for positions in torch.arange(len(here)).split(count):
            own = tensors
            if len(positions) < len(here):
                own = {name: tensor[positions] for name, tensor in tensors.items()}
            predictions, targets, weights = self._judge(own, rows, here[positions])
            loss = self._network.losses(predictions, targets, weights)
            is_labelled = ~targets.isnan().all(dim=2).cpu()
            losses.append(loss.cpu().double().where(is_labelled, math.nan))
        return torch.cat(losses)

    def _scales(self) -> Float[Tensor, "member slot"]:
        """The loss of the best constant prediction; see `score_of`."""
        of_replicate = torch.ones(len(self._replicates), len(self._tasks) + 1, dtype=torch.double)
        for number in set(self._on):
            replicate = self._replicates[number]
            of_task = scales_of(self._tasks, replicate.training, replicate.validation)
            of_replicate[number, :-1] = torch.tensor(list(of_task.values()), dtype=torch.double)
        return of_replicate[torch.tensor(self._on).unsqueeze(1), self._layout.columns]

    def _results(
        self,
        stopping: EarlyStopping,
        training: RowSets,
        validation: RowSets,
        seconds: Float[Tensor, " member"],
        diverged: dict[int, str],
        keep: bool,
    ) -> list[TrainedNetwork]:
        everyone = torch.arange(len(self._networks))
        training_loss = self._losses(stopping.kept, training, everyone)
        validation_loss = self._losses(stopping.kept, validation, everyone)
        evaluation_loss = torch.full_like(validation_loss, math.nan)
        parts = [r.evaluation for r in self._replicates if r.evaluation is not None]
        if len(parts) == len(self._replicates) and all(map(len, parts)):
            evaluation_loss = self._losses(stopping.kept, self._rows(parts), everyone)
        test = self._rows([r.test for r in self._replicates], every_row=keep)
        predictions, targets, weights = self._judge(stopping.kept, test, everyone)
        test_loss = self._network.losses(predictions, targets, weights).cpu().double()
        predictions, targets = [kind.cpu() for kind in predictions], targets.cpu()
        test_loss[targets.isnan().all(dim=2)] = math.nan
        for number in diverged:
            for losses in (training_loss, validation_loss, evaluation_loss, test_loss):
                losses[number] = math.nan
        evaluation_metrics = self._evaluation_metrics(stopping.kept)
        results: list[TrainedNetwork] = []
        for number, network in enumerate(self._networks):
            slots = self._layout.slots_of(number)
            judged = self._of_member(number, test, predictions, targets)
            undefined = RowScores(dict.fromkeys(slots, math.nan), {}, {})
            scores = undefined if number in diverged else score_test_rows(*judged)
            state = unstacked(stopping.kept, network, self._layout, number) if keep else None
            results.append(
                TrainedNetwork(
                    tasks=network.names,
                    replicate=self._on[number],
                    training_loss=_by_name(training_loss[number], slots),
                    validation_loss=_by_name(validation_loss[number], slots),
                    evaluation_loss=_by_name(evaluation_loss[number], slots),
                    test_loss=_by_name(test_loss[number], slots),
                    best_epoch=int(stopping.best_epoch[number]),
                    best_epoch_of_task={
                        name: int(stopping.best_epoch_of_slot[number, slot])
                        for name, slot in slots.items()
                    },
                    epochs=int(stopping.epochs[number]),
                    seconds=float(seconds[number]),
                    n_parameters=sum(parameter.numel() for parameter in network.parameters()),
                    state=state,
                    predictions={name: value.clone() for name, value in judged[1].items()}
                    if keep
                    else None,
                    diverged=diverged.get(number),
                    evaluation_metric={
                        name: math.nan if number in diverged else value
                        for name, value in evaluation_metrics[number].items()
                    },
                    **scores._asdict(),
                )
            )
        return results

    def _rows(
        self, parts: Sequence[Examples], every_row: bool = False, is_ordered: bool = False
    ) -> RowSets:
        columns, on = self._layout.columns, self._on
        return RowSets(parts, columns, on, self._device, every_row, is_ordered)

    def _evaluation_metrics(self, tensors: StackedTensors) -> list[dict[str, float]]:
        """The metrics on selection rows of the tasks that are judged by them."""
        by_network: list[dict[str, float]] = [{} for _ in self._networks]
        parts = [r.evaluation for r in self._replicates if r.evaluation is not None]
        judged = {task.name for task in self._tasks if task.is_judged_by_metric}
        if not judged or len(parts) < len(self._replicates) or not all(map(len, parts)):
            return by_network
        rows = self._rows(parts)
        predictions, targets, _ = self._judge(tensors, rows, torch.arange(len(self._networks)))
        predictions, targets = [kind.cpu() for kind in predictions], targets.cpu()
        for number, metrics in enumerate(by_network):
            tasks, own, examples, scales = self._of_member(number, rows, predictions, targets)
            every = metrics_of(tasks, own, examples, scales)
            metrics |= {name: value for name, value in every.items() if name in judged}
        return by_network

    def _of_member(
        self, number: int, rows: RowSets, predictions: list[Tensor], targets: Tensor
    ) -> tuple[list[Task], dict[str, Tensor], Examples, Tensor | None]:
        """The tasks of a member, its predictions and targets on its rows, and their scales."""
        slots, n_rows = self._layout.slots_of(number), rows.count(number)
        places = list(slots.values())
        columns = self._layout.columns[number, places]
        own = {
            name: self._of_slot(predictions, number, slot)[:n_rows] for name, slot in slots.items()
        }
        labels = targets[number, places, :n_rows].T
        scales = self._replicates[self._on[number]].target_scales
        return (
            [self._tasks[column] for column in columns.tolist()],
            own,
            Examples(labels, labels, rows.groups_of(number), rows.weights_of(number)),
            None if scales is None else scales[columns],
        )

    def _of_slot(self, predictions: list[Tensor], member: int, slot: int) -> Tensor:
        """``[row output]`` of one head."""
        for kind, prediction in zip(self._layout.kinds, predictions, strict=True):
            if slot < kind.slots.stop:
                return prediction[member, slot - kind.slots.start]
        raise AssertionError

    def _divergence(self, number: int, losses: Float[Tensor, "step slot"], epoch: int) -> str:
        step, slot = (~losses.isfinite()).nonzero()[0].tolist()
        names = self._networks[number].names
        return describe_divergence(
            names[self._layout.places[number][slot] or 0],
            float(losses[step, slot]),
            names,
            (epoch - 1) * len(losses) + step + 1,
        )


def _by_name(losses: Float[Tensor, " slot"], slots: dict[str, int]) -> dict[str, float]:
    return {name: float(losses[slot]) for name, slot in slots.items()}
