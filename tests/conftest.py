"""Check shapes and types at the calls into `affinity`; use one thread."""

import ast
import functools
import gc
import inspect
from collections import Counter
from collections.abc import Callable

import jaxtyping
import pytest
import torch
from jaxtyping import _import_hook, install_import_hook

torch.set_num_threads(1)

collect_ignore_glob = ["conftest.py", "*/conftest.py"]  # no examples to run in these

CHECKED_CALLS = 20
"""Calls of a function that are checked in each test: in a training loop, all are the same."""

_calls: Counter[Callable] = Counter()


def pytest_configure(config: pytest.Config) -> None:
    is_worker = hasattr(config, "workerinput")
    if config.getoption("numprocesses", None) and not is_worker:
        return  # its workers run the tests
    jaxtyping.jaxtyped = _check_first_calls
    with install_import_hook("affinity", "beartype.beartype"):
        import affinity

        for name in set(affinity.__all__) - {"write_report"}:  # pages are plain Python
            getattr(affinity, name)


def pytest_collection_finish() -> None:
    """Take what was imported out of later garbage collections and searches of memory."""
    gc.collect()
    gc.freeze()


def pytest_runtest_setup() -> None:
    _calls.clear()


@pytest.fixture
def blank_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages without drawings, which take most of their time; `tests/report` tests these."""
    blank = b'<svg width="1pt" height="1pt"></svg>'
    monkeypatch.setattr("affinity.report.picture.Picture.to_bytes", lambda *_, **__: blank)


@pytest.fixture
def quick_baselines(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few-shot baselines choose among few settings on few tasks."""
    monkeypatch.setattr("affinity.fewshot.learner.TASKS_TO_CHOOSE_ON", 10)
    monkeypatch.setattr("affinity.fewshot.baselines.STEP_COUNTS", (2, 5))
    monkeypatch.setattr("affinity.fewshot.baselines.LONGEST", 10)
    monkeypatch.setattr("affinity.fewshot.baselines.PENALTIES", (0.1, 10.0))


@pytest.fixture
def in_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    """Networks that cannot be stacked are trained here; `tests/training` tests the processes."""
    from affinity.training import backends

    monkeypatch.setitem(backends.BACKENDS, "loky", lambda jobs, _: map(backends.work, jobs))


_jaxtyped = jaxtyping.jaxtyped


def _check_first_calls(*, typechecker: Callable) -> Callable:
    """`jaxtyping.jaxtyped` that compiles its checks when a function is first called."""
    check = _jaxtyped(typechecker=typechecker)

    def decorate(function: Callable) -> Callable:
        if not inspect.isfunction(function):
            return check(function)  # the class of a dataclass
        checked: list[Callable] = []

        @functools.wraps(function)
        def call(*args, **kwargs):
            if _calls[function] >= CHECKED_CALLS:
                return function(*args, **kwargs)
            _calls[function] += 1
            if not checked:
                checked.append(check(function))
            return checked[0](*args, **kwargs)

        return call

    return decorate


class _Outermost(_import_hook.JaxtypingTransformer):
    """Leave functions inside functions alone: they would be compiled at every call."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:  # noqa: N802
        is_inside = any(isinstance(parent, ast.FunctionDef) for parent in self._parents)
        return node if is_inside else super().visit_FunctionDef(node)


_import_hook.JaxtypingTransformer = _Outermost
