"""A trained plan: networks and fitted preprocessing in one file, ready to predict."""

from dataclasses import dataclass
from pathlib import Path
from typing import cast

import pandas as pd
import torch
from torch import Tensor

from affinity import storage
from affinity.errors import InputError
from affinity.problems import NetworkTrainer, Preprocessing, Problem, TableEncoder, TableTrunk
from affinity.problems.problem import linear_heads
from affinity.reading import RawTable, ReadingOptions, read_source
from affinity.recommendation import Plan
from affinity.sharing import SHARINGS, Sharing, SharingSettings
from affinity.tasks import BinaryCrossEntropy, RocAuc, Task

from .audit import Audit
from .trainings import CandidatePlan

ROWS_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class TrainedPlan:
    """The networks of a plan as the audit trained them on its first replicate.

    Args:
        preprocessing: Maps rows to inputs and outputs to labels; fitted on the replicate's rows.
        trunks: Makes the trunk of each network.
        tasks: The tasks of each network, in the order of its heads.
        states: Parameters and buffers of each network.
    """

    plan: Plan
    preprocessing: Preprocessing
    trunks: tuple[TableTrunk, ...]
    tasks: tuple[tuple[str, ...], ...]
    outputs: dict[str, int]
    states: tuple[dict[str, Tensor], ...]

    @classmethod
    def from_audit(cls, audit: Audit, problem: Problem, seed: int) -> "TrainedPlan":
        """The plan of an audit measured with `keep=True` and this seed.

        Raises:
            InputError: If the problem is not a table, or the networks were not kept.
        """
        encoder = cls.encoder_of(problem)
        trainer, candidate = (
            NetworkTrainer(problem),
            CandidatePlan.fixed(audit.plan, width=problem.width),
        )
        trunks = [trainer.problem_of(job).trunk for _, job in candidate.jobs(seed)]
        networks = audit.networks_of("plan")
        replicate = problem.replicate_seeds(1, seed)[0]
        states = [network.state for network in networks]
        return cls(
            plan=audit.plan,
            preprocessing=encoder.fitted(problem.draw(replicate).training),
            trunks=tuple(trunk for trunk in trunks if isinstance(trunk, TableTrunk)),
            tasks=tuple(network.tasks for network in networks),
            outputs={task.name: task.n_outputs for task in problem.tasks},
            states=tuple(state for state in states if state is not None),
        )

    @staticmethod
    def encoder_of(problem: Problem) -> TableEncoder:
        """The encoder that turns the rows of a problem's table into inputs.

        Raises:
            InputError: If the problem is not a table.
        """
        if isinstance(problem.encoder, TableEncoder) and isinstance(problem.trunk, TableTrunk):
            return problem.encoder
        raise InputError(
            f"Expected a table whose networks can be kept, but the problem {problem.name!r} is "
            "built in: there are no new rows to predict. Leave --save-models out.",
            "not-a-table",
        )

    def __call__(self, table: pd.DataFrame) -> pd.DataFrame:
        """Predictions for the rows of a table, in their order.

        A text file is read by `read`, so that its columns have the formats of training. A warning
        names columns with values that no row had in training.

        Raises:
            InputError: If a column that the networks need is missing or has another type of values,
                or numbers of another unit.
        """
        inputs = self.preprocessing(table)
        outputs: dict[str, Tensor] = {}
        for network, served in zip(self._networks(), self.plan.grouping.networks, strict=True):
            with torch.no_grad():
                parts = [network(rows) for rows in inputs.split(ROWS_AT_ONCE)]
            for name in served.served:
                outputs[name] = torch.cat([part[name] for part in parts])
        return self.preprocessing.decode(outputs)

    def read(self, path: str | Path) -> RawTable:
        """A file with rows to predict; its text is read as that of the rows of training."""
        columns = self.preprocessing.columns
        return read_source(path, ReadingOptions(as_text=columns.as_text))

    def test_predictions(self, audit: Audit, problem: Problem) -> pd.DataFrame:
        """The audit's own predictions for its test rows, indexed by their row in the table."""
        assert isinstance(problem.encoder, TableEncoder)
        outputs: dict[str, Tensor] = {}
        networks = self.plan.grouping.networks
        for trained, network in zip(audit.networks_of("plan"), networks, strict=True):
            assert trained.predictions is not None
            outputs |= {name: trained.predictions[name] for name in network.served}
        return self.preprocessing.decode(outputs).set_index(problem.encoder.test.numpy())

    def save(self, path: str | Path) -> Path:
        """Write weights and preprocessing to a file: `affinity.save`."""
        return storage.save(self, path)

    @staticmethod
    def load(path: str | Path) -> "TrainedPlan":
        """Read a trained plan that `save` wrote.

        Raises:
            InputError: If the file holds something else.
        """
        return storage.load_as(TrainedPlan, path)

    def _networks(self) -> list[Sharing]:
        networks: list[Sharing] = []
        jobs = CandidatePlan.fixed(self.plan).jobs(seed=0)
        parts = zip(self.trunks, self.tasks, jobs, self.states, strict=True)
        for trunk, names, (_, job), state in parts:
            tasks = tuple(
                Task(name, BinaryCrossEntropy(), RocAuc(), n_outputs=self.outputs[name])
                for name in names
            )  # only the sizes of the heads are used here
            sample = torch.zeros(2, trunk.n_features)
            settings = cast("SharingSettings", job.settings.get("sharing_settings", {}))
            method = SHARINGS[job.sharing].with_settings(settings)
            network = method(tasks, trunk, linear_heads(trunk.width), sample)
            network.load_state_dict(state)
            networks.append(network.eval())
        return networks
