"""The methods that are compared. Add one with an entry in METHODS; see `measure.Method`.

A method is a callable ``(half, budget, seed)`` that asks for trainings with
``half.measure(groups, replicates)``, reads them as ``half.measurements()`` (what estimators of
measured groups take) or ``half.gains()``, reads matrices of recorded runs with
``half.affinity(estimator, seed)`` and what they foretell of groups with
``half.foretold(estimator, seed, trainings)``, and returns predicted gains ``[group task]``, or the
chosen groups.
"""

from .affinities import Foretold, FromAffinity
from .etap import Etap
from .measure import Method
from .measurements import Pairs, RawBest, Ridge, SizeAlone, SourcesAlone
from .ours import Branched, Calibrated, Prudent, RaceResult
from .simple import AllInOne, RandomGrouping, Separate

METHODS: dict[str, Method] = {
    "all-in-one": AllInOne(),
    "separate": Separate(),
    "random": RandomGrouping(),
    "label correlation": FromAffinity("label correlation"),
    "TAG": FromAffinity("inter-task affinity"),
    "TAG, none alone": FromAffinity("inter-task affinity", alone=False),
    "cosine": FromAffinity("gradient cosine"),
    "cosine, none alone": FromAffinity("gradient cosine", alone=False),
    "held-out lookahead": FromAffinity("held-out affinity"),
    "held-out lookahead, none alone": FromAffinity("held-out affinity", alone=False),
    "ETAP's affinity": FromAffinity("etap"),
    "representation similarity, none alone": Foretold(
        "representation similarity", needs_alone=True, alone=False
    ),
    "task relationships": Foretold("task relationships"),
    "task relationships, none alone": Foretold("task relationships", alone=False),
    "gradient surrogate": Foretold("gradient surrogate"),
    "gradient surrogate, prudent": Prudent(),
    "ETAP, T subsets": Etap(rounds=1),
    "ETAP, 2T subsets": Etap(rounds=2),
    "ETAP, 4T subsets": Etap(rounds=4),
    "HOA, 1 replicate": Pairs(replicates=1),
    "HOA, all replicates": Pairs(),
    "ridge, T subsets": Ridge(rounds=1),
    "ridge, 2T subsets": Ridge(rounds=2),
    "ridge, 4T subsets": Ridge(rounds=4),
    "ridge with size, 4T subsets": Ridge(rounds=4, sizes=True),
    "size alone, 4T trainings": SizeAlone(),
    "sources alone, 4T trainings": SourcesAlone(),
    "ours, T trainings": Calibrated(rounds=0),
    "ours, 2T trainings": Calibrated(rounds=1),
    "ours, 4T trainings": Calibrated(rounds=2),
    "ours, 4T trainings, no affinity": Calibrated(rounds=2, affinities=False),
    "ours, 4T trainings, and surrogate": Calibrated(rounds=2, surrogate=True),
    "branches, T trainings": Branched(),
    "branches, 2T trainings": Branched(branches=2),
    "ours, 2T trainings, and branches": Branched(rounds=1),
    "ours, 4T trainings, and branches": Branched(rounds=2),
    "race, 4T trainings": RaceResult(rounds=2),
    "race, 8T trainings": RaceResult(rounds=4),
    "race, 12T trainings": RaceResult(rounds=6),
    "race, 4T trainings, and surrogate": RaceResult(rounds=2, surrogate=True),
    "raw best, 1 replicate": RawBest(replicates=1),
    "raw best, 3 replicates": RawBest(replicates=3),
    "raw best, all replicates": RawBest(),
}
