"""What a transfer says in plain words: what to learn first, for which targets, and what not to."""

from collections.abc import Mapping
from typing import Any

from affinity.transfer import OWN_INPUTS
from affinity.words import count, listed

from .numbers import percent, percent_range
from .rendering import tone
from .verdict_words import Headline

MOST_NAMED = 6


def transfer_headline(result: Mapping[str, Any]) -> Headline:
    """Say what to learn first, and give credit to a source only beyond the target's own inputs.

    Best sources are those of evaluation rows; they are believed where the verdict of the test rows
    is that they help.

    Args:
        result: As `Transfer.to_dict` gives it.
    """
    if result["n_replicates"] < 2:
        title = "Measured once: one replicate gives no intervals and no verdicts."
        return Headline(title, tuple(map(_said, _best(result).values())), is_sure=False)
    helped = {t: pair for t, pair in _best(result).items() if pair["verdict"] == "beneficial"}
    credited = [t for t, pair in helped.items() if _is_credit(pair)]
    others = [t for t in helped if t not in credited]
    control = {p["target"]: p["verdict"] for p in result["pairs"] if p["source"] == OWN_INPUTS}
    alone = [target for target in others if control.get(target) == "beneficial"]
    if credited:
        title = f"Learn a source first for {_named(credited)}: it gives more than their own inputs."
    elif alone:
        title = f"Pretrain {_named(alone)} on unlabelled inputs: no source was found to give more."
    elif others:
        title = f"Learn a source first for {_named(others)}; their own inputs may do as well."
    else:
        title = f"Train from scratch: no source was found to help {_any_of(result['targets'])}."
    sentences = [_said(helped[target]) for target in [*credited, *others]]
    return Headline(title, (*sentences, *_not_helped(result, list(helped))), bool(helped))


def transfer_facts(result: Mapping[str, Any]) -> list[dict[str, str]]:
    """Name, value, note and tone of the few numbers under the verdict."""
    pairs = result["pairs"]
    best = _best(result).values()
    n_helped = sum(pair["verdict"] == "beneficial" for pair in best)
    facts = [
        {
            "name": "Targets that gain from their best source",
            "value": f"{n_helped} of {len(result['targets'])}",
            "note": "the target's own inputs count as one",
            "tone": "helps" if n_helped else "",
        }
    ]
    for word, kind in (("beneficial", "helps"), ("harmful", "harms")):
        amount = sum(pair["verdict"] == word for pair in pairs)
        facts.append(
            {
                "name": f"Pairs found {word}",
                "value": str(amount),
                "note": f"of {count(len(pairs), 'pair')}",
                "tone": kind if amount else "",
            }
        )
    decided = [pair for pair in pairs if pair["verdict"] == "beneficial"]
    if decided:
        pair = max(decided, key=lambda each: each["gain"])
        facts.append(
            {
                "name": f"Largest gain: {pair['source']} for {pair['target']}",
                "value": percent(pair["gain"]),
                "note": percent_range(pair["low"], pair["high"]),
                "tone": tone(pair["low"], pair["high"]),
            }
        )
    facts.append(
        {
            "name": "Replicates",
            "value": str(result["n_replicates"]),
            "note": "fresh rows and seeds, paired",
            "tone": "",
        }
    )
    return facts


def _best(result: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The pair of each target's best source, where one was better than from scratch."""
    pairs = {(pair["source"], pair["target"]): pair for pair in result["pairs"]}
    return {
        target: pairs[source, target]
        for target, source in result["best_source"].items()
        if source is not None
    }


def _is_credit(pair: Mapping[str, Any]) -> bool:
    """Whether the gain is the source's: more than the target's own inputs give, where measured."""
    return pair["source"] != OWN_INPUTS and pair["beyond_verdict"] in (None, "beneficial")


def _said(pair: Mapping[str, Any]) -> str:
    own = pair["source"] == OWN_INPUTS
    text = "its own inputs, unlabelled," if own else pair["source"]
    text = f"{pair['target']}: {text} first, {percent(pair['gain'])} of the loss from scratch"
    if reach := percent_range(pair["low"], pair["high"]):
        text += f" ({reach})"
    if own or pair["beyond_verdict"] is None or pair["verdict"] != "beneficial":
        return f"{text}."
    if _is_credit(pair):
        return f"{text}; its own inputs alone give less."
    return f"{text}; not found to be more than its own inputs alone give."


def _not_helped(result: Mapping[str, Any], helped: list[str]) -> list[str]:
    sentences: list[str] = []
    left = [target for target in result["targets"] if target not in helped]
    if left and helped:
        sentences.append(f"From scratch, as far as is known: {listed(left)}.")
    harmful = [pair for pair in result["pairs"] if pair["verdict"] == "harmful"]
    were = "was" if len(harmful) == 1 else "were"
    said = f"{len(harmful)} of {count(len(result['pairs']), 'pair')} {were} found harmful"
    if harmful:
        worst = min(harmful, key=lambda pair: pair["gain"])
        said += (
            f", most of all {worst['source']} for {worst['target']} ({percent(worst['gain'])}, "
            f"{percent_range(worst['low'], worst['high'])})"
        )
    open_ = sum(pair["verdict"] == "undecided" for pair in result["pairs"])
    said += f"; {open_} are undecided, which more replicates may settle" if open_ else ""
    return [*sentences, f"{said}."]


def _named(names: list[str]) -> str:
    if len(names) <= MOST_NAMED:
        return listed(names)
    return f"{', '.join(names[:MOST_NAMED])} and {count(len(names) - MOST_NAMED, 'other')}"


def _any_of(targets: list[str]) -> str:
    return targets[0] if len(targets) == 1 else f"any of the {len(targets)} targets"
