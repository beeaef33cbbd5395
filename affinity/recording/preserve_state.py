"""Preserve state: what forward passes change, and how it is put back while a run is observed.

Random states, buffers, and what modules and closures keep: modules keep auxiliary losses,
representations, counters, caches and generators as plain attributes; closures in variables.
"""

import ctypes
import gc
import itertools
import random
import sys
import threading
from array import array
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from functools import partial
from operator import is_not, length_hint
from types import (
    BuiltinMethodType,
    CellType,
    FunctionType,
    GeneratorType,
    MethodType,
    ModuleType,
)
from typing import Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook

from affinity.errors import InputError

from .shards import local_part, reshard

MERSENNE_BYTES = 625 * 4  # size of NumPy's generator in memory: 624 words and a position

OTHER_LIBRARIES = {
    "accelerate", "affinity", "deepspeed", "lightning", "lightning_fabric", "logging",
    "pytorch_lightning", "torch",
}  # fmt: skip
"""Libraries whose objects are not searched; modules and generators are, of any library."""

CONCURRENT = {
    "_asyncio", "_queue", "_thread", "asyncio", "concurrent", "multiprocessing", "queue",
    "subprocess", "threading",
}  # fmt: skip
"""Libraries of threads, locks and queues. Other threads change an object that holds one of these
while a step is observed, so it is left as it is."""

MOST_LEVELS = 4  # attributes of attributes are searched up to this depth
METHOD_LEVELS = 2  # and globals that methods name up to this one
INTERNAL = frozenset(vars(nn.Module())) - {"training"}
MOST_CONTENTS, MOST_NUMBERS, MOST_OBJECTS = 10_000, 1_000_000, 100_000
"""Longer lists are restored without what they contain; larger tensors must not change in place."""

IMMUTABLE = (int, float, complex, str, bytes, bool, type(None), torch.dtype, torch.device)
"""Values without contents of their own: it is enough to put the reference back."""


@contextmanager
def preserve_state(
    model: nn.Module,
    *,
    and_called: bool = False,
    functions: Iterable[object] = (),
    parameters: Iterable[Tensor] = (),
    moved: set[int] | None = None,
    is_sharded: bool = False,
) -> Generator[Callable[[], bool]]:
    """Restore random states, buffers, and what modules keep in plain attributes, at the end.

    Yields a function that restores them earlier, so that several evaluations start from the same
    state (and share dropout masks); it returns whether random numbers were drawn.

    Tensors are restored without changing their version counters, and what is written to them
    inside does not change the counters either: the user's own backward pass, which comes later,
    finds the versions that it saved.

    Also preserved: with `and_called`, every other module that this thread calls; the variables of
    `functions`; and `parameters`, which forward passes may change: the ids of those that they do
    are added to `moved`. Objects that hold a thread, a lock or a queue are not.
    """
    saved: list[tuple[Tensor, Tensor]] = []
    buffers: list[tuple[dict[str, Tensor | None], dict[str, Tensor | None]]] = []
    known: set[int] = set()
    states = RandomStates(accelerators(model))
    moved = set() if moved is None else moved
    parts = {each: local_part(each) if is_sharded else each for each in parameters}
    copies = {parameter: part.detach().clone() for parameter, part in parts.items()}

    def restore() -> bool:
        if is_sharded:
            reshard(model)
        for parameter, copy in copies.items():  # changes of its data leave its version as it is
            if not torch.equal(parts[parameter], copy):
                parts[parameter].data.copy_(copy)
                moved.add(id(parameter))
        for tensor, copy in saved:
            tensor.data.copy_(copy)
        for by_name, before in buffers:
            if any(by_name.get(name) is not buffer for name, buffer in before.items()):
                by_name.update(before)
        kept.restore()
        return states.restore()

    with ExitStack() as stack:

        def keep(tensor: Tensor, copy: Tensor) -> None:
            if tensor.layout is torch.strided and any(
                stride == 0 < size - 1
                for stride, size in zip(tensor.stride(), tensor.shape, strict=True)
            ):
                return  # expanded: nothing can be written to it
            saved.append((tensor, copy))
            stack.enter_context(_same_versions(tensor))

        def save(module: nn.Module, *_: object) -> None:
            parts = [part for part in module.modules() if id(part) not in known]
            for part in parts:
                known.add(id(part))
                by_name = part._buffers  # pyright: ignore[reportPrivateUsage]
                if isinstance(part, torch.jit.ScriptModule):
                    kept.add_script(part)
                else:
                    buffers.append((by_name, dict(by_name)))
                for _name, buffer in by_name.items():  # noqa: PERF102 (TorchScript has no values)
                    if buffer is not None:
                        keep(buffer, buffer.detach().clone())
            kept.add_modules(parts)
            keep_tensors()

        def keep_tensors() -> None:
            while kept.tensors:
                keep(*kept.tensors.pop())

        kept = KeptState(save)
        save(model)
        for function in functions:
            kept.add_closure(function)
        keep_tensors()
        if copies:
            stack.enter_context(_same_versions(*copies))
        if and_called:
            thread = threading.get_ident()

            def save_called(module: nn.Module, _: object) -> None:
                if threading.get_ident() == thread:  # the hook is that of all threads
                    save(module)

            stack.callback(register_module_forward_pre_hook(save_called).remove)
        try:
            yield restore
        finally:
            restore()


