"""The page in a real headless Chromium; skipped where there is none."""

import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from example_audits import (
    HOSTILE,
    a_diagnosis,
    a_race,
    an_audit,
    names,
    trace_of,
    with_gates,
)
from example_transfers import a_fewshot, a_transfer

from affinity import AffinityMatrix, Study
from affinity.reading import DataNote
from affinity.report import write_report

pytestmark = pytest.mark.slow

api = pytest.importorskip("playwright.sync_api", reason="needs the package playwright")
CHROMIUM = (
    os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")
)
if CHROMIUM is None:
    pytest.skip("needs Chromium (Debian: apt-get install chromium)", allow_module_level=True)

OPTIONS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with api.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=OPTIONS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("pages")
    six = names(6)
    return {
        "six": write_report(
            with_gates(an_audit(six, race=a_race(six))),
            folder / "six.html",
            trace=trace_of(six),
            diagnosis=a_diagnosis(),
        ),
        "hostile": write_report(
            with_gates(
                an_audit(
                    HOSTILE,
                    notes=(DataNote("x", "A note on </main> & more"),),
                    race=a_race(HOSTILE),
                )
            ),
            folder / "hostile.html",
            trace=trace_of(HOSTILE),
            diagnosis=a_diagnosis(HOSTILE[0]),
        ),
        "many": write_report(an_audit(139, n_groups=12, n_replicates=3), folder / "many.html"),
        "transfer": write_report(a_transfer(HOSTILE[0]), folder / "transfer.html"),
        "fewshot": write_report(a_fewshot(HOSTILE[0]), folder / "fewshot.html"),
        "study": write_report(a_study(folder / "study"), folder / "study.html"),
    }


def a_study(folder: Path) -> Study:
    """Two trainings are recorded, one has failed, and one runs."""
    tasks = dict.fromkeys(HOSTILE[:4], "maximize")
    prior = AffinityMatrix(tuple(tasks), torch.linspace(-1, 1, 16).reshape(4, 4))
    study = Study(folder, tasks, budget=2, trainings=12, prior=[prior])
    first, second, third, _ = study.ask(4)
    for job in (first, second):
        study.tell(job.id, {task: 0.1 * len(job.tasks) for task in job.tasks}, seconds=5400)
    study.fail(third.id, f"out of memory: {HOSTILE[0]}")
    return study


class Opened:
    """A page in the browser, with what it complained of and what it asked for."""

    def __init__(self, browser: Any, file: Path, **context: Any) -> None:
        self.context = browser.new_context(**context)
        self.page = self.context.new_page()
        self.complaints: list[str] = []
        self.requests: list[str] = []
        self.page.on("console", lambda said: self.complaints.append(f"{said.type}: {said.text}"))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("dialog", lambda dialog: self.complaints.append(f"dialog {dialog.message}"))
        self.page.on("request", lambda request: self.requests.append(request.url))
        self.page.goto(file.as_uri())

    def __enter__(self) -> "Opened":
        return self

    def __exit__(self, *_: object) -> None:
        self.context.close()


@pytest.mark.parametrize("width", [390, 1280, 1920])
@pytest.mark.parametrize("name", ["six", "hostile", "many", "transfer", "fewshot", "study"])
def test_a_page_loads_without_complaint_request_or_overflow(
    browser: Any, files: dict[str, Path], name: str, width: int
) -> None:
    with Opened(browser, files[name], viewport={"width": width, "height": 800}) as opened:
        assert opened.complaints == []
        outside = [url for url in opened.requests if not url.startswith(("data:", "blob:"))]
        assert outside == [files[name].as_uri()]
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert opened.page.evaluate(overflow) == 0


def test_a_running_study_reloads_itself_until_it_is_stopped(
    browser: Any, files: dict[str, Path], tmp_path: Path
) -> None:
    text = files["study"].read_text(encoding="utf-8")
    fast = tmp_path / "fast.html"
    fast.write_text(text.replace('data-reload="30"', 'data-reload="0.5"'), encoding="utf-8")
    with Opened(browser, fast) as opened:
        opened.page.wait_for_timeout(1500)
        assert len(opened.requests) > 1
        assert opened.complaints == []
    with Opened(browser, files["study"]) as opened:
        opened.page.get_by_role("button", name="Stop reloading").click()
        assert opened.page.get_by_role("button", name="Stop reloading").count() == 0


def test_adaptation_curves_fit_a_phone_without_a_scroll(
    browser: Any, files: dict[str, Path]
) -> None:
    with Opened(browser, files["fewshot"], viewport={"width": 390, "height": 800}) as opened:
        wide = opened.page.locator("#adaptation .wide")
        assert wide.count() == 2
        hidden = "boxes => boxes.map(box => box.scrollWidth - box.clientWidth)"
        assert wide.evaluate_all(hidden) == [0, 0]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["hostile", "many", "transfer", "fewshot", "study"])
