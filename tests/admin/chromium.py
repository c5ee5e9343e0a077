"""A headless Chromium for tests of pages: what it shows, what it complains of, what it asks for."""

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

OPTIONS = """
--headless=new --no-sandbox --disable-gpu --disable-quic --disable-dev-shm-usage --hide-scrollbars --no-first-run
--disable-background-networking --disable-component-update --disable-sync --disable-default-apps
""".split()
WAIT_S = 10.0
HEIGHT_MAX = 2600


class Browser:
    """One window. Every open() starts from a clean slate: no script switched off, light, wide."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(
        self, url: str, *, width: int = 1280, scheme: str = "light", scripts: bool = True, calm: bool = True
    ) -> None:
        """Show a page. scheme: light or dark. calm: the reader prefers reduced motion."""
        features = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce" if calm else "no-preference"}
        media = [{"name": name, "value": value} for name, value in features.items()]
        self._command("Emulation.setEmulatedMedia", features=media)
        self._command("Emulation.setScriptExecutionDisabled", value=not scripts)
        self._size(width, 900)
        self.driver.get("about:blank")
        self.complaints()
        self.requests()
        self.driver.get(url)

    def all(self, css: str) -> list[WebElement]:
        """The elements that fit."""
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def one(self, css: str) -> WebElement:
        """The one element that fits."""
        (element,) = self.all(css)
        return element

    def text(self, css: str) -> str:
        """What the one element that fits shows; it is looked for again when the page redraws it meanwhile."""
        try:
            return self.one(css).text
        except StaleElementReferenceException:
            return self.one(css).text

    def wait(self, until: Callable[[], Any], what: str) -> None:
        """Wait for something to become true."""
        WebDriverWait(self.driver, WAIT_S, poll_frequency=0.05).until(lambda _: until(), what)

    def press(self, *keys: str) -> None:
        """Press keys, wherever the focus is."""
        ActionChains(self.driver).send_keys(*keys).perform()

    def run(self, script: str, *arguments: object) -> Any:
        """Evaluate a script's `return`."""
        return self.driver.execute_script(script, *arguments)

    def complaints(self) -> list[str]:
        """What the console has got since the last call: errors, warnings, violations of the security policy."""
        return [entry["message"] for entry in self.driver.get_log("browser") if entry["level"] in ("SEVERE", "WARNING")]

    def requests(self) -> list[str]:
        """The addresses asked for since the last call."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"]

    def save(self, path: Path) -> None:
        """A picture of the whole page."""
        width, height = self.run("return [innerWidth, document.documentElement.scrollHeight]")
        self._size(width, min(height, HEIGHT_MAX))
        path.parent.mkdir(parents=True, exist_ok=True)
        self.driver.save_screenshot(str(path))
        self._size(width, 900)

    def _size(self, width: int, height: int) -> None:
        self._command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )

    def _command(self, name: str, **parameters: object) -> None:
        self.driver.execute_cdp_cmd(name, parameters)


@contextmanager
def chromium(program: str, driver_program: str, profile: Path) -> Iterator[Browser]:
    """Run one. profile: an empty folder of its own."""
    options = webdriver.ChromeOptions()
    options.binary_location = program
    for option in (*OPTIONS, f"--user-data-dir={profile}"):
        options.add_argument(option)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=Service(driver_program))
    try:
        yield Browser(driver)
    finally:
        driver.quit()
