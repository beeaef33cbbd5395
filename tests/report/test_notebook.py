"""What a notebook shows of the values that flow, and the figures as Python values."""

from dataclasses import replace
from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from example_audits import HOSTILE, an_audit, trace_of, with_gates

from affinity.audit import Audit
from affinity.errors import InputError
from affinity.estimates import AffinityMatrix, InterTaskAffinity, LabelOverlap
from affinity.recording import merge_traces
from affinity.report import GainDots, GateUse, OverTime, find_alerts, heatmap, write_figures
from affinity.report.drawing import Picture
from affinity.report.pictures import other_estimates, pictures_of

mpl.use("agg")


def every_picture(audit: Audit) -> dict[str, Picture]:
    trace = trace_of(tuple(task.name for task in audit.tasks))
    assert audit.matrix is not None
    return pictures_of(audit, [audit.matrix, *other_estimates(audit, trace)], trace)


def test_every_value_shows_itself_in_a_notebook_and_escapes_its_names() -> None:
    audit = an_audit(HOSTILE)
    for value in (audit, audit.plan, audit.plan.grouping, audit.matrix):
        shown = value._repr_html_()
        assert "<script" not in shown
        assert "<img" not in shown
        assert "&lt;img src=x onerror=alert(1)&gt;" in shown