def _same_versions(*tensors: Tensor) -> AbstractContextManager[None]:
    return torch.autograd._unsafe_preserve_version_counter(tensors)  # pyright: ignore[reportPrivateUsage, reportPrivateImportUsage]


def retained_gradients() -> list[tuple[Tensor, Tensor | None]]:
    """Tensors inside of graphs that keep their gradient (`retain_grad`), with it.

    Every backward pass adds to it, those of `torch.autograd.grad` included, and no graph leads to
    its tensors.
    """
    tensors = [each for each in gc.get_objects() if issubclass(type(each), Tensor)]
    return [(each, each.grad) for each in tensors if each.retains_grad]


class KeptState:
    """Copies of plain attributes and variables, and of the contents of what they hold.

    Tensors that were computed from parameters are not copied: the reference is put back, and a
    change in place is an error. `save` is called with every module that is met.
    """

    def __init__(self, save: Callable[[nn.Module], None]) -> None:
        self._save = save
        self._known: set[int] = set()
        self._undo: list[Callable[[], None]] = []
        self._objects: list[object] = []  # so that no other object gets the id of a known one
        self.tensors: list[tuple[Tensor, Tensor]] = []  # plain tensors, with copies

    def restore(self) -> None:
        """Put everything back."""
        for undo in self._undo:
            undo()

    def add_modules(self, modules: Iterable[nn.Module]) -> None:
        """Add the plain attributes of modules and of their classes, but not of submodules."""
        for module in modules:
            if self._is_new(module):
                self._add_module(module)

    def _add_module(self, module: nn.Module) -> None:
        self._add_class(type(module), MOST_LEVELS, METHOD_LEVELS)
        self._add_names(cast("dict[str, object]", module.__dict__), INTERNAL, MOST_LEVELS)

    def _add_class(self, last: type, levels: int, of_methods: int = 0) -> None:
        """Add the attributes of a class and its bases, and the globals that methods name."""
        for part in last.__mro__:
            if _library(part) not in OTHER_LIBRARIES | {"builtins"} and self._is_new(part):
                values = {
                    name: value
                    for name, value in vars(part).items()
                    if not name.startswith("__") and not _is_code(value)
                }
                self._undo.append(lambda part=part, values=values: _restore_class(part, values))
                self._add_all(values.values(), levels)
                for value in list(vars(part).values()) if of_methods else ():
                    self.add_function(value, of_methods)

    def add_script(self, module: torch.jit.ScriptModule) -> None:
        """Add the attributes that a TorchScript module keeps outside of Python."""
        names = getattr(module, "_concrete_type", None)
        values = {
            name: getattr(module, name)
            for name in (names.get_attributes() if names is not None else ())
            if name not in INTERNAL
        }
        self._undo.append(lambda: _restore_attributes(module, values))
        self._add_all(values.values(), MOST_LEVELS)

    def add_closure(self, function: object) -> None:
        """Add the variables of a function, or the attributes of an object that is called."""
        if isinstance(function, FunctionType | MethodType | partial):
            self.add_function(function)
        elif function is not None:
            self._add(function, MOST_LEVELS)
            self._add_class(type(function), MOST_LEVELS, METHOD_LEVELS)

    def add_function(self, function: object, levels: int = MOST_LEVELS) -> None:
        """Add the variables of a function: those around it, and globals that it names."""
        if isinstance(function, MethodType):
            self._add(function.__self__, levels)
            function = function.__func__
        if isinstance(function, partial):
            self._add_all([function.func, *function.args, *function.keywords.values()], levels)
        if not isinstance(function, FunctionType) or not self._is_new(function):
            return
        cells = [cell for cell in function.__closure__ or () if not _is_empty(cell)]
        contents = [cell.cell_contents for cell in cells]
        self._undo.append(lambda: _restore_cells(cells, contents))
        named = function.__code__.co_names
        values = {
            name: function.__globals__[name] for name in named if name in function.__globals__
        }
        self._undo.append(lambda: function.__globals__.update(values))
        self._add_all([*contents, *values.values(), *vars(function).values()], levels - 1)
        for module in filter(_is_own_module, values.values()):
            of_module = {name: getattr(module, name) for name in named if hasattr(module, name)}
            self._undo.append(partial(_restore_attributes, module, of_module))
            self._add_all(of_module.values(), levels - 1)

    def _is_new(self, value: object) -> bool:
        if id(value) in self._known:
            return False
        self._known.add(id(value))
        self._objects.append(value)
        return True

    def _add_all(self, values: Iterable[object], levels: int) -> None:
        for value in list(values):
            self._add(value, levels)

    def _add_names(self, names: dict[str, object], left_out: frozenset[str], levels: int) -> None:
        before = {name: value for name, value in names.items() if name not in left_out}
        self._undo.append(lambda: _restore_names(names, before, left_out))
        self._add_all(before.values(), levels)

    def _add(self, value: object, levels: int) -> None:
        if isinstance(value, IMMUTABLE) or levels < 0 or len(self._known) > MOST_OBJECTS:
            return
        if isinstance(value, type):
            self._add_class(value, levels - 1)
        elif isinstance(value, nn.Module):
            self._save(value)
        elif isinstance(value, FunctionType | MethodType | partial):
            if _library(value) not in OTHER_LIBRARIES:
                self.add_function(value, levels)
        elif not self._is_new(value) or isinstance(value, ModuleType | torch.optim.Optimizer):
            return
        elif isinstance(value, Tensor):
            self._add_tensor(value)
        elif isinstance(value, torch.Generator):
            state = value.get_state()
            self._undo.append(lambda: value.set_state(state))  # pyright: ignore[reportArgumentType]
        elif isinstance(value, random.Random):
            position = value.getstate()
            self._undo.append(lambda: value.setstate(position))
        elif isinstance(value, np.random.Generator):
            self._add(value.bit_generator, levels)
        elif isinstance(value, np.random.BitGenerator):
            numpy_state = value.state
            self._undo.append(lambda: setattr(value, "state", numpy_state))
        elif isinstance(value, np.random.RandomState):
            legacy_state = value.get_state(legacy=False)
            self._undo.append(lambda: value.set_state(legacy_state))
        elif isinstance(value, np.ndarray) and value.size <= MOST_NUMBERS:
            numbers = value.copy()
            self._undo.append(lambda: np.copyto(value, numbers))
        elif isinstance(value, array | bytearray):
            self._add_numbers(value)
        elif isinstance(value, dict):
            self._add_mapping(cast("dict[object, object]", value), levels)
        elif isinstance(value, list | deque):
            self._add_sequence(cast("list[object]", value), levels)
        elif isinstance(value, set):
            self._add_set(cast("set[object]", value))
        elif isinstance(value, tuple | frozenset):
            self._add_all(cast("tuple[object, ...]", value), levels)
        elif isinstance(value, Iterator) and type(value).__module__ in {"builtins", "itertools"}:
            self._add_iterator(cast("Iterator[object]", value))
        elif isinstance(value, BuiltinMethodType):
            self._add(value.__self__, levels)
        elif _library(value) not in OTHER_LIBRARIES | CONCURRENT:
            self._add_object(value, levels - 1)

    def _add_object(self, value: object, levels: int) -> None:
        """Add the attributes of an object, unless it is one that several threads use."""
        names: object = getattr(value, "__dict__", None)
        named = cast("dict[str, object]", names) if isinstance(names, dict) else {}
        slots = {name: getattr(value, name) for name in _slots(value) if hasattr(value, name)}
        if any(_library(content) in CONCURRENT for content in [*named.values(), *slots.values()]):
            return
        self._add_names(named, frozenset(), levels)
        if slots:
            self._undo.append(lambda: _restore_attributes(value, slots))
            self._add_all(slots.values(), levels)

    def _add_tensor(self, value: Tensor) -> None:
        if isinstance(value, nn.Parameter):
            return
        is_small = value.numel() <= MOST_NUMBERS
        if is_small and not value.requires_grad and value.layout is torch.strided:
            self.tensors.append((value, value.clone()))
            return
        version = value._version

        def check() -> None:
            if value._version != version:
                raise InputError(
                    f"Expected that a tensor of shape {tuple(value.shape)}, which a module or the "
                    "closure keeps, is replaced by the next forward pass, but it is changed in "
                    "place, so that the recorder cannot put it back. Assign a new tensor, or "
                    "record without a closure.",
                    "kept-tensor",
                )

        self._undo.append(check)

    def _add_iterator(self, value: Iterator[object]) -> None:
        """An iterator cannot be put back: that it moves is an error, as far as it shows."""
        position = _position(value)

        def check() -> None:
            now = _position(value)
            if len(now) != len(position) or any(map(is_not, now, position)):
                raise InputError(
                    f"Expected a closure that moves no iterator, but it moves a "
                    f"{type(value).__name__} that it or a module keeps, which the recorder cannot "
                    "put back. Keep a number that is counted up, or take the next value in the "
                    "training loop.",
                    "kept-iterator",
                )

        self._undo.append(check)

    def _add_mapping(self, value: dict[object, object], levels: int) -> None:
        items = list(value.items())

        def undo() -> None:
            if len(value) != len(items) or any(
                key is not other or content is not before
                for (key, content), (other, before) in zip(value.items(), items, strict=True)
            ):
                value.clear()
                value.update(items)

        self._undo.append(undo)
        self._add_all((content for _, content in items), levels)

    def _add_sequence(self, value: Any, levels: int) -> None:
        contents = list(value)

        def undo() -> None:
            if len(value) != len(contents) or any(
                now is not before for now, before in zip(value, contents, strict=True)
            ):
                value.clear()
                value.extend(contents)

        self._undo.append(undo)
        if len(contents) <= MOST_CONTENTS:
            self._add_all(contents, levels)

    def _add_numbers(self, value: Any) -> None:
        contents = value[:]

        def undo() -> None:
            if value != contents:
                value[:] = contents

        self._undo.append(undo)

    def _add_set(self, value: set[object]) -> None:
        contents = set(value)

        def undo() -> None:
            if value != contents:
                value.clear()
                value.update(contents)

        self._undo.append(undo)


