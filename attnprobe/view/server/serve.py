"""Serve runs until Ctrl-C."""

from __future__ import annotations

import errno
import socket
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

import h11
import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from attnprobe.errors import RunError
from attnprobe.view.report_run import ShownRun
from attnprobe.view.server.app import LOCAL, make_app
from attnprobe.view.server.guard import HEADERS


def serve(runs: Sequence[ShownRun], host: str = "127.0.0.1", port: int = 8765) -> None:
    """Serve one run, or two compared, and print where; returns at Ctrl-C.

    Args:
        runs: what is shown.
        host: address or name to listen at; by default nobody but this machine is answered.
        port: where; 0 takes a free one.

    Raises:
        RunError: the runs have no image in common, or the port or the host can't be had.
    """
    is_local = host in LOCAL
    app = make_app(runs, LOCAL if is_local else (*LOCAL, host), addresses=not is_local)
    listening = _listen(host, port)
    port = listening.getsockname()[1]
    print(f"http://{f'[{host}]' if ':' in host else host}:{port}/  (Ctrl-C ends it)", flush=True)
    if not is_local:
        print("note: anyone who can reach this address can see the runs", flush=True)
    server = uvicorn.Server(config(app))
    with suppress(KeyboardInterrupt), listening:
        server.run(sockets=[listening])


def config(app: Any, port: int = 0) -> uvicorn.Config:
    """How the application is served: plain HTTP, every answer with the headers."""
    return uvicorn.Config(
        app, port=port, http=_Protocol, ws="none", log_level="warning", lifespan="off"
    )


class _Protocol(H11Protocol):
    """HTTP, where what is no request gets the headers too, of which no application hears."""

    def send_400_response(self, msg: str) -> None:
        """Answer what is no request, and hang up."""
        said = {**HEADERS, "Content-Type": "text/plain; charset=utf-8", "Connection": "close"}
        headers = [(name.encode(), value.encode()) for name, value in said.items()]
        self.transport.write(
            self.conn.send(h11.Response(status_code=400, headers=headers, reason=b"Bad Request"))
        )
        self.transport.write(self.conn.send(h11.Data(data=msg.encode())))
        self.transport.write(self.conn.send(h11.EndOfMessage()))
        self.transport.close()


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise RunError(f"port {port} is in use; name another with --port") from None
        raise RunError(f"{host}:{port}: can't listen: {error.strerror or error}") from None
