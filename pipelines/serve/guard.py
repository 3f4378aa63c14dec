"""What every request passes: whose page asks, and the headers and the log line of the reply."""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Sequence
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipelines.serve.limits import now
from pipelines.serve.problems import REASONS, problem

LOG = logging.getLogger("pifa.serve")

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, seen from itself alone."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


class Guard:
    """Lets a request through, or not.

    A server on localhost can be reached by every page that the user's browser shows. Such a page can't read a reply
    (there is no CORS), but could let a name of its own mean 127.0.0.1 and would then count as the same site: so the
    Host has to be this machine's. And it could send photos to be worked on: so an Origin has to be the Host.
    """

    def __init__(self, app: ASGIApp, local: bool, names: Sequence[str] = ()) -> None:
        """Guard an application.

        Args:
            local: it listens to this machine alone.
            names: the only other hosts' names that requests may come for, wherever it listens; pages of theirs are
                its own, so that a web server may stand in front. Without any a server for others takes every name.
        """
        self.app, self.local = app, local
        self.names = {name.lower() for name in names}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        start, status = now(), 0

        async def answer(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cache-Control", "no-store")
            await send(message)

        refused = self._refused(Headers(scope=scope))
        try:
            app = problem(refused, REASONS[refused]) if refused else self.app
            await app(scope, receive, answer)
        except Exception:
            if not status:
                await problem(500, REASONS[500])(scope, receive, answer)
            raise  # the web server logs it
        finally:
            path = scope["path"][:200].encode("ascii", "backslashreplace").decode("ascii")
            shown = "".join(c if c.isprintable() else "?" for c in path)
            LOG.info("%s %s %d %.0f ms", scope["method"], shown, status, 1000 * (now() - start))

    def _refused(self, headers: Headers) -> int | None:
        host = headers.get("host", "")
        try:
            named = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return 421
        if (self.local or self.names) and not is_loopback(named) and named not in self.names:
            return 421
        origin = headers.get("origin")
        if origin is None or origin.partition("://")[2].lower() == host.lower():
            return None
        try:
            known = urlsplit(origin).hostname in self.names
        except ValueError:
            known = False
        return None if known else 403
