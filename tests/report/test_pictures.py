"""Pictures as Python values: their numbers, their files, and what they highlight."""

from pathlib import Path

import matplotlib as mpl
import numpy as np
import pytest
import torch
from codes import raises
from example_audits import HOSTILE, an_audit, trace_of, with_gates

from affinity.audit import Audit
from affinity.estimates import AffinityMatrix, InterTaskAffinity
from affinity.report import GainPlot, GateUse, Heatmap, OverTime, write_figures
from affinity.report.picture import Picture
from affinity.report.pictures import all_matrices, audit_pictures

mpl.use("agg")


def every_picture(audit: Audit) -> dict[str, Picture]:
    trace = trace_of(tuple(task.name for task in audit.tasks))
    return audit_pictures(audit, all_matrices(audit, [], trace), trace)


def test_every_value_shows_itself_in_a_notebook_and_escapes_its_names() -> None:
    audit = an_audit(HOSTILE)
    for value in (audit, audit.plan, audit.plan.grouping, audit.matrix):
        shown = value._repr_html_()
        assert "<script" not in shown
        assert "<img" not in shown
        assert "&lt;img src=x onerror=alert(1)&gt;" in shown
        table = value.as_table()
        printed = str(value).splitlines()
        assert len(printed) == (table.caption != "") + 1 + len(table.rows)
        assert printed[-1].split()[0] == table.rows[-1][0].split()[0]


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
        kinds = {"svg": b"<?xml", "png": b"\x89PNG", "pdf": b"%PDF"}
        for kind in kinds if name == "heatmap" else ["svg"]:
            path = picture.save(tmp_path / f"{name}.{kind}")
            assert path.read_bytes().startswith(kinds[kind])


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
    with raises("unknown-format"):
        write_figures(an_audit(3), tmp_path, formats=("gif",))
    with raises("unknown-format"):
        Heatmap(an_audit(3).matrix).save(tmp_path / "heatmap.gif")


def test_a_picture_draws_on_the_axes_it_is_given() -> None:
    from matplotlib.figure import Figure

    axes = Figure().add_subplot()
    assert Heatmap(an_audit(3).matrix).plot(ax=axes) is axes
    assert GainPlot.from_audit(an_audit(3)).plot(ax=Figure().add_subplot()).get_xlabel()


def test_the_heatmap_leaves_out_the_diagonal_and_greys_what_is_within_two_errors() -> None:
    values = torch.tensor([[0.0, 0.3, -0.2], [0.3, 0.0, -0.2], [0.1, -0.2, 0.0]])
    matrix = AffinityMatrix(("a", "b", "c"), values, torch.full((3, 3), 0.1))
    picture = Heatmap(matrix)
    table, noise = picture.frame(), picture.within_noise()
    assert table.loc["a", "c"] == pytest.approx(-0.2)
    assert noise.loc["c", "a"]
    assert not noise.loc["a", "b"]
    assert picture.limit == pytest.approx(0.3)


def test_a_cell_of_many_tasks_is_the_mean_of_its_pairs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("affinity.report.heatmap.MOST_CELLS", 2)
    values = torch.full((4, 4), 0.01)
    values[0, 1], values[1, 0], values[2, 3], values[3, 2] = 0.2, 0.4, 0.3, 0.5
    matrix = AffinityMatrix(("a", "b", "c", "d"), values, torch.full((4, 4), 0.05))
    cells = Heatmap(matrix).plot().collections[0].get_array()
    assert isinstance(cells, np.ma.MaskedArray)
    blocks = cells.reshape(4, 4)[::2, ::2]
    assert sorted(blocks.diagonal()) == pytest.approx([0.3, 0.4])
    assert blocks.mask.tolist() == [[False, True], [True, False]]


def test_a_pair_within_its_noise_does_not_set_the_colours() -> None:
    values = torch.tensor([[0.0, 0.3, -99.0], [0.3, 0.0, 50.0], [0.1, -0.2, 0.0]])
    error = torch.full((3, 3), 0.1)
    error[0, 2], error[1, 2] = 80.0, torch.nan
    assert Heatmap(AffinityMatrix(("a", "b", "c"), values, error)).limit == pytest.approx(0.3)


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
    with raises("too-many-parts"):
        OverTime(trace, InterTaskAffinity(), n_parts=41)


def test_a_gates_weights_add_up_to_one_with_the_most_used_expert_first() -> None:
    (gates, *_) = with_gates(an_audit(6)).gates
    assert gates is not None
    weights = GateUse(gates).frame()
    totals = weights.groupby(["replicate", "task"])["weight"].sum()
    np.testing.assert_allclose(totals, 1.0, rtol=1e-6)
    by_expert = weights.groupby(["replicate", "expert"])["weight"].sum().unstack()
    assert (by_expert.diff(axis=1).iloc[:, 1:] <= 0).all(axis=None)
