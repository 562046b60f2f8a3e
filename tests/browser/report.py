#!/usr/bin/env python3
"""Opens the pages of `moue report` and `moue reproduce` in a real browser: headless Chromium, light and dark, wide and
on a phone.

Checks that every chart and face is drawn, that no text of a chart is cut off, that nothing is wider than a phone, that
the console is silent, and that no request leaves the page. Pages with a mistake of each kind are checked first: they
must be noticed. Takes seconds; installs Chromium with apt-get if it is missing.

usage: tests/browser/report.py [--moue FILE] [--keep FOLDER] [PAGE.html ...]
"""

import argparse
import base64
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FLAGS = """--headless --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking
    --disable-component-update --disable-sync --remote-debugging-pipe""".split()
VIEWPORTS = {"wide": (1200, 900, False), "phone": (390, 844, True)}

# What a page says of itself once it is drawn.
MEASURE = """(() => {
    const shown = e => { const r = e.getBoundingClientRect(); return r.width > 0 && r.height > 0; };
    const outside = [];
    for (const svg of document.querySelectorAll('svg')) {
        const frame = svg.getBoundingClientRect();
        for (const text of svg.querySelectorAll('text')) {
            const box = text.getBoundingClientRect();
            if (box.left < frame.left - 1 || box.top < frame.top - 1 || box.right > frame.right + 1
                || box.bottom > frame.bottom + 1) outside.push(text.textContent.trim());
        }
    }
    const charts = [...document.querySelectorAll('.chart')];
    const images = [...document.images];
    const labelled = e => (e.getAttribute('alt') || e.getAttribute('aria-label') || '').length > 8;
    return {
        title: document.title,
        charts: charts.length,
        drawn: charts.filter(c => { const s = c.querySelector('svg');
            return s && shown(s) && s.querySelectorAll('text').length > 1
                && s.querySelectorAll('polyline, rect, circle').length > 2; }).length,
        images: images.length,
        loaded: images.filter(i => i.complete && i.naturalWidth > 0 && shown(i)).length,
        unlabelled: charts.concat(images).filter(e => !labelled(e)).length,
        headless: [...document.querySelectorAll('table')].filter(t => !t.querySelector('th[scope=col]')).length,
        outside,
        overflow: document.documentElement.scrollWidth - document.documentElement.clientWidth,
    };
})()"""


