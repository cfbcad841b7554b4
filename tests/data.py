"""Where the public data sets are that some tests read, which are not part of the package."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


def data_dir() -> Path:
    """`IHOMER_DATA_DIR`, else ``../shared/data`` beside the checkout; skips where it is absent."""
    configured = os.environ.get("IHOMER_DATA_DIR")
    folder = (
        Path(configured) if configured else Path(__file__).parent.parent.parent / "shared" / "data"
    )
    if not folder.is_dir():
        pytest.skip(f"no data sets in {folder}; set IHOMER_DATA_DIR to the folder that has them")
    return folder
