"""Long work is reported in logs, too."""

import pytest

from affinity import progress


def test_a_log_gets_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    monkeypatch.setattr(progress, "_BETWEEN_LINES", -1.0)
    with progress.track("training", total=2) as outer:
        outer.advance()
        with progress.track("inner work", total=5) as inner:
            inner.advance()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("training: 1 of 2")
    with progress.quiet(), progress.track("training", total=2) as silent:
        silent.advance()
    assert capsys.readouterr().err == ""


def test_short_work_is_not_reported(capsys: pytest.CaptureFixture[str]):
    with progress.track("training", total=2) as work:
        work.advance(2)
    assert capsys.readouterr().err == ""


def test_the_time_left_is_told_once_it_is_known(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    monkeypatch.setattr(progress, "_BETWEEN_LINES", -1.0)
    with progress.track("training", total=100) as work:
        work.advance()
        work.advance(9)
    assert ["left" in line for line in capsys.readouterr().err.splitlines()] == [False, True]
