"""The wire of the Hub double: HTTP/1.1 on loopback, a log of requests, and the faults acted out on the connection."""

import json
import socket
import struct
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

from hub_faults import STATUSES, Fault, Faults
from hub_refusals import Refusal


@dataclass(frozen=True)
class Call:
    """A request as the endpoints see it; the token is whatever came as `Authorization: Bearer`."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return urlsplit(self.target).path

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.target).query, keep_blank_values=True)

    def asked(self, name: str) -> str | None:
        """The first value of a query's name."""
        return self.query.get(name, [None])[0]

    @property
    def token(self) -> str | None:
        scheme, _, token = self.headers.get("Authorization", "").partition(" ")
        return token or None if scheme == "Bearer" else None

    def json(self) -> dict:
        """The body; what is no JSON object is refused."""
        try:
            given = json.loads(self.body or b"{}")
        except ValueError:
            given = None
        if not isinstance(given, dict):
            raise Refusal(400, "The request's body is no JSON object")
        return given


@dataclass
class Answer:
    """What is answered."""

    status: int = 200
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, given: object, status: int = 200, **headers: str) -> "Answer":
        """JSON; underscores in a header's name stand for hyphens."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return cls(status, json.dumps(given).encode(), {"Content-Type": "application/json", **named})

    @classmethod
    def no(cls, refusal: Refusal) -> "Answer":
        answer = cls.of({"error": refusal.words, **refusal.more}, refusal.status, X_Error_Message=refusal.words)
        if refusal.code:
            answer.headers["X-Error-Code"] = refusal.code
        return answer


@dataclass(frozen=True)
class Entry:
    """A request in the log. Of a token it only says that one came; the status is the one meant, where none arrived."""

    place: str
    method: str
    path: str
    status: int | None
    fault: str | int | None
    token: bool
    known: bool


# How much of a request comes before its connection is reset.
EARLY_BYTES = 1 << 16
Endpoints = Callable[[Call], Answer | None]


class Server:
    """A port that answers by its endpoints; None from them means that there is no such endpoint."""

    def __init__(self, place: str, endpoints: Endpoints, faults: Faults, log: list[Entry]) -> None:
        self.place, self.endpoints, self.faults, self.log = place, endpoints, faults, log
        self._http = _Threads(("127.0.0.1", 0), _Handler)
        self._http.owner = self
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._http.shutdown()
        self._thread.join()
        self._http.server_close()

    def serve(self, call: Call, fault: Fault | None) -> Answer:
        """Carry a request out, unless it fails before, and log it."""
        known = True
        if fault and isinstance(fault.kind, int):
            answer = Answer.no(Refusal(fault.kind, STATUSES[fault.kind]))
            if fault.retry_after is not None:
                answer.headers["Retry-After"] = str(fault.retry_after)
        else:
            try:
                found = self.endpoints(call)
                known = found is not None
                answer = found or Answer.no(Refusal(404, f"The double has no endpoint {call.method} {call.path}"))
            except Refusal as refusal:
                answer = Answer.no(refusal)
            except Exception as mistake:  # the double's own, or a request that no client would send
                traceback.print_exc()
                answer = Answer.no(Refusal(500, f"The double failed: {mistake!r}"))
        self.note(call, answer.status, fault, known)
        return answer

    def note(self, call: Call, status: int | None, fault: Fault | None, known: bool = True) -> None:
        kind = fault.kind if fault else None
        came = "Authorization" in call.headers
        self.log.append(Entry(self.place, call.method, call.target, status, kind, came, known))


class _Threads(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64
    owner: Server

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that was killed in the middle of its request is no news; anything else is a mistake of ours."""
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Threads

    def log_message(self, *given: object) -> None:
        """The log is the double's own."""

    def _serve(self) -> None:
        owner = self.server.owner
        fault = owner.faults.strike(self.command, self.path)
        if fault and fault.kind == "reset":
            owner.note(Call(self.command, self.path, self.headers, b""), None, fault)
            return self._reset()
        answer = owner.serve(Call(self.command, self.path, self.headers, self._body()), fault)
        self._send(answer, fault)

    do_GET = do_HEAD = do_POST = do_PUT = do_DELETE = do_PATCH = _serve

    def _body(self) -> bytes:
        if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
            return self._exactly(int(self.headers.get("Content-Length", 0)))
        parts = []
        while size := int(self.rfile.readline().split(b";")[0] or b"-1", 16):
            parts.append(self._exactly(size))
            self.rfile.readline()
        self.rfile.readline()
        return b"".join(parts)

    def _exactly(self, size: int) -> bytes:
        """A body that ends before its end was promised is never acted upon."""
        data = self.rfile.read(max(size, 0))
        if len(data) != size:
            raise ConnectionError("the client went away in the middle of its request")
        return data

    def _send(self, answer: Answer, fault: Fault | None) -> None:
        content = b"" if self.command == "HEAD" else answer.body
        said = {"Content-Length": str(len(answer.body)), "X-Request-Id": "double", **answer.headers}
        lines = [f"HTTP/1.1 {answer.status} {HTTPStatus(answer.status).phrase}"]
        head = "\r\n".join([*lines, *(f"{name}: {value}" for name, value in said.items()), "\r\n"]).encode("latin-1")
        kind = fault.kind if fault else None
        if kind == "slow" and fault:
            time.sleep(fault.seconds)
        if kind == "lost":
            sent = b""
        elif kind == "truncated" and content:
            sent = head + content[: len(content) // 2]
        elif kind in ("cut", "truncated"):
            sent = (head + content)[: len(head + content) // 2]
        else:
            sent = head + content
        self.wfile.write(sent)
        self.close_connection = self.close_connection or kind in ("lost", "cut", "truncated")

    def _reset(self) -> None:
        """Close such that the client is told of a reset (RST) and not of an end, in the middle of a large request."""
        self.rfile.read(min(int(self.headers.get("Content-Length", 0)), EARLY_BYTES))
        self.close_connection = True
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.connection.close()
