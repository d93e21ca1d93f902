"""Headless Chromium, and what a person does with a page."""

import json
import shutil
from contextlib import contextmanager

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
MISSING = "" if CHROMIUM and DRIVER else "no Chromium here: apt-get install chromium chromium-driver"
QUIET = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"]
QUIET += ["--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"]

OWN_PAGES = ("chrome:", "chrome-")


@contextmanager
def chromium_in(folder):
    """A browser that keeps its files in a folder."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in [*QUIET, "--window-size=1280,1000", f"--user-data-dir={folder}"]:
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    yield driver
    driver.quit()


def sent(message):
    """The page for which a request was sent."""
    return message["params"]["documentURL"]


class Opened:
    """A page that was opened."""

    def __init__(self, driver, url):
        self.driver = driver
        driver.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})
        driver.get_log("browser")
        driver.get_log("performance")
        driver.get(url)

    def one(self, selector):
        return self.driver.find_element("css selector", selector)

    def all(self, selector):
        return self.driver.find_elements("css selector", selector)

    def darken(self):
        """As on a machine that is set to dark."""
        dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)

    def paper(self):
        """The colour behind everything."""
        return self.driver.execute_script("return getComputedStyle(document.documentElement).backgroundColor")

    def on_a_phone(self):
        """As on a screen of 360 x 780."""
        size = {"width": 360, "height": 780, "deviceScaleFactor": 2, "mobile": True}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)

    def width(self):
        """Of all there is to scroll to."""
        return self.driver.execute_script("return document.documentElement.scrollWidth")

    def check(self, *places):
        """No error on the console, and nothing was asked for but at these places."""
        assert self.driver.get_log("browser") == []
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            # the browser's own first tab may still be loading its pages
            if message["method"] == "Network.requestWillBeSent" and not sent(message).startswith(OWN_PAGES):
                assert message["params"]["request"]["url"].startswith(places), message["params"]
