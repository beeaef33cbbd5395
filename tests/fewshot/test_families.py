"""Task families: disjoint splits, and errors if tasks cannot be drawn."""

from dataclasses import replace

import pytest
import torch
from codes import raises
from hypothesis import given
from hypothesis import strategies as st
from small_problems import clouds, waves
from torch import nn

from affinity.fewshot import (
    ClassFamily,
    LinearModel,
    MetaTraining,
    SineWaves,
    TaskFamily,
    check_distribution_shift,
    compare_few_shot,
    few_shot_digits,
    few_shot_sines,
)
from affinity.fewshot.random_numbers import generator_of
from affinity.tasks import Examples, RSquared, SquaredError, Task

GENERATOR = generator_of(0, "tests")
SCORE = Task("score", SquaredError(), RSquared())


def numbered(sizes):
    """Classes whose rows hold their own number and their class's."""
    labels = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
    rows = torch.stack([torch.arange(len(labels)), labels], dim=1).float()
    return rows, labels, tuple(f"class {at}" for at in range(len(sizes)))


@given(
    ways=st.integers(2, 4),
    shots=st.integers(1, 3),
    queries=st.integers(1, 3),
    extra=st.lists(st.integers(0, 4), min_size=4, max_size=6),
    seed=st.integers(0, 99),
)
def test_no_row_is_both_support_and_query_and_every_way_is_one_class(
    ways, shots, queries, extra, seed
):
    rows, labels, classes = numbered([shots + queries + more for more in extra])
    family = ClassFamily(rows, labels, classes, ways)
    drawn = family.draw(3, shots, queries, torch.Generator().manual_seed(seed))
    for task in drawn:
        inputs = torch.cat([task.support_inputs, task.query_inputs], dim=1)[0]
        numbers = torch.cat([task.support_targets, task.query_targets], dim=1)[0]
        assert len(inputs[:, 0].unique()) == ways * (shots + queries)
        classes_of = [inputs[numbers == way, 1].unique() for way in range(ways)]
        assert all(len(found) == 1 for found in classes_of)
        assert len(torch.cat(classes_of).unique()) == ways


def test_every_row_and_class_has_its_turn():
    rows, labels, classes = numbered([3, 9, 4])
    family = ClassFamily(rows, labels, classes, 2)
    seen = family.draw(400, 1, 1, generator_of(0, "turn")).support_inputs[:, :, 0].flatten()
    counts = seen.long().bincount(minlength=len(rows)).float()
    assert (counts > 0).all()
    of_class = torch.stack([counts[labels == at].sum() for at in range(3)])
    assert (of_class / of_class.sum() - 1 / 3).abs().max() < 0.05  # whatever its size


def test_meta_training_and_meta_test_classes_are_apart_and_so_are_decisions():
    problem = clouds(test_classes=["cloud 1", "cloud 4", "cloud 6"])
    assert set(problem.test.classes) == {"cloud 1", "cloud 4", "cloud 6"}
    assert set(problem.training.classes) == {f"cloud {at}" for at in (0, 2, 3, 5, 7)}
    rows = [
        {tuple(row) for row in part.inputs.tolist()}
        for part in (problem.training, problem.validation, problem.test)
    ]
    assert sum(map(len, rows)) == len(set.union(*rows)) == 8 * 24


def test_tasks_with_rows_of_their_own_are_drawn_once_before_any_comes_twice():
    rows = [Examples(torch.full((8, 1), float(at)), torch.zeros(8, 1)) for at in range(5)]
    family = TaskFamily(tuple("abcde"), rows, SCORE)
    drawn = family.draw(5, 2, 3, GENERATOR)
    assert sorted(drawn.support_inputs[:, 0, 0].tolist()) == [0, 1, 2, 3, 4]
    assert (drawn.query_inputs[..., 0] == drawn.support_inputs[:, :1, 0]).all()
    assert len(family.draw(12, 2, 3, GENERATOR)) == 12


def test_waves_have_the_amplitudes_and_phases_asked_for():
    drawn = SineWaves(2.0, 3.0, 0.0).draw(50, 5, 40, GENERATOR)
    ratio = drawn.query_targets / drawn.query_inputs.squeeze(-1).sin()
    assert ratio.min() > 2 - 1e-2
    assert ratio.max() < 3 + 1e-2
    assert (ratio.max(dim=1).values - ratio.min(dim=1).values).max() < 0.05


