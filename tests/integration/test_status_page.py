"""The status page of a real indexer, in a real browser."""

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fixtures.events import event
from fixtures.servers.indexer import Indexer
from fixtures.servers.place import Place
from fixtures.waiting import eventually

pytestmark = pytest.mark.integration
CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
QUIET = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1280,1400",
)


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[Any]:
    if not (CHROMIUM and DRIVER):
        pytest.skip("needs chromium and chromedriver (Debian: apt-get install chromium chromium-driver)")
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in (*QUIET, f"--user-data-dir={tmp_path / 'profile'}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def shown(browser: Any, name: str) -> str:
    return str(browser.find_element("id", name).text)


async def partitions_with_lag(process: Indexer) -> int:
    return (await process.get("/metrics"))[1].count("activity_indexer_consumer_lag_events{")


async def test_a_person_sees_what_the_indexer_does(
    place: Place, indexer: Callable[..., Indexer], browser: Any, tmp_path: Path
) -> None:
    process = await indexer().ready()
    await place.publish([event("a"), event("b"), event("c"), b"bad", None])
    await process.settled(5)
    await eventually(lambda: process.metric("committed_offset"), 5)
    await eventually(lambda: partitions_with_lag(process), place.partitions)
    url = f"http://127.0.0.1:{await process.port()}/"

    browser.get(url)
    assert shown(browser, "state") == "ready"
    assert place.name in browser.title
    assert shown(browser, "lag") == "0"
    assert "indexed 3" in shown(browser, "outcomes")
    assert "dead_lettered 2" in shown(browser, "outcomes")
    assert "empty_value" in shown(browser, "causes")
    assert len(browser.find_elements("css selector", "#partitions tr")) == 1 + 3
    assert "kafka answers" in shown(browser, "servers")
    plots = browser.find_elements("css selector", "svg")
    assert [plot.get_attribute("aria-label").split(",")[0] for plot in plots] == [
        "Throughput",
        "Lag",
        "Publishing to written",
        "Dead letters",
    ]
    assert all(plot.size["height"] > 50 for plot in plots)

    for width in (1280, 400):
        browser.set_window_size(width, 1400)
        wider = browser.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
        assert wider <= 0, f"the page is {wider} pixels wider than a window of {width}"

    browser.find_element("link text", "settings").click()
    assert place.name in shown(browser, "settings")
    assert "********" in shown(browser, "settings")
    browser.find_element("link text", "back").click()
    assert browser.current_url == url
    errors = [entry for entry in browser.get_log("browser") if "favicon" not in entry["message"]]
    assert errors == []
    browser.save_screenshot(str(tmp_path / "page.png"))
