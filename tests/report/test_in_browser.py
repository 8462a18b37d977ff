"""The report in a real Chromium, opened from disk with the network off."""

import base64
import json
import shutil
import time

import pytest

from small_analysis import HOSTILE, big_series, example, series, study
from thinwire.report.html import page as html

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
from selenium.webdriver.chrome.options import Options  # noqa: E402 - only where selenium is
from selenium.webdriver.chrome.service import Service  # noqa: E402

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="chromium or chromedriver is missing (Debian: chromium, chromium-driver)"
    ),
]

SWITCHES = (
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync --disable-dev-shm-usage --window-size=1100,900"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    options = Options()
    options.binary_location = CHROMIUM
    for switch in SWITCHES.split():
        options.add_argument(switch)
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('profile')}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(DRIVER))
    driver.execute_cdp_cmd("Network.enable", {})
    offline = {"offline": True, "latency": 0, "downloadThroughput": 0, "uploadThroughput": 0}
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", offline)
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def address(tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(html.render(example(), series()), encoding="utf-8")
    return path.as_uri()


@pytest.fixture
def page(browser, address):
    look(browser, width=1100)
    browser.get_log("performance")
    return opened(browser, address)


def look(browser, *, width, dark=False):
    size = {"width": width, "height": 844, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})


def opened(browser, address):
    browser.get(address)
    for _ in range(100):  # large sets of questions are unpacked after loading
        if browser.find_elements("css selector", "#question-table tbody tr"):
            return browser
        time.sleep(0.05)
    raise AssertionError("no question appeared")


def ids(page):
    return [element.text for element in page.find_elements("css selector", "#question-table .id")]


def status(page):
    return page.find_element("id", "found").text


def search(page, words):
    field = page.find_element("id", "search")
    field.clear()
    field.send_keys(words)


def press(page, selector):
    page.execute_script("arguments[0].click()", page.find_element("css selector", selector))


def test_nothing_is_asked_of_the_network_and_nothing_is_complained_about(page):
    messages = [json.loads(entry["message"])["message"] for entry in page.get_log("performance")]
    asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
    assert asked
    assert all(url.startswith(("file:", "data:")) for url in asked), asked
    assert page.get_log("browser") == []


def test_the_verdict_is_in_the_first_screen(page):
    for selector in ("h1", ".numbers", ".lead", "#verdict svg"):
        box = page.find_element("css selector", selector).rect
        assert box["height"] > 0
        assert box["y"] + box["height"] <= 844, selector


def test_html_in_a_question_is_shown_as_text(page):
    first = page.find_element("css selector", "#question-table tbody tr")
    assert first.find_element("css selector", "td").get_property("textContent").startswith(HOSTILE[:60])
    assert "<b>bold</b>" in first.text
    assert page.find_elements("css selector", "#question-table img, #question-table b, main img") == []
    assert page.title.startswith("phase1a_lora_sweep")
    assert page.execute_script("return document.querySelectorAll('script').length") == 2


def test_inline_code_would_not_run_even_if_it_were_in_the_page(page):
    page.execute_script(
        "const p = document.createElement('p'); p.innerHTML = '<img src=\"data:,\" onerror=\"window.ran = 1\">'; "
        "document.body.append(p); const s = document.createElement('script'); s.textContent = 'window.ran = 2'; "
        "document.body.append(s);"
    )
    time.sleep(0.3)
    assert page.execute_script("return window.ran === undefined")
    assert any("Content Security Policy" in entry["message"] for entry in page.get_log("browser"))


def test_questions_come_a_page_at_a_time(page):
    assert ids(page) == [f"id{n:02}" for n in range(25)]
    assert page.find_element("id", "place").text == "page 1 of 3"
    press(page, "#next")
    press(page, "#next")
    assert ids(page) == [f"id{n:02}" for n in range(50, 60)]
    assert not page.find_element("id", "next").is_enabled()
    press(page, "#previous")
    assert ids(page)[0] == "id25"


def test_search_finds_words_of_questions_golds_and_answers(page):
    search(page, "ZEBRA")
    assert (ids(page), status(page)) == (["id20"], "1 of 60 questions")
    search(page, "number best 42")
    assert ids(page) == ["id42"]
    search(page, "no such words")
    assert (ids(page), status(page)) == ([], "0 of 60 questions")
    search(page, " ")
    assert status(page) == "60 of 60 questions"


def test_filters_show_what_lora_fixed_and_what_it_broke(page):
    press(page, "[data-filter=fixed]")
    assert (ids(page), status(page)) == ([f"id{n:02}" for n in range(10)], "10 of 60 questions")
    assert page.find_element("css selector", "[data-filter=fixed]").get_attribute("aria-pressed") == "true"
    search(page, "base 3")
    assert ids(page) == ["id03"]
    search(page, " ")
    press(page, "[data-filter=broke]")
    assert ids(page) == ["id10", "id11", "id12", "id13", "id14"]
    marks = [mark.text for mark in page.find_elements("css selector", "#question-table tbody tr:first-child mark")]
    assert marks == ["25", "✓ 100", "50"]
    press(page, "[data-filter=all]")
    assert status(page) == "60 of 60 questions"


