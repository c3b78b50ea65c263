"""Debian's Chromium, and what a tab of it did that no page should do."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = "/usr/bin/chromium"
JOB_MS = 240_000
SERIOUS = {"serious", "critical"}


@dataclass(slots=True)
class Tab:
    """A tab, with everything that its page said on the console and sent to somebody."""

    page: Page
    url: str
    errors: list[str] = field(default_factory=list)
    sent: list[tuple[str, bytes]] = field(default_factory=list)

    def foreign(self) -> list[str]:
        """Requests to anybody but the service."""
        return [url for url, _ in self.sent if not url.startswith((f"{self.url}/", "blob:", "data:"))]

    def open(self, place: str = "") -> Page:
        """Goes to a view and waits until it has its heading."""
        self.page.goto("about:blank")
        self.page.goto(f"{self.url}/{place}")
        self.page.wait_for_selector("h1")
        return self.page

    def violations(self) -> list[str]:
        """Returns what axe-core finds that is serious or critical."""
        # axe is put in by the debugger, which the policy of the page does not bind
        found: list[dict[str, Any]] = Axe().run(self.page).response["violations"]
        return [
            f"{each['id']}: {node['html'][:120]}"
            for each in found
            if each["impact"] in SERIOUS
            for node in each["nodes"]
        ]


@contextmanager
def chromium() -> Iterator[Browser]:
    """Yields a headless browser."""
    with sync_playwright() as playwright:
        # No sandbox: the tests may run as root in a container, and the page is our own.
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def new_tab(browser: Browser, url: str, **options: Any) -> Iterator[Tab]:
    """Yields a tab of a browser without a history, whose page is not open yet."""
    context = browser.new_context(**{"viewport": {"width": 1280, "height": 900}, **options})
    tab = Tab(page=context.new_page(), url=url)
    tab.page.on("console", lambda message: tab.errors.append(message.text) if message.type == "error" else None)
    tab.page.on("pageerror", lambda error: tab.errors.append(str(error)))
    tab.page.on("request", lambda request: tab.sent.append((request.url, request.post_data_buffer or b"")))
    tab.page.set_default_timeout(30_000)
    try:
        yield tab
    finally:
        context.close()
