"""What may be said of every group without training it, from networks that are trained anyway."""

import time
from collections.abc import Callable, Collection
from pathlib import Path

import numpy as np
import pandas as pd
from kept_rows import read, write

from affinity.estimates import (
    AffinityMatrix,
    GradientSurrogate,
    RepresentationSimilarity,
    TaskRelationships,
)
from affinity.estimates.representation_similarity import separate_representations
from affinity.problems import Problem

Networks = Collection[frozenset[str]]
Gains = dict[frozenset[str], dict[str, float]]
"""A group to what each of its tasks is said to gain in it."""


def of_representations(problem: Problem, networks: Networks, seed: int) -> Gains:
    """Mean similarity to the group's other tasks, each learned alone; nothing for a task alone."""
    similarity = RepresentationSimilarity()(separate_representations(problem, 1, seed))
    return _mean_of_partners(similarity, networks)


def of_relationships(problem: Problem, networks: Networks, seed: int) -> Gains:
    """Mean correlation with the group's other tasks in the heads of one relationship network."""
    return _mean_of_partners(TaskRelationships()(problem, seed), networks)


def _mean_of_partners(affinity: AffinityMatrix, networks: Networks) -> Gains:
    def gain(network: frozenset[str], task: str) -> float:
        others = network - {task}
        values = [affinity.between(other, task) for other in others] or [0.0]
        return float(np.mean(np.nan_to_num(values)))

    return {network: {task: gain(network, task) for task in network} for network in networks}


def of_surrogate(problem: Problem, networks: Networks, seed: int) -> Gains:
    """What all-in-one, linearized and fine-tuned on the group, would reach."""
    predicted = GradientSurrogate()(problem, seed).predict(networks)
    return {each.trained: dict(each.scores) for each in predicted.candidates}


FORETELL: dict[str, Callable[[Problem, Networks, int], Gains]] = {
    "representation similarity": of_representations,
    "task relationships": of_relationships,
    "gradient surrogate": of_surrogate,
}


def foretell(problem: Problem, networks: Networks, path: Path, count: int) -> None:
    """Keep what each says on the first `count` replicates, one row a task of a group.

    Seconds are the processor's for all groups of a replicate, trainings included.
    """
    kept = read(path)
    known = set(zip(kept["estimator"], kept["replicate"], strict=True)) if len(kept) else set()
    for name, say in FORETELL.items():
        for replicate in range(count):
            if (name, replicate) in known:
                continue
            began = time.process_time()
            gains = say(problem, networks, replicate)
            seconds = round(time.process_time() - began, 2)
            rows = [
                {
                    "estimator": name,
                    "replicate": replicate,
                    "network": "".join(str(int(each in network)) for each in problem.names),
                    "task": task,
                    "gain": float(f"{gains[network][task]:.5g}"),
                    "seconds": seconds,
                }
                for network in networks
                for task in problem.names
                if task in network
            ]
            kept = pd.concat([kept, pd.DataFrame(rows)], ignore_index=True)
            write(kept, path)
            print(f"{problem.name}: {name} of replicate {replicate}, {seconds} s", flush=True)
