"""Reading a log: what is refused, and what is noted."""

import numpy as np
import pandas as pd
import pytest
from codes import raises, warns
from made_up_log import impressions, log

from affinity.ranking import RankingObjective


def test_times_out_of_order_or_missing_are_refused():
    frame = log()
    with raises("times-out-of-order"):
        impressions(frame.sample(frac=1, random_state=0))
    missing = frame.copy()
    missing.loc[3, "time"] = np.nan
    with raises("missing-time"):
        impressions(missing)
    with raises("missing-time-unit"):
        impressions(frame, time_unit=None)
    with raises("invalid-time"):
        impressions(frame.assign(time="yesterday"), time_unit=None)
    with raises("invalid-time"):  # the 3rd of April or the 4th of March
        impressions(frame.assign(time="03.04.2026"), time_unit=None)
    with raises("invalid-time"):  # milliseconds read as seconds
        impressions(frame.assign(time=1_770_000_000_000 + frame["time"]))
    with raises("days-out-of-order"):
        impressions(frame.assign(day=np.arange(len(frame)) % 2), day="day")


def test_texts_and_time_zones_give_days():
    stamps = pd.to_datetime(log()["time"], unit="s", utc=True).dt.tz_convert("Asia/Shanghai")
    assert impressions(log().assign(time=stamps), time_unit=None).day_names[:2] == (
        "1970-01-01",
        "1970-01-02",
    )
    assert len(impressions(log().assign(time=stamps), time_unit=None).day_names) == 5  # 8 h later
    texts = stamps.dt.tz_convert("UTC").dt.strftime("%Y-%m-%dT%H:%M:%S")
    assert len(impressions(log().assign(time=texts), time_unit=None).day_names) == 4


@pytest.mark.parametrize(
    ("column", "value", "code"),
    [
        ("click", 2.0, "label-not-binary"),
        ("click", "yes", "label-not-a-number"),
        ("watch", -1.0, "negative-time"),
        ("watch", np.inf, "negative-time"),
        ("position", 0, "invalid-position"),
        ("position", 1.5, "invalid-position"),
        ("length", "long", "not-a-number"),
        ("length", np.inf, "not-finite"),
    ],
)
def test_values_that_do_not_fit_are_refused(column, value, code):
    frame = log().astype({column: object})
    frame.loc[5, column] = value
    with raises(code):
        impressions(frame)


def test_missing_columns_and_empty_logs_are_refused():
    with raises("missing-column"):
        impressions(log().drop(columns="click"))
    with raises("no-rows"):
        impressions(log().head(0))


def test_columns_in_a_wrong_place_are_refused():
    frame = log().assign(later=log()["time"] + 1)
    with raises("duplicate-column"):
        impressions(pd.concat([frame, frame[["click"]]], axis=1))
    with raises("column-name-not-text"):
        impressions(frame.rename(columns={"video": 5}), identifiers=["user", 5])
    with raises("position-as-feature"):
        impressions(frame, numbers=["position"])
    with raises("unknown-column"):
        impressions(frame, known_at={"position": "later"})
    with raises("out-of-range"):
        impressions(frame, buckets=1)
    with raises("not-a-table"):
        impressions(3)
    from_columns = impressions({name: frame[name].tolist() for name in frame}, identifiers="user")
    assert from_columns.identifier_names == ("user",)


def test_missing_users_are_users_of_their_own():
    frame = log()
    frame["user"] = frame["user"].where(frame.index >= 10)
    read = impressions(frame)
    assert len(read.users[:10].unique()) == 10
    assert [(note.code, note.value) for note in read.notes] == [("missing-users", 10.0)]


def test_a_log_of_one_day_is_noted():
    read = impressions(log().assign(time=1_770_000_000 + log().index), time_unit="ms")
    assert [note.code for note in read.notes] == ["single-day"]


def test_leaking_labels_and_features_are_found():
    frame = log()
    with raises("label-as-feature"):
        impressions(frame, numbers=["watch"])
    frame["seconds"] = frame["watch"] * 1000  # logged after the impression
    with warns("feature-reveals-label"):
        data = impressions(frame, numbers=["seconds"])
    revealed = {note.task for note in data.notes if note.code == "feature-reveals-label"}
    assert revealed == {"click", "watch"}
    frame["seen"] = frame["time"] + 1
    with raises("feature-from-the-future"):
        impressions(frame, known_at={"length": "seen"})
    frame["clicked"], frame["watched"] = frame["time"] + 10, frame["time"] + 5
    with raises("label-before-its-condition"):
        impressions(
            frame,
            [RankingObjective("click"), RankingObjective("watch", "squared error", after="click")],
            known_at={"click": "clicked", "watch": "watched"},
        )
    frame["before"] = frame["time"] - 1
    with raises("label-before-impression"):
        impressions(frame, known_at={"click": "before"})


def test_labels_outside_their_sample_space_are_left_out_and_noted():
    frame = log()
    frame.loc[frame.index[frame["click"] == 0][:7], "like"] = 1.0
    data = impressions(frame)
    (note,) = data.notes
    assert (note.code, note.task, note.value) == ("labels-outside-sample-space", "like", 7)
    assert data.labels[:, 2].isnan().tolist() == (frame["click"] == 0).tolist()


def test_the_product_has_a_label_for_every_impression():
    objectives = [RankingObjective("click"), RankingObjective("like", after="click", product=True)]
    data = impressions(log(), objectives)
    expected = log()["click"] * log()["like"]
    assert data.labels[:, 1].tolist() == pytest.approx(expected.tolist())


def test_hashes_do_not_depend_on_the_type_of_a_column():
    frame = log()
    as_text = impressions(frame.assign(user=frame["user"].astype(str)))
    with_missing = frame.astype({"user": float})
    with_missing.loc[0, "user"] = np.nan
    as_float = impressions(with_missing)
    assert (impressions(frame).identifiers == as_text.identifiers).all()
    assert (impressions(frame).identifiers[1:] == as_float.identifiers[1:]).all()
    assert as_float.identifiers[0, 0] == 0


def test_objectives_are_chosen_with_their_sample_space():
    data = impressions()
    liked = data.of(["like"])
    assert liked.objectives[0].after is None
    assert liked.labels.isnan().squeeze().tolist() == (log()["click"] == 0).tolist()
    with raises("unknown-task"):
        data.of(["share"])
