"""What holds for all tests."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog
from hypothesis import HealthCheck, settings

# No deadline: the first example of a test may compile a kernel.
settings.register_profile(
    "ihomer", deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("ihomer")

# A shell's job in the background ignores the signal, and so would every process that it starts.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def _signals_as_they_were() -> Iterator[None]:
    """A command run in this process ends ignoring signals; what is started later would as well."""
    before = {each: signal.getsignal(each) for each in (signal.SIGINT, signal.SIGTERM)}
    yield
    for each, handler in before.items():
        signal.signal(each, handler)


@pytest.fixture(autouse=True)
def _logging_as_it_was() -> Iterator[None]:
    """A command run in this process configures logging, to a stream that is closed later."""
    root, client = logging.getLogger(), logging.getLogger("kafka")
    handlers, levels = root.handlers.copy(), (root.level, client.level)
    yield
    root.handlers[:] = handlers
    root.setLevel(levels[0])
    client.setLevel(levels[1])
    structlog.reset_defaults()


@pytest.fixture
def alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder to be in, and none of the settings of whoever runs the tests."""
    for name in [name for name in os.environ if name.upper().startswith("IHOMER_")]:
        # The folder was chosen when the first kernel was imported, and processes that are started
        # would compile everything again.
        if name != "IHOMER_CACHE_DIR":
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    monkeypatch.chdir(tmp_path)
