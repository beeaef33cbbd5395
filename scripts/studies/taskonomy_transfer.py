"""Taskonomy's transfer affinities: how far do they follow from the published win rates?

python scripts/studies/taskonomy_transfer.py
"""

import sys

import numpy as np
import pandas as pd
from intervals import ROOT, markdown

OUT = ROOT / "reports/transfer/taskonomy"
TABLES = ROOT.parent / "shared/data/published/taskonomy2018"
LIMITS = (0.001, 0.999)  # the paper clips win rates so


def read(name: str) -> pd.DataFrame:
    """Sources as rows, targets as columns; one source each, the default number of images."""
    table = pd.read_csv(TABLES / f"{name}.csv.gz")
    own = table[(table["n_images"] == "default") & (table["order"] == 1)]
    return own.groupby(["sources", "target"])["value"].mean().unstack()


def normalized(wins: pd.Series) -> pd.Series:
    """The principal eigenvector of the ratios of wins to losses, with a sum of 1.

    Against one common opponent the ratios of odds are such a matrix, of rank one.
    """
    odds = wins.clip(*LIMITS) / (1 - wins.clip(*LIMITS))
    ratios = odds.to_numpy()[:, None] / odds.to_numpy()[None, :]
    values, vectors = np.linalg.eig(ratios)
    found = np.abs(np.real(vectors[:, np.argmax(np.real(values))]))
    return pd.Series(found / found.sum(), index=wins.index)


README = """# Taskonomy's affinities from its win rates

Zamir et al. (2018, section 3.3) order sources for a target by a tournament: how often each source
beats each other one on held-out images, as a matrix of ratios whose principal eigenvector, with a
sum of 1, is the affinity (the analytic hierarchy process). The tournament among sources is not in
the published files; the rates at which each source beats two common opponents are (the network
trained for the target in full, and the one from pixels). Against a common opponent the matrix of
ratios is that of the odds, and its eigenvector the odds themselves. So this is an approximation of
the normalization, not the published computation:

    python scripts/studies/taskonomy_transfer.py

{table}

Rank correlation with the published affinities over the sources of a target, mean over targets with
the smallest; the share of targets whose best source (itself left out) is the same. One source a
target, default number of images.
"""


def main() -> None:
    if not TABLES.exists():
        sys.exit(f"Expected tables at {TABLES.relative_to(ROOT.parent)}; they are missing.")
    published = read("all_affinities")
    rows = []
    for name, opponent in (("wins_vs_task", "the target's own"), ("wins_vs_pixels", "from pixels")):
        wins = read(name)
        found = []
        for target in published.columns:
            if target not in wins.columns:
                continue
            both = pd.DataFrame({"published": published[target], "wins": wins[target]}).dropna()
            both = both.drop(index=[each for each in (target, "self") if each in both.index])
            if len(both) < 3:
                continue
            ours = normalized(both["wins"])
            found.append(
                {
                    "target": target,
                    "spearman": ours.corr(both["published"], method="spearman"),
                    "log": np.log(ours).corr(np.log(both["published"])),
                    "same": ours.idxmax() == both["published"].idxmax(),
                    "sources": len(both),
                }
            )
        frame = pd.DataFrame(found)
        OUT.mkdir(parents=True, exist_ok=True)
        frame.to_csv(OUT / f"{name}.csv", index=False, float_format="%.4g")
        rows.append(
            {
                "win rates against": opponent,
                "targets": len(frame),
                "rank correlation": f"{frame['spearman'].mean():.2f}",
                "smallest": f"{frame['spearman'].min():.2f}",
                "correlation of logs": f"{frame['log'].mean():.2f}",
                "same best source": f"{frame['same'].mean():.0%}",
            }
        )
    (OUT / "README.md").write_text(README.format(table=markdown(pd.DataFrame(rows))))


if __name__ == "__main__":
    main()
