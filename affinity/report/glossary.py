"""The report's words in plain language, and what it cannot tell."""

GLOSSARY = (
    (
        "Affinity (estimated)",
        "From one recorded training run: what a step for one task does to another task's loss. "
        "Above 0 it helps. It is a hint for what to try, not a result.",
    ),
    (
        "Gain (measured)",
        "From real training: the share of a separate network's test loss that is gone. "
        "+5 % means that a twentieth of the loss is gone; below 0 the task got worse.",
    ),
    ("Separate", "Every task has a network of its own. The baseline: its gain is 0."),
    ("All-in-one", "One network for every task."),
    (
        "Plan",
        "The networks that were proposed within the budget: by a race that trained contending "
        "groupings, by what a linearized network foretold, or from the affinities alone.",
    ),
    (
        "Replicate",
        "One repetition of everything with other training rows and another seed. All arrangements "
        "of a replicate see the same rows, so their differences are paired.",
    ),
    (
        "Harmful, beneficial",
        "The paired test, adjusted for the number of tasks, finds a loss or a gain.",
    ),
    ("Neutral", "The gain is shown to be within the tolerance: too small to matter."),
    (
        "Undecided",
        "Neither a gain nor a loss was shown, nor was one ruled out. It does not mean “no effect”.",
    ),
    (
        "Detectable",
        "The smallest true gain or loss that as many replicates, as noisy as these, would find in "
        "four of five audits.",
    ),
    (
        "Cause, recovered",
        "A cause of harm is measured by taking it away with everything else equal. What comes back "
        "is recovered: a share of the separate network's loss. A cause is at work where that is "
        "shown, and is at least a tenth of the harm.",
    ),
    (
        "Sharing",
        "How the tasks of a network share parameters. Hard: one trunk, a head a task. Soft: a "
        "trunk a task, drawn together. Mixture of experts: several trunks, mixed by each task. "
        "Separate: nothing is shared.",
    ),
)

LIMITS = (
    "The verdicts hold for this data, this network and these settings. A wider network, more rows "
    "or longer training can turn them around.",
    "Intervals hold for other training rows drawn from the same development rows, other seeds, and "
    "other test rows like these; the development rows themselves are one sample. So verdicts are "
    "about networks trained on these rows. What deciding so would gain on other data of this kind "
    "is what other draws of the test rows tell (--outer).",
    "The risk of a false alarm, 5 %, is that of all tasks of an arrangement together, and once "
    "more that of the verdict on their mean.",
    "The arrangement is chosen on evaluation rows, and judged on test rows that no choice saw.",
)
