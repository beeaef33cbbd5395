"""The terms on an audit's page, and the limits of its verdicts."""

GLOSSARY = (
    (
        "Affinity (estimated)",
        "The effect of a training step for one task on the loss of another, from one recorded "
        "run. Above 0, the step helps. It suggests what to try; it is not a result.",
    ),
    (
        "Gain (measured)",
        "Improvement of the test score compared with a separate network, from trained networks. "
        "Losses are compared relatively (+5 %: the loss is 5 % lower), metrics by differences. "
        "Below 0, the task got worse: negative transfer.",
    ),
    ("Separate", "One network per task. This is the baseline: its gain is 0."),
    ("All-in-one", "One network for all tasks."),
    (
        "Plan",
        "The networks proposed within the budget: from a race that trained candidate groupings, "
        "from predicted gains, or from affinities alone.",
    ),
    ("Candidate", "The plan or a baseline: a grouping with a way of sharing for each network."),
    (
        "Replicate",
        "A new data split and seed. Within a replicate all candidates use the same rows, so their "
        "differences are paired.",
    ),
    (
        "Selection rows, test rows",
        "Selection rows decide which candidate is advised. Test rows measure its gain; no decision "
        "uses them.",
    ),
    (
        "Harmful, beneficial",
        "A paired test, adjusted for the number of tasks, shows a loss or a gain.",
    ),
    ("Neutral", "The gain is shown to be within the tolerance: too small to matter."),
    (
        "Undecided",
        "Neither a gain nor a loss is shown, and neither is ruled out. This does not mean “no "
        "effect”.",
    ),
    (
        "Detectable",
        "The smallest true gain or loss that would be found in four of five audits of this size.",
    ),
    (
        "Cause, recovered",
        "A possible cause of harm is tested by an intervention that removes it, with everything "
        "else equal. The loss that this saves is recovered, as a share of the separate network's "
        "loss. The cause is at work if this is shown and at least a tenth of the harm.",
    ),
    (
        "Sharing",
        "How the tasks of a network share parameters. Hard: one trunk, one head per task. Soft: "
        "one trunk per task, pulled together during training. Mixture of experts: several "
        "trunks, weighted by one gate per task. Separate: nothing is shared.",
    ),
)

LIMITS = (
    "Verdicts hold for these data, these networks and these settings. A wider network, more rows "
    "or longer training can change them.",
    "Intervals cover other training rows drawn from the same development rows, other seeds and "
    "other test rows of the same kind. The development rows themselves are one sample. To learn "
    "what the whole procedure gains on other data of this kind, repeat the audit on several test "
    "splits (--test-splits).",
    "The probability of any false verdict is at most 5 % for all tasks of a candidate together, "
    "and another 5 % for the verdict on their mean.",
    "The candidate is chosen on selection rows and judged on test rows that no decision used.",
)
