"""Conflict: whether the constraints can be met, and which of them conflict."""

from dataclasses import replace

from .grouping_problem import GroupingProblem, NothingFoundError
from .integer_program import MOST_TABULATED_TASKS, has_grouping
from .partition import any_partition
from .solver_scores import Table


def conflict(problem: GroupingProblem) -> NothingFoundError | None:
    """The error that names a smallest set of conflicting constraints; None if there is a grouping.

    A deletion filter: constraints are removed one at a time if the others still conflict. Every
    constraint that remains is needed for the conflict.
    """
    if _is_possible(problem):
        return None
    needed = 0
    while needed < len(options := list(problem.constraints.one_by_one())):
        without = replace(problem, constraints=options[needed][1])
        if _is_possible(without):
            needed += 1
        else:
            problem = without
    named = [words for words, _ in problem.constraints.one_by_one()]
    if isinstance(problem.scores, Table):
        named.append("only networks of the table")
    elif problem.scores.smallest > 1:
        named.append("no task alone")
    return NothingFoundError(
        f"Expected constraints that {problem.budget} can meet for the {len(problem.tasks)} tasks "
        f"{list(problem.tasks)}, but these are in conflict: {'; '.join(named) or 'the budget'}. "
        "Leave one out, or change the budget.",
        "constraints-in-conflict",
    )


def _is_possible(problem: GroupingProblem) -> bool:
    is_small = len(problem.tasks) <= MOST_TABULATED_TASKS
    if isinstance(problem.scores, Table) or (is_small and problem.budget.cost is not None):
        return has_grouping(problem)
    return any_partition(problem) is not None
