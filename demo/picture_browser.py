"""A page as a picture, by a browser without a window."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Final

PROGRAMS: Final = ("chromium", "chromium-browser", "google-chrome")
QUIET: Final = (
    "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--disable-dev-shm-usage",
)  # fmt: skip


def photograph(page: Path, picture: Path, width: int, height: int) -> None:
    """Write what the browser shows of a page (pixels) to a PNG. Raises SystemExit where there is no browser."""
    browser = next((found for name in PROGRAMS if (found := shutil.which(name))), None)
    if browser is None:
        raise SystemExit("a picture needs Chromium (Debian: apt-get install chromium); --html writes the page itself")
    with tempfile.TemporaryDirectory() as profile:
        asked = (f"--user-data-dir={profile}", f"--window-size={width},{height}", f"--screenshot={picture.resolve()}")
        command = (browser, *QUIET, *asked, page.resolve().as_uri())
        subprocess.run(command, check=True, capture_output=True, timeout=120)  # noqa: S603 - its own words
