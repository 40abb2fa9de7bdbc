"""Make the screenshots in `docs/images/` from demo data, in a real Chromium: `python docs/screenshots.py`.

Needs the `dev` extra (Playwright) and Chromium on the path. Starts `ovx-lite dev` with generated traffic at a fixed
time, so that the pictures change only when the pages do.
"""

import json
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.request import Request, urlopen

from playwright.sync_api import Browser, Page, sync_playwright

IMAGES = Path(__file__).parent / "images"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
MAX_BYTES = 150 * 1024
START_TIMEOUT_S = 60
DEMO = ("--demo", "91", "--seed", "7", "--clock", "2026-11-20T14:30:00Z")
SITE = "/sites/site_abc123"
PASSWORD = "stand-in"
PAGEVIEW = {"site_id": "site_abc123", "url": "https://example.com/pricing", "referrer": "https://google.com/"}
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0"


class Shot(NamedTuple):
    """A picture to take: its file name, the page, the size of the window and the colour scheme."""

    name: str
    path: str
    height: int = 900
    width: int = 1440
    scheme: str = "light"


SHOTS = (
    Shot("dashboard", f"{SITE}?compare=previous", height=1080),
    Shot("dashboard-dark", f"{SITE}?compare=previous", scheme="dark"),
    Shot("dashboard-phone", SITE, height=844, width=390),
    Shot("webhooks", f"{SITE}/settings/webhooks"),
    Shot("missing-events", f"{SITE}/settings/missing", height=620),
    Shot("live", "/live", height=560),
)


@contextmanager
def emulator() -> Iterator[str]:
    """Run `ovx-lite dev` with demo traffic on a free port; yield its URL."""
    with tempfile.TemporaryDirectory(prefix="ovx-lite-screenshots-") as folder:
        ready, data_dir = Path(folder, "ready.json"), str(Path(folder, "data"))
        program = [sys.executable, "-m", "ovx_lite"]
        command = [*program, "dev", "--port", "0", "--ready-file", str(ready), "--data-dir", data_dir, *DEMO]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + START_TIMEOUT_S
            while not ready.exists():
                if process.poll() is not None or time.monotonic() > deadline:
                    raise SystemExit("ovx-lite dev did not start")
                time.sleep(0.05)
            rename_command = [
                *program,
                "site",
                "change",
                "site_abc123",
                "--name",
                "example.com",
                "--data-dir",
                data_dir,
            ]
            subprocess.run(rename_command, check=True, stdout=subprocess.DEVNULL)
            yield str(json.loads(ready.read_text())["url"])
        finally:
            process.terminate()
            process.wait()


def post(url: str, body: object, **headers: str) -> int:
    """POST JSON; return the status of the response, errors included."""
    request = Request(url, json.dumps(body).encode(), headers, method="POST")
    try:
        with urlopen(request) as response:
            return int(response.status)
    except OSError as exc:
        return int(getattr(exc, "code", 0))


def populate(url: str) -> None:
    """Add what the settings pages and `/live` show: a webhook, accepted and rejected events."""
    post(f"{url}/_dev/webhooks", {"url": f"{url}/_dev/hook/alerts?reply=200", "events": ["goal.completed"]})
    key = {"Authorization": "Bearer YOUR_API_KEY"}
    for index in range(6):
        visitor = {"ip_address": f"198.51.100.{index}", "user_agent": FIREFOX}
        post(f"{url}/api/v1/events/pageview", PAGEVIEW | visitor, **key)
    custom = {"site_id": "site_abc123", "event_name": "signup", "url": "https://example.com/signup"}
    post(f"{url}/api/v1/events/custom", custom | {"ip_address": "198.51.100.2", "user_agent": FIREFOX}, **key)
    post(f"{url}/api/v1/events/custom", {"site_id": "site_abc123", "event_nme": "signup", "url": "/signup"}, **key)
    crawler = {"user_agent": "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)"}
    post(f"{url}/api/v1/events/pageview", PAGEVIEW | crawler, **key)


def log_in(page: Page, url: str) -> None:
    """Log in with the emulator's password."""
    page.goto(f"{url}/login")
    page.locator("input[type=password]").fill(PASSWORD)
    page.locator("form button").last.click()
    page.wait_for_url(re.compile(re.escape(url) + "/?$"))


def take_screenshot(browser: Browser, url: str, shot: Shot) -> Path:
    """Take one picture and return its path. Text that shows the free port is given the documented one."""
    scheme = "dark" if shot.scheme == "dark" else "light"
    context = browser.new_context(
        viewport={"width": shot.width, "height": shot.height},
        color_scheme=scheme,  # type: ignore[arg-type]
        locale="en-GB",
        timezone_id="UTC",
        reduced_motion="reduce",
    )
    with context:
        page = context.new_page()
        log_in(page, url)
        page.goto(url + shot.path)
        page.wait_for_timeout(700)
        page.evaluate(
            """origin => {
              const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT)
              while (walker.nextNode()) {
                const node = walker.currentNode
                if (node.data.includes(origin)) node.data = node.data.replaceAll(origin, 'http://127.0.0.1:8321')
              }
            }""",
            url,
        )
        file = IMAGES / f"{shot.name}.png"
        page.screenshot(path=file, animations="disabled")
    return file


def main() -> None:
    """Take all pictures; fail if one is too large for the repository."""
    if CHROMIUM is None:
        raise SystemExit("Install Chromium first.")
    IMAGES.mkdir(exist_ok=True)
    with emulator() as url, sync_playwright() as playwright:
        populate(url)
        args = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=args)
        files = [take_screenshot(browser, url, shot) for shot in SHOTS]
        browser.close()
    for file in files:
        print(f"{file.stat().st_size:>9,} bytes  {file.name}")
    if too_large := [file.name for file in files if file.stat().st_size > MAX_BYTES]:
        raise SystemExit(f"Larger than {MAX_BYTES // 1024} KiB: {', '.join(too_large)}")


if __name__ == "__main__":
    main()