def test_shots_that_a_class_does_not_have_are_refused_by_name():
    rows, labels, classes = numbered([9, 4, 9])
    with raises("too-few-rows") as info:
        ClassFamily(rows, labels, classes, 2).draw(1, 3, 2, GENERATOR)
    assert "'class 1'" in str(info.value)
    with raises("too-few-rows"):
        clouds().with_shots(20)
    few = [Examples(torch.zeros(n, 1), torch.zeros(n, 1)) for n in (9, 4)]
    with raises("too-few-rows") as info:
        TaskFamily(("a", "b"), few, SCORE).draw(1, 3, 2, GENERATOR)
    assert "'b'" in str(info.value)


def test_fewer_classes_than_ways_are_refused():
    rows, labels, classes = numbered([9, 9, 9])
    with raises("too-few-classes"):
        ClassFamily(rows, labels, classes, 4)
    with raises("too-few-classes"):
        few_shot_digits(ways=6)
    with raises("too-few-classes"):
        few_shot_digits(ways=3, test_classes=["1", "2"])
    with raises("unknown-class"):
        few_shot_digits(test_classes=["x"])


def test_fewer_meta_training_tasks_than_a_batch_are_refused():
    with raises("batch-too-large") as info:
        clouds(ways=2, settings=MetaTraining(batch=32))
    assert "--batch 30" in str(info.value)  # ordered pairs of 6 classes


def test_settings_out_of_range_are_refused():
    for changes, code in (
        ({"iterations": 0}, "invalid-iterations"),
        ({"batch": 0}, "invalid-batch"),
        ({"learning_rate": 0.0}, "invalid-learning-rate"),
    ):
        with raises(code):
            MetaTraining(**changes)
    for changes, code in (
        ({"steps": ()}, "invalid-steps"),
        ({"steps": (5, 1)}, "invalid-steps"),
        ({"inner_rate": 0.0}, "invalid-inner-rate"),
        ({"shots": 0}, "invalid-shots"),
        ({"test": clouds().test}, "different-tasks"),
    ):
        with raises(code):
            replace(waves(), **changes)


def test_a_shift_between_families_is_significant():
    alarms = [
        check_distribution_shift(SineWaves(), SineWaves(), seed).is_significant for seed in range(8)
    ]
    assert sum(alarms) <= 2  # level 5 %: more than 2 of 8 come once in 170 times
    found = check_distribution_shift(SineWaves(0.1, 2.0), SineWaves(3.0, 5.0))
    assert found.is_significant
    assert found.largest_difference in found.warning
    assert check_distribution_shift(SineWaves(), SineWaves()).warning is None


class SquareWaves(SineWaves):
    """The signs of sine waves, with their amplitude's deviation: moments hardly differ."""

    def generate(self, count, rows, generator):
        inputs, targets = super().generate(count, rows, generator)
        return inputs, targets.abs().amax(dim=1, keepdim=True) * targets.sign() / 2**0.5


@pytest.mark.slow
def test_another_relation_of_inputs_and_targets_is_seen_in_losses_from_scratch():
    problem = few_shot_sines(MetaTraining(iterations=2, batch=2))
    other = replace(problem, test=SquareWaves())
    result = compare_few_shot(other, (10,), {"linear": LinearModel()}, n_tasks=4)
    assert result.shift.rows_p_value > 0.05
    assert result.shift.is_significant
    same = compare_few_shot(problem, (10,), {"linear": LinearModel()}, n_tasks=4)
    assert not same.shift.is_significant


def test_tasks_with_other_inputs_are_refused():
    """Quadrupeds and grasping arms: what they sense does not even have one shape."""
    rows, labels, classes = numbered([9, 9, 9])
    narrow, wide = (
        ClassFamily(part, labels, classes, 2) for part in (rows, torch.cat([rows, rows], dim=1))
    )
    with raises("different-shapes"):
        check_distribution_shift(narrow, wide)


def test_a_family_of_images_keeps_their_shape():
    images = torch.randn(40, 1, 4, 4)
    family = ClassFamily(images, torch.arange(40) % 4, tuple("abcd"), 2)
    assert family.draw(3, 1, 2, GENERATOR).query_inputs.shape == (3, 4, 1, 4, 4)
    assert nn.Flatten()(family.pooled_rows(5, GENERATOR).inputs).shape == (5, 16)
    assert not check_distribution_shift(family, family).is_significant
