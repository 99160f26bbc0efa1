"""Make a picture of a page: ``python -m lab.screenshot PAGE PICTURE [HEIGHT]``; PAGE is an HTML file, PICTURE a PNG."""

import base64
import sys
import tempfile
from pathlib import Path

from lab.browser import chromium, media, resize

WIDTH = 1200


def screenshot(page: Path, picture: Path, height: int | None = None, width: int = WIDTH, scheme: str = "light") -> None:
    """Write the upper ``height`` pixels of ``page`` (all of it for None), laid out ``width`` wide, to ``picture``."""
    with tempfile.TemporaryDirectory() as profile, chromium(Path(profile)) as driver:
        media(driver, scheme=scheme)
        resize(driver, width, 800)
        driver.get(page.absolute().as_uri())
        whole = int(driver.execute_script("return document.documentElement.scrollHeight"))
        # All of it on the screen: no scroll bar.
        resize(driver, width, whole)
        clip = {"x": 0, "y": 0, "width": width, "height": height or whole, "scale": 1}
        shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "clip": clip})
        picture.write_bytes(base64.b64decode(shot["data"]))


if __name__ == "__main__":
    screenshot(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None)