@pytest.mark.parametrize(
    "names", [HOSTILE[:4], pytest.param(HOSTILE, marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_every_picture_gives_its_table_and_every_kind_of_file(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    pictures = every_picture(an_audit(names))
    assert {"heatmap", "heatmap-2", "gains", "graph", "over-time", "layers"} <= set(pictures)
    for name, picture in pictures.items():
        assert len(picture.frame()) > 0, name
        for kind, start in (("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")):
            path = picture.save(tmp_path / f"{name}.{kind}")
            assert path.read_bytes().startswith(start)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["png", "pdf", "svg"])
def test_a_picture_is_the_same_file_every_time(tmp_path: Path, kind: str) -> None:
    for name, picture in every_picture(an_audit(4)).items():
        first = picture.save(tmp_path / f"{name}-1.{kind}")
        second = picture.save(tmp_path / f"{name}-2.{kind}")
        assert first.read_bytes() == second.read_bytes(), name


def test_figures_are_written_in_the_formats_asked_for(tmp_path: Path) -> None:
    files = write_figures(an_audit(3), tmp_path, formats=("png", "svg"))
    assert sorted(file.name for file in files) == sorted(
        f"{name}.{kind}" for name in ("gains", "graph", "heatmap") for kind in ("png", "svg")
    )
    with pytest.raises(InputError, match="gif"):
        write_figures(an_audit(3), tmp_path, formats=("gif",))
    with pytest.raises(InputError, match=r"\.png"):
        heatmap(an_audit(3).matrix).save(tmp_path / "heatmap.gif")


def test_a_picture_draws_on_the_axes_it_is_given() -> None:
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    assert heatmap(an_audit(3).matrix).plot(ax=axes) is axes
    assert GainDots.of(an_audit(3)).plot(ax=Figure().add_subplot()).get_xlabel()


def test_the_heatmap_leaves_out_the_diagonal_and_greys_what_is_within_two_errors() -> None:
    values = torch.tensor([[0.0, 0.3, -0.2], [0.3, 0.0, -0.2], [0.1, -0.2, 0.0]])
    matrix = AffinityMatrix(("a", "b", "c"), values, torch.full((3, 3), 0.1))
    picture = heatmap(matrix)
    table, noise = picture.frame(), picture.within_noise()
    assert table.loc["a", "c"] == pytest.approx(-0.2)
    assert noise.loc["c", "a"]
    assert not noise.loc["a", "b"]
    assert picture.limit == pytest.approx(0.3)


def test_a_pair_within_its_noise_does_not_set_the_colours() -> None:
    values = torch.tensor([[0.0, 0.3, -99.0], [0.3, 0.0, 50.0], [0.1, -0.2, 0.0]])
    error = torch.full((3, 3), 0.1)
    error[0, 2], error[1, 2] = 80.0, torch.nan
    assert heatmap(AffinityMatrix(("a", "b", "c"), values, error)).limit == pytest.approx(0.3)


def test_affinity_over_time_averages_to_the_affinity_of_the_run() -> None:
    trace = trace_of(("a", "b", "c"))
    whole = InterTaskAffinity()(trace)
    parts = OverTime(trace, InterTaskAffinity()).frame()
    mean = parts.groupby(["source", "target"])["affinity"].mean()
    for source in trace.tasks:
        for target in trace.tasks:
            assert mean[source, target] == pytest.approx(whole.between(source, target)) or (
                source == target
            )
    with pytest.raises(InputError, match="between 1 and 40 parts"):
        OverTime(trace, InterTaskAffinity(), n_parts=41)


def test_alerts_come_worst_first_and_name_what_is_wrong() -> None:
    audit = an_audit(6, n_replicates=2, rows={"development": 900, "test": 40})
    levels = [alert.severity for alert in find_alerts(audit)]
    assert levels == sorted(levels, key=["serious", "warning", "note"].index)
    titles = [alert.title for alert in find_alerts(audit)]
    assert titles[0] == "Only 2 replicates"
    assert "The test split is small" in titles
    assert not any("replicate" in alert.title for alert in find_alerts(an_audit(6)))


def test_a_task_whose_gradients_dwarf_the_others_raises_an_alert() -> None:
    trace = trace_of(("a", "b"))
    assert trace.gramians is not None
    scale = torch.tensor([1.0, 50.0])
    loud = type(trace)(
        trace.tasks, trace.steps, trace.losses, gramians=torch.diag(scale**2).expand(40, 2, 2)
    )
    quiet = [alert.title for alert in find_alerts(an_audit(("a", "b"), n_groups=1), loud)]
    assert "One task's loss dominates" in quiet


def test_gates_that_choose_nothing_and_experts_that_are_alike_raise_alerts() -> None:
    polarized = with_gates(an_audit(6), polarized=True)
    told = {alert.title: alert.text for alert in find_alerts(polarized)}
    assert told["Gates of network 1 are polarized"].startswith("“task 01”, “task 04”: the gate")
    assert "on 5 of 5 replicates" in told["Experts of network 1 are identical"]
    fine = [alert.title for alert in find_alerts(with_gates(an_audit(6)))]
    assert not any("network 1" in title for title in fine)


def test_a_gates_weights_add_up_to_one_with_the_most_used_expert_first() -> None:
    (gates, *_) = with_gates(an_audit(6)).gates
    assert gates is not None
    weights = GateUse(gates).frame()
    totals = weights.groupby(["replicate", "task"])["weight"].sum()
    np.testing.assert_allclose(totals, 1.0, rtol=1e-6)
    by_expert = weights.groupby(["replicate", "expert"])["weight"].sum().unstack()
    assert (by_expert.diff(axis=1).iloc[:, 1:] <= 0).all(axis=None)


def test_tasks_that_share_few_rows_raise_an_alert_beside_an_estimate() -> None:
    few = LabelOverlap(n_pairs=15, n_below=9, median=0.2, least=0.0)
    told = {alert.title: alert.text for alert in find_alerts(an_audit(6, overlap=few))}
    assert told["Tasks share few rows"].startswith(
        "9 of the 15 pairs of tasks share fewer than 30%"
    )
    enough = replace(few, n_below=0)
    for audit in (an_audit(6, overlap=enough), replace(an_audit(6, overlap=few), matrix=None)):
        assert "Tasks share few rows" not in [alert.title for alert in find_alerts(audit)]


def test_affinities_that_another_run_would_not_repeat_raise_an_alert() -> None:
    audit = an_audit(6)
    noise = trace_of(audit.matrix.tasks)
    together = merge_traces([noise, noise.at(torch.arange(40).flip(0))])
    title = "The affinities would not come out the same"
    assert title in {alert.title for alert in find_alerts(audit, noise)}
    assert title not in {alert.title for alert in find_alerts(audit, together)}  # the same twice
    other = replace(noise, lookahead_losses=noise.lookahead_losses.flip(1))
    told = {a.title: a.text for a in find_alerts(audit, merge_traces([noise, other]))}
    assert told[title].startswith("2 runs with seeds of their own agree at")
