"""Check shapes and types at every call into `affinity`; use one thread."""

import ast

import pytest
import torch
from jaxtyping import _import_hook, install_import_hook

torch.set_num_threads(1)

collect_ignore_glob = ["conftest.py", "*/conftest.py"]  # no examples to run in these


def pytest_configure(config: pytest.Config) -> None:
    is_worker = hasattr(config, "workerinput")
    if config.getoption("numprocesses", None) and not is_worker:
        return  # its workers run the tests
    with install_import_hook("affinity", "beartype.beartype"):
        import affinity

        for name in set(affinity.__all__) - {"write_report"}:  # pages are plain Python
            getattr(affinity, name)


class _Outermost(_import_hook.JaxtypingTransformer):
    """Leave functions inside functions alone: they would be compiled at every call."""

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.FunctionDef:  # noqa: N802
        is_inside = any(isinstance(parent, ast.FunctionDef) for parent in self._parents)
        return node if is_inside else super().visit_FunctionDef(node)


_import_hook.JaxtypingTransformer = _Outermost
