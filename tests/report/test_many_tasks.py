"""Pages of many tasks stay small: cards are folded, and tables, pictures and pairs are limited."""

import re
from pathlib import Path

import numpy as np
import pytest
import torch

from affinity import recommend, write_report
from affinity.audit import Audit, AuditContext, audit_plan
from affinity.estimates import AffinityMatrix
from affinity.grouping import Grouping, Network
from affinity.problems import ColumnUse, DataSource, LabelCounts
from affinity.report.audit_page import MOST_CARDS, MOST_FOLDED, MOST_IN_TABLE
from affinity.training import FunctionTrainer

LARGEST = 1.5 * 2**20


def simulated_audit(n_tasks: int) -> Audit:
    """Tasks in groups of five, of which those of a group help each other."""
    names = tuple(f"assay number {number:04d} of the panel" for number in range(n_tasks))
    group_of = {name: number // 5 for number, name in enumerate(names)}

    def train(tasks: frozenset[str], seed: int) -> dict[str, float]:
        noise = dict(zip(names, np.random.default_rng(seed).normal(size=n_tasks), strict=True))
        friends = {task: sum(group_of[o] == group_of[task] for o in tasks) - 1 for task in tasks}
        return {task: 0.5 - 0.02 * friends[task] + 0.01 * noise[task] for task in tasks}

    groups = torch.arange(n_tasks) // 5
    values = (groups[:, None] == groups).double() * 0.5 + 0.1 * torch.randn(
        n_tasks, n_tasks, generator=torch.Generator().manual_seed(0), dtype=torch.double
    )
    matrix = AffinityMatrix(names, values, torch.full_like(values, 0.1))
    grouping = Grouping(
        tuple(Network.of(*names[start : start + 5]) for start in range(0, n_tasks, 5))
    )
    plan = recommend(matrix, grouping)
    columns = tuple(ColumnUse(name, "number", "number, standardized") for name in names)
    split = dict.fromkeys(("training", "validation", "selection", "test"), 1000)
    return audit_plan(
        plan,
        FunctionTrainer(train),
        dict.fromkeys(names, "minimize"),
        3,
        baselines=(),
        matrix=matrix,
        context=AuditContext(
            source=DataSource("table.parquet", rows=4000, columns=columns),
            labels=tuple(LabelCounts(name, split, None) for name in names),
        ),
    )


@pytest.mark.slow
@pytest.mark.parametrize("n_tasks", [140, 1000])
def test_the_page_is_small(n_tasks: int, tmp_path: Path) -> None:
    page = write_report(simulated_audit(n_tasks), tmp_path / "page.html").read_text()
    assert len(page.encode()) <= LARGEST
    table = re.search(r'aria-label="Gains by task".*?</table>', page, re.DOTALL)
    assert table is not None
    assert table[0].count("<tr>") - 1 == min(n_tasks, MOST_IN_TABLE)
    cards = page.split('<ul class="networks">')[1].split("</ul>\n<details>")[0]
    assert cards.count("<h3>Network ") == MOST_CARDS
    assert page.count("<h3>Network ") == min(n_tasks // 5, MOST_FOLDED)
    columns = re.search(r'aria-label="Columns of the table".*?</table>', page, re.DOTALL)
    assert columns is not None
    assert columns[0].count("<tr><th") - 1 == min(n_tasks, MOST_IN_TABLE)
