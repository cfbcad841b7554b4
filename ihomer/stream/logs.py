"""Where log lines go and how they look.

In: a level and a format. Out: structlog and the standard library's logging, both set up to write
one line an event to standard error. It is here for the command line alone: a library that
configures logging takes that from its host, so nothing else calls this.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any, Literal, TextIO

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from ihomer.errors import IhomerError

_LEVELS: Mapping[str, int] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}


class _Handler(logging.StreamHandler[TextIO]):
    """Our handler, told apart from a host's when logging is configured again."""


def configure_logging(
    level: Literal["debug", "info", "warning", "error"],
    format: Literal["console", "json"],  # noqa: A002 - the key's name
    stream: TextIO | None = None,
) -> None:
    """Send structlog's and the standard library's log lines to standard error.

    Lines of other libraries (kafka-python's, say) appear from ``warning`` on. An error with an
    everyday cause, ours or the system's or the broker's, is one line; only what nobody expected,
    and everything at level ``debug``, comes with its stack trace.

    Parameters
    ----------
    level
        Least severe lines of ours that are shown.
    format
        ``"console"`` for people, ``"json"`` for collectors: one object a line.
    stream
        Standard error if it is not given.
    """
    target = sys.stderr if stream is None else stream
    least = _LEVELS[level]
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    if level != "debug":
        shared.append(_shorten)
    finish: list[Processor]
    if format == "json":
        finish = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        colours = target.isatty() and not os.environ.get("NO_COLOR")
        finish = [
            structlog.dev.ConsoleRenderer(
                colors=colours,
                # rich's would print the values of local variables, passwords among them
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]

    structlog.configure(
        processors=[*shared, *finish],
        wrapper_class=structlog.make_filtering_bound_logger(least),
        logger_factory=structlog.WriteLoggerFactory(target),
        cache_logger_on_first_use=False,
    )

    handler = _Handler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *finish],
        )
    )
    root = logging.getLogger()
    for old in [old for old in root.handlers if isinstance(old, _Handler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(max(least, logging.WARNING))
    logging.getLogger("ihomer").setLevel(least)


def _shorten(logger: WrappedLogger, method: str, event: EventDict) -> EventDict:
    """Put an expected error's text in the place of its stack trace."""
    del logger, method
    error = _exception(event)
    if error is not None and _expected(error):
        event.pop("exc_info")
        text = str(error)
        own = isinstance(error, IhomerError)
        event["error"] = text if own and text else f"{type(error).__name__}: {text}"
    return event


def _exception(event: MutableMapping[str, Any]) -> BaseException | None:
    found = event.get("exc_info")
    if isinstance(found, BaseException):
        return found
    if isinstance(found, tuple):
        return found[1] if isinstance(found[1], BaseException) else None
    return sys.exc_info()[1] if found else None


def _expected(error: BaseException) -> bool:
    # kafka-python's errors are recognised by their module, so that nothing is imported for it.
    return isinstance(error, IhomerError | OSError) or type(error).__module__.startswith("kafka.")