def _restore_names(
    names: dict[str, object], before: Mapping[str, object], left_out: frozenset[str]
) -> None:
    for name in [n for n in names if n not in before and n not in left_out]:
        del names[name]
    for name, value in before.items():
        if names.get(name, names) is not value:
            names[name] = value


def _slots(value: object) -> list[str]:
    """The attributes of an object that are slots of its classes."""
    named = [vars(part).get("__slots__", ()) for part in type(value).__mro__]
    slots = [(each,) if isinstance(each, str) else each for each in named]
    return [name for each in slots for name in each if not name.startswith("__")]


def _position(value: Iterator[object]) -> list[object]:
    """Objects that change when an iterator moves: a generator's variables, or how much is left."""
    if isinstance(value, GeneratorType):
        frame = value.gi_frame
        return [] if frame is None else [frame.f_lasti, *frame.f_locals.values()]
    left = repr(value) if isinstance(value, itertools.count) else length_hint(value, -1)
    return [sys.intern(str(left))]


def _restore_attributes(value: object, attributes: Mapping[str, object]) -> None:
    for name, content in attributes.items():
        if getattr(value, name, attributes) is not content:
            setattr(value, name, content)


def _restore_class(part: type, values: Mapping[str, object]) -> None:
    for name, value in values.items():
        if vars(part).get(name) is not value:
            setattr(part, name, value)


