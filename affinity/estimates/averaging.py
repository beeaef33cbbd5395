"""Averages over time, with standard errors that account for autocorrelation."""

import torch
from jaxtyping import Float
from torch import Tensor

from .matrix import AffinityMatrix

RESAMPLINGS = 200

_PAIRS_AT_ONCE = 2_000  # whose resampled means fit in a processor's cache


def average_over_time(
    values: Float[Tensor, "time source target"],
    tasks: tuple[str, ...],
    estimator: str,
    block: int | None = None,
) -> AffinityMatrix:
    r"""Mean over the steps at which a pair was measured, with a moving-block bootstrap error.

    Consecutive measurements come from neighbouring parameters, so single ones are not independent:
    blocks of them are drawn with replacement. Without `block`, their length is the optimum for the
    mean of an autoregressive series,

    .. math:: b = \Big(\frac{3}{2} \Big(\frac{2 \rho}{1 - \rho^2}\Big)^2 T\Big)^{1/3},

    with the median over pairs of the correlation of neighbours, and a quarter of the series at
    most. Infinite values count as missing.

    References:
        Künsch (1989), `The Jackknife and the Bootstrap for General Stationary Observations
        <https://doi.org/10.1214/aos/1176347265>`_; Politis and White (2004), `Automatic
        Block-Length Selection for the Dependent Bootstrap
        <https://doi.org/10.1081/ETR-120028836>`_.
    """
    values = values.double()
    known = values.isfinite()
    values = values.where(known, 0.0)
    counts = known.sum(dim=0)
    mean = values.sum(dim=0) / counts  # NaN where never measured
    n_steps = len(values)
    if n_steps < 2:
        error = torch.full_like(mean, torch.nan)
    else:
        error = _block_bootstrap(values, known, block or _block_length(values - mean, known))
    return AffinityMatrix(
        tasks=tasks, values=mean, standard_error=error, n_steps=counts, estimator=estimator
    )


def _block_length(deviations: Float[Tensor, "time source target"], known: Tensor) -> int:
    n_steps = len(deviations)
    deviations = deviations.where(known, 0.0)
    together = (deviations[1:] * deviations[:-1]).sum(dim=0)
    correlation = (together / deviations.square().sum(dim=0)).flatten().nanmedian().item()
    correlation += (1 + 3 * correlation) / n_steps  # the mean is taken from the same series
    if not correlation > 0:
        return 1
    correlation = min(correlation, 0.95)
    best = (1.5 * (2 * correlation / (1 - correlation**2)) ** 2 * n_steps) ** (1 / 3)
    return max(1, min(round(best), n_steps // 4))


def _block_bootstrap(
    values: Float[Tensor, "time source target"], known: Tensor, block: int
) -> Float[Tensor, "source target"]:
    n_steps = len(values)
    block = min(block, n_steps)
    n_blocks = -(-n_steps // block)
    generator = torch.Generator().manual_seed(0)
    starts = torch.randint(n_steps - block + 1, (RESAMPLINGS, n_blocks), generator=generator)
    drawn = (starts[:, :, None] + torch.arange(block)).flatten(1)[:, :n_steps]
    # How often each step was drawn turns every resampled mean into one matrix product.
    weights = values.new_zeros(RESAMPLINGS, n_steps)
    weights.scatter_add_(1, drawn, torch.ones_like(drawn, dtype=weights.dtype))
    variance = values.new_full((known[0].numel(),), torch.nan)
    repeated = (known.sum(dim=0) > 1).flatten().nonzero().squeeze(1)  # others have no error
    for pairs in repeated.split(_PAIRS_AT_ONCE):
        count = weights @ known.flatten(1)[:, pairs].to(weights.dtype)  # resampling pair
        means = weights @ values.flatten(1)[:, pairs] / count
        drawn_at_all = count > 0
        n_means = drawn_at_all.sum(dim=0)
        centre = means.where(drawn_at_all, 0.0).sum(dim=0) / n_means
        squares = (means - centre).square().where(drawn_at_all, 0.0)
        variance[pairs] = squares.sum(dim=0) / (n_means - 1)
    # Blocks of b of n steps are centred, which reduces their variance by the factor 1 - b / n.
    variance /= 1 - block / n_steps if block < n_steps else 1
    return variance.sqrt().unflatten(0, known.shape[1:])
