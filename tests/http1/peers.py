"""The same message as h11 and llhttp (through httptools) read it, in one form to compare."""

from dataclasses import dataclass, field
from typing import Any

import h11
import httptools

LLHTTP_METHODS = (
    b"DELETE GET HEAD POST PUT OPTIONS TRACE COPY LOCK MKCOL MOVE PROPFIND PROPPATCH SEARCH UNLOCK BIND REBIND UNBIND "
    b"ACL REPORT MKACTIVITY CHECKOUT MERGE M-SEARCH NOTIFY SUBSCRIBE UNSUBSCRIBE PATCH PURGE MKCALENDAR LINK UNLINK "
    b"SOURCE"
).split()
"""It refuses all others."""


class Refused(Exception):
    """The peer does not accept the bytes."""


@dataclass(frozen=True)
class Parsed:
    """One whole message. `start` is method and target, or the status and the reason; names are in lower case."""

    start: tuple[bytes, bytes]
    fields: list[tuple[bytes, bytes]]
    body: bytes
    trailers: list[tuple[bytes, bytes]] = field(default_factory=list)


def h11_request(data: bytes) -> tuple[Parsed, bytes]:
    """The first request in `data`, and what follows it."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(data)
    return _h11(connection)


def h11_response(data: bytes, to_head: bool = False) -> tuple[Parsed, bytes]:
    """The first final response in `data`, which the end of the connection follows."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method="HEAD" if to_head else "GET", target="/", headers=[("Host", "a")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(data)
    connection.receive_data(b"")
    return _h11(connection)


def _h11(connection: h11.Connection) -> tuple[Parsed, bytes]:
    start = (b"", b"")
    fields: list[tuple[bytes, bytes]] = []
    body = b""
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            raise Refused(f"h11: {error}") from error
        if isinstance(event, h11.Request):
            start, fields = (event.method, event.target), list(event.headers)
        elif isinstance(event, h11.Response):
            start, fields = (b"%d" % event.status_code, event.reason), list(event.headers)
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return Parsed(start, fields, body, list(event.headers)), connection.trailing_data[0]
        elif not isinstance(event, h11.InformationalResponse):
            raise Refused(f"h11: unfinished, {event}")


class _Callbacks:
    def __init__(self) -> None:
        self.url = b""
        self.reason = b""
        self.fields: list[tuple[bytes, bytes]] = []
        self.trailers: list[tuple[bytes, bytes]] = []
        self.body = b""
        self.head_done = False
        self.done = False
        self.messages = 0

    def on_message_begin(self) -> None:
        self.messages += 1

    def on_url(self, url: bytes) -> None:
        if not self.done:
            self.url += url

    def on_status(self, reason: bytes) -> None:
        if not self.done:
            self.reason += reason

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self.done:
            name, value = name.lower(), value.strip(b" \t")
            if name == b"transfer-encoding":
                value = value.lower()  # as h11 does
            (self.trailers if self.head_done else self.fields).append((name, value))

    def on_headers_complete(self) -> None:
        self.head_done = True

    def on_body(self, body: bytes) -> None:
        if not self.done:
            self.body += body

    def on_message_complete(self) -> None:
        self.done = True


def llhttp_request(data: bytes) -> Parsed:
    """The request that `data` is; raises Refused if anything else follows it. Bodies of requests for an upgrade are not
    read."""
    callbacks = _Callbacks()
    parser = httptools.HttpRequestParser(callbacks)
    _llhttp(parser, callbacks, data)
    return Parsed((parser.get_method(), callbacks.url), callbacks.fields, callbacks.body, callbacks.trailers)


def llhttp_response(data: bytes) -> Parsed:
    """The response that `data` is."""
    callbacks = _Callbacks()
    parser = httptools.HttpResponseParser(callbacks)
    _llhttp(parser, callbacks, data)
    start = (b"%d" % parser.get_status_code(), callbacks.reason)
    return Parsed(start, callbacks.fields, callbacks.body, callbacks.trailers)


def _llhttp(parser: Any, callbacks: _Callbacks, data: bytes) -> None:
    try:
        parser.feed_data(data)
    except httptools.HttpParserUpgrade:
        pass
    except httptools.HttpParserError as error:
        raise Refused(f"llhttp: {error}") from error
    if not callbacks.head_done:
        raise Refused("llhttp: unfinished head")
    if callbacks.messages > 1:
        raise Refused("llhttp: several messages")
