"""The names of a run's files."""

TRACE = "trace.safetensors"
TRACE_SO_FAR = "trace.partial.safetensors"  # of a run that broke off
AFFINITY = "affinity.csv"
PLAN = "plan.yaml"
FRONTIER = "frontier.csv"
RACE = "race.csv"
RACE_RESULT = "race.safetensors"
AUDIT = "audit.json"
MEASUREMENTS = "measurements.safetensors"
TRAINED = "trained.safetensors"
PREDICTIONS = "predictions.csv"
DIAGNOSIS = "diagnosis.json"
DIAGNOSIS_RESULT = "diagnosis.safetensors"
TRANSFER = "transfer.json"
TRANSFER_RESULTS = "transfer.safetensors"
TRANSFER_TABLE = "transfer.csv"
TRANSFER_PAGE = "transfer.html"
TUNING_PLAN = "tuning.yaml"
PAGE = "report.html"
FIGURES = "figures"  # a folder
OUTER = "outer.json"
HOLDOUT = "outer.safetensors"
DRAWS = "draws"  # a folder: the runs of the other draws
TRAININGS = "trainings"  # a folder: finished trainings, so that a stopped stage goes on