def _restore_cells(cells: list[CellType], contents: list[object]) -> None:
    for cell, value in zip(cells, contents, strict=True):
        cell.cell_contents = value


def _is_empty(cell: CellType) -> bool:
    try:
        cell.cell_contents  # noqa: B018
    except ValueError:
        return True
    return False


def _is_code(value: object) -> bool:
    """Whether a class attribute is a method, a property or an internal object, not a value."""
    return callable(value) or hasattr(type(value), "__get__")


def _is_own_module(value: object) -> bool:
    """Whether this is a module of the user's own project, whose functions keep state in it."""
    if not isinstance(value, ModuleType):
        return False
    library = value.__name__.partition(".")[0]
    is_installed = "site-packages" in (getattr(value, "__file__", None) or "site-packages")
    return library not in OTHER_LIBRARIES | sys.stdlib_module_names and not is_installed


def _library(value: object) -> str:
    module = getattr(value, "__module__", None)
    module = module if isinstance(module, str) else type(value).__module__
    return module.partition(".")[0]


class RandomStates:
    """Copies of the states of PyTorch's, Python's, NumPy's and accelerators' random generators."""

    def __init__(self, devices: Sequence[torch.device]) -> None:
        self._devices = devices
        self._torch = self._torch_states()
        self._python = random.getstate()
        self._numpy = np.random.get_state(legacy=False)  # noqa: NPY002
        self._mersenne = _mersenne_states()

    def restore(self) -> bool:
        """Restore the states, and return whether anything was drawn since they were copied."""
        has_drawn = not self._are_unchanged()
        if has_drawn:
            torch.set_rng_state(self._torch[0])
            for device, state in zip(self._devices, self._torch[1:], strict=True):
                torch.get_device_module(device).set_rng_state(state, *_which(device))
            random.setstate(self._python)
            np.random.set_state(self._numpy)  # noqa: NPY002 # pyright: ignore[reportArgumentType]
        return has_drawn

    def _are_unchanged(self) -> bool:
        pairs = zip(self._torch, self._torch_states(), strict=True)
        return (
            all(torch.equal(before, now) for before, now in pairs)
            and self._mersenne == _mersenne_states()
            and not self._drew_stored_normal()
        )

    def _drew_stored_normal(self) -> bool:
        """NumPy draws normal numbers in pairs: taking the second does not move the generator."""
        before = self._numpy
        assert isinstance(before, dict)
        if not before["has_gauss"]:
            return False
        now = np.random.get_state(legacy=False)  # noqa: NPY002
        assert isinstance(now, dict)
        return not now["has_gauss"]

    def _torch_states(self) -> list[Tensor]:
        modules = [(torch.get_device_module(device), device) for device in self._devices]
        of_devices = (module.get_rng_state(*_which(device)) for module, device in modules)
        return [torch.get_rng_state(), *of_devices]


