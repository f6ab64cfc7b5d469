"""The report in a real browser: Debian's chromium, without a window, driven by selenium."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from report_world import gallery_data

from prefixcap.cli import main

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
WHY = "chromium and chromedriver are not installed (Debian: apt-get install chromium-driver)"
pytestmark = pytest.mark.skipif(not (CHROMIUM and DRIVER), reason=WHY)

FLAGS = (
    "headless=new",
    "no-sandbox",
    "disable-gpu",
    "disable-quic",
    "disable-dev-shm-usage",
    "no-first-run",
    "disable-background-networking",
    "disable-component-update",
    "disable-sync",
    "force-prefers-reduced-motion",
    "window-size=1280,900",
)
CONTRAST = """
// the least contrast of any text that is shown with what lies behind it, and the text
const canvas = document.createElement("canvas");
canvas.width = canvas.height = 1;
const pen = canvas.getContext("2d", { willReadFrequently: true });
const layers = (element) => element ? [...layers(element.parentElement), element] : [];
const behind = (element) => {
  pen.clearRect(0, 0, 1, 1);
  for (const each of layers(element)) {
    pen.fillStyle = getComputedStyle(each).backgroundColor;
    pen.fillRect(0, 0, 1, 1);
  }
  return [...pen.getImageData(0, 0, 1, 1).data];
};
const painted = (colour) => {
  pen.fillStyle = colour;
  pen.fillRect(0, 0, 1, 1);
  return [...pen.getImageData(0, 0, 1, 1).data];
};
const light = ([r, g, b]) => {
  const [x, y, z] = [r, g, b].map((c) => {
    const s = c / 255;
    return s <= 0.04045 ? s / 12.92 : ((s + 0.055) / 1.055) ** 2.4;
  });
  return 0.2126 * x + 0.7152 * y + 0.0722 * z;
};
let least = [99, ""];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  const text = walker.currentNode.textContent.trim();
  if (!text || ["SCRIPT", "STYLE", "NOSCRIPT", "OPTION"].includes(element.tagName)) continue;
  if (!element.checkVisibility({ visibilityProperty: true })) continue;
  const style = getComputedStyle(element);
  const below = light(behind(element));
  const above = light(painted(element.ownerSVGElement ? style.fill : style.color));
  const ratio = (Math.max(above, below) + 0.05) / (Math.min(above, below) + 0.05);
  if (ratio < least[0]) least = [ratio, text];
}
return least;
"""


@pytest.fixture(scope="module")
def page(graded: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    page = tmp_path_factory.mktemp("browser") / "page.html"
    assert main(["report", str(graded), "--out", str(page), "--score", "Length"]) == 0
    return page


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(f"--{flag}")
    # the browser's own first page asks for things of its own, now and then while a test runs
    options.add_argument("about:blank")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(str(DRIVER)))
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser: Any, page: Path) -> Iterator[Any]:
    """The freshly loaded page; fails if the browser logged errors."""
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    browser.get_log("performance")
    browser.get(page.as_uri())
    browser.execute_script("localStorage.clear()")
    yield browser
    # a page of a file that is opened again while it is still being left may be told so
    again = f"Unsafe attempt to load URL {page.as_uri()}"
    logged = browser.get_log("browser")
    assert [e for e in logged if e["source"] != "security" or again not in e["message"]] == []
    assert browser.execute_script("return window.hacked ?? null") is None
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    sent = [e["params"] for e in events if e["method"] == "Network.requestWillBeSent"]
    asked = [e["request"]["url"] for e in sent if e["documentURL"].startswith(page.as_uri())]
    assert page.as_uri() in asked
    assert [url for url in asked if not url.startswith(("data:", page.as_uri()))] == []


@pytest.fixture(params=[1280, 390])
def sized(request: pytest.FixtureRequest, opened: Any) -> Any:
    """The page at the width of a desktop and of a phone."""
    resize(opened, request.param)
    return opened


def resize(browser: Any, width: int) -> None:
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)


def find(browser: Any, selector: str) -> Any:
    return browser.find_element("css selector", selector)


def texts(browser: Any, selector: str) -> list[str]:
    return [each.text for each in browser.find_elements("css selector", selector)]


def choose(browser: Any, name: str, value: str) -> None:
    from selenium.webdriver.support.ui import Select

    Select(find(browser, f"#gallery select[name={name}]")).select_by_value(value)


def shown(browser: Any) -> list[str]:
    return texts(browser, "#gallery .gallery > li h3")


def write(browser: Any, text: str) -> None:
    field = find(browser, "#gallery input[name=text]")
    field.clear()
    field.send_keys(text)


def test_the_gallery_shows_pictures_captions_and_references(sized: Any, page: Path) -> None:
    opened, data = sized, gallery_data(page)
    assert shown(opened) == [image["id"] for image in data["images"]]
    loaded = (
        "return [...document.querySelectorAll('#gallery img')].map((i) => [i.naturalWidth, i.alt])"
    )
    pictures = opened.execute_script(loaded)
    assert [alt for _, alt in pictures] == [image["references"][0] for image in data["images"]]
    assert {width for width, _ in pictures} == {40}
    first = data["images"][0]
    item = find(opened, "#gallery .gallery > li").text
    assert all(reference in item for reference in first["references"])


def test_the_gallery_is_searched(sized: Any, page: Path) -> None:
    data = gallery_data(page)
    write(sized, "RED ball")
    wanted = [i["id"] for i in data["images"] if any("red ball" in r for r in i["references"])]
    assert shown(sized) == wanted
    assert len(wanted) == 1
    assert (
        find(sized, "#gallery [role=status]").text
        == f"1 of 1 images shown ({len(data['images'])} in all)"
    )
    write(sized, "window.hacked")
    assert len(shown(sized)) == 1
    write(sized, "no such words")
    assert shown(sized) == []


def test_an_image_is_found_by_its_name(opened: Any) -> None:
    write(opened, "TEST-3")
    assert shown(opened) == ["test-3.png"]


def test_texts_begin_on_the_side_of_their_language(opened: Any) -> None:
    find(opened, "#gallery .gallery > li > details > summary").click()
    for selector in ("h3", "dd > span", ".references li"):
        item = find(opened, f"#gallery .gallery > li {selector}")
        assert item.get_attribute("dir") == "auto", selector


def test_every_region_has_a_unique_name(opened: Any) -> None:
    for summary in opened.find_elements(
        "css selector", "#gallery .gallery > li > details > summary"
    ):
        summary.click()
    script = """return [...document.querySelectorAll("[role=region]")].map(
        (region) => region.getAttribute("aria-label"))"""
    names = opened.execute_script(script)
    assert len(set(names)) == len(names) > 8


def test_the_chosen_button_is_visible_in_forced_colours(opened: Any) -> None:
    forced = {"features": [{"name": "forced-colors", "value": "active"}]}
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", forced)
    script = """const spans = document.querySelectorAll("input[name=theme] + span");
        return [document.body, ...spans].map((each) => getComputedStyle(each).backgroundColor)"""
    behind, chosen, *others = opened.execute_script(script)
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
    assert len(others) == 2
    assert chosen not in (behind, *others)


def test_without_scripts_all_rows_and_no_controls_are_shown(browser: Any, page: Path) -> None:
    def shown(selector: str) -> list[bool]:
        from selenium.common.exceptions import WebDriverException

        for _ in range(20):  # nodes are renumbered while the page is still being built
            try:
                return looked_at(selector)
            except WebDriverException:
                time.sleep(0.2)
        return looked_at(selector)

    def looked_at(selector: str) -> list[bool]:
        root = browser.execute_cdp_cmd("DOM.getDocument", {})["root"]["nodeId"]
        query = {"nodeId": root, "selector": selector}
        nodes = browser.execute_cdp_cmd("DOM.querySelectorAll", query)["nodeIds"]
        return [displayed(node) for node in nodes]

    def displayed(node: int) -> bool:
        result = browser.execute_cdp_cmd("CSS.getComputedStyleForNode", {"nodeId": node})
        styles = {each["name"]: each["value"] for each in result["computedStyle"]}
        return styles["display"] != "none"

    for domain in ("DOM", "CSS"):
        browser.execute_cdp_cmd(f"{domain}.enable", {})
    browser.get(page.as_uri())
    assert shown("#table tbody") == [True, False]
    assert all(shown(".controls, .choices, .more, .scripted"))
    try:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
        browser.get(page.as_uri())
        assert shown("#table tbody") == [True, True]
        assert shown("#table thead .single") == [True]
        assert not any(shown(".controls, .choices, .more, .scripted"))
    finally:
        browser.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
        for domain in ("CSS", "DOM"):
            browser.execute_cdp_cmd(f"{domain}.disable", {})
        browser.get("about:blank")
        browser.get_log("browser")  # files are strangers to a file without scripts, which it logs


def test_the_gallery_is_sorted_by_difference(sized: Any, page: Path) -> None:
    opened, data = sized, gallery_data(page)
    baseline = data["cells"].index("constant caption")
    choose(opened, "first", "0")
    choose(opened, "second", str(baseline))
    choose(opened, "score", "Length")
    lengths = data["scores"]["Length"]
    differences = [one - other for one, other in zip(lengths[0], lengths[baseline], strict=True)]
    images = [image["id"] for image in data["images"]]

    def ordered(key: Callable[[int], float]) -> list[str]:
        return [images[row] for row in sorted(range(len(images)), key=key)]

    choose(opened, "sort", "difference")
    assert shown(opened) == ordered(lambda row: -abs(differences[row]))
    choose(opened, "sort", "second")
    assert shown(opened) == ordered(lambda row: differences[row])
    choose(opened, "sort", "lowest")
    assert shown(opened) == ordered(lambda row: lengths[0][row])
    captions = texts(opened, "#gallery .gallery > li:first-child dt")
    assert captions[1].startswith("constant caption \u00b7 Length ")


def test_all_captions_unfold(sized: Any, page: Path) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    opened, data = sized, gallery_data(page)
    find(opened, "#gallery .gallery > li > details > summary").click()
    # the browser tells the page that it was unfolded when it gets round to it
    rows = WebDriverWait(opened, 20).until(
        lambda _: texts(opened, "#gallery .gallery > li > details tbody tr")
    )
    assert len(rows) == len(data["cells"])
    assert all(row.startswith(name) for row, name in zip(rows, data["cells"], strict=True))


def test_the_table_is_sorted_by_the_keyboard_and_shows_single_seeds(opened: Any) -> None:
    from selenium.webdriver.common.keys import Keys

    heading = find(opened, "#table thead th.number:not(.wide) button")
    opened.execute_script("arguments[0].focus()", heading)

    def column() -> list[float]:
        script = """return [...document.querySelectorAll("#table tbody tr")].filter(
            (row) => row.checkVisibility()).map(
            (row) => Number(row.querySelector("td.number:not(.wide)").dataset.value))"""
        return list(opened.execute_script(script))

    heading.send_keys(Keys.ENTER)
    assert column() == sorted(column(), reverse=True)
    assert heading.find_element("xpath", "..").get_attribute("aria-sort") == "descending"
    heading.send_keys(Keys.SPACE)
    assert column() == sorted(column())
    assert len(column()) == 7
    find(opened, "#table input[value=single]").click()
    assert len(column()) == 9
    assert "seed" in find(opened, "#table thead").text


@pytest.mark.parametrize("width", [1280, 390])
def test_the_page_never_scrolls_sideways(opened: Any, width: int) -> None:
    resize(opened, width)
    for details in opened.find_elements("css selector", "details"):
        opened.execute_script("arguments[0].open = true", details)
    page = "return [document.documentElement.scrollWidth, document.documentElement.clientWidth]"
    wide, room = opened.execute_script(page)
    assert wide == room


@pytest.mark.parametrize("system", ["light", "dark"])
def test_the_theme_follows_the_system_and_the_switch(opened: Any, system: str) -> None:
    from selenium.webdriver.support.ui import WebDriverWait

    features = [{"name": "prefers-color-scheme", "value": system}]
    opened.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    def dark() -> bool:
        colour = "return getComputedStyle(document.body).backgroundColor"
        return "255" not in str(opened.execute_script(colour))

    assert dark() is (system == "dark")
    for theme in ("dark", "light", "auto"):
        find(opened, f"input[name=theme][value={theme}]").click()
        assert dark() is (theme == "dark" or (theme == "auto" and system == "dark"))

    def kept(page: Any) -> bool:
        find(page, "input[name=theme][value=dark]").click()
        page.refresh()
        return dark()

    # a busy browser may reload before it has stored the choice
    WebDriverWait(opened, 20).until(kept)
    assert find(opened, "input[name=theme][value=dark]").is_selected()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_texts_have_contrast(opened: Any, theme: str) -> None:
    find(opened, f"input[name=theme][value={theme}]").click()
    least, text = opened.execute_script(CONTRAST)
    assert least >= 4.5, text


def test_every_control_has_a_name(opened: Any) -> None:
    for control in opened.find_elements("css selector", "button, input, select, [role=region]"):
        if control.is_displayed():
            assert control.accessible_name, control.get_attribute("outerHTML")
