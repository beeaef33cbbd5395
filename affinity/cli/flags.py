"""The command's flags: what each means, said once for all stages that take it."""

from pathlib import Path
from typing import Annotated, Literal

import typer

DATA, NETWORK, AUDIT, OUTPUT = "Data", "Network", "Audit", "Output"

Source = Annotated[
    str | None,
    typer.Argument(help="A table (CSV, also compressed, or Parquet), 'digits' or 'planted'."),
]
Run = Annotated[Path, typer.Argument(help="The folder of a run.", metavar="RUN")]

Targets = Annotated[
    str | None, typer.Option(help="Columns to predict, with commas between.", rich_help_panel=DATA)
]
Target = Annotated[
    list[str] | None, typer.Option(help="One column to predict; repeat it.", rich_help_panel=DATA)
]
TaskColumn = Annotated[
    str | None,
    typer.Option(
        help="Long table: the column that says which task a row belongs to.", rich_help_panel=DATA
    ),
]
KindOf = Annotated[
    list[str] | None,
    typer.Option(
        help="NAME=binary, classes or regression, where it should not be found.",
        rich_help_panel=DATA,
    ),
]
Exclude = Annotated[
    list[str] | None, typer.Option(help="A column to leave out; repeat it.", rich_help_panel=DATA)
]
TimeColumn = Annotated[
    str | None, typer.Option(help="Judge on the latest rows by this column.", rich_help_panel=DATA)
]
SplitColumn = Annotated[
    str | None, typer.Option(help="Judge on the rows it calls 'test'.", rich_help_panel=DATA)
]
TestShare = Annotated[
    float | None,
    typer.Option(help="Share of rows set aside to judge. [0.25]", rich_help_panel=DATA),
]
ValidationShare = Annotated[
    float | None,
    typer.Option(help="Share of the others that decides when to stop. [0.2]", rich_help_panel=DATA),
]

Width = Annotated[int | None, typer.Option(help="Width of the trunk.", rich_help_panel=NETWORK)]
Depth = Annotated[int | None, typer.Option(help="Layers of the trunk.", rich_help_panel=NETWORK)]
Epochs = Annotated[int | None, typer.Option(help="Epochs at most.", rich_help_panel=NETWORK)]
BatchSize = Annotated[int | None, typer.Option(help="Rows a step.", rich_help_panel=NETWORK)]
LearningRate = Annotated[
    float | None, typer.Option(help="Step size of Adam.", rich_help_panel=NETWORK)
]
Patience = Annotated[
    int | None,
    typer.Option(help="Epochs without progress before stopping.", rich_help_panel=NETWORK),
]

Every = Annotated[
    int | None,
    typer.Option(help="Measure affinity every so many steps. [10]", rich_help_panel=AUDIT),
]
Runs = Annotated[
    int | None,
    typer.Option(
        help="Runs to record, with seeds of their own; several tell how sure affinities are. [1]",
        rich_help_panel=AUDIT,
    ),
]
Seed = Annotated[
    int | None, typer.Option(help="Decides all random numbers. [0]", rich_help_panel=AUDIT)
]
Budget = Annotated[
    int | None,
    typer.Option(help="Networks at most. \\[a third of the tasks]", rich_help_panel=AUDIT),
]
Overlap = Annotated[
    bool | None,
    typer.Option(
        "--overlap/--disjoint",
        help="Whether a task may help in networks that do not serve it. \\[disjoint]",
        rich_help_panel=AUDIT,
    ),
]
Estimator = Annotated[
    str | None,
    typer.Option(
        help="How affinity is estimated; `affinity problems` lists the ways. "
        "\\[inter-task affinity]",
        rich_help_panel=AUDIT,
    ),
]
SharingChoice = Annotated[
    Literal["hard", "measured"] | None,
    typer.Option(
        help="How the tasks of a network share: hard, or the best of five ways by measurement, "
        "which trains each network in every way. \\[hard]",
        rich_help_panel=AUDIT,
    ),
]
Replicates = Annotated[
    int | None,
    typer.Option(
        help="Resamplings of rows and seeds. [10; 5 from 21 tasks]", rich_help_panel=AUDIT
    ),
]
Way = Literal["race", "surrogate", "affinity"]
"""How a grouping can be found, best first."""

