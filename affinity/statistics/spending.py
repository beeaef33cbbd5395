"""Alpha spending: the level of each interim look that keeps the overall risk."""

from functools import lru_cache

import numpy as np

_POINTS = 401  # of the density between looks


@lru_cache(maxsize=4096)
def levels(shares: tuple[float, ...], risk: float) -> tuple[float, ...]:
    r"""The one-sided level of each look, such that the risk of a false alarm over all is `risk`.

    When a share :math:`t` of the planned data is available, at most

    .. math::
        \alpha(t) = 2 - 2\,\Phi\!\left(\Phi^{-1}(1 - \alpha/2) / \sqrt{t}\right)

    of the risk is spent: almost none at early looks, so that the last one is nearly as sharp as
    if it were the only one (O'Brien and Fleming's bounds are of this shape). The levels follow
    from the joint distribution of the means at the looks, integrated numerically. They are for
    normal means with a known error; a t test that compares its p-value with them keeps the risk
    closely (Jennison and Turnbull, section 4.4; `reports/calibration` measures it).

    References:
        Lan and DeMets (1983), Discrete sequential boundaries for clinical trials; Jennison and
        Turnbull (2000), Group Sequential Methods with Applications to Clinical Trials, chapter 19.
    """
    from scipy import special

    spent = [2 * float(special.ndtr(special.ndtri(risk / 2) / np.sqrt(t))) for t in shares]
    look_levels = [spent[0]]
    sums = density = np.empty(0)  # of a Brownian motion that crossed no bound yet
    for look in range(1, len(shares)):
        before, now = shares[look - 1], shares[look]
        edge = -special.ndtri(look_levels[-1]) * np.sqrt(before)
        grid = np.linspace(-6 * np.sqrt(before), edge, _POINTS)
        if look == 1:
            density = _normal(grid, np.sqrt(before))
        else:
            step = np.sqrt(before - shares[look - 2])
            onto = _normal(grid[:, None] - sums, step)
            density = np.asarray(np.trapezoid(onto * density, sums, axis=1))
        sums = grid
        edge = _edge(sums, density, np.sqrt(now - before), spent[look] - spent[look - 1])
        look_levels.append(float(special.ndtr(-edge / np.sqrt(now))))
    return tuple(look_levels)


def _edge(sums: np.ndarray, density: np.ndarray, step: float, risk: float) -> float:
    """The value that a motion from these sums exceeds after a step with this probability."""
    from scipy import optimize, special

    def beyond(edge: float) -> float:
        return float(np.trapezoid(special.ndtr((sums - edge) / step) * density, sums)) - risk

    return float(optimize.brentq(beyond, -8.0, 40.0))


def _normal(values: np.ndarray, scale: float) -> np.ndarray:
    return np.exp(-((values / scale) ** 2) / 2) / (scale * np.sqrt(2 * np.pi))
