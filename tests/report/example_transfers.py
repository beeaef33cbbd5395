"""Made-up results of a transfer and of few shots, as their pages take them."""

import itertools
from typing import Any

import torch

from affinity.fewshot import FewShotResult
from affinity.fewshot.one_distribution import OneDistribution
from affinity.fewshot.results import Scores


def a_transfer(name: str = "depth") -> dict[str, Any]:
    pairs = [
        (name, "edges", 0.25, "beneficial"),
        ("edges", name, -0.5, "harmful"),
        ("own inputs", name, 0.001, "neutral"),
        ("own inputs", "edges", 0.1, "undecided"),
    ]
    curve = [
        {"source": name, "target": "edges", "rows": rows, "gain": gain, "low": gain - 0.1}
        | {"high": gain + 0.1, "verdict": verdict, "own_inputs": 0.1}
        for rows, gain, verdict in ((25, 0.4, "beneficial"), (100, 0.0, "undecided"))
    ]
    return {
        "problem": "made up",
        "recipe": "full fine-tuning",
        "n_replicates": 5,
        "sources": [name, "edges", "own inputs"],
        "targets": [name, "edges"],
        "pairs": [
            {"source": source, "target": target, "gain": gain, "low": gain - 0.1}
            | {"high": gain + 0.1, "verdict": verdict}
            | {"beyond": None, "beyond_low": None, "beyond_high": None, "beyond_verdict": None}
            for source, target, gain, verdict in pairs
        ],
        "best_source": {name: "own inputs", "edges": name},
        "scores": [{"score": "LogME", "spearman": 0.5, "ceiling": None, "n_targets": 2}],
        "curves": curve,
        "curve_lines": ["A line on rows."],
        "joint": [
            {"source": name, "target": "edges", "advice": "sequential", "reasons": ["for a reason"]}
            | {"sequential": 0.25, "sequential_low": 0.1, "sequential_high": 0.4}
            | {"joint": 0.0, "joint_low": -0.1, "joint_high": 0.1}
            | {"sequential_verdict": "beneficial", "joint_verdict": "undecided"}
        ],
        "distortion": {
            "summary": "A linear probe first is better.",
            "pairs": [{"source": name, "target": "edges"}],
            "overall": [
                {"recipe": recipe, "rows": rows, "drift": 0.5, "drift_low": 0.4, "drift_high": 0.6}
                | {"similarity": 0.9, "similarity_low": 0.8, "similarity_high": None}
                | {"gain": 0.1, "low": 0.05, "high": 0.15}
                for recipe, rows in itertools.product(
                    ("linear probe", "full fine-tuning"), ("familiar", "shifted")
                )
            ],
        },
        "context": {"command": "affinity transfer made-up", "seeds": [0, 1]},
    }


def a_fewshot(name: str = "clouds", replicates: int = 2) -> dict[str, Any]:
    """A method that is better than from scratch, and one that is worse."""
    generator = torch.Generator().manual_seed(0)

    def scores(mean: float) -> Scores:
        test = mean + 0.01 * torch.randn(replicates, 2, 20, generator=generator)
        return Scores(test, test[:, -1])

    methods = {"from scratch": scores(0.5), "Reptile": scores(0.4), "MAML": scores(0.7)}
    check = OneDistribution(0.01, 5, 3, f"{name} differ")
    context = {"command": "affinity fewshot clouds", "methods": ["FromScratch()"]}
    return FewShotResult(
        name, "accuracy", (1, 10), {1: methods, 5: methods}, check, context
    ).plain()
