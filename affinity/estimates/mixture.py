"""Mixture regression: losses predicted from the shares of data sets, learned from small runs."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf
from pathlib import Path

import numpy as np
import pandas as pd
from jaxtyping import Float

from affinity.errors import InputError, check_known, check_number, check_whole_number, warn
from affinity.files import write_atomically
from affinity.statistics import spearman
from affinity.tasks import check_names

RATIO, METRIC = "train_", "metric/"  # how columns of mixture tools' files begin
_ENDINGS = ("_val_loss", "_val/loss", "_loss")
_FEW = 10


@dataclass(frozen=True, eq=False)
class MixtureRuns:
    """Runs whose mixtures vary: the shares of the data sets, and the losses of the targets.

    Args:
        targets: Whose loss was measured.
        shares: Add up to 1 in each run.
        losses: NaN where not measured.

    Raises:
        InputError: If shapes do not fit, a share is negative, or the shares of a run do not add up
            to 1.
    """

    sources: tuple[str, ...]
    targets: tuple[str, ...]
    shares: Float[np.ndarray, "run source"]
    losses: Float[np.ndarray, "run target"]

    def __post_init__(self) -> None:
        check_names(self.sources)
        check_names(self.targets)
        expected = (len(self.shares), len(self.sources)), (len(self.shares), len(self.targets))
        if (self.shares.shape, self.losses.shape) != expected or not len(self.shares):
            raise InputError(
                f"Expected runs with {len(self.sources)} shares and {len(self.targets)} losses "
                f"each, but got {self.shares.shape} and {self.losses.shape}.",
                "wrong-shape",
            )
        totals = self.shares.sum(axis=1)
        if not (self.shares >= 0).all() or not (abs(totals - 1) < 0.02).all():
            run = int(np.argmax(~(self.shares >= 0).all(axis=1) | ~(abs(totals - 1) < 0.02)))
            raise InputError(
                f"Expected shares of at least 0 that add up to 1 in each run, but those of run "
                f"{run} add up to {totals[run]:g}, the least being {self.shares[run].min():g}.",
                "invalid-share",
            )

    def __len__(self) -> int:
        """The number of runs."""
        return len(self.shares)

    @classmethod
    def read(cls, ratios: str | Path, metrics: str | Path) -> "MixtureRuns":
        """Read the two CSV files of mixture tools: one row per run, with a common column index.

        A ratio is in the column ``train_NAME`` or ``NAME``, a loss in ``metric/NAME_val_loss`` or
        ``NAME``.

        Raises:
            InputError: If the files hold other runs, or a value is no number.
        """
        tables = [_read(path) for path in (ratios, metrics)]
        if missing := tables[0].index.symmetric_difference(tables[1].index).tolist():
            raise InputError(
                f"Expected the same runs in {str(ratios)!r} and {str(metrics)!r}, but these are "
                f"in one of them: {missing[:5]}.",
                "missing-run",
            )
        tables[1] = tables[1].loc[tables[0].index]
        sources = _names(tables[0], RATIO, ("",))
        targets = _names(tables[1], METRIC, (*_ENDINGS, ""))
        shares, losses = (table.to_numpy(dtype=float) for table in tables)
        return cls(tuple(sources), tuple(targets), shares, losses)

    def write(self, ratios: str | Path, metrics: str | Path) -> None:
        """Write the two files that `read` reads."""
        shares = pd.DataFrame(self.shares, columns=[f"{RATIO}{name}" for name in self.sources])
        losses = pd.DataFrame(
            self.losses, columns=[f"{METRIC}{name}_val_loss" for name in self.targets]
        )
        for table, path in ((shares, ratios), (losses, metrics)):
            table.index = pd.RangeIndex(1, len(table) + 1, name="index")
            write_atomically(path, table.to_csv())

    def own_share(self, target: str) -> Float[np.ndarray, " run"] | None:
        """The share of the data set that has the target's name; None if there is none."""
        return self.shares[:, self.sources.index(target)] if target in self.sources else None


@dataclass(frozen=True)
class MixtureFit:
    """How well a regression ranks runs that it has not seen, for one target.

    Args:
        full: Spearman's correlation of predicted and measured losses.
        own_share: The same for the target's own share alone; NaN if it is not trained on.
        rest: Of what is left of both, once the effect of the own share is taken away: what the
            other data sets contribute.
    """

    target: str
    full: float
    own_share: float
    rest: float