def test_axe_finds_no_serious_fault(
    browser: Any, files: dict[str, Path], name: str, scheme: str
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="needs axe-core")
    with Opened(browser, files[name], color_scheme=scheme) as opened:
        answer = axe.Axe().run(opened.page).response
    assert len(answer["passes"]) > 10
    faults = {
        fault["id"]: [node["html"][:200] for node in fault["nodes"][:3]]
        for fault in answer["violations"]
        if fault["impact"] in ("serious", "critical")
    }
    assert faults == {}


def test_a_click_sorts_the_table_by_a_column_and_a_second_one_turns_it(
    browser: Any, files: dict[str, Path]
) -> None:
    audit = an_audit(6)
    gains = audit.gains.by_task()
    falling = sorted(gains, key=lambda task: -gains[task])
    with Opened(browser, files["six"]) as opened:
        button = opened.page.locator("#gains table").first.get_by_role("button", name="Gain, plan")
        first_column = opened.page.locator("#gains table").first.locator("tbody th")
        assert first_column.all_inner_texts() == list(gains)
        button.click()
        assert first_column.all_inner_texts() == falling
        button.click()
        assert first_column.all_inner_texts() == falling[::-1]


def test_the_table_copies_as_csv_and_disarms_formulas(browser: Any, files: dict[str, Path]) -> None:
    import csv

    with Opened(
        browser, files["hostile"], permissions=["clipboard-read", "clipboard-write"]
    ) as opened:
        opened.page.locator("#gains button.copy").first.click()
        opened.page.get_by_text("Copied.").first.wait_for()
        text = opened.page.evaluate("navigator.clipboard.readText()")
    rows = list(csv.DictReader(text.splitlines(keepends=True)))
    formulas = [row["task"] for row in rows if "HYPERLINK" in row["task"]]
    assert formulas == ["'" + name for name in HOSTILE if "HYPERLINK" in name]
    gains = an_audit(HOSTILE).gains.by_task()
    assert [float(row["gain"]) for row in rows] == list(gains.values())


def test_pointing_at_a_cell_gives_its_number_and_interval(
    browser: Any, files: dict[str, Path]
) -> None:
    with Opened(browser, files["six"]) as opened:
        picture = opened.page.locator(".picture[data-matrix='0']")
        picture.scroll_into_view_if_needed()
        box = opened.page.locator("[id='heatmap-at-cells']").bounding_box()
        opened.page.mouse.move(box["x"] + 1.5 * box["width"] / 6, box["y"] + box["height"] / 12)
        said = picture.locator(".hint").inner_text()
    assert "→" in said
    assert "95 % interval" in said


def test_one_estimator_shows_at_a_time_and_can_be_switched(
    browser: Any, files: dict[str, Path]
) -> None:
    with Opened(browser, files["six"]) as opened:
        first = opened.page.locator("#figure-heatmap")
        second = opened.page.locator("#figure-heatmap-2")
        assert (first.is_visible(), second.is_visible()) == (True, False)
        opened.page.get_by_role("button", name="Gradient cosine").click()
        assert (first.is_visible(), second.is_visible()) == (False, True)


def test_without_scripts_everything_is_there(browser: Any, files: dict[str, Path]) -> None:
    with Opened(browser, files["six"], java_script_enabled=False) as opened:
        for figure in opened.page.locator("figure").all():
            assert figure.is_visible()
        assert opened.page.locator("#gains table").first.is_visible()
        assert opened.page.get_by_role("button").count() == 0


def test_print_shows_what_was_folded_and_hides_what_needs_a_hand(
    browser: Any, files: dict[str, Path]
) -> None:
    with Opened(browser, files["many"]) as opened:
        table = opened.page.locator("#gains table").first
        assert not table.is_visible()
        opened.page.emulate_media(media="print")
        opened.page.evaluate("dispatchEvent(new Event('beforeprint'))")
        assert table.is_visible()
        overflow = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        opened.page.set_viewport_size({"width": 690, "height": 1000})  # A4 within its margins
        assert opened.page.evaluate(overflow) == 0
        assert not opened.page.locator("nav").is_visible()


def test_the_slider_changes_the_grouping_shown(browser: Any, files: dict[str, Path]) -> None:
    with Opened(browser, files["six"]) as opened:
        slider = opened.page.get_by_label("Networks", exact=True)
        shown = opened.page.locator("#groupings .choice:visible")
        assert shown.count() == 1
        assert shown.get_attribute("data-networks") == "3"  # the plan's
        planned = shown.inner_text()
        slider.focus()
        opened.page.keyboard.press("ArrowLeft")
        assert shown.count() == 1
        assert shown.get_attribute("data-networks") == "2"
        assert shown.locator(".groups > li").count() == 2
        assert shown.inner_text() != planned
        assert slider.get_attribute("aria-valuetext") == "2"
