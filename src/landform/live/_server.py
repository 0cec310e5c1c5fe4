"""Pages of a folder of runs for a browser on this machine."""

from __future__ import annotations

import errno
import os
import socket
import socketserver
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import unquote_to_bytes, urlsplit

from landform.errors import BadInput
from landform.live._guard import is_loopback, names_of, refusal, with_safety
from landform.live._pages import Page, Pages
from landform.live._runs import Runs

PORT = 8420

# What each page may load. Reports carry scripts and styles of their own, but may send nothing anywhere.
_OWN = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; frame-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
_REPORT = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src data: blob:; "
    "font-src data:; form-action 'none'; base-uri 'none'; frame-ancestors 'self'"
)
_LONGEST = 16_384


class Server:
    """A server of the pages of a folder, which answers from the moment it is made until it is closed.

    Examples:
        >>> with Server("runs") as server:
        ...     print(server.url)

    Attributes:
        runs: the folder.
        host: the name or address it listens at.
        port: the port.
        url: where a browser finds it.
    """

    def __init__(self, folder: str | Path, *, host: str = "127.0.0.1", port: int = PORT, every: float = 2.0) -> None:
        """Begin to answer.

        Args:
            folder: a folder of runs, however deep they lie, or of one run.
            host: the address to listen at; others than loopback ones can be reached by other machines.
            port: the port; 0 takes any that is free.
            every: seconds after which an open page asks for what is new.

        Raises:
            BadInput: when there is no such folder, a number is out of its range, the address is none of this
                machine, the port is taken or not ours to take, or the ``report`` extra is not installed.
        """
        if not isinstance(port, int) or not 0 <= port <= 65_535:
            raise BadInput(f"Port {port} is no port: give a number from 0 (any free one) to 65535.")
        if not 0.1 <= every <= 3600:
            raise BadInput(f"Pages cannot be kept up every {every:g} seconds: give 0.1 to 3600.")
        self.runs = Runs(folder)
        pages = Pages(self.runs, every)
        self.host = host
        self._http = _open(host, port, partial(_Handler, pages, host, names_of(host)))
        self.port: int = self._http.server_address[1]
        shown = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}.get(host, host)
        self.url = f"http://[{shown}]:{self.port}/" if ":" in shown else f"http://{shown}:{self.port}/"
        # A short interval, so that closing does not take half a second.
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.2,), daemon=True)
        self._thread.start()
        # What the first page needs is being read while somebody opens it.
        threading.Thread(target=pages.warm).start()

    @property
    def is_local(self) -> bool:
        """Whether only this machine can reach it."""
        return is_loopback(self.host)

    def wait(self) -> None:
        """Wait until it is closed, by another thread or Ctrl-C."""
        while self._thread.is_alive():
            self._thread.join(1.0)

    def close(self) -> None:
        """Answer no more, and give the port back."""
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Server({str(self.runs.root)!r} at {self.url})"


def serve(folder: str | Path, *, host: str = "127.0.0.1", port: int = PORT, every: float = 2.0) -> Server:
    """Serve the pages of a folder of runs: a list that is kept up, the report of each, any of them side by side.

    Args:
        folder: a folder of runs, however deep they lie, or of one run.
        host: the address to listen at; others than loopback ones can be reached by other machines, and nobody is
            asked for a password.
        port: the port; 0 takes any that is free.
        every: seconds after which an open page asks for what is new.

    Returns:
        The server, which answers until it is closed.
    """
    return Server(folder, host=host, port=port, every=every)


class _Http(ThreadingHTTPServer):
    # No daemons: an interpreter that ends while one is deep in torch takes the whole process down with it.
    daemon_threads, block_on_close = False, False
    # On Windows the option would let another process take a port that is in use.
    allow_reuse_address = os.name != "nt"
    request_queue_size = 64

    def __init__(self, *how: Any) -> None:
        self._lines: set[socket.socket] = set()
        super().__init__(*how)

    def process_request(self, request: Any, client_address: Any) -> None:
        self._lines.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: Any) -> None:
        self._lines.discard(request)
        super().shutdown_request(request)

    def server_close(self) -> None:
        """Give the port back, and hang up on browsers that keep a line open."""
        super().server_close()
        for line in list(self._lines):
            with suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)

    def server_bind(self) -> None:
        # HTTPServer's own would ask the network for this machine's name.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A browser that goes away in the middle of an answer is no news."""


