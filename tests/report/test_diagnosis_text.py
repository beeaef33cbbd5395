"""The words of a diagnosis name what it shows, and one line per remedy."""

from dataclasses import replace

from example_audits import a_diagnosis

from affinity.report import advice_lines, diagnosis_headline


def test_the_headline_names_the_harmed_tasks_and_the_harm_on_test_rows() -> None:
    diagnosis = a_diagnosis("depth")
    assert diagnosis.cause == "mismatch"
    headline = diagnosis_headline(diagnosis)
    assert "depth" in headline
    assert "29." in headline  # 0.3 and noise
    together = replace(diagnosis, harmed=("depth",), together=True)
    assert diagnosis_headline(together) != headline


def test_the_headline_differs_if_harm_is_not_confirmed_not_shown_or_not_measured_twice() -> None:
    diagnosis = a_diagnosis()
    unconfirmed = replace(diagnosis, test_harm=diagnosis.test_harm - 0.6)
    harmless = replace(diagnosis, harmed=())
    once = replace(
        diagnosis,
        evaluation_harm=diagnosis.evaluation_harm[:1],
        test_harm=diagnosis.test_harm[:1],
    )
    headlines = {diagnosis_headline(each) for each in (diagnosis, unconfirmed, harmless, once)}
    assert len(headlines) == 4
    assert advice_lines(unconfirmed) == []


def test_every_remedy_has_a_line_with_its_advice() -> None:
    diagnosis = a_diagnosis("depth")
    lines = advice_lines(diagnosis)
    assert len(lines) == len(diagnosis.remedies) == 1
    assert lines[0].lower().startswith(diagnosis.remedies[0].change.advice.lower())
