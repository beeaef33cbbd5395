"""Which of eight questions about a handwritten digit should share a network?

1,797 real images of 8 x 8 pixels come with scikit-learn. Five targets are yes or no (odd, at least
5, prime, has a loop, one of five digits chosen at random), three are numbers (amount of ink, its
centre in x and y). The steps are those of `affinity audit digits`, one by one, but for other ways
to share.
"""

import sys
from pathlib import Path

import affinity
from affinity.report import write_figures

quick = "--quick" in sys.argv
folders = [argument for argument in sys.argv[1:] if argument != "--quick"]
folder = Path(folders[0] if folders else "reports/tutorial")

# 1. A problem: tasks, rows, a trunk that tasks may share, one head per task, held-out test rows.
problem = affinity.load_digits(width=16 if quick else 32)
if quick:
    problem = problem.with_settings(affinity.TrainingSettings(epochs=4, batch_size=64))
print(f"{len(problem.development)} development rows, {len(problem.test)} test rows")

# 2. Record one training of all tasks on one trunk. Recording does not change the training.
trace = affinity.record(problem, every=10, seed=0)
print(f"{len(trace)} measurements of {len(trace.tasks)} tasks")

# 3. The estimated effect of each task on each other one. Rows are sources, columns are targets;
# above 0 helps.
matrix = affinity.InterTaskAffinity()(trace)
print((1000 * matrix.to_frame()).round(1).to_string(), "(thousandths)")

# 4. Groupings race: a few groups are trained, the gains of all others predicted. Affinity alone is
# often no better than chance.
trainings = 2 * len(trace.tasks) if quick else 160
race = affinity.Race(trainings=trainings, seed=1)(problem, [matrix])
print(race.frame().round(3).to_string(index=False))

# 5. A plan, with reasons, as a file that a person can edit.
plan = race.to_plan()
plan.to_yaml(folder / "plan.yaml")

# 6. Its measured gain: the plan against separate networks and all-in-one, on paired replicates.
audit = affinity.retrain(plan, problem, replicates=2 if quick else 10, seed=2, matrix=matrix)
print(audit.gains.frame().round(3).to_string(index=False))
for task, verdict in audit.verdicts.items():
    print(f"{task}: {verdict.verdict}, {verdict.gain:+.1%}")
for name, candidate in audit.candidates.items():
    print(f"{name}: mean gain {candidate.test.overall().mean():+.1%}")
print(f"Advice: {audit.advice}")

# 7. The page, the numbers, and the pictures.
affinity.write_report(audit, folder / "report.html", trace=trace)
audit.to_json(folder / "audit.json")
for file in write_figures(audit, folder, ("png",), trace=trace):
    print(f"wrote {file}")
