"""Look at the built documentation with a real browser: every page, wide and as on a phone.

    hatch run docs:build && hatch run docs:browser                 # docs/_build/html
    hatch run docs:browser DIRECTORY --shots SHOTS --only tutorial # and save pictures, light and dark

It fails if a page says an error to the console, asks for anything that is not in the directory, is wider than the
screen, has a picture that does not load or has no text for those who do not see it, or has a link to a page or an
anchor that is not there.

The browser is Chromium: `chromium-headless-shell` (Debian: a package of that name), `chromium`, or what CHROMIUM names.
It is driven by its DevTools protocol over two pipes (`--remote-debugging-pipe`): JSON messages that end in a zero byte.
So nothing has to be installed but the browser; what drives browsers otherwise is larger than all of this project.
"""

from __future__ import annotations

import argparse
import base64
import fcntl
import functools
import http.server
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urldefrag

BROWSERS = ("chromium-headless-shell", "chromium", "chromium-browser", "google-chrome")
SCREENS = {"wide": (1200, 900), "phone": (390, 844)}
LONGEST = 3000  # pixels of a picture
PATIENCE = 60.0  # seconds for one answer of the browser, on a machine that has other work as well
NO_PAGES = {"genindex.html", "search.html"}  # made by Sphinx: looked at, but what they link to is not

# What a page says of itself.  An element that is too wide is named, unless it stands in a box that scrolls.
LOOK = """
(() => {
  const width = document.documentElement.clientWidth;
  const scrolls = e => { for (; e && e !== document.body; e = e.parentElement)
    if (['auto', 'scroll', 'hidden'].includes(getComputedStyle(e).overflowX)) return true; return false; };
  const name = e => e.tagName.toLowerCase() + '.' + e.className + ': ' + e.textContent.trim().slice(0, 60);
  const beyond = e => e.getBoundingClientRect().right > width + 1 && !scrolls(e.parentElement);
  const wide = document.documentElement.scrollWidth <= width ? [] :
    [...document.querySelectorAll('article *')].filter(beyond);
  return {
    width, page: document.documentElement.scrollWidth, wide: wide.slice(0, 3).map(name),
    images: [...document.images].map(i => [i.getAttribute('src'), i.complete && i.naturalWidth > 0, i.alt]),
    ids: [...document.querySelectorAll('[id]')].map(e => e.id),
    links: [...document.querySelectorAll('a[href]')].map(a => a.href),
  };
})()
"""


class Browser:
    """A Chromium, spoken to over two pipes: `call` asks, `events` has what it says by itself."""

    def __init__(self, program: str, profile: str) -> None:
        commands, self._to = os.pipe()
        self._from, answers = os.pipe()
        low = [fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10) for fd in (commands, answers)]  # above the numbers they get
        arguments = [
            "--headless",
            "--no-sandbox",  # the pages are our own, and root may not have one
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--hide-scrollbars",
            "--no-first-run",
            "--no-proxy-server",
            f"--user-data-dir={profile}",
            "--remote-debugging-pipe",
        ]
        actions: list[tuple[Any, ...]] = [(os.POSIX_SPAWN_DUP2, low[0], 3), (os.POSIX_SPAWN_DUP2, low[1], 4)]
        actions += [(os.POSIX_SPAWN_OPEN, fd, os.devnull, os.O_RDWR, 0) for fd in (0, 1, 2)]
        self._pid = os.posix_spawnp(program, [program, *arguments], os.environ, file_actions=actions, setpgroup=0)
        for fd in (commands, answers, *low):
            os.close(fd)
        self._number = 0
        self._unread = b""
        self._session: str | None = None
        self.events: deque[dict[str, Any]] = deque()

    def _read(self, deadline: float) -> dict[str, Any]:
        while b"\0" not in self._unread:
            if not select.select([self._from], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise TimeoutError(f"the browser has said nothing for {PATIENCE:.0f} s")
            data = os.read(self._from, 1 << 16)
            if not data:
                raise EOFError("the browser has ended; run it by hand to see why")
            self._unread += data
        message, self._unread = self._unread.split(b"\0", 1)
        said: dict[str, Any] = json.loads(message)
        return said

    def call(self, method: str, **params: object) -> dict[str, Any]:
        """Ask for something and wait for the answer.  Raises RuntimeError with the browser's words if it refuses."""
        self._number += 1
        message: dict[str, object] = {"id": self._number, "method": method, "params": params}
        if self._session:
            message["sessionId"] = self._session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._to, data) :]
        deadline = time.monotonic() + PATIENCE
        while True:
            said = self._read(deadline)
            if said.get("id") == self._number:
                if "error" in said:
                    raise RuntimeError(f"{method}: {said['error']['message']}")
                result: dict[str, Any] = said["result"]
                return result
            self.events.append(said)

    def wait_for(self, method: str) -> None:
        """Wait until the browser has said something by itself.  What it says meanwhile stays in `events`."""
        deadline = time.monotonic() + PATIENCE
        while not any(event.get("method") == method for event in self.events):
            self.events.append(self._read(deadline))

    def open_tab(self) -> None:
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            self.call(f"{domain}.enable")

    def evaluate(self, script: str) -> Any:
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"the page could not say how it looks: {answer['exceptionDetails']}")
        return answer["result"]["value"]

    def close(self) -> None:
        os.close(self._to)
        os.close(self._from)
        os.killpg(self._pid, signal.SIGKILL)  # it has several processes
        os.waitpid(self._pid, 0)


