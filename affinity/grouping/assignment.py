"""Assignment: any partition that respects the wishes, or the proof that there is none."""

import numpy as np
from jaxtyping import Int64
from scipy.optimize import LinearConstraint
from scipy.sparse import csr_array, eye_array, hstack, kron

from .grouping_problem import GroupingProblem
from .highs import maximize


def any_partition(
    request: GroupingProblem, seconds: float = 60.0
) -> Int64[np.ndarray, "unit"] | None:
    """Labels of a partition within budget and wishes; None if there is none.

    An integer program of units by networks. Scores, costs and helpers are left out.
    """
    n_units, n_networks = len(request.units), request.n_networks
    if np.diag(request.units_apart).any() or (request.sizes > request.largest).any():
        return None
    if request.budget.exactly and (request.budget.networks or 0) > n_units:
        return None
    smallest = 1 if request.may_help.any() else request.pairs.smallest
    n_y = n_units * n_networks
    of_unit = kron(eye_array(n_units), csr_array(np.ones((1, n_networks))))
    size = kron(csr_array(request.sizes[None, :].astype(float)), eye_array(n_networks))
    used = eye_array(n_networks)
    none = csr_array((n_units, n_networks))
    constraints = [
        LinearConstraint(hstack([of_unit, none]), 1, 1),
        LinearConstraint(hstack([size, -request.largest * used]), -np.inf, 0),
        LinearConstraint(hstack([size, -smallest * used]), 0, np.inf),
    ]
    for one, other in np.argwhere(np.triu(request.units_apart, 1)):
        pair = csr_array(np.isin(np.arange(n_units), (one, other))[None, :].astype(float))
        constraints.append(LinearConstraint(hstack([kron(pair, used), -used]), -np.inf, 0))
    upper = np.ones((n_units, n_networks))
    upper[np.arange(n_units)[:, None] < np.arange(n_networks)] = 0.0  # names do not matter
    lowest = np.zeros(n_y + n_networks)
    lowest[n_y:] = float(request.budget.exactly)
    solution = maximize(
        np.zeros(n_y + n_networks),
        constraints,
        seconds,
        at_least=lowest,
        at_most=np.concatenate([upper.ravel(), np.ones(n_networks)]),
    )
    if solution.values is None:
        return None
    return solution.values[:n_y].reshape(n_units, n_networks).argmax(axis=1)
