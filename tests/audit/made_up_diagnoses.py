"""Diagnoses of made-up measurements."""

import numpy as np

from affinity import Diagnosis, Plan
from affinity.audit.causes import CauseResult, Intervention


def change_of(name: str, recovered: float, cost: float = 1.0, **settings: bool) -> Intervention:
    """Recovered by three tasks on six replicates, with a little noise."""
    noise = 0.01 * np.random.default_rng(len(name)).normal(size=(6, 3))
    return Intervention(name, f"do {name}", recovered + noise, recovered + noise, cost, **settings)


def diagnosis_of(*findings: CauseResult, harm: float = 0.5) -> Diagnosis:
    tasks, losses = ("a", "b", "c"), harm + 0.01 * np.random.default_rng(0).normal(size=(6, 3))
    harmed = tasks if harm > 0.1 else ()
    return Diagnosis("p", tasks, Plan.all_in_one(tasks), harmed, losses, losses, findings)
