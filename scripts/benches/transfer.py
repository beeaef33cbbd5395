"""All sources to all targets of the eight digits tasks, one recipe, one replicate.

scripts/bench transfer

Seconds by the clock and of the processor, of training the sources (each task, all others, the
targets' own inputs) and of tuning every target from every source and from scratch.
"""

import json
import time
from pathlib import Path

import torch

from affinity.problems import load_digits
from affinity.transfer import RECIPES, learn_sources, measure_transfer

OUT = Path("reports/bench/transfer")
ALLOWED = 60  # seconds


def main() -> None:
    torch.set_num_threads(1)
    problem = load_digits()
    start, busy = time.perf_counter(), time.process_time()
    sources = learn_sources(problem, problem.replicates(1))
    learned = time.perf_counter() - start
    transfer = measure_transfer(problem, RECIPES["full fine-tuning"], sources)
    seconds, busy = time.perf_counter() - start, time.process_time() - busy
    found = {
        "pairs": len(transfer.pairs),
        "sources_seconds": round(learned, 1),
        "seconds": round(seconds, 1),
        "processor_seconds": round(busy, 1),
        "allowed": ALLOWED,
        "is_within": seconds <= ALLOWED,
    }
    print(json.dumps(found, indent=1))
    OUT.mkdir(parents=True, exist_ok=True)
    (OUT / "transfer.json").write_text(json.dumps(found, indent=1) + "\n")
    (OUT / "README.md").write_text(
        "# Transfer among the eight digits tasks\n\n    scripts/bench transfer\n\n"
        f"{found['pairs']} pairs of a source and a target, full fine-tuning, one replicate, one "
        f"thread: {seconds:.0f} s by the clock, of which {learned:.0f} s train the sources; "
        f"{busy:.0f} s of the processor. Allowed: {ALLOWED} s.\n"
    )


if __name__ == "__main__":
    main()