def _which(device: torch.device) -> tuple[torch.device, ...]:
    """The device as an argument; none of the functions of ``torch.mps`` takes one."""
    return () if device.type == "mps" else (device,)


def advance_generators(devices: Sequence[torch.device]) -> None:
    """Draw a number from every generator."""
    for device in (torch.device("cpu"), *devices):
        torch.rand(1, device=device)
    random.random()
    np.random.random()  # noqa: NPY002


def accelerators(model: nn.Module) -> list[torch.device]:
    """Devices of the model's parameters that have a random generator of their own."""
    devices = {parameter.device for parameter in model.parameters()}
    return [device for device in devices if device.type in {"cuda", "xpu", "mps"}]


def _mersenne_states() -> tuple[object, ...]:
    """Python's and NumPy's global generators, as far as is needed to notice a draw.

    Of Python's 624 words, a few are compared: a draw changes the position, or all words.
    NumPy's generator is read from memory: building its state as a dictionary takes 60 us.
    """
    _, words, stored_normal = random.getstate()
    generator = np.random.get_bit_generator()  # pyright: ignore
    if isinstance(generator, np.random.MT19937):
        numpy_state = ctypes.string_at(generator.ctypes.state_address, MERSENNE_BYTES)
    else:
        numpy_state = repr(generator.state).encode()
    return words[-1], words[:8], stored_normal, numpy_state
