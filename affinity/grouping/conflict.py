"""Conflict: which wishes cannot all be met."""

from dataclasses import replace

from .assignment import any_partition
from .grouping_problem import GroupingProblem, NothingFoundError
from .integer_program import IntegerProgram, has_grouping
from .table import Table


def conflict(request: GroupingProblem) -> NothingFoundError | None:
    """The error that names a smallest set of wishes in conflict; None if there is a grouping.

    Wishes are left out one after another as long as the rest stays in conflict (a deletion
    filter), so that every wish named is needed for the conflict.
    """
    if _is_possible(request):
        return None
    needed = 0
    while True:
        wishes = list(request.wishes.one_by_one())
        if needed == len(wishes):
            break
        without = replace(request, wishes=wishes[needed][1])
        if _is_possible(without):
            needed += 1
        else:
            request = without
    named = [words for words, _ in request.wishes.one_by_one()]
    if isinstance(request.scores, Table):
        named.append("only networks of the table")
    elif request.scores.smallest > 1:
        named.append("no task alone")
    return NothingFoundError(
        f"Expected wishes that {request.budget} can meet for the {len(request.tasks)} tasks "
        f"{list(request.tasks)}, but these are in conflict: {'; '.join(named) or 'the budget'}. "
        "Leave one out, or change the budget."
    )


def _is_possible(request: GroupingProblem) -> bool:
    is_small = len(request.tasks) <= IntegerProgram().largest
    if isinstance(request.scores, Table) or (is_small and request.budget.cost is not None):
        return has_grouping(request)
    return any_partition(request) is not None
