"""Few-shot problems from tables: disjoint splits, scaled by meta-training rows."""

import numpy as np
import pandas as pd
import pytest
import torch
from codes import raises
from small_problems import schools

from affinity.errors import InputError
from affinity.fewshot import few_shot_table
from affinity.reading import ReadingOptions


def plants():
    random = np.random.default_rng(0)
    table = pd.DataFrame({"length": random.normal(size=320), "soil": ["sandy", "clay"] * 160})
    table["plant"] = [f"plant {at % 8}" for at in range(320)]
    table.loc[table["plant"] == "plant 2", "length"] += 1000
    return table


def test_inputs_are_scaled_by_the_rows_of_meta_training_classes():
    problem = few_shot_table(plants(), "plant", ways=2, test_classes=["plant 2", "plant 5"])
    length = problem.training.inputs[:, 0]
    assert length.mean().abs() < 1e-5
    assert length.std().item() == pytest.approx(1, abs=0.01)
    assert problem.test.classes == ("plant 2", "plant 5")
    assert problem.test.inputs[:, 0].max() == 10  # far out, and clipped


def test_tasks_of_a_long_table_are_kept_apart_and_scaled_by_those_learned_from():
    problem = few_shot_table(schools(), "score", task_column="school")
    parts = [set(part.names) for part in (problem.training, problem.validation, problem.test)]
    assert [len(part) for part in parts] == [6, 2, 2]
    assert len(set.union(*parts)) == 10
    targets = torch.cat([rows.targets for rows in problem.training.rows])
    assert targets.mean().abs() < 1e-5
    assert targets.std().item() == pytest.approx(1, abs=0.01)
    assert problem.batch == 6  # as many as there are


def test_meta_test_tasks_can_be_named():
    names = sorted(schools()["school"].astype(str).unique())
    problem = few_shot_table(
        schools(), "score", task_column="school", test_classes=[names[3], names[0]]
    )
    assert problem.test.names == (names[0], names[3])
    assert not {*problem.training.names, *problem.validation.names} & {names[0], names[3]}
    with raises("unknown-task"):
        few_shot_table(schools(), "score", task_column="school", test_classes=["nowhere"])
    with raises("too-few-tasks"):
        few_shot_table(schools(), "score", task_column="school", test_classes=names)


def test_classes_that_are_numbers_can_be_named_with_or_without_decimals():
    table = plants()
    table["plant"] = table["plant"].str[-1].astype(float)
    table.loc[0, "plant"] = None  # makes the column one of floats
    for name in ("7", "7.0"):
        problem = few_shot_table(table, "plant", ways=2, test_classes=[name, "3"])
        assert problem.test.classes == ("3", "7")


def test_two_values_are_a_binary_task():
    problem = few_shot_table(schools(), "passed", task_column="school")
    assert problem.task.n_outputs == 1
    assert not problem.has_classes
    assert set(problem.test.rows[0].targets.unique().tolist()) <= {0.0, 1.0}


def test_rows_without_a_label_are_left_out():
    table = plants()
    table.loc[:9, "plant"] = None
    problem = few_shot_table(table, "plant", ways=2)
    families = (problem.training, problem.validation, problem.test)
    assert sum(len(part.labels) for part in families) == 310


def test_tables_that_cannot_be_used_are_refused():
    for arguments, code in (
        ({"target": "plant", "ways": 5}, "too-few-classes"),
        ({"target": "plant", "test_classes": ["rose"], "ways": 2}, "unknown-class"),
    ):
        with raises(code):
            few_shot_table(plants(), **arguments)
    with pytest.raises(InputError) as info:
        few_shot_table(plants(), target="plnt")
    assert "'plant'" in str(info.value)
    with raises("too-few-tasks"):
        few_shot_table(schools(9), "score", task_column="school")
    with raises("too-few-rows"):
        few_shot_table(schools(10, 8), "score", task_column="school")
    with raises("unsupported-target"):
        few_shot_table(schools().assign(of=list("abcdefghij") * 24), "of", task_column="school")


def test_a_column_of_codes_is_read_as_in_the_whole_table():
    table = plants().assign(code="1")
    table.loc[table["plant"] == "plant 2", "code"] = "3+"  # not in meta-training
    problem = few_shot_table(table, "plant", ways=2, test_classes=["plant 2", "plant 5"])
    assert problem.training.inputs.isfinite().all()


def test_options_of_reading_and_notes_on_the_data():
    table = plants().assign(mark="0.5")
    table.loc[::9, "mark"] = "?"
    with raises("text-among-numbers"):
        few_shot_table(table, "plant", ways=2)
    table["twin"] = table["plant"].str[-1].astype(int)
    problem = few_shot_table(table, "plant", ways=2, reading=ReadingOptions(missing=("?",)))
    found = {(note.code, note.column) for note in problem.notes if note.severity != "note"}
    assert found == {("leak", "twin")}
