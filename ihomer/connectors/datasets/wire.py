"""HTTP connections that hand over all that a server sends, not only what it has announced.

In: nothing. Out: a connection manager of urllib3. It is here because the standard library stops
reading at the announced length, so that a file which is longer than its announcement would pass
as whole.
"""

from __future__ import annotations

import http.client
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

import urllib3
from urllib3.connection import HTTPConnection, HTTPSConnection


class _Response(http.client.HTTPResponse):
    """Where the connection ends with the response, the body is what comes until then."""

    def begin(self) -> None:
        super().begin()
        if self.will_close and self.length:
            self.length = None


class _Connection(HTTPConnection):
    response_class = _Response


class _SecureConnection(HTTPSConnection):
    response_class = _Response


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _SecurePool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _SecureConnection


def manager_for(url: str) -> urllib3.PoolManager:
    """Connections towards `url`, through the proxy that the environment names for it, if any."""
    parts = urlsplit(url)
    proxy = getproxies().get(parts.scheme)
    if proxy is None or proxy_bypass(parts.hostname or ""):
        manager = urllib3.PoolManager(maxsize=1)
    else:
        manager = urllib3.ProxyManager(proxy, maxsize=1)
    manager.pool_classes_by_scheme = {"http": _Pool, "https": _SecurePool}
    return manager