def _open(host: str, port: int, handler: Callable[..., BaseHTTPRequestHandler]) -> _Http:
    try:
        family, _, _, _, address = socket.getaddrinfo(
            host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
    except (OSError, UnicodeError):
        raise BadInput(f"{host!r} is no address of this machine: give 127.0.0.1, or leave --host out.") from None
    kind = type("_Http", (_Http,), {"address_family": family})
    try:
        server: _Http = kind(address[:2], handler)
    except OSError as why:
        raise BadInput(_why_not(host, port, why)) from None
    return server


def _why_not(host: str, port: int, why: OSError) -> str:
    if why.errno == errno.EADDRINUSE:
        return f"Port {port} of {host} is taken: give another one, or 0 for any that is free (--port 0)."
    if why.errno in (errno.EACCES, errno.EPERM):
        return f"Port {port} may not be taken by you: give one above 1023, or 0 for any that is free."
    if why.errno == errno.EADDRNOTAVAIL:
        return f"{host} is no address of this machine: give 127.0.0.1, or leave --host out."
    return f"Port {port} of {host} cannot be listened at ({why.strerror})."


class _Handler(BaseHTTPRequestHandler):
    """Answers one browser. It knows a handful of addresses; names of runs are looked up, never opened."""

    protocol_version = "HTTP/1.1"
    timeout = 60

    def __init__(self, pages: Pages, bound: str, names: frozenset[str], *request: Any) -> None:
        self._pages, self._bound, self._names = pages, bound, names
        super().__init__(*request)

    def do_GET(self) -> None:
        self._answer()

    def do_HEAD(self) -> None:
        self._answer()

    def version_string(self) -> str:
        return "landform"

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing is logged: what goes wrong is said in the browser."""

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what the base class cannot read, or has no method for."""
        self.close_connection = True
        if code == 501:
            self._send(405, Page.of("Only GET and HEAD are answered.\n", _TEXT), _OWN, {"Allow": "GET, HEAD"})
        else:
            self._send(code, Page.of("This request makes no sense.\n", _TEXT), _OWN)

    def _answer(self) -> None:
        if self.headers.get("Content-Length", "0") != "0" or "Transfer-Encoding" in self.headers:
            self.close_connection = True  # what it sends along must not be taken for the next request
            self._send(400, Page.of("A request here has no content.\n", _TEXT), _OWN)
            return
        if (why := refusal(self.headers, self._bound, self._names)) is not None:
            self.close_connection = True
            self._send(403, Page.of(f"{why}\n", _TEXT), _OWN)
            return
        try:
            path, names = _asked(self.path)
            found = self._found(path, names)
        except BadInput as why:
            self._send(404, self._pages.sentence(str(why)), _REPORT)
        except Exception as why:
            told = f"This page could not be made ({type(why).__name__}: {why})."
            self._send(500, self._pages.sentence(told), _REPORT)
        else:
            self._send(200, found, _REPORT if path == "/page" else _OWN, _kept(path))

    def _found(self, path: str, names: list[str]) -> Page:
        pages = self._pages
        if path == "/":
            return pages.overview(names)
        if path == "/rows":
            return pages.rows()
        if path in ("/show", "/bar", "/page"):
            return {"/show": pages.show, "/bar": pages.bar, "/page": pages.content}[path](names)
        if path in ("/live.css", "/live.js", "/plotly.js"):
            return pages.asset(path[1:])
        raise BadInput("There is no such page here.")

    def _send(self, status: int, page: Page, policy: str, more: Mapping[str, str] | None = None) -> None:
        tag = f'"{page.tag}"'
        same = status == 200 and tag in self.headers.get("If-None-Match", "")
        self.send_response(304 if same else status)
        for name, value in {**with_safety(policy), "Cache-Control": "no-cache", **(more or {})}.items():
            self.send_header(name, value)
        if status == 200:
            self.send_header("ETag", tag)
        if self.close_connection:
            self.send_header("Connection", "close")
        if not same:
            self.send_header("Content-Type", page.kind)
            self.send_header("Content-Length", str(len(page.content)))
        self.end_headers()
        if not same and self.command != "HEAD":
            self.wfile.write(page.content)


_TEXT = "text/plain; charset=utf-8"


def _asked(target: str) -> tuple[str, list[str]]:
    """What a request asks for: its path as it stands, and the names of runs, decoded once."""
    if len(target) > _LONGEST:
        raise BadInput("This address is too long.")
    if not target.startswith("/") or target.startswith("//"):
        raise BadInput("There is no such page here.")
    parts = urlsplit(target)
    names = []
    for pair in parts.query.split("&"):
        key, _, value = pair.partition("=")
        if key == "run":
            names.append(os.fsdecode(unquote_to_bytes(value.replace("+", " "))))
    return parts.path, names


def _kept(path: str) -> Mapping[str, str]:
    """For how long a browser may keep it: only the drawing library stays what it is."""
    return {"Cache-Control": "private, max-age=3600"} if path == "/plotly.js" else {}
