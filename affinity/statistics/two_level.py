"""Two levels of random variation: training rows and seeds, and test rows."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

BINS = 32  # number of bins of test rows for a mean over tasks
_LEAST_TAIL = 1e-300
_HALVINGS = 60  # of a range of logarithms: exact to the last digits


@dataclass(frozen=True, eq=False)
class Estimate:
    r"""Mean gains, one per task, with the variance of each level.

    With the difference :math:`d_{rb}` of replicate :math:`r` on block :math:`b` of test rows, as
    in a crossed design,

    .. math::
        \widehat{\mathrm{Var}}(\overline{d}) = \frac{s^2(\overline{d}_{r\cdot})}{R}
        + \left( \frac{s^2(\overline{d}_{\cdot b})}{B} - \frac{s^2_{rb}}{R B} \right)_+

    where the first term is that of replicates, and the second that of test rows: :math:`s^2` are
    variances of means over the other level, :math:`s^2_{rb}` is the residual variance. If all test
    rows change by the same amount, the second term is about 0. More replicates shrink only the
    first term.

    The critical value is a weighted mean of Student's quantiles of the two terms,

    .. math::
        t = \frac{v_R\,t_{R-1} + v_B\,t_{B-1}}{v_R + v_B}

    and at least that of replicates alone. (Satterthwaite's degrees of freedom are too large where
    the second term is large by chance: with few replicates and strict levels, as at early looks,
    they find differences too often.)

    Args:
        mean: Mean over the replicates.
        of_replicates: Variance of the mean by replicates; NaN from a single one.
        of_rows: Variance added by test rows; 0 where losses on blocks of rows are unknown, NaN
            where there is a single labelled row.
        n_blocks: The number of blocks of test rows; 0 where they are unknown.

    References:
        Owen (2007), The pigeonhole bootstrap, for the crossed design; Cochran and Cox (1950),
        Experimental Designs, section 4.14, for the quantile; Lee and Gurland (1975), Size and
        Power of Tests for Equality of Means (...), find that it keeps the level.
    """

    mean: Float[np.ndarray, " task"]
    of_replicates: Float[np.ndarray, " task"]
    of_rows: Float[np.ndarray, " task"]
    n_replicates: int
    n_blocks: Float[np.ndarray, " task"]

    @property
    def error(self) -> Float[np.ndarray, " task"]:
        """Standard error of the mean."""
        return np.sqrt(self.of_replicates + self.of_rows)

    def interval(self, level: float = 0.95) -> tuple[np.ndarray, np.ndarray]:
        """The means that are not rejected; NaN from a single replicate."""
        reach = self.reach(level)
        return self.mean - reach, self.mean + reach

    def reach(self, level: float = 0.95) -> Float[np.ndarray, " task"]:
        """Half the width of the interval."""
        return self.critical((1 - level) / 2) * self.error

    def critical(self, tail: float | Float[np.ndarray, " task"]) -> Float[np.ndarray, " task"]:
        """The critical value, in standard errors, of a one-sided test at this level."""
        from scipy import special

        of_replicates, of_rows = (
            -special.stdtrit(np.maximum(1, count - 1), tail)
            for count in (self.n_replicates, self.n_blocks)
        )
        return combined(of_replicates, of_rows, self._share_of_rows)

    def tail(self, errors: Float[np.ndarray, " task"]) -> Float[np.ndarray, " task"]:
        """The one-sided p-value of a mean at this number of standard errors.

        Where test rows add variance there is no closed form: `critical` is inverted numerically.
        """
        from scipy import special

        tail = special.stdtr(max(1, self.n_replicates - 1), -errors)
        if not (self.of_rows > 0).any():
            return tail
        least = np.full_like(tail, np.log(_LEAST_TAIL))
        most = np.full_like(tail, np.log(0.5))
        for _ in range(_HALVINGS):
            middle = (least + most) / 2
            is_beyond = self.critical(np.exp(middle)) < np.abs(errors)
            least, most = np.where(is_beyond, least, middle), np.where(is_beyond, middle, most)
        beyond = np.where(np.isinf(errors), 0.0, np.exp(most))
        beyond = np.where(errors < 0, 1 - beyond, beyond)
        return np.where((self.of_rows > 0) & ~np.isnan(tail), beyond, tail)

    @property
    def _share_of_rows(self) -> Float[np.ndarray, " task"]:
        total = self.of_replicates + self.of_rows
        return np.divide(self.of_rows, total, out=np.zeros_like(total), where=self.of_rows > 0)


def combined(
    of_replicates: float | Float[np.ndarray, " entry"],
    of_rows: float | Float[np.ndarray, " entry"],
    share_of_rows: Float[np.ndarray, " entry"],
) -> Float[np.ndarray, " entry"]:
    """The critical value of a sum of two variances, from those of each: Cochran and Cox's.

    At least that of replicates alone: additional variance must not make the test less strict.
    """
    with np.errstate(invalid="ignore"):  # infinite quantiles times a share of 0
        both = (1 - share_of_rows) * of_replicates + share_of_rows * of_rows
        return np.maximum(both, np.sqrt(1 - share_of_rows) * of_replicates)


def known_blocks(
    blocks: Float[np.ndarray, "replicate block"],
) -> Float[np.ndarray, "replicate known"]:
    """The blocks of a task; other tasks may have more."""
    return blocks[:, ~np.isnan(blocks).all(axis=0)]


def estimate(
    differences: Float[np.ndarray, "replicate task"],
    blocks: Float[np.ndarray, "replicate task block"] | None = None,
) -> Estimate:
    """The mean of each task's differences, with its error over replicates and test rows.

    Example:
        >>> found = estimate(np.array([[0.1], [0.2], [0.3]]))
        >>> [round(float(end[0]), 3) for end in found.interval()]
        [-0.048, 0.448]
    """
    of_replicates, of_rows, n_blocks = components(differences, blocks)
    of_rows = np.maximum(0.0, of_rows)
    return Estimate(differences.mean(axis=0), of_replicates, of_rows, len(differences), n_blocks)


def components(
    differences: Float[np.ndarray, "replicate task"],
    blocks: Float[np.ndarray, "replicate task block"] | None = None,
) -> tuple[Float[np.ndarray, " task"], Float[np.ndarray, " task"], Float[np.ndarray, " task"]]:
    """Variance by replicates, variance added by rows (below 0 by chance), number of blocks."""
    n_replicates, n_tasks = differences.shape
    of_replicates = np.full(n_tasks, np.nan)
    of_rows, n_blocks = np.zeros(n_tasks), np.zeros(n_tasks)
    if n_replicates > 1:
        of_replicates = differences.var(axis=0, ddof=1) / n_replicates
    if n_replicates > 1 and blocks is not None:
        for position in range(n_tasks):
            task_blocks = known_blocks(blocks[:, position])
            n_blocks[position] = task_blocks.shape[1]
            of_rows[position] = _added_by_rows(task_blocks) if task_blocks.shape[1] > 1 else np.nan
    return of_replicates, of_rows, n_blocks


def averaged(
    overall: Float[np.ndarray, " replicate"], blocks: Float[np.ndarray, "replicate task block"]
) -> Float[np.ndarray, "replicate 1 bin"]:
    """The mean over tasks on bins of test rows, even where tasks have labels on different rows.

    Each task's blocks are divided into the same number of bins, whose contributions to the mean
    over tasks are summed.
    """
    bins = np.zeros((len(overall), BINS))
    tasks = [known_blocks(blocks[:, position]) for position in range(blocks.shape[1])]
    known = [
        task_blocks for task_blocks in tasks if task_blocks.size and np.isfinite(task_blocks).all()
    ]
    for task_blocks in known:
        n_blocks = task_blocks.shape[1]
        beyond = (task_blocks - task_blocks.mean(axis=1, keepdims=True)) * BINS / n_blocks
        in_bin = np.arange(n_blocks) * BINS // n_blocks == np.arange(BINS)[:, None]
        bins += beyond @ in_bin.T / len(known)
    return (overall[:, None] + bins)[:, None]


def _added_by_rows(blocks: Float[np.ndarray, "replicate block"]) -> float:
    n_replicates, n_blocks = blocks.shape
    by_block = blocks.mean(axis=0)
    rest = blocks - blocks.mean(axis=1, keepdims=True) - by_block + blocks.mean()
    of_rest = (rest**2).sum() / ((n_replicates - 1) * (n_blocks - 1))
    return float(by_block.var(ddof=1) / n_blocks - of_rest / (n_replicates * n_blocks))
