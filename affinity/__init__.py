"""Which tasks should share a network: affinity, groupings, audited gains.

The pipeline::

    problem = affinity.Problem.from_table("table.csv", targets=[...])
    trace = affinity.record(problem, every=10, seed=0)
    matrix = affinity.InterTaskAffinity()(trace)
    grouping = affinity.solve(matrix, budget=2)
    plan = affinity.recommend(matrix, grouping)
    audit = affinity.retrain(plan, problem, replicates=5)
    audit.report("run/report.html")

A loop of one's own::

    recorder = affinity.Recorder(shared=model.trunk, every=10)
    recorder.observe(losses, closure=lambda: compute_losses(model, batch))
    trace = recorder.trace()
"""

from affinity.audit import Audit, Gains, NegativeTransferTest, Verdict, retrain
from affinity.errors import DivergenceError, InputError
from affinity.estimates import ESTIMATORS, AffinityMatrix, GradientCosine, InterTaskAffinity
from affinity.grouping import Grouping, Network, solve
from affinity.problems import Problem, record
from affinity.recommendation import Plan, recommend
from affinity.recording import Recorder, Trace
from affinity.tasks import Examples, Replicate, Task
from affinity.training import TrainingSettings

__all__ = [
    "ESTIMATORS",
    "AffinityMatrix",
    "Audit",
    "DivergenceError",
    "Examples",
    "Gains",
    "GradientCosine",
    "Grouping",
    "InputError",
    "InterTaskAffinity",
    "NegativeTransferTest",
    "Network",
    "Plan",
    "Problem",
    "Recorder",
    "Replicate",
    "Task",
    "Trace",
    "TrainingSettings",
    "Verdict",
    "recommend",
    "record",
    "retrain",
    "solve",
]
