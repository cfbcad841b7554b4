"""A headless browser for tests of pages: what a page is after it has loaded, and how it looks.

In: a page's path. Out: its document with what the console said, or a screenshot. It is here so that
all tests of pages start the browser in the same way.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
_FLAGS = (
    "--headless=new",
    "--no-sandbox",  # containers have none
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--no-first-run",
    "--hide-scrollbars",
    "--enable-logging=stderr",
)


def find_browser() -> str:
    """Its path; the test skips without one, or fails where CI=true."""
    for name in BROWSERS:
        found = shutil.which(name)
        if found is not None:
            return found
    reason = f"none of {', '.join(BROWSERS)} is on the PATH"
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}; the page must be tested where CI=true")
    pytest.skip(reason)


def visit(browser: str, page: Path, profile: Path) -> tuple[str, list[str]]:
    """The document after its scripts have run, and what the console said."""
    done = _run(browser, page.as_uri(), profile, "--virtual-time-budget=60000", "--dump-dom")
    log = done.stderr.decode(errors="replace").splitlines()
    return done.stdout.decode(), [line for line in log if "CONSOLE" in line]


def photograph(
    browser: str, page: Path, picture: Path, profile: Path, size: tuple[int, int]
) -> None:
    """Write a PNG of the page as a window of that width and height shows it."""
    width, height = size
    _run(
        browser,
        page.as_uri(),
        profile,
        f"--window-size={width},{height}",
        f"--screenshot={picture}",
    )


def _run(browser: str, uri: str, profile: Path, *flags: str) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(
        [browser, *_FLAGS, f"--user-data-dir={profile}", *flags, uri],
        check=True,
        capture_output=True,
        timeout=240,
    )
