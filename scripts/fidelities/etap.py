"""ETAP: affinity turned into gains by a spline, and corrected from measured groups."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import SplineTransformer

from .affinities import mean_of_partners
from .half import Half
from .measurements import measure_random_groups

STRENGTHS = np.logspace(-6, 2, 20)


@dataclass(frozen=True)
class Etap:
    """The ensemble predictor of task affinity.

    The affinity of a task's partners, their mean, is mapped to its gain by a ridge regression on
    B-splines, one for all tasks and groups that were measured; what is left of each task's gain
    is predicted from who is in the group by a second ridge regression, in which the residual of a
    task that is not in the group is 0. Strengths are chosen by leave-one-out errors, where the
    paper has five folds. Groups are measured like those of the ridge that it is compared with,
    with all tasks together among them; alone a task gains 0.

    Args:
        rounds: Of random groups; each costs 2T trainings.
        estimator: What the recorded run is read with.
        knots: Of the splines.

    References:
        Ayman et al. (2026), `Ensemble Prediction of Task Affinity for Efficient Multi-Task Learning
        <https://arxiv.org/abs/2602.18591>`_
    """

    rounds: int = 1
    estimator: str = "etap"
    knots: int = 5

    def __call__(self, half: Half, budget: int, seed: int) -> NDArray[np.float64]:
        """Predicted gains ``[group task]``."""
        measure_random_groups(half, self.rounds, seed, every_task=True)
        member = half.members
        affinity = mean_of_partners(np.nan_to_num(half.affinity(self.estimator, seed)))
        size = member.sum(axis=1)
        gains = half.gains()
        known = np.isfinite(gains) & (size > 1)[:, None]
        groups = known.any(axis=1)

        first = make_pipeline(SplineTransformer(n_knots=self.knots), RidgeCV(STRENGTHS))
        first.fit(affinity[known][:, None], gains[known])
        predicted = np.full(member.shape, np.nan)
        predicted[member] = first.predict(affinity[member][:, None])

        residual = np.where(known, gains - predicted, 0.0)
        second = RidgeCV(STRENGTHS).fit(member[groups].astype(float), residual[groups])
        predicted += second.predict(member.astype(float))
        predicted[size == 1] = 0.0
        return np.where(member, predicted, np.nan)
