"""Conclusions from measured transfer in words: which source to train first for which target."""

from collections.abc import Iterator, Sequence

from affinity.transfer import OWN_INPUTS, PairGain, TransferSummary
from affinity.words import count, listed

from .headline import Headline
from .key_numbers import KeyNumber
from .numbers import gain_range, percent, tone

MOST_NAMED = 6


def transfer_headline(summary: TransferSummary) -> Headline:
    """Name the source to train first; a source needs a gain beyond that of the control.

    The best sources are chosen on selection rows; their verdicts are from test rows.
    """
    best = _best_pairs(summary)
    if summary.n_replicates < 2:
        title = "Measured once: one replicate gives no intervals and no verdicts."
        return Headline(title, tuple(map(_describe, best.values())), is_sure=False)
    helped = {target: pair for target, pair in best.items() if pair.verdict == "beneficial"}
    undecided = {target: pair for target, pair in best.items() if pair.verdict == "undecided"}
    beyond = [target for target, pair in helped.items() if _is_beyond_control(pair)]
    others = [target for target in helped if target not in beyond]
    control = {pair.target: pair.verdict for pair in summary.pairs if pair.source == OWN_INPUTS}
    self_supervised = [target for target in others if control.get(target) == "beneficial"]
    if beyond:
        title = (
            f"Train a source first for {_named(beyond)}: it helps more than self-supervised "
            "pretraining on the target's own inputs."
        )
    elif self_supervised:
        title = (
            f"Pretrain {_named(self_supervised)} on unlabelled inputs: no source was found to help "
            "more."
        )
    elif others:
        title = (
            f"Train a source first for {_named(others)}; pretraining on unlabelled inputs may help "
            "as much."
        )
    elif undecided:
        title = (
            f"Undecided for {_named(list(undecided))}: {count(summary.n_replicates, 'replicate')} "
            "do not show whether the best source helps."
        )
    else:
        title = (
            f"Train from scratch: no source was found to be better for {_any_of(summary.targets)}."
        )
    described = [_describe(helped[target]) for target in [*beyond, *others]]
    described += [_describe(pair) for pair in undecided.values()]
    none = [t for t in summary.targets if t not in helped and t not in undecided]
    if none and described:
        described.append(
            f"No source was found to be better than training from scratch for {listed(none)}."
        )
    return Headline(title, (*described, *_harmful_and_undecided(summary)), bool(helped))


def transfer_facts(summary: TransferSummary) -> Iterator[KeyNumber]:
    """The few numbers below the headline; the control is not counted as a source."""
    pairs = _source_pairs(summary)
    n_helped = sum(pair.verdict == "beneficial" for pair in _best_pairs(summary).values())
    yield KeyNumber(
        "Targets that gain from their best source",
        f"{n_helped} of {len(summary.targets)}",
        "including pretraining on own inputs",
        "helps" if n_helped else "",
    )
    for word, kind in (("beneficial", "helps"), ("harmful", "harms")):
        amount = sum(pair.verdict == word for pair in pairs)
        note = f"of {count(len(pairs), 'pair')}"
        yield KeyNumber(f"Pairs found {word}", str(amount), note, kind if amount else "")
    beneficial = [pair for pair in pairs if pair.verdict == "beneficial"]
    if beneficial:
        pair = max(beneficial, key=lambda pair: pair.gain)
        name = f"Largest gain: {pair.source} for {pair.target}"
        reach = gain_range(pair.low, pair.high)
        yield KeyNumber(name, percent(pair.gain), reach, tone(pair.low, pair.high))
    yield KeyNumber("Replicates", str(summary.n_replicates), "new split and seed, paired")


def _best_pairs(summary: TransferSummary) -> dict[str, PairGain]:
    """The pair of each target with its best source, if that was better than from scratch."""
    pairs = {(pair.source, pair.target): pair for pair in summary.pairs}
    return {
        target: pairs[source, target]
        for target, source in summary.best_source.items()
        if source is not None
    }


def _source_pairs(summary: TransferSummary) -> list[PairGain]:
    return [pair for pair in summary.pairs if pair.source != OWN_INPUTS]


def _is_beyond_control(pair: PairGain) -> bool:
    """Whether the source helps more than the control, if that was measured."""
    return pair.source != OWN_INPUTS and pair.beyond_verdict in (None, "beneficial")


def _describe(pair: PairGain) -> str:
    is_control = pair.source == OWN_INPUTS
    what = "pretraining on its own inputs" if is_control else f"training {pair.source} first"
    text = f"{pair.target}: {what} gains {percent(pair.gain)} over training from scratch"
    if reach := gain_range(pair.low, pair.high):
        text += f" ({reach})"
    if pair.verdict == "undecided":
        excludes_zero = pair.low > 0 or pair.high < 0
        reason = " after the correction for the number of pairs" if excludes_zero else ""
        return f"{text}: undecided{reason}."
    if is_control or pair.beyond_verdict is None or pair.verdict != "beneficial":
        return f"{text}."
    if _is_beyond_control(pair):
        return f"{text}, more than pretraining on its own inputs does."
    return f"{text}; not found to be more than pretraining on its own inputs gains."


def _harmful_and_undecided(summary: TransferSummary) -> list[str]:
    pairs = _source_pairs(summary)
    harmful = [pair for pair in pairs if pair.verdict == "harmful"]
    were = "was" if len(harmful) == 1 else "were"
    text = f"{len(harmful)} of {count(len(pairs), 'pair')} {were} found harmful"
    if harmful:
        worst = min(harmful, key=lambda pair: pair.gain)
        text += (
            f" (negative transfer), the most harmful being {worst.source} for {worst.target} "
            f"({percent(worst.gain)}, {gain_range(worst.low, worst.high)})"
        )
    n_undecided = sum(pair.verdict == "undecided" for pair in pairs)
    if n_undecided:
        are = "is" if n_undecided == 1 else "are"
        text += f"; {n_undecided} {are} undecided, which more replicates may settle"
    return [f"{text}."] if pairs else []


def _named(names: list[str]) -> str:
    if len(names) <= MOST_NAMED:
        return listed(names)
    return f"{', '.join(names[:MOST_NAMED])} and {count(len(names) - MOST_NAMED, 'other')}"


def _any_of(targets: Sequence[str]) -> str:
    return targets[0] if len(targets) == 1 else f"any of the {len(targets)} targets"
