"""scikit-learn's door: its own checks, several targets, and what the audit decides."""

import pickle

import numpy as np
import pandas as pd
import pytest
from codes import raises
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from affinity.integrations.scikit_learn import TaskGroupedClassifier, TaskGroupedRegressor

QUICK = {"width": 16, "depth": 1, "replicates": 2, "epochs": 30, "learning_rate": 0.02, "every": 10}


CHECKED = {**QUICK, "replicates": 1}


@parametrize_with_checks(
    [TaskGroupedRegressor(**CHECKED), TaskGroupedClassifier(**CHECKED)],
    expected_failed_checks=lambda _: {
        "check_sample_weight_equivalence_on_dense_data": "repeated rows are split otherwise"
    },
)
@pytest.mark.filterwarnings("ignore")  # the checks provoke warnings of their own
def test_scikit_learns_own_checks(estimator, check):
    check(estimator)


@pytest.fixture
def rows():
    random = np.random.default_rng(0)
    inputs = random.normal(size=(240, 5))
    return inputs, np.column_stack(
        [inputs[:, 0] * 3 + 50, inputs[:, 0] - inputs[:, 1], 100 * inputs[:, 2] ** 2]
    )


def test_several_targets_are_audited_and_predicted_in_their_own_units(rows):
    model = TaskGroupedRegressor(**QUICK, random_state=0).fit(*rows)
    assert model.predict(rows[0]).shape == rows[1].shape
    assert model.score(*rows) > 0.7
    assert model.audit_.gains.n_replicates == 2
    assert model.candidate_ == model.audit_.advice
    assert np.corrcoef(model.predict(rows[0])[:, 0], rows[1][:, 0])[0, 1] > 0.95
    assert abs(model.predict(rows[0])[:, 0].mean() - 50) < 1


@pytest.mark.parametrize(("candidate", "n_networks"), [("separate", 6), ("all-in-one", 2)])
def test_a_candidate_can_be_chosen(rows, candidate, n_networks):
    model = TaskGroupedRegressor(**QUICK, candidate=candidate, random_state=0).fit(*rows)
    assert len(model.networks_) == n_networks  # of two replicates
    with raises("unknown-candidate"):
        TaskGroupedRegressor(candidate="welded").fit(*rows)


def test_equal_seeds_give_equal_models_and_survive_pickle(rows):
    models = [TaskGroupedRegressor(**QUICK, random_state=7).fit(*rows) for _ in range(2)]
    first, second = (model.predict(rows[0]) for model in models)
    assert np.array_equal(first, second)
    assert np.array_equal(first, pickle.loads(pickle.dumps(models[0])).predict(rows[0]))


def test_classes_keep_their_names_and_probabilities_add_up(rows):
    labels = np.column_stack(
        [
            np.where(rows[0][:, 0] > 0, "yes", "no"),
            np.digitize(rows[0][:, 1], [-0.5, 0.5]).astype(str),
        ]
    )
    model = TaskGroupedClassifier(**QUICK, random_state=0).fit(rows[0], labels)
    assert [classes.tolist() for classes in model.classes_] == [["no", "yes"], ["0", "1", "2"]]
    assert model.score(rows[0], labels) > 0.85
    assert [each.shape for each in model.predict_proba(rows[0])] == [(240, 2), (240, 3)]
    assert model.predict_proba(rows[0])[1].sum(axis=1) == pytest.approx(1)
    with pytest.raises(ValueError, match="one class"):
        TaskGroupedClassifier(**QUICK).fit(rows[0], np.zeros(240))


