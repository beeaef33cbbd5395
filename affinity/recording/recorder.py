"""The recorder: stands before a run's own backward pass, and looks."""

import json
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Literal, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge

from affinity.errors import InputError
from affinity.tasks import check_names

from .batch import Batch, Closure, Losses, check_loss
from .gradients import Gradient, inner_products
from .graph import refuse_reentrant_checkpoints, shared_graph
from .layers import Layers, last_layer, layers_of
from .left_as_found import left_as_found
from .lookahead import lookahead_losses, put_back_after, write
from .merge import concatenated
from .ranks import Ranks
from .schedule import Cost, Schedule
from .shared_parameters import Shared, shared_parameters, unwrapped, whole_or_shared
from .sketch import random_signs, sketch_by_double_backward, sketch_by_forward_mode
from .steps import GradientStep, OptimizerStep, Step
from .trace import Trace
from .values import Values

Level = Literal["parameters", "last layer", "representation"]

FEW_TASKS = 12
"""Up to so many tasks a measurement is exact; above, a sketch is cheaper."""

DIRECTIONS = 8
"""Random directions of a sketch, and sources that a lookahead visits among many tasks."""

STATE_VERSION = 1


class Recorder:
    """Record per-task gradients and lookahead losses of a training run, and change nothing in it.

    Call `observe` with the tasks' losses before the run's own ``backward()``. Parameters,
    gradients, optimizer state, buffers and random states stay bit for bit as they are.

    A measurement costs about one backward pass a task; with many tasks, the Gramian is sketched at
    the cost of a few passes over all. Where a closure is given, some measurements also look ahead:
    one forward pass a source.

    Args:
        model: The whole network. Without it, `shared` is the shared module or parameters, and
            modules beside it are held as they are called.
        shared: What the tasks share: a submodule, names, a pattern, parameters, or None for the
            parameters that at least two losses reach.
        tasks: Names of the tasks, where the first observation does not hold them all.
        every: Measure at every so many observations.
        after: The first observation that is measured.
        until: The first observation that is not any more.
        overhead: Instead of `every`: the time of all measurements as a share of the run's own.
            The first one is made at once, and paid back before the next.
        level: Where gradients are taken: all shared parameters; those of the last shared layer;
            or the representation, the shared part's output, which costs no pass through the trunk
            (and has no lookahead).
        layers: Record a Gramian a layer too: how many parts of a module's name tell layers apart,
            or the names of modules.
        lookahead_every: Of the measurements with a closure, look ahead at every so many.
        step: The lookahead's step: ``"gradient"``, plain, as in the TAG paper, or ``"optimizer"``,
            the one that `optimizer` would take on that task's gradient alone.
        learning_rate: Of the plain step. Without it, that of the first group of `optimizer` with a
            shared parameter, as it stands; without `optimizer`, 0.001.
        optimizer: The run's optimizer.
        sources: How many sources a measurement visits, in turn: rows of the others are missing
            (NaN). Without it, all; among many tasks, 8 a lookahead.
        sketch: Random directions of the Gramian's sketch, 0 for an exact one. ``"auto"``: 8 with
            more than 12 tasks.
        memory: Bytes of gradients held at once. Where all tasks' do not fit, an exact Gramian is
            made in blocks of sources, at the price of more backward passes.
        timeout: In a distributed run, how many seconds to wait for a rank that does not observe.
        seed: Of the sketch's directions.

    Example:
        >>> model = nn.ModuleDict({"trunk": nn.Linear(2, 2), "a": nn.Linear(2, 1),
        ...                        "b": nn.Linear(2, 1)})
        >>> optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
        >>> recorder = Recorder(model, shared="trunk", every=2, optimizer=optimizer)
        >>> inputs = torch.ones(4, 2)
        >>> def losses():
        ...     return {name: model[name](model["trunk"](inputs)).square().mean() for name in "ab"}
        >>> for _ in range(4):
        ...     now = losses()
        ...     recorder.observe(now, closure=losses)  # the only line added
        ...     sum(now.values()).backward()
        ...     optimizer.step()
        ...     optimizer.zero_grad()
        >>> trace = recorder.trace()
        >>> trace.tasks, trace.steps.tolist(), tuple(trace.gramians.shape)
        (('a', 'b'), [0, 2], (2, 2, 2))
    """

    def __init__(
        self,
        model: nn.Module | None = None,
        shared: Shared = None,
        *,
        tasks: Iterable[str] | None = None,
        every: int = 10,
        after: int = 0,
        until: int | None = None,
        overhead: float | None = None,
        level: Level = "parameters",
        layers: int | Sequence[str] | None = None,
        lookahead_every: int = 4,
        step: Literal["gradient", "optimizer"] = "gradient",
        learning_rate: float | None = None,
        optimizer: torch.optim.Optimizer | None = None,
        sources: int | None = None,
        sketch: int | Literal["auto"] = "auto",
        memory: int = 10**9,
        timeout: float = 600.0,
        seed: int = 0,
    ) -> None:
        for name, value in (("lookahead_every", lookahead_every), ("sources", sources)):
            if value is not None and value < 1:
                raise InputError(f"Expected {name} to be at least 1, but got {value}.")
        if learning_rate is not None and learning_rate <= 0:
            raise InputError(f"Expected a learning rate above 0, but got {learning_rate}.")
        if sketch != "auto" and sketch < 0:
            raise InputError(f"Expected 0 or more directions of a sketch, but got {sketch}.")
        if sketch not in {"auto", 0} and (layers is not None or level == "representation"):
            raise InputError(
                "Expected a sketch of all shared parameters, but layers or the representation were "
                "asked for too, which are exact: pass sketch=0."
            )
        if layers is not None and level == "representation":
            raise InputError("Expected layers of parameters, but the representation has none.")
        if step == "optimizer" and optimizer is None:
            raise InputError('Expected optimizer=... for step="optimizer", but got none.')
        self.optimizer = optimizer
        """The run's optimizer; may be set once it is made."""
        self._model = whole_or_shared(model, shared)
        self._is_whole = model is not None
        self._shared = shared
        self._tasks = None if tasks is None else check_names(tasks)
        self._level = level
        self._layers = layers
        self._lookahead_every = lookahead_every
        self._step_kind = step
        self._learning_rate = learning_rate
        self._sources = sources
        self._sketch = sketch
        self._memory = memory
        self._schedule = Schedule(every, after, until, overhead)
        self._ranks = Ranks(timeout)
        self._generator = torch.Generator().manual_seed(seed)
        self._parameters: dict[str, nn.Parameter] | None = None
        self._sketch_method = "double backward"
        self._base_is_given = False
        self._told: set[str] = set()
        self._step = 0
        self._first_source = 0
        self._measurements: list[Trace] = []

    # What a user calls ---------------------------------------------------------------------------

    def is_due(self) -> bool:
        """Whether the next observation may be measured: where losses for it cost something."""
        return self._schedule.is_due(self._step)

    def observe(
        self, losses: Losses, closure: Closure | None = None, held_out: Closure | None = None
    ) -> None:
        """Look at one step of the run; call before the run's own backward pass.

        Args:
            losses: Loss of each task that is present in this step, with its graph; not yet
                weighted, scaled or divided by accumulation steps. Where tasks have batches of their
                own, a function a task that evaluates its loss; it is called when needed.
            closure: Evaluates the same losses anew, on the same batch; needed for the lookahead.
            held_out: Evaluates the losses on another batch: then inner products of gradients from
                the one with gradients from the other are recorded, and lookahead losses there.

        Raises:
            InputError: If a loss is no scalar or has no graph, if a task is new, or if a closure
                returns something other than `losses`.
        """
        step = self._step
        self._step += 1
        if not self._schedule.is_due(step):
            return
        self._check(losses)
        like = next(self._model.parameters(), torch.zeros(()))
        started = _now(like)
        self._ranks.meet(step)
        plain = self._ranks.largest(self._schedule.cost.plain_seconds, like)
        if not self._schedule.fits(step, plain):
            return
        assert self._tasks is not None
        held = left_as_found(unwrapped(self._model), and_called=not self._is_whole)
        with held as put_back:
            batch = Batch(self._tasks, losses, closure, put_back, self._model)
            if self._parameters is None:
                self._find(batch)
            other = None if held_out is None else self._held_out(held_out, put_back)
            measured = self._measure(step, batch, other)
        self._measurements.append(measured)
        self._schedule.measured(self._ranks.largest(_now(like) - started, like))

    def trace(self) -> Trace:
        """What was recorded so far.

        Raises:
            InputError: If nothing was.
        """
        if not self._measurements:
            raise InputError(
                "Expected at least one measurement, but nothing was recorded: call "
                "recorder.observe(losses) before backward() in the training loop."
            )
        self._measurements = [concatenated(self._measurements)]
        return self._measurements[0]

    @property
    def cost(self) -> Cost:
        """What recording cost so far."""
        return self._schedule.cost

    def describe(self) -> str:
        """What is recorded and how, what was found to be shared, and what it cost, in words."""
        if self._parameters is None or self._tasks is None:
            return "Nothing was observed yet."
        modules = dict.fromkeys(name.rpartition(".")[0] or name for name in self._parameters)
        numbers = sum(parameter.numel() for parameter in self._parameters.values())
        how = "reached by at least two losses" if self._shared is None else "as named"
        cost = self.cost
        lines = [
            f"{len(self._tasks)} tasks: {', '.join(self._tasks)}.",
            f"Shared, {how}: {numbers:,} numbers in {len(self._parameters)} parameters of "
            f"{', '.join(modules)}.",
            f"Gradients at the level of the {self._level}; Gramians {self._gramian_in_words()}.",
            f"Lookahead at every {self._lookahead_every}. measurement with a closure, "
            f"{self._n_lookahead_sources()} of {len(self._tasks)} sources each, a "
            f"{self._step_kind} step.",
            f"{cost.measurements} measurements took {cost.seconds:.2f} s, "
            f"{100 * cost.overhead:.1f} % of the run's own {cost.plain_seconds:.2f} s.",
        ]
        return "\n".join(lines)

    def state_dict(self) -> dict[str, Tensor | str]:
        """All that a resumed run needs, for the run's own checkpoint: tensors, and a JSON text."""
        state: dict[str, Tensor | str] = {"generator": self._generator.get_state()}
        layers = None
        if self._measurements:
            trace = self.trace()
            layers = trace.layers
            for field in fields(trace):
                value = getattr(trace, field.name)
                if isinstance(value, Tensor):
                    state[f"trace.{field.name}"] = value
        state["recorder"] = json.dumps(
            {
                "version": STATE_VERSION,
                "tasks": self._tasks,
                "layers": layers,
                "step": self._step,
                "first_source": self._first_source,
                "sketch_method": self._sketch_method,
                "schedule": self._schedule.state_dict(),
            }
        )
        return state

    def load_state_dict(self, state: Mapping[str, Tensor | str]) -> None:
        """Go on recording where `state_dict` was taken.

        Raises:
            InputError: If the state is of other tasks, or of a later version.
        """
        kept = json.loads(cast("str", state["recorder"]))
        if kept["version"] > STATE_VERSION:
            raise InputError(
                f"Expected a recorder's state of version {STATE_VERSION} or before, but got "
                f"version {kept['version']}: update task-affinity to resume."
            )
        tasks = None if kept["tasks"] is None else tuple(kept["tasks"])
        if self._tasks is not None and tasks is not None and tasks != self._tasks:
            raise InputError(
                f"Expected the state of a recorder of the tasks {self._tasks}, but got {tasks}."
            )
        self._tasks = tasks or self._tasks
        self._step = kept["step"]
        self._first_source = kept["first_source"]
        self._sketch_method = kept["sketch_method"]
        self._schedule.load_state_dict(kept["schedule"])
        self._generator.set_state(cast("Tensor", state["generator"]).cpu())
        arrays = {
            name.removeprefix("trace."): cast("Tensor", value).cpu()
            for name, value in state.items()
            if name.startswith("trace.")
        }
        layers = None if kept["layers"] is None else tuple(kept["layers"])
        self._measurements = (
            [Trace(tasks=cast("tuple[str, ...]", self._tasks), layers=layers, **arrays)]
            if arrays
            else []
        )

    # One measurement -----------------------------------------------------------------------------

    def _measure(self, step: int, batch: Batch, other: Batch | None) -> Trace:
        assert self._tasks is not None
        assert self._parameters is not None
        losses = self._present(step, batch)
        other_losses = None if other is None else self._present(step, other)
        does_look = (
            self._level != "representation"
            and batch.can_evaluate
            and self._schedule.cost.measurements % self._lookahead_every == 0
        )
        names = list(self._parameters)
        layers = layers_of(names, self._layers)
        values = Values(self._tasks, list(layers), losses.device, has_other=other is not None)
        if does_look:
            base = self._base(batch, losses)
            other_base = None if other is None else other.evaluate()
        else:
            base, other_base = losses, None
        directions = self._directions(batch)
        sketched = 0
        if directions:
            sketched = self._sketch_gramians(batch, other, directions, values)
        if not sketched:
            self._exact(batch, other, layers, values, does_look=does_look)
        elif does_look:
            self._look(batch, other, self._visited(self._n_lookahead_sources()), values)
        if does_look:
            if batch.has_drawn and self._base_is_given:  # the network was switched to dropout
                base = batch.evaluate()
            losses = self._ranks.mean_losses(base)
            if other_base is not None:
                other_losses = self._ranks.mean_losses(other_base)
        unlabelled = [self._tasks.index(task) for task in batch.missing]
        losses[unlabelled] = torch.nan
        return values.trace(
            step=step,
            losses=losses,
            other_losses=other_losses,
            learning_rate=self._current_learning_rate(),
            directions=sketched,
            layers=layers if self._layers is not None else None,
            parameters=list(self._parameters.values()),
            has_lookahead=does_look,
        )

    def _exact(
        self,
        batch: Batch,
        other: Batch | None,
        layers: Layers,
        values: "Values",
        *,
        does_look: bool,
    ) -> None:
        """Gramians, and lookaheads, of the visited sources, as many at once as memory holds."""
        assert self._tasks is not None
        assert self._parameters is not None
        shared = list(self._parameters.values())
        places = self._places(batch)
        groups = list(layers.values())
        if self._level == "representation":
            groups = [list(range(len(places)))]
        visited = self._visited(self._sources or len(self._tasks))
        size = sum(parameter.numel() * 4 for parameter in shared)
        held = len(visited) if self._level == "representation" else int(self._memory // size)
        done: set[str] = set()
        for block in _blocks(visited, max(held, 1)):
            sources = self._gradients(batch, block, places)
            if not sources:
                continue
            rows, held_gradients = list(sources), list(sources.values())
            products = inner_products(held_gradients, held_gradients, groups)
            values.gramians(self._summed(products), rows, rows)
            done.update(block)
            for task in batch.names:
                if task in done:
                    continue
                for target in self._gradients(batch, [task], places).values():
                    products = self._summed(inner_products(held_gradients, [target], groups))
                    values.gramians(products, rows, [task])
                    values.gramians(products.transpose(1, 2), [task], rows)
            if other is not None:
                there = self._places(other)
                for task in other.names:
                    for target in self._gradients(other, [task], there).values():
                        products = inner_products(held_gradients, [target], groups)
                        values.held_out_gramian(self._summed(products).sum(0), rows, task)
            if does_look:
                self._look(batch, other, sources, values)

    def _sketch_gramians(
        self, batch: Batch, other: Batch | None, directions: int, values: "Values"
    ) -> int:
        """Gramians from random directions; how many, 0 where the graph allows no sketch."""
        drawn = self._generator.get_state()
        try:
            sources = self._sketched(batch, directions)
            if sources is not None and other is not None:
                self._generator.set_state(drawn)  # the same directions
                targets = self._sketched(other, directions)
                if targets is not None:
                    values.held_out[:] = sources @ targets.T / directions
        except RuntimeError as error:
            if isinstance(error, InputError):
                raise
            following = {"double backward": "forward mode", "forward mode": "none"}
            self._sketch_method = following[self._sketch_method]
            if self._sketch_method == "none" or not batch.can_evaluate:
                self._sketch_method = "none"
                return 0
            self._generator.set_state(drawn)
            return self._sketch_gramians(batch, other, directions, values)
        if sources is None:
            return 0
        values.layered[:] = sources @ sources.T / directions
        return directions

    def _sketched(self, batch: Batch, directions: int) -> Float[Tensor, "task direction"] | None:
        assert self._tasks is not None
        assert self._parameters is not None
        shared = list(self._parameters.values())
        present = self._ranks.total(self._is_present(batch))
        drawn = (random_signs(shared, self._generator) for _ in range(directions))
        products = torch.zeros(len(self._tasks), directions, device=shared[0].device)
        rows = [self._tasks.index(task) for task in batch.names]
        if self._sketch_method == "double backward":
            losses = [batch.loss(task) for task in batch.names]
            if losses:
                products[rows] = sketch_by_double_backward(losses, shared, drawn)
        else:
            products[rows] = sketch_by_forward_mode(
                batch.evaluate_with_tangents, unwrapped(self._model), shared, drawn
            ).float()
        if self._ranks.count == 1:
            values = batch.values()
            for task, row in zip(batch.names, rows, strict=True):
                if not products[row].any() and values[row] == 0:
                    batch.missing.add(task)
                    present[row] = 0
        return self._ranks.total(products) / present[:, None]

    def _look(
        self,
        batch: Batch,
        other: Batch | None,
        sources: Mapping[str, Gradient] | Sequence[str],
        values: "Values",
    ) -> None:
        assert self._parameters is not None
        shared = list(self._parameters.values())
        evaluate = [batch.evaluate] if other is None else [batch.evaluate, other.evaluate]
        with put_back_after(shared) as before:
            step = self._step_from(before)
            for task in sources:
                if isinstance(sources, Mapping):
                    gradient = sources[task]
                else:  # the graph is read at the values that it was made with
                    write(shared, before)
                    gradient = self._gradients(batch, [task], shared).get(task)
                if gradient is not None:
                    rows = lookahead_losses(evaluate, shared, gradient, step)
                    values.lookahead_rows(task, [self._ranks.mean_losses(row) for row in rows])

    def _gradients(
        self, batch: Batch, tasks: Iterable[str], places: Sequence[Tensor] | Sequence[GradientEdge]
    ) -> dict[str, Gradient]:
        """Gradients of those of `tasks` that are present and reach the shared part."""
        assert self._tasks is not None
        present = self._ranks.total(self._is_present(batch)).tolist()
        gradients: dict[str, Gradient] = {}
        for task in tasks:
            count = int(present[self._tasks.index(task)])
            if not count:
                continue
            gradient = batch.gradient(task, places)
            if gradient is not None and all(part is None for part in gradient):
                self._tell_unreached(task)
                gradient = None
            if self._level != "representation":
                parameters = cast("Sequence[Tensor]", places)
                gradient = self._ranks.mean_gradient(gradient, parameters, count)
            if gradient is not None:
                gradients[task] = gradient
        return gradients

    def _summed(self, products: Float[Tensor, "layer a b"]) -> Float[Tensor, "layer a b"]:
        """Over ranks, at the representation: each holds its part of the batch's."""
        if self._level != "representation":
            return products
        return self._ranks.total(products) / self._ranks.count**2

    # What is there, and how to measure it --------------------------------------------------------

    def _find(self, batch: Batch) -> None:
        """The shared parameters, at the first measurement."""
        losses = [batch.loss(task) for task in batch.names]
        refuse_reentrant_checkpoints(losses)
        if self._level == "representation" and self._shared is None:
            self._parameters = {}
        else:
            self._parameters = shared_parameters(self._model, self._shared, losses)
        if self._level == "last layer":
            self._parameters = last_layer(self._parameters, losses)
        hooked = [
            name for name, p in self._parameters.items() if getattr(p, "_backward_hooks", None)
        ]
        hooked += [
            name or "the model"
            for name, module in unwrapped(self._model).named_modules()
            if getattr(module, "_backward_hooks", None)
        ]
        if hooked and self._level == "parameters":
            self._tell(
                "hooks",
                f"Backward hooks of {hooked} run once more for every task that is recorded. If "
                "they count calls or change something, register_post_accumulate_grad_hook is not "
                'called by the recorder; nor is any hook at Recorder(level="representation").',
            )

    def _held_out(self, held_out: Closure, put_back: Callable[[], bool]) -> Batch:
        assert self._tasks is not None
        put_back()
        holder = Batch(self._tasks, {}, held_out, put_back, self._model)
        losses = holder.losses_of_closure()
        self._check(losses)
        return Batch(self._tasks, losses, held_out, put_back, self._model)

    def _places(self, batch: Batch) -> Sequence[Tensor] | Sequence[GradientEdge]:
        assert self._parameters is not None
        if self._level != "representation":
            return list(self._parameters.values())
        places = shared_graph(batch.loss(task) for task in batch.names).representation
        if not places:
            raise InputError(
                "Expected a representation that at least two losses are made from, but there is "
                "none: the losses of this step share nothing but parameters."
            )
        return places

    def _is_present(self, batch: Batch) -> Float[Tensor, " task"]:
        assert self._tasks is not None
        like = next(self._model.parameters(), torch.zeros(()))
        names = batch.names
        return torch.tensor([float(task in names) for task in self._tasks], device=like.device)

    def _present(self, step: int, batch: Batch) -> Float[Tensor, " task"]:
        """The losses, after setting aside those that are not finite."""
        assert self._tasks is not None
        losses = batch.values()
        bad = [
            task
            for task, is_finite in zip(self._tasks, losses.isfinite().tolist(), strict=True)
            if not is_finite and task in batch.names
        ]
        if bad:
            batch.missing.update(bad)
            warnings.warn(
                f"The loss of {bad} is NaN or infinite at step {step}: recorded as missing there. "
                "Look for a too high learning rate, or labels and inputs that are not finite.",
                stacklevel=4,
            )
        losses = self._ranks.mean_losses(losses)
        return losses.where(losses.isfinite(), torch.nan)

    def _base(self, batch: Batch, given: Float[Tensor, " task"]) -> Float[Tensor, " task"]:
        """Losses before the step, with the dropout masks of the lookahead."""
        assert self._tasks is not None
        if self._base_is_given or batch.is_apart:
            return batch.values()
        base = batch.evaluate()
        if self._measurements or batch.has_drawn:
            return base
        given = batch.values()
        self._base_is_given = torch.equal(base.nan_to_num(), given.nan_to_num())
        for task, first, second in zip(self._tasks, given.tolist(), base.tolist(), strict=True):
            if abs(first - second) > 0.02 * max(abs(first), abs(second)) + 1e-6:
                raise InputError(
                    f"Expected the closure to evaluate the same losses on the same batch, but for "
                    f"the task {task!r} it gives {second:.6g} where observe was given "
                    f"{first:.6g}. Pass the losses unweighted and undivided, and let the closure "
                    "use the batch that they were made from, in the same train/eval mode."
                )
        return base

    def _directions(self, batch: Batch) -> int:
        """Directions of this measurement's sketch; 0 for an exact Gramian."""
        assert self._tasks is not None
        if (
            self._level == "representation"
            or batch.is_apart
            or self._layers is not None
            or self._sketch_method == "none"
        ):
            return 0
        if self._sketch == "auto":
            return DIRECTIONS if len(self._tasks) > FEW_TASKS and self._sources is None else 0
        return int(self._sketch)

    def _n_lookahead_sources(self) -> int:
        assert self._tasks is not None
        if self._sources is not None:
            return min(self._sources, len(self._tasks))
        return len(self._tasks) if len(self._tasks) <= FEW_TASKS else DIRECTIONS

    def _visited(self, count: int) -> tuple[str, ...]:
        assert self._tasks is not None
        if count >= len(self._tasks):
            return self._tasks
        visited = (self._tasks * 2)[self._first_source : self._first_source + count]
        self._first_source = (self._first_source + count) % len(self._tasks)
        return visited

    def _step_from(self, before: Sequence[Tensor]) -> Step:
        if self._step_kind == "optimizer":
            assert self.optimizer is not None
            return OptimizerStep(self.optimizer, before)
        return GradientStep(self._current_learning_rate(), before)

    def _current_learning_rate(self) -> float:
        if self._learning_rate is not None:
            return self._learning_rate
        if self.optimizer is None:
            return 0.001
        assert self._parameters is not None
        shared = {id(parameter) for parameter in self._parameters.values()}
        for group in self.optimizer.param_groups:
            if any(id(parameter) in shared for parameter in group["params"]):
                return float(group["lr"])
        if self._level == "representation":
            return float(self.optimizer.param_groups[0]["lr"])
        raise InputError(
            "Expected the optimizer to train the shared parameters, but none of its groups holds "
            "one: pass the optimizer of this model, or learning_rate=..."
        )

    def _gramian_in_words(self) -> str:
        if self._level == "representation":
            return "exact"
        assert self._tasks is not None
        many = len(self._tasks) > FEW_TASKS and self._sources is None and self._layers is None
        count = (DIRECTIONS if many else 0) if self._sketch == "auto" else self._sketch
        if not count:
            turn = "" if self._sources is None else f", {self._sources} sources in turn"
            return "exact" + turn
        if self._sketch_method == "none":
            return "exact: the graph can be differentiated neither twice nor forward"
        return f"sketched with {count} random directions by {self._sketch_method}"

    def _check(self, losses: Losses) -> None:
        if not losses:
            raise InputError("Expected the losses of at least one task, but got none.")
        for task, loss in losses.items():
            if isinstance(loss, Tensor) or not callable(loss):
                check_loss(task, loss)
        if self._tasks is None:
            self._tasks = check_names(losses)
        unknown = [task for task in losses if task not in self._tasks]
        if unknown:
            raise InputError(
                f"Expected losses of the tasks {self._tasks}, as at the first step, but got "
                f"{unknown} too. Where tasks come and go, name them all: Recorder(tasks=[...])."
            )

    def _tell_unreached(self, task: str) -> None:
        self._tell(
            task,
            f"The loss of the task {task!r} reaches none of the shared parameters, and is recorded "
            "as missing. Is it made from a detached representation, or is shared=... another "
            "part of the network?",
        )

    def _tell(self, key: str, message: str) -> None:
        if key not in self._told:
            self._told.add(key)
            warnings.warn(message, stacklevel=2)


def _now(like: Tensor) -> float:
    """The time, after what the device has yet to do."""
    if like.is_cuda:
        torch.cuda.synchronize(like.device)
    return time.perf_counter()


def _blocks(tasks: Sequence[str], size: int) -> Iterator[Sequence[str]]:
    for start in range(0, len(tasks), size):
        yield tasks[start : start + size]