@dataclass(frozen=True, eq=False)
class MixtureRegression:
    r"""Predict the loss of each target from the shares of all data sets.

    .. math:: L_t(a) \approx m_t(a_t) + r_t(a)

    m is a falling step function of the target's own share (isotonic regression), r a random forest
    on all shares, fitted to what is left. The own share explains most of the order of losses in
    published mixtures, so that a regression that ranks them well need not know anything about
    interactions: `check` tells both apart.

    References:
        Liu et al. (2025), `RegMix <https://arxiv.org/abs/2407.01492>`_, regress on all shares.

    Example:
        >>> shares = np.random.default_rng(0).dirichlet(np.ones(3), size=60)
        >>> losses = 2 - shares[:, :1] - 0.5 * shares[:, 1:2]  # of "a"; "b" helps, too
        >>> runs = MixtureRuns(("a", "b", "c"), ("a",), shares, losses)
        >>> best = MixtureRegression(runs).best_mixture()
        >>> best["a"] > 0.6 and best["c"] < 0.1
        True
    """

    runs: MixtureRuns
    trees: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if len(self.runs) < _FEW:
            warn(
                f"Only {len(self.runs)} runs to learn {len(self.runs.sources)} shares from: "
                f"expect little of this regression; train at least {_FEW}.",
                "few-runs",
            )
        for column, target in enumerate(self.runs.targets):
            known = np.isfinite(self.runs.losses[:, column]).sum()
            check_number(
                f"the number of runs with a loss of {target!r}", known, "too-few-runs", least=2
            )
        object.__setattr__(self, "_models", [self._fit(target) for target in self.runs.targets])

    def predict(self, shares: Float[np.ndarray, "run source"]) -> Float[np.ndarray, "run target"]:
        """The loss of each target."""
        models: list[_Predict] = self.__dict__["_models"]
        return np.stack([model(shares) for model in models], axis=1)

    def check(self, runs: MixtureRuns) -> tuple[MixtureFit, ...]:
        """Rank other runs, which may be at another scale: only their order counts.

        Raises:
            InputError: If the runs have other data sets.
        """
        if runs.sources != self.runs.sources or not set(runs.targets) <= set(self.runs.targets):
            raise InputError(
                f"Expected runs of the data sets {list(self.runs.sources)} with targets among "
                f"{list(self.runs.targets)}, but got {list(runs.sources)} and "
                f"{list(runs.targets)}.",
                "unknown-task",
            )
        predicted = self.predict(runs.shares)
        fits: list[MixtureFit] = []
        for column, target in enumerate(runs.targets):
            losses, share = runs.losses[:, column], runs.own_share(target)
            values = predicted[:, self.runs.targets.index(target)]
            known = np.isfinite(losses)
            full = spearman(values[known], losses[known])
            own = rest = float("nan")
            if share is not None:
                own = spearman(-share[known], losses[known])
                rest = spearman(
                    _without(values[known], share[known]), _without(losses[known], share[known])
                )
            fits.append(MixtureFit(target, full, own, rest if share is not None else full))
        return tuple(fits)

    def best_mixture(
        self,
        weights: Mapping[str, float] | None = None,
        candidates: int = 20_000,
        averaged: int = 100,
    ) -> dict[str, float]:
        """The shares with the lowest predicted loss, relative to the size of each target's mean.

        Drawn between the measured mixtures; the best `averaged` of them are averaged, as in RegMix,
        because the single best is where the prediction errs the most.

        Args:
            weights: What each target counts; equal if None.
            averaged: How many of the best are averaged.

        Raises:
            InputError: If a target is unknown, a weight is below 0, or a number below 1.
        """
        check_whole_number("candidates", candidates, 1, "out-of-range")
        check_whole_number("averaged", averaged, 1, "out-of-range")
        weights = dict.fromkeys(self.runs.targets, 1.0) if weights is None else weights
        for target, weight in weights.items():
            check_number(f"the weight of {target!r}", weight, "invalid-weight", below=inf, least=0)
        check_known("weights of targets", weights, self.runs.targets, "unknown-task")
        generator = np.random.default_rng(self.seed)
        pairs = generator.integers(len(self.runs), size=(2, candidates))
        mix = generator.random((candidates, 1))
        shares = mix * self.runs.shares[pairs[0]] + (1 - mix) * self.runs.shares[pairs[1]]
        relative = self.predict(shares) / abs(np.nanmean(self.runs.losses, axis=0))
        total = relative @ np.array([weights.get(name, 0.0) for name in self.runs.targets])
        best = shares[np.argsort(total)[:averaged]].mean(axis=0)
        return dict(zip(self.runs.sources, (best / best.sum()).tolist(), strict=True))

    def _fit(self, target: str) -> "_Predict":
        from sklearn.ensemble import RandomForestRegressor
        from sklearn.isotonic import IsotonicRegression

        losses = self.runs.losses[:, self.runs.targets.index(target)]
        known, share = np.isfinite(losses), self.runs.own_share(target)
        shares, losses = self.runs.shares[known], losses[known]
        forest = RandomForestRegressor(self.trees, min_samples_leaf=2, random_state=self.seed)
        if share is None:
            return forest.fit(shares, losses).predict
        isotonic = IsotonicRegression(increasing=False, out_of_bounds="clip")
        forest.fit(shares, losses - isotonic.fit(share[known], losses).predict(share[known]))
        column = self.runs.sources.index(target)
        return lambda s: np.asarray(isotonic.predict(s[:, column]) + forest.predict(s), dtype=float)


_Predict = Callable[[Float[np.ndarray, "run source"]], Float[np.ndarray, " run"]]


def _without(values: Float[np.ndarray, " run"], share: Float[np.ndarray, " run"]) -> np.ndarray:
    """What is left of the values' ranks once a falling function of the share is taken away."""
    from scipy.stats import rankdata
    from sklearn.isotonic import IsotonicRegression

    ranks = rankdata(values)
    fit = IsotonicRegression(increasing=False).fit(share, ranks)
    return ranks - fit.predict(share)


def _read(path: str | Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path)
    except (OSError, ValueError) as error:
        raise InputError(f"Could not read {str(path)!r} as CSV: {error}.", "cannot-read") from error
    if "index" in table.columns:
        table = table.set_index("index")
    if not table.index.is_unique:
        raise InputError(f"Expected each run once in {str(path)!r}.", "duplicate-run")
    for column in table.columns:
        if not pd.api.types.is_numeric_dtype(table[column]):
            raise InputError(
                f"Expected numbers in the column {column!r} of {str(path)!r}.", "not-a-number"
            )
    return table


def _names(table: pd.DataFrame, prefix: str, endings: tuple[str, ...]) -> list[str]:
    """Names of columns, without a prefix and the first ending, if all columns have them."""
    columns = list(map(str, table.columns))
    prefix = prefix if all(name.startswith(prefix) for name in columns) else ""
    ending = next(end for end in endings if all(name.endswith(end) for name in columns))
    return [name.removeprefix(prefix).removesuffix(ending) for name in columns]
