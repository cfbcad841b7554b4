"""What lets others look at a daemon while it runs: the HTTP server and the service manager.

In: a status and settings. Out: both at work, until the daemon ends. It is here so that every kind
of daemon that ``ihomer run`` starts is seen in the same way.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import structlog

from ihomer.stream.address import check_address, read_token
from ihomer.stream.settings import Settings
from ihomer.stream.status import Status
from ihomer.stream.systemd import Notifier


@contextmanager
def seen_from_outside(status: Status, settings: Settings) -> Iterator[Notifier]:
    """Serve `status` where the settings say so, and tell the service manager.

    Raises
    ------
    UsageError
        The address or the token is not accepted.
    UnavailableError
        The address cannot be listened at.
    """
    notifier = Notifier(status)
    status.watched = notifier.wanted or settings.http is not None
    server = None
    if settings.http is not None:
        address = check_address(settings.http, public=settings.http_public)
        token = read_token(settings.http_token_file)
        from ihomer.stream.server import Server  # only those who want it wait for its libraries

        server = Server(status, address, token)
        log = structlog.get_logger("ihomer")
        log.info("serving metrics and health", url=f"http://{server.address}", token=bool(token))
        if token is None and not address.is_loopback:
            log.warning("http is public and without a token: whoever reaches it can read it")
    try:
        yield notifier
    finally:
        notifier.close()
        if server is not None:
            server.close()
