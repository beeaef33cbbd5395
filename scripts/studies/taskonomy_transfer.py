"""Taskonomy's transfer affinities: how far do they follow from the published win rates?

python scripts/studies/taskonomy_transfer.py
"""

import sys
from pathlib import Path

import numpy as np
import pandas as pd
from intervals import ROOT, markdown
from source_choice import CHANCE, GENERIC, choices, placed, summary

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

## Source choice per target, there and here

Which source would a rule choose for each target, and where does that one stand? *Place*: 0 is the
best of all sources, 1 the worst, 0.5 chance, with 95 % t intervals over targets. *Best source*: the
share of targets for which the best one was chosen. *Lost*: what the best source would have given
beyond the chosen one. *Best for the other targets* is the source that ranks highest over all
targets but the one to advise, without a look at that one.

### Taskonomy, judged by the published affinities

Lost is in win rate against the network trained for the target in full; the rule that goes by just
that is not judged by it.

{published}
{tables}
{words}"""
TABLE = """
### {name}, {n_tasks} tasks, {replicates} replicates, judged by measured gains on test rows

    python scripts/studies/source_choice.py {name} --replicates {replicates}

Lost is in shares of the target's loss from scratch. Measured transfer decides on selection rows of
one half of the replicates and is judged on the other half; the best source is that of the judging
half, so that some of what is lost is noise.

{table}
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
    words = OUT / "words.md"
    (OUT / "README.md").write_text(
        README.format(
            words=words.read_text(encoding="utf-8") if words.exists() else "",
            table=markdown(pd.DataFrame(rows)),
            published=markdown(summary(published_choices(published))),
            tables="".join(map(of_table, sorted(OUT.glob("table_*.csv")))),
        )
    )


def published_choices(published: pd.DataFrame) -> pd.DataFrame:
    """A row a rule and target: where the chosen source stands among the published affinities."""
    wins = {name: read(name) for name in ("wins_vs_task", "wins_vs_pixels")}
    ranks = published.apply(lambda own: own.drop(own.name).rank(pct=True))
    rows = []
    for target in published.columns:
        known = published[target].dropna().index.intersection(wins["wins_vs_task"].index)
        known = known.intersection(wins["wins_vs_pixels"].index).difference([target, "self"])
        values, rates = published.loc[known, target], wins["wins_vs_task"].loc[known, target]
        rules = {
            "win rates against the target's own": normalized(rates),
            "win rates against pixels": normalized(wins["wins_vs_pixels"].loc[known, target]),
            GENERIC: ranks.loc[known].drop(columns=target).mean(axis=1),
        }
        for rule, found in rules.items():
            chosen = str(found.idxmax())
            lost = float("nan") if rule.endswith("own") else placed(rates, chosen)["lost"]
            rows.append({"rule": rule, "target": target} | placed(values, chosen) | {"lost": lost})
        chance = {"place": 0.5, "is_best": 1 / len(values), "lost": rates.max() - rates.mean()}
        rows.append({"rule": CHANCE, "target": target} | chance)
    return pd.DataFrame(rows)


def of_table(file: Path) -> str:
    """What `source_choice.py` measured on one table."""
    found = pd.read_csv(file)
    return TABLE.format(
        name=file.stem.removeprefix("table_"),
        n_tasks=found["target"].nunique(),
        replicates=found["replicate"].nunique(),
        table=markdown(summary(choices(found))),
    )


if __name__ == "__main__":
    main()
