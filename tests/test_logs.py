"""Log lines: level, format, what comes with a stack trace, and who may configure them."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
from io import StringIO
from typing import Literal

import pytest
import structlog

from ihomer.errors import UnavailableError
from ihomer.stream.logs import configure_logging


def _configured(
    level: Literal["debug", "info", "warning", "error"],
    format: Literal["console", "json"] = "json",  # noqa: A002 - as in the function under test
) -> StringIO:
    stream = StringIO()
    configure_logging(level, format, stream)
    return stream


def _lines(stream: StringIO) -> list[dict[str, str]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


@pytest.mark.parametrize(
    ("level", "own", "foreign"),
    [
        ("debug", ["debug", "info", "warning", "error"], ["warning", "error"]),
        ("info", ["info", "warning", "error"], ["warning", "error"]),
        ("warning", ["warning", "error"], ["warning", "error"]),
        ("error", ["error"], ["error"]),
    ],
)
def test_levels(
    level: Literal["debug", "info", "warning", "error"], own: list[str], foreign: list[str]
) -> None:
    stream = _configured(level)
    log, kafka = structlog.get_logger(), logging.getLogger("kafka.client")
    for name in ("debug", "info", "warning", "error"):
        getattr(log, name)("ours")
        getattr(kafka, name)("%s", "theirs")
    lines = _lines(stream)
    assert [line["level"] for line in lines if line["event"] == "ours"] == own
    assert [line["level"] for line in lines if line["event"] == "theirs"] == foreign
    assert {line.get("logger") for line in lines} == {None, "kafka.client"}


def test_a_json_line_has_a_time_and_the_fields() -> None:
    stream = _configured("info")
    structlog.get_logger().info("batch", events=64, label="ü\ud800\n")
    (line,) = _lines(stream)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "batch", "level": "info", "events": 64, "label": "ü\ud800\n"}


def test_a_console_line_is_plain_away_from_a_terminal() -> None:
    stream = _configured("info", "console")
    structlog.get_logger().info("batch", events=64)
    assert stream.getvalue().count("\n") == 1
    assert "batch" in stream.getvalue()
    assert "events=64" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("no_colour", [False, True])
def test_colours_are_for_terminals_that_want_them(
    no_colour: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    if no_colour:
        monkeypatch.setenv("NO_COLOR", "1")
    stream = StringIO()
    monkeypatch.setattr(stream, "isatty", lambda: True, raising=False)
    configure_logging("info", "console", stream)
    structlog.get_logger().info("batch")
    assert ("\x1b" in stream.getvalue()) is not no_colour


@pytest.mark.parametrize("format", ["console", "json"])
@pytest.mark.parametrize("logger", [structlog.get_logger(), logging.getLogger("kafka.conn")])
def test_stack_traces_are_for_the_unexpected(
    logger: logging.Logger,
    format: Literal["console", "json"],  # noqa: A002 - as in the function under test
) -> None:
    expected = UnavailableError("Kafka at h:1 is not available"), OSError(28, "No space left")
    stream = _configured("info", format)
    for error in expected:
        try:
            raise error
        except (UnavailableError, OSError):
            logger.exception("failed")
        logger.error("failed", exc_info=error)
    assert "Traceback" not in stream.getvalue()
    assert stream.getvalue().count("\n") == 4
    assert stream.getvalue().count("Kafka at h:1 is not available") == 2
    assert stream.getvalue().count("OSError: [Errno 28] No space left") == 2
    try:
        raise ZeroDivisionError
    except ZeroDivisionError:
        logger.exception("failed")
    assert "Traceback" in stream.getvalue()


def test_kafkas_errors_are_expected() -> None:
    from kafka.errors import BrokerNotAvailableError

    stream = _configured("info")
    logging.getLogger("kafka.x").error("failed", exc_info=BrokerNotAvailableError("nobody"))
    (line,) = _lines(stream)
    assert line["error"].startswith("BrokerNotAvailableError: ")
    assert "nobody" in line["error"]
    assert "exception" not in line


def test_at_debug_every_stack_trace_is_shown() -> None:
    stream = _configured("debug")
    structlog.get_logger().error("failed", exc_info=UnavailableError("gone"))
    assert "UnavailableError: gone" in _lines(stream)[0]["exception"]


def test_configuring_again_replaces_and_leaves_others_alone() -> None:
    other = logging.NullHandler()
    logging.getLogger().addHandler(other)
    first = _configured("info")
    second = _configured("info")
    logging.getLogger("kafka").warning("once")
    structlog.get_logger().warning("once")
    assert first.getvalue() == ""
    assert len(_lines(second)) == 2
    assert other in logging.getLogger().handlers


def test_standard_error_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("info", "json")
    structlog.get_logger().info("here")
    output = capsys.readouterr()
    assert output.out == ""
    assert json.loads(output.err)["event"] == "here"


def test_importing_configures_nothing() -> None:
    code = (
        "import logging, structlog, ihomer, ihomer.stream.logs, ihomer.stream.settings\n"
        "print(logging.getLogger().handlers, structlog.is_configured())"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[] False"