Verify = Annotated[
    Way | None,
    typer.Option(
        help="Group by a race that trains contending groups, by what a linearized network "
        "foretells of every group (up to 9 tasks), or by affinity alone. \\[the first that the "
        "time allowed and the number of tasks permit]",
        rich_help_panel=AUDIT,
    ),
]
RaceMinutes = Annotated[
    float | None, typer.Option(help="Time allowed for the race. [3]", rich_help_panel=AUDIT)
]
Tolerance = Annotated[
    float | None,
    typer.Option(
        help="Mean gains that differ by no more than this share of the loss count as equal: a plan "
        "has to gain more, and a smaller gain is neutral. [0.01]",
        rich_help_panel=AUDIT,
    ),
]
Minutes = Annotated[
    float | None,
    typer.Option(
        help="Add replicates until no verdict is undecided, for so long at most.",
        rich_help_panel=AUDIT,
    ),
]
MaxReplicates = Annotated[
    int | None,
    typer.Option(
        help="Add replicates until no verdict is undecided, so many at most. [40, with --minutes]",
        rich_help_panel=AUDIT,
    ),
]
Baselines = Annotated[
    Literal["all", "few"] | None,
    typer.Option(
        help="What stands beside the plan: 'few' leaves a random grouping and the baselines at "
        "equal parameters out. \\[all]",
        rich_help_panel=AUDIT,
    ),
]
Outer = Annotated[
    int | None,
    typer.Option(
        help="Draw the test rows anew so many times, decide the plan anew and audit it on each: "
        "what the whole procedure gains, since one test split is one draw.",
        rich_help_panel=AUDIT,
    ),
]
PlanChoice = Annotated[
    str | None,
    typer.Option(
        help="Audit this plan: a YAML file, 'separate' or 'all-in-one'. \\[the run's plan.yaml]",
        rich_help_panel=AUDIT,
    ),
]
Quick = Annotated[
    bool,
    typer.Option(
        "--quick",
        help="Diagnose by what costs least: twice the width, half of the rows, no GradNorm and "
        "PCGrad (they train networks one by one). About two thirds of the work.",
        rich_help_panel=AUDIT,
    ),
]
Diagnose = Annotated[
    bool,
    typer.Option(
        "--diagnose",
        help="Also find out why one network for all tasks harms, so that the page says it; takes "
        "several times as long as the audit. `affinity diagnose RUN` does it later.",
        rich_help_panel=AUDIT,
    ),
]
Keep = Annotated[
    bool,
    typer.Option(
        "--keep", help="Keep the plan's trained networks for `predict`.", rich_help_panel=AUDIT
    ),
]
Backend = Annotated[
    Literal["loky", "ray", "dask"] | None,
    typer.Option(
        help="Train each network by itself: in processes here, or on a cluster of Ray or Dask "
        "(pip install 'task-affinity\\[ray]'). \\[many at once]",
        rich_help_panel=AUDIT,
    ),
]

Out = Annotated[
    Path | None, typer.Option(help="Folder of the run. \\[runs/NAME]", rich_help_panel=OUTPUT)
]
Config = Annotated[
    Path | None,
    typer.Option(help="A YAML file with any of these options.", rich_help_panel=OUTPUT),
]
AsJson = Annotated[
    bool,
    typer.Option(
        "--json",
        help="The result as JSON on standard output; words go to standard error.",
        rich_help_panel=OUTPUT,
    ),
]
Junit = Annotated[
    Path | None,
    typer.Option(help="Write a JUnit file: a test case a task.", rich_help_panel=OUTPUT),
]
FailOn = Annotated[
    Literal["harmful"] | None,
    typer.Option(
        help="Exit with 3 when the plan harms a task that it serves.", rich_help_panel=OUTPUT
    ),
]
Png = Annotated[bool, typer.Option("--png", help="Pictures as PNG.", rich_help_panel=OUTPUT)]
Pdf = Annotated[bool, typer.Option("--pdf", help="Pictures as PDF.", rich_help_panel=OUTPUT)]
Svg = Annotated[bool, typer.Option("--svg", help="Pictures as SVG.", rich_help_panel=OUTPUT)]
Quiet = Annotated[
    bool, typer.Option("--quiet", help="Say only what went wrong.", rich_help_panel=OUTPUT)
]
Debug = Annotated[bool, typer.Option("--debug", help="Show tracebacks.", rich_help_panel=OUTPUT)]
