"""Who may ask the server, and what a browser may do with its answers."""

from __future__ import annotations

import ipaddress
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class Guard:
    """Answer only requests for a known name, and say with each answer what is allowed.

    A page from elsewhere can make its own name lead to this machine (DNS rebinding) and would then
    read what the server says. The browser still tells which name it asked for: it must be among
    `names`, or, where others are served, an address, which nobody can make lead elsewhere.

    Args:
        app: what answers.
        names: hosts that may be asked for, without a port.
        addresses: whether any numeric address may be.
    """

    def __init__(self, app: ASGIApp, names: Collection[str], addresses: bool = False) -> None:
        self.app = app
        self.names = {name.lower() for name in names}
        self.addresses = addresses

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] != "http":
            return await self.app(scope, receive, send)

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        host = _name(Headers(scope=scope).get("host", ""))
        if host in self.names or (self.addresses and _is_address(host)):
            return await self.app(scope, receive, send_with_headers)
        refusal = PlainTextResponse("This server answers to another name.\n", status_code=421)
        await refusal(scope, receive, send_with_headers)


def _name(host: str) -> str:
    """A Host header without its port and an address's brackets."""
    name, colon, port = host.rpartition(":")
    if not colon or not port.isdigit():
        name = host
    return name.lower().removeprefix("[").removesuffix("]")


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True
