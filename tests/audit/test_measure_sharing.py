"""Ways to share are measured on equal terms, and gates that no longer choose are vetoed."""

import numpy as np
import pytest
import torch
from codes import raises

from affinity import Grouping, Network, Problem, TrainingSettings
from affinity.audit import measure_sharing
from affinity.audit.train_plans import make_network
from affinity.problems.mmoe_recipe import mmoe_recipe
from affinity.sharing import MMoE


@pytest.fixture(scope="module")
def problem() -> Problem:
    settings = TrainingSettings(epochs=1, batch_size=128)
    return mmoe_recipe(n_rows=300, n_features=6, width=8).with_settings(settings)


GROUPING = Grouping((Network.of("first", "second"),))


def test_every_way_is_measured_against_hard_sharing_on_the_same_replicates(
    problem: Problem,
) -> None:
    measured = measure_sharing(problem, GROUPING, replicates=2)
    ways = measured[frozenset({"first", "second"})]
    assert [each.sharing for each in ways] == ["hard", "soft", "mmoe", "separate"]  # one stage
    assert np.array_equal(ways[0].gains, np.zeros(2))
    for each in ways[1:]:
        assert np.isfinite(each.gains).all()
        assert each.gains.any()
        assert each.test_gains.any()


def test_a_lone_task_has_nothing_to_choose(problem: Problem) -> None:
    alone = Grouping((Network.of("first"), Network.of("second")))
    assert measure_sharing(problem, alone, replicates=1) == {}


def test_a_mixture_whose_gates_take_one_expert_is_vetoed(
    problem: Problem, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stuck(*arguments):
        network = make_network(*arguments)
        if isinstance(network, MMoE):
            network.load_state_dict = lambda _: None  # what was trained is not looked at
            with torch.no_grad():
                for gate in network.gates:
                    gate.register_forward_hook(lambda *_: torch.tensor([[99.0, 0.0, 0.0, 0.0]]))
        return network

    monkeypatch.setattr("affinity.audit.gates.make_network", stuck)
    measured = measure_sharing(problem, GROUPING, replicates=2, ways=["mmoe"])
    (_, mixture) = measured[frozenset({"first", "second"})]
    assert mixture.veto == "the gate of first takes one expert on 2 of 2 replicates"


def test_no_replicate_is_an_error(problem: Problem) -> None:
    with raises("no-replicates"):
        measure_sharing(problem, GROUPING, replicates=0)