def test_it_stands_in_pipelines_and_searches(rows):
    pipeline = make_pipeline(StandardScaler(), TaskGroupedRegressor(**QUICK, random_state=0))
    grid = {"taskgroupedregressor__candidate": ["separate", "all-in-one"]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(*rows)
    assert search.best_score_ > 0.5


def test_missing_labels_names_and_groups_are_taken_as_the_command_takes_them(rows):
    inputs, targets = rows
    frame = pd.DataFrame(inputs, columns=list("abcde"))
    labels = pd.DataFrame(targets, columns=["price", "area", "rooms"])
    labels.loc[labels.index[::3], "area"] = np.nan
    groups = np.repeat([f"p{number}" for number in range(60)], 4)
    model = TaskGroupedRegressor(**QUICK, random_state=0).fit(frame, labels, groups=groups)
    assert model.target_names_ == ("price", "area", "rooms")
    assert tuple(task.name for task in model.audit_.tasks) == model.target_names_
    assert model.audit_.context.intervals == "groups of test rows and replicates"
    assert np.isfinite(model.predict(frame)).all()
    assert np.corrcoef(model.predict(frame)[:, 1], targets[:, 1])[0, 1] > 0.8
    with raises("groups-do-not-fit"):
        TaskGroupedRegressor(**QUICK).fit(frame, labels, groups=[1, 2])
    with raises("no-labels"):
        TaskGroupedRegressor(**QUICK).fit(frame, labels.assign(area=np.nan))


def test_frames_are_taken_as_a_table_is(rows):
    inputs, targets = rows
    levels = pd.CategoricalDtype(["low", "mid", "high"], ordered=True)
    frame = pd.DataFrame(inputs, columns=list("abcde"))
    frame["size"] = pd.Series(np.where(inputs[:, 0] > 0, "high", "low")).astype(levels)
    labels = pd.DataFrame({"on": inputs[:, 1] > 0, "word": np.where(inputs[:, 2] > 0, "h", "l")})
    labels = labels.astype(object).mask(np.random.default_rng(0).random(labels.shape) < 0.2)
    model = TaskGroupedClassifier(**QUICK, random_state=0).fit(frame, labels)
    assert "size" in model.encoder_[0].numbers
    assert model.score(frame, labels) > 0.7
    with raises("missing-column"):
        model.predict(frame.drop(columns="size"))
    with raises("text-among-numbers"):
        model.predict(frame.assign(size="huge"))
    with raises("rows-in-another-order"):
        TaskGroupedRegressor(**QUICK).fit(frame, pd.DataFrame(targets)[::-1])


def test_weights_metrics_and_the_reference_are_those_of_the_command(rows):
    inputs, targets = rows
    weights = np.random.default_rng(1).choice([0.0, 1.0, 9.0], len(inputs))
    # Heavy rows are of another law than light ones.
    targets = targets * np.where(weights == 9, 1.0, -1.0)[:, None]
    model = TaskGroupedRegressor(
        **QUICK,
        metrics={0: "mae", "target 1": "r2"},
        judge_by="metric",
        task_weights={2: 3.0},
        reference=True,
        random_state=0,
    ).fit(inputs, targets, sample_weight=weights)
    tasks = model.audit_.tasks
    assert [task.judge_by for task in tasks] == ["metric"] * 3
    assert tasks[0].metric == "mean absolute error"
    assert model.audit_.reference is not None
    heavy = weights == 9
    errors = np.abs(model.predict(inputs) - targets)[:, 1]
    assert errors[heavy].mean() < 0.5 * errors[~heavy].mean()
    for wrong in ([1.0], np.full(len(inputs), -1.0), np.full(len(inputs), np.nan)):
        with raises("weights-do-not-fit" if len(wrong) == 1 else "invalid-weight"):
            TaskGroupedRegressor(**QUICK).fit(inputs, targets, sample_weight=wrong)
    with raises("unknown-task"):
        TaskGroupedRegressor(**QUICK, metrics={"nothing": "r2"}).fit(inputs, targets)


def test_frames_of_categories_and_gaps_are_encoded_as_tables_are(rows):
    inputs, targets = rows
    frame = pd.DataFrame(inputs, columns=list("abcde"))
    frame["a"] = np.where(frame["a"] > 0, "high", "low")
    frame.loc[::5, "b"] = np.nan
    targets = targets.copy()
    targets[:, 0] = 10 * (inputs[:, 0] > 0)
    model = TaskGroupedRegressor(**QUICK, random_state=0).fit(frame, targets)
    predicted = pickle.loads(pickle.dumps(model)).predict(frame)
    assert np.corrcoef(predicted[:, 0], targets[:, 0])[0, 1] > 0.95
    assert np.isfinite(model.predict(frame[:3].assign(a="new"))).all()


def test_gaps_in_arrays_are_taken_as_those_of_frames_are(rows):
    inputs, targets = rows
    gaps = np.where(np.random.default_rng(0).random(inputs.shape) < 0.1, np.nan, inputs)
    model = TaskGroupedRegressor(**QUICK, random_state=0).fit(gaps, targets)
    of_frame = TaskGroupedRegressor(**QUICK, random_state=0).fit(pd.DataFrame(gaps), targets)
    assert np.array_equal(model.predict(gaps), of_frame.predict(pd.DataFrame(gaps)))
    assert model.n_features_in_ == 5
    with pytest.raises(ValueError, match="features"):
        model.predict(gaps[:, :4])
    with pytest.raises(ValueError, match="infinity"):
        model.fit(np.where(np.isnan(gaps), np.inf, gaps), targets)
    model.fit(inputs, targets)
    assert np.isfinite(model.predict(gaps)).all()


def test_a_missing_class_is_no_class(rows):
    labels = np.where(rows[0][:, :2] > 0, "high", "low").astype(object)
    labels[::4, 0] = None
    model = TaskGroupedClassifier(**QUICK, random_state=0).fit(rows[0], labels)
    assert [classes.tolist() for classes in model.classes_] == [["high", "low"]] * 2
    assert model.audit_.context.labels[0].labelled["test"] < 48


def test_groups_give_an_honest_audit():
    random = np.random.default_rng(0)
    who = np.repeat(np.arange(80), 6)
    inputs = random.normal(size=(80, 5))[who] + 0.1 * random.normal(size=(480, 5))
    targets = random.normal(size=(80, 2))[who]  # unrelated to new people's inputs
    settings = {**QUICK, "width": 64, "epochs": 60, "random_state": 0}

    def r_squared(groups):
        model = TaskGroupedRegressor(**settings).fit(inputs, targets, groups=groups)
        return float(model.audit_.candidates["separate"].metrics.scores.mean())

    assert r_squared(None) > 0.3
    assert r_squared(who) < 0.1


def test_inputs_of_rows_that_do_not_count_scale_nothing():
    random = np.random.default_rng(0)
    inputs = random.normal(size=(120, 3))
    targets = np.column_stack([inputs[:, 0], inputs[:, 0] + inputs[:, 1]])
    odd = np.vstack([inputs, np.full((20, 3), 1e6)]), np.vstack([targets, np.full((20, 2), 1e9)])
    model = TaskGroupedRegressor(width=16, replicates=2, trainings=4, random_state=0)
    model.fit(*odd, sample_weight=[1.0] * 120 + [0.0] * 20)
    assert model.score(inputs, targets) > 0.8