def test_the_table_of_arms_sorts_by_a_column(page):
    names = (
        "return [...document.querySelector('table.sortable').tBodies[0].rows].map((row) => row.cells[0].dataset.value)"
    )
    before = page.execute_script(names)
    assert before[:2] == ["r16_a32_full", "r8_a32_layers12"]
    press(page, "table.sortable thead th:nth-child(2) button")  # F1, highest first: the ceiling
    assert page.execute_script(names)[:2] == ["text_lora", "r16_a32_full"]
    press(page, "table.sortable thead th:nth-child(2) button")
    assert page.execute_script(names)[:2] == ["codec_only", "text_zero_shot"]
    assert page.execute_script(names)[-1] == "r64_a64_full"  # what has no figure is last either way


def test_buttons_make_arms_stand_out_in_every_panel(page):
    lines = "return [...document.querySelectorAll('.run[data-arm=\"1\"]')].map((line) => line.getAttribute('class'))"
    assert {css.strip() for css in page.execute_script(lines)} == {"run"}
    press(page, "#training [data-arm='1']")
    assert page.execute_script(lines) == ["run on c1"] * 5
    press(page, "#training [data-arm='1']")
    assert {css.strip() for css in page.execute_script(lines)} == {"run"}


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [390, 320, 768, 1100])
def test_the_page_is_never_wider_than_the_screen(browser, address, width, dark):
    look(browser, width=width, dark=dark)
    opened(browser, address)
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    shown = "return getComputedStyle(document.querySelector('{}')).display"
    assert (browser.execute_script(shown.format(".narrow")) == "block") == (width <= 640)
    assert (browser.execute_script(shown.format(".wide")) == "block") == (width > 640)


OUTSIDE = """
const found = [];
for (const svg of document.querySelectorAll("svg")) {
  if (!svg.getClientRects().length) continue;
  const { width, height } = svg.viewBox.baseVal;
  for (const text of svg.querySelectorAll("text")) {
    const box = text.getBBox();
    const inside = box.x > -1 && box.y > -1 && box.x + box.width < width + 1 && box.y + box.height < height + 1;
    if (!inside) found.push(`${svg.id}: ${text.textContent}`);
  }
}
return found;
"""


@pytest.mark.parametrize("width", [390, 1280])
@pytest.mark.parametrize("analysis", [example, study])
def test_no_label_is_cut(browser, tmp_path, analysis, width):
    path = tmp_path / "report.html"
    path.write_text(html.render(analysis(), series()), encoding="utf-8")
    look(browser, width=width)
    opened(browser, path.as_uri())
    assert browser.execute_script(OUTSIDE) == []


def test_no_table_is_cut_on_a_desktop(browser, address):
    look(browser, width=1280)
    opened(browser, address)
    cut = "return [...document.querySelectorAll('.scroll')].filter((box) => box.scrollWidth > box.clientWidth).length"
    assert browser.execute_script(cut) == 0


def test_dark_pages_are_dark_and_light_pages_light(browser, address):
    colours = "return ['backgroundColor', 'color'].map((name) => getComputedStyle(document.body)[name])"
    seen = []
    for dark in (False, True):
        look(browser, width=1100, dark=dark)
        opened(browser, address)
        seen.append(browser.execute_script(colours))
    assert seen == [["rgb(255, 255, 255)", "rgb(27, 31, 36)"], ["rgb(20, 23, 26)", "rgb(230, 232, 234)"]]


def test_the_page_prints_light_with_its_wide_figures(page):
    printed = base64.b64decode(
        page.execute_cdp_cmd("Page.printToPDF", {"paperWidth": 8.27, "paperHeight": 11.69})["data"]
    )
    assert printed.startswith(b"%PDF")
    assert 3 <= printed.count(b"/Type /Page\n") + printed.count(b"/Type /Page ") <= 14


def test_the_whole_test_set_opens_and_searches_quickly(browser, tmp_path):
    found = big_series()
    found["questions"][9000]["question"] = "Where is the needle?"
    path = tmp_path / "report.html"
    path.write_text(html.render(example(), found), encoding="utf-8")
    look(browser, width=1100)
    opened(browser, path.as_uri())
    assert status(browser) == "10,570 of 10,570 questions"
    took = browser.execute_script(
        "const field = document.getElementById('search'); const start = performance.now(); field.value = 'needle'; "
        "field.dispatchEvent(new Event('input')); return performance.now() - start"
    )
    assert status(browser) == "1 of 10,570 questions"
    assert took < 500  # milliseconds; about 10 on a desktop
    assert browser.get_log("browser") == []