@dataclass
class Site:
    """What has been seen of the pages: what is wrong, and what is still to be compared, links with anchors."""

    root: Path
    origin: str
    wrong: list[str] = field(default_factory=list)
    ids: dict[str, set[str]] = field(default_factory=dict)
    links: dict[str, set[str]] = field(default_factory=dict)

    def pages(self, only: str) -> list[str]:
        found = sorted(str(path.relative_to(self.root)) for path in self.root.rglob("*.html"))
        return [page for page in found if only in page and not page.startswith("_")]


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def served(root: Path) -> Iterator[str]:
    """The directory, on loopback; gives the address.  Over HTTP, because scripts may do less in a `file:` page."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=str(root))) as server:
        thread = threading.Thread(target=server.serve_forever, name="pages")
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}/"
        finally:
            server.shutdown()
            thread.join()


@contextmanager
def browser_of(program: str) -> Iterator[Browser]:
    with tempfile.TemporaryDirectory(prefix="check-site-", ignore_cleanup_errors=True) as profile:
        browser = Browser(program, profile)
        try:
            browser.open_tab()
            yield browser
        finally:
            browser.close()


def complaints(events: deque[dict[str, Any]], origin: str) -> Iterator[str]:
    """What is an error in what the browser has said by itself."""
    for event in events:
        said = event.get("params", {})
        match event.get("method"):
            case "Runtime.exceptionThrown":
                text = said["exceptionDetails"].get("exception", {}).get("description", str(said))
                yield f"exception: {text.splitlines()[0]}"
            case "Runtime.consoleAPICalled" if said["type"] in ("error", "assert"):
                yield f"console: {[each.get('value') for each in said['args']]}"
            case "Log.entryAdded" if said["entry"]["level"] == "error":
                yield f"log: {said['entry']['text']} {said['entry'].get('url', '')}"
            case "Network.requestWillBeSent" if not said["request"]["url"].startswith((origin, "data:")):
                yield f"asks the network: {said['request']['url']}"


def look(browser: Browser, site: Site, page: str, screen: str, shots: Path | None) -> None:
    """One page on one screen."""
    width, height = SCREENS[screen]
    browser.events.clear()
    browser.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)
    browser.call("Page.navigate", url=site.origin + page)
    browser.wait_for("Page.loadEventFired")
    seen = browser.evaluate(LOOK)
    where = f"{page} ({screen})"
    site.wrong += [f"{where}: {each}" for each in complaints(browser.events, site.origin)]
    if seen["page"] > seen["width"]:
        site.wrong.append(f"{where}: is {seen['page']} wide on a screen of {seen['width']}: {seen['wide']}")
    for source, loaded, text in seen["images"]:
        if not loaded:
            site.wrong.append(f"{where}: the picture {source} does not load")
        if not text:
            site.wrong.append(f"{where}: the picture {source} has no text (alt)")
    site.ids[page] = set(seen["ids"])
    site.links[page] = set(seen["links"])
    if shots:
        for scheme in ("light", "dark"):
            name = f"{page.removesuffix('.html').replace('/', '-')}-{screen}-{scheme}.png"
            (shots / name).write_bytes(picture(browser, width, scheme))


def picture(browser: Browser, width: int, scheme: str) -> bytes:
    """The page as a PNG, all of it if it is not too long."""
    browser.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    height = min(browser.call("Page.getLayoutMetrics")["cssContentSize"]["height"], LONGEST)
    clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
    answer = browser.call("Page.captureScreenshot", format="png", clip=clip, captureBeyondViewport=True)
    return base64.b64decode(answer["data"])


def compare_links(site: Site) -> None:
    """Each link inside the site leads to a file, and to an anchor if it names one."""
    for page, links in site.links.items():
        for link in links if page not in NO_PAGES else ():
            if not link.startswith(site.origin):
                continue
            address, anchor = urldefrag(link)
            target = unquote(address.removeprefix(site.origin).partition("?")[0]) or "index.html"
            if not (site.root / target).is_file():
                site.wrong.append(f"{page}: leads to {target}, which is not there")
            elif anchor and target in site.ids and unquote(anchor) not in site.ids[target]:
                site.wrong.append(f"{page}: leads to {target}#{anchor}, and there is no such anchor")


def find_browser() -> str | None:
    asked = os.environ.get("CHROMIUM")
    return shutil.which(asked) if asked else next(filter(None, map(shutil.which, BROWSERS)), None)


def main() -> int:
    parser = argparse.ArgumentParser(description="Look at the built documentation with a real browser.")
    parser.add_argument("directory", nargs="?", type=Path, default=Path("docs/_build/html"), help="the built pages")
    parser.add_argument("--only", default="", metavar="TEXT", help="only pages whose path contains this")
    parser.add_argument("--shots", type=Path, metavar="DIRECTORY", help="save a picture of each, light and dark")
    options = parser.parse_args()
    program = find_browser()
    if program is None:
        print(f"no browser: install one of {', '.join(BROWSERS)}, or name one by CHROMIUM", file=sys.stderr)
        return 2
    if not (options.directory / "index.html").is_file():
        print(f"no pages in {options.directory}: run `hatch run docs:build` first", file=sys.stderr)
        return 2
    if options.shots:
        options.shots.mkdir(parents=True, exist_ok=True)
    with browser_of(program) as browser, served(options.directory) as origin:
        site = Site(options.directory, origin)
        pages = site.pages(options.only)
        for page in pages:
            for screen in SCREENS:
                look(browser, site, page, screen, options.shots)
        compare_links(site)
    for each in site.wrong:
        print(each)
    print(f"{len(pages)} pages on {len(SCREENS)} screens, {sum(map(len, site.links.values()))} links: ", end="")
    print(f"{len(site.wrong)} things are wrong" if site.wrong else "all is well")
    return 1 if site.wrong or not pages else 0


if __name__ == "__main__":
    sys.exit(main())
