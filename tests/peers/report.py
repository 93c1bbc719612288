"""Opens reports in a headless Chromium: that of a store's experiment, and one whose names are hostile.

Usage: report.py STORE SPEC.yaml [FOLDER]

Each page is opened at 360 and 1440 pixels, light and dark. Nothing may be said on the console, nothing requested but the
file itself, every picture must load, and the page may not be wider than the window. Screenshots go to FOLDER, if given.
"""

import base64
import json
import subprocess
import sys
import tempfile
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service

HOSTILE = "<script>alert(1)</script>"
QUOTES = """ "double" 'single' & <b>"""


def run(*arguments):
    subprocess.run(["cargo", "run", "--release", "--quiet", "--", *map(str, arguments)], check=True)


def hostile(folder, spec):
    """A report of a run with a hostile label, on pictures with hostile names."""
    small = "{train_identities: 4, validation_identities: 2, test_identities: 6}"
    made = folder / "made.yaml"
    made.write_text(f"extends: {json.dumps(str(spec.resolve()))}\ndata: {{synthetic: {small}}}\nprotocol: frozen\n")
    run("data", "synth", "--spec", made, "--out", folder / "pictures", "--quiet")
    root = next(path.parent for path in (folder / "pictures").rglob("bounding_box_test"))
    for part in ("query", "bounding_box_test"):
        for path in sorted((root / part).glob("*.jpg")):
            path.rename(path.with_name(path.stem + QUOTES + path.suffix))
    own = folder / "hostile.yaml"
    own.write_text(
        f"extends: {json.dumps(str(spec.resolve()))}\nname: hostile\ndata: {{market1501: {{root: {json.dumps(str(root))}}}}}\n"
        f"validation: {{identities: 0}}\nprotocol: frozen\nseeds: [0]\ntable: {{choose_on: test}}\n"
        f"sweep: {{list: [{{label: {json.dumps(HOSTILE)}, pretrain.objective: none}}]}}\n"
    )
    run("run", own, "--out", folder / "runs", "--quiet")
    run("report", own, "--out", folder / "runs", "--to", folder / "hostile.html", "--quiet")
    return folder / "hostile.html"


def browser():
    options = Options()
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    return webdriver.Chrome(options=options, service=Service("/usr/bin/chromedriver"))


def look(driver, page, width, scheme, shots):
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600})
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})
    driver.get(page.as_uri())
    where = f"{page.name} at {width} px, {scheme}"
    messages = [entry["message"] for entry in driver.get_log("browser")]
    assert not messages, f"{where}: the console says {messages}"
    asked = []
    for entry in driver.get_log("performance"):
        message = json.loads(entry["message"])["message"]
        if message["method"] == "Network.requestWillBeSent":
            asked.append(message["params"]["request"]["url"])
    others = [url for url in asked if not url.startswith("data:") and url != page.as_uri()]
    assert asked and not others, f"{where}: requests {others or 'nothing'}"
    pictures = driver.execute_script("return [...document.images].map(i => [i.complete, i.naturalWidth, i.alt])")
    broken = [alt for complete, natural, alt in pictures if not complete or natural == 0]
    assert not broken, f"{where}: {len(broken)} of {len(pictures)} pictures do not load: {broken[:3]}"
    unnamed = sum(1 for _, _, alt in pictures if not alt)
    assert unnamed == 0, f"{where}: {unnamed} pictures have no text"
    wide = driver.execute_script("return document.documentElement.scrollWidth - window.innerWidth")
    assert wide <= 0, f"{where}: {wide} px wider than the window"
    background = driver.execute_script("return getComputedStyle(document.body).backgroundColor")
    if shots:
        height = driver.execute_script("return document.documentElement.scrollHeight")
        clip = {"x": 0, "y": 0, "width": width, "height": min(height, 16000), "scale": 1}
        shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True, "clip": clip})
        (shots / f"{page.stem}-{width}-{scheme}.png").write_bytes(base64.b64decode(shot["data"]))
    return len(pictures), background


def main():
    store, spec = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    shots = Path(sys.argv[3]) if len(sys.argv) > 3 else None
    if shots:
        shots.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        run("report", spec, "--out", store, "--to", folder / "report.html", "--quiet")
        pages = [folder / "report.html", hostile(folder, spec)]
        driver = browser()
        try:
            for page in pages:
                seen = {(width, scheme): look(driver, page, width, scheme, shots) for width in (360, 1440) for scheme in ("light", "dark")}
                pictures = {count for count, _ in seen.values()}
                assert len(pictures) == 1 and pictures != {0}, f"{page.name}: pictures {pictures}"
                assert seen[1440, "light"][1] != seen[1440, "dark"][1], f"{page.name}: dark is as light"
                print(f"{page.name}: {pictures.pop()} pictures, no request, nothing on the console")
            text = driver.execute_script("return document.body.innerText")
            for name in (HOSTILE, QUOTES.strip()):
                assert name in text, f"{name!r} is not shown as text"
            print("hostile names are shown as text")
        finally:
            driver.quit()


if __name__ == "__main__":
    main()