class Browser:
    """Chromium, spoken to over the two pipes that it opens for that."""

    def __init__(self, chromium, profile):
        commands, self.out = os.pipe()
        self.messages, answers = os.pipe()

        def pipes():
            # The numbers that Chromium expects; first out of the way, as one may have the other's.
            a, b = os.dup(commands), os.dup(answers)
            os.dup2(a, 3)
            os.dup2(b, 4)

        self.process = subprocess.Popen(
            [chromium, *FLAGS, f"--user-data-dir={profile}", "about:blank"],
            preexec_fn=pipes, close_fds=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self.rest, self.last, self.events = b"", 0, []

    def receive(self):
        while b"\0" not in self.rest:
            more = os.read(self.messages, 1 << 20)
            if not more:
                raise SystemExit("Chromium has gone away")
            self.rest += more
        message, self.rest = self.rest.split(b"\0", 1)
        return json.loads(message)

    def call(self, method, session=None, **params):
        self.last += 1
        request = {"id": self.last, "method": method, "params": params}
        if session:
            request["sessionId"] = session
        os.write(self.out, json.dumps(request).encode() + b"\0")
        while True:
            message = self.receive()
            if message.get("id") == self.last:
                if "error" in message:
                    raise SystemExit(f"{method}: {message['error']}")
                return message["result"]
            self.events.append(message)

    def wait(self, method):
        while not any(event["method"] == method for event in self.events):
            self.events.append(self.receive())

    def close(self):
        self.call("Browser.close")
        self.process.wait(20)


def look(browser, page, viewport, dark, picture=None):
    """What there is to complain about on a page, and what it says of itself."""
    target = browser.call("Target.createTarget", url="about:blank")["targetId"]
    session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
    width, height, mobile = VIEWPORTS[viewport]
    for domain in ["Page", "Network", "Runtime", "Log"]:
        browser.call(f"{domain}.enable", session)
    browser.call("Emulation.setDeviceMetricsOverride", session, width=width, height=height, deviceScaleFactor=1,
                 mobile=mobile)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    browser.call("Emulation.setEmulatedMedia", session, features=[scheme])
    browser.events = []
    url = page.resolve().as_uri()
    browser.call("Page.navigate", session, url=url)
    browser.wait("Page.loadEventFired")
    seen = browser.call("Runtime.evaluate", session, expression=MEASURE, returnByValue=True)["result"]["value"]

    problems = []
    for event in browser.events:
        method, params = event["method"], event["params"]
        if method == "Network.requestWillBeSent":
            asked = params["request"]["url"]
            if asked != url and not asked.startswith("data:"):
                problems.append(f"asks for {asked}")
        elif method == "Runtime.consoleAPICalled":
            problems.append(f"console: {[a.get('value') for a in params['args']]}")
        elif method == "Runtime.exceptionThrown":
            problems.append(f"exception: {params['exceptionDetails']['text']}")
        elif method == "Log.entryAdded":
            problems.append(f"log: {params['entry']['text']}")
    if seen["charts"] == 0 or seen["drawn"] != seen["charts"]:
        problems.append(f"{seen['drawn']} of {seen['charts']} charts are drawn")
    if seen["loaded"] != seen["images"]:
        problems.append(f"{seen['loaded']} of {seen['images']} images are shown")
    for key, words in [("unlabelled", "pictures without a text"), ("headless", "tables without headings"),
                       ("overflow", "pixels wider than the window")]:
        if seen[key] > 0:
            problems.append(f"{seen[key]} {words}")
    if seen["outside"]:
        problems.append(f"cut off: {seen['outside'][:5]}")
    if picture:
        size = browser.call("Page.getLayoutMetrics", session)["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": min(size["height"], 16000), "scale": 1}
        shot = browser.call("Page.captureScreenshot", session, captureBeyondViewport=True, clip=clip)
        picture.write_bytes(base64.b64decode(shot["data"]))
    browser.call("Target.closeTarget", targetId=target)
    return problems, seen


# A mistake each, put in front of </main>, and what must be said of it.
MISTAKES = {
    '<img src="missing.png" alt="a missing picture">': "asks for",
    '<img src="http://127.0.0.1:9/x.png" alt="a picture from elsewhere">': "asks for",
    '<script>console.error("oh")</script>': "console",
    '<img src="data:image/png;base64,AAAA" alt="a broken picture">': "images are shown",
    '<div class="chart" role="img" aria-label="a chart of nothing"></div>': "charts are drawn",
    '<div style="width: 3000px">wide</div>': "wider than the window",
    '<table><tr><td>1</td></tr></table>': "without headings",
    '<svg width="100" height="20"><text x="60" y="15">a long text</text></svg>': "cut off",
}


def check_the_check(browser, page, folder):
    text = page.read_text()
    for i, (mistake, said) in enumerate(MISTAKES.items()):
        broken = folder / f"broken{i}.html"
        # Without the page's own policy, which forbids some of them.
        policy = text.index('<meta http-equiv="Content-Security-Policy"')
        without = text[:policy] + text[text.index(">", policy) + 1:]
        broken.write_text(without.replace("</main>", mistake + "</main>"))
        problems, _ = look(browser, broken, "wide", False)
        if not any(said in problem for problem in problems):
            raise SystemExit(f"not noticed: {mistake}: {problems}")
    # The policy holds by itself: nothing is fetched although a picture from elsewhere is asked for.
    held = folder / "held.html"
    held.write_text(text.replace("</main>", '<img src="http://127.0.0.1:9/x.png" alt="from elsewhere"></main>'))
    problems, _ = look(browser, held, "wide", False)
    if not any("Content Security Policy" in problem for problem in problems):
        raise SystemExit(f"the page's policy lets a request out: {problems}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moue", type=Path, default=ROOT / "target/debug/moue", help="the binary")
    parser.add_argument("--keep", type=Path, help="folder for screenshots")
    parser.add_argument("pages", type=Path, nargs="*", help="pages to open in place of new ones")
    args = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if not chromium:
        subprocess.run(["apt-get", "install", "-y", "--no-install-recommends", "chromium"], check=True)
        chromium = shutil.which("chromium")

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)

        def moue(*words):
            command = [args.moue, *words, "--quiet"]
            environment = {**os.environ, "MOUE_CACHE": ""}
            subprocess.run(command, check=True, cwd=folder, env=environment, stdout=subprocess.DEVNULL)

        pages = args.pages
        if not pages:
            moue("train", "--limit", "140", "--epochs", "3", "--out", "run")
            moue("report", "run")
            few = ["--data", "synthetic", "--limit", "70", "--epochs", "1", "--out", "paper"]
            moue("reproduce", *few, "--only", "fer-dnn-cbam,fer-dnn,ckplus-dnn-cbam")
            pages = [folder / "run/report/report.html", folder / "paper/reproduce.html"]
        browser = Browser(chromium, folder / "profile")
        failed = False
        check_the_check(browser, pages[0], folder)
        for page in pages:
            for viewport in VIEWPORTS:
                for dark in [False, True]:
                    shade = "dark" if dark else "light"
                    picture = args.keep and args.keep / f"{page.stem}-{viewport}-{shade}.png"
                    problems, seen = look(browser, page, viewport, dark, picture)
                    failed |= bool(problems)
                    said = "; ".join(problems) or f"{seen['charts']} charts and {seen['images']} pictures drawn"
                    print(f"{page.name} {viewport} {shade}: {said}")
        browser.close()
    sys.exit(failed)


if __name__ == "__main__":
    main()
