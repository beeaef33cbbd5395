"""An audit: a plan retrained beside separate networks and all-in-one, and what that shows."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from affinity import markup
from affinity.errors import InputError
from affinity.estimates import AffinityMatrix
from affinity.recommendation import Plan
from affinity.statistics import Gains, NegativeTransferTest, Verdict
from affinity.tasks import Task
from affinity.training import TrainedNetwork
from affinity.words import count

from .agreement import Agreement
from .baselines import RANDOM
from .evaluated_plan import EvaluatedPlan
from .gates import Gates
from .plain import to_json


@dataclass(frozen=True, eq=False)
class Audit:
    """What training as planned was worth, beside separate networks and all-in-one.

    Args:
        problem: The problem's name.
        tasks: The tasks.
        plan: The plan that was audited.
        arrangements: By name: "plan", "separate", "all-in-one" and other baselines.
        matrix: The affinities that the plan was made from, where known.
        test: How verdicts are reached.
        context: Settings, seeds, versions, notes on the data, and the limits of what it can tell.
        trained: The networks of every arrangement, where they were kept: in the order of its
            plan, an entry a replicate.
        gates: Of each network of the plan what its gates chose; None where it is no mixture of
            experts, or was trained elsewhere.
    """

    problem: str
    tasks: tuple[Task, ...]
    plan: Plan
    arrangements: Mapping[str, EvaluatedPlan]
    matrix: AffinityMatrix | None = None
    test: NegativeTransferTest = field(default_factory=NegativeTransferTest)
    context: Mapping[str, Any] = field(default_factory=dict[str, Any])
    trained: Mapping[str, tuple[tuple[TrainedNetwork, ...], ...]] = field(
        default_factory=dict[str, tuple[tuple[TrainedNetwork, ...], ...]]
    )
    gates: tuple[Gates | None, ...] = ()

    @property
    def gains(self) -> Gains:
        """Test losses under the plan beside those of separate networks."""
        return self.arrangements["plan"].test

    @property
    def verdicts(self) -> dict[str, Verdict]:
        """A verdict a task: the plan against a separate network."""
        return {verdict.task: verdict for verdict in self.test(self.gains)}

    def verdicts_of(self, arrangement: str) -> dict[str, Verdict]:
        """A verdict a task: any arrangement against a separate network."""
        if arrangement not in self.arrangements:
            raise InputError(
                f"Expected one of the arrangements {list(self.arrangements)}, but got "
                f"{arrangement!r}."
            )
        return {verdict.task: verdict for verdict in self.test(self.arrangements[arrangement].test)}

    @property
    def overall(self) -> Verdict:
        """The verdict on the mean gain over the tasks: the plan against separate networks."""
        return self.test.overall(self.gains)

    def overall_of(self, arrangement: str) -> Verdict:
        """The same for any arrangement."""
        return self.test.overall(self.arrangements[arrangement].test)

    @property
    def advice(self) -> str:
        """The arrangement to use, chosen on evaluation rows; test rows have no say.

        The one with the fewest networks, and of these the fewest parameters, among those whose
        mean gain comes within the test's tolerance of the best. A random grouping is no advice.
        """
        gains = {
            name: gain
            for name, arrangement in self.arrangements.items()
            if name != RANDOM and np.isfinite(gain := arrangement.evaluation.overall().mean())
        }
        enough = max(gains.values()) - self.test.tolerance

        def size(name: str) -> tuple[int, int]:
            arrangement = self.arrangements[name]
            return len(arrangement.plan.grouping.networks), arrangement.parameters

        return min((name for name, gain in gains.items() if gain >= enough), key=size)

    @property
    def agreement(self) -> Agreement | None:
        """How well the affinities foretold the gains of the plan and of all-in-one."""
        if self.matrix is None:
            return None
        compared = [self.arrangements[name] for name in ("plan", "all-in-one")]
        return Agreement.of(self.matrix, compared)

    def to_dict(self) -> dict[str, Any]:
        """Everything as plain values, ready for JSON; what is undefined is None."""
        from .audit_facts import facts_of

        return facts_of(self)

    def to_json(self, path: str | Path | None = None) -> str:
        """`to_dict` as JSON; also written to `path`, if one is given."""
        return to_json(self.to_dict(), path)

    def _repr_html_(self) -> str:
        """For notebooks: a row a task, with its verdict."""
        caption = (
            f"{self.problem}: {count(self.gains.n_replicates, 'replicate')}, advice: {self.advice}"
        )
        rows: list[list[str]] = []
        colours: list[list[str]] = []
        for verdict in self.verdicts.values():
            rows.append(
                [
                    verdict.task,
                    verdict.verdict,
                    f"{verdict.gain:+.1%}",
                    "" if np.isnan(verdict.low) else f"{verdict.low:+.1%} to {verdict.high:+.1%}",
                ]
            )
            sign = {"beneficial": 1.0, "harmful": -1.0}.get(verdict.verdict, 0.0)
            colours.append(["", markup.diverging(sign, 2.0) if sign else "", "", ""])
        header = ["task", "verdict", "gain of the plan", "95 % interval"]
        return markup.table(header, rows, caption, colours)

    def networks_of(self, arrangement: str, replicate: int = 0) -> tuple[TrainedNetwork, ...]:
        """The kept networks of an arrangement on a replicate, in the order of its plan.

        Raises:
            InputError: If they were not kept.
        """
        if not self.trained:
            raise InputError("Expected kept networks: measure with retrain(..., keep=True).")
        return tuple(network[replicate] for network in self.trained[arrangement])

    def save(self, path: str | Path) -> Path:
        """Write every measurement to a safetensors file, for `Audit.load`."""
        from .stored import save_audit

        return save_audit(self, path)

    @staticmethod
    def load(path: str | Path) -> "Audit":
        """Read what `save` wrote; networks that were kept are not in it."""
        from .stored import load_audit

        return load_audit(path)
