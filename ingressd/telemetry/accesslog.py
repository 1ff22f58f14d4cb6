"""Access log lines: the default format of ingress-nginx field for field, or JSON with the same and a few more.

Unlike there, responses of our own (404, 400, 503 ...) are logged as well. Text is escaped as nginx does it: a quote, a
backslash and everything that is not printable ASCII becomes \\xXX, so a client cannot forge a line.
"""

import base64
import binascii
import json
from datetime import datetime

from ingressd import octets
from ingressd.http1.head import RequestHead
from ingressd.model import AccessLogFormat
from ingressd.telemetry.record import Attempt, Record

_NUMBERS = [b"%d" % value for value in range(1024)]
_MILLISECONDS = [b"0.%03d" % value for value in range(1000)]
"""Most figures of a line are small: these need no formatting."""

MAX_REFUSED = 1024
"""Bytes of what is no request line that are logged."""

_PRINTABLE = bytes(0x20 <= code < 0x7F and code not in b'"\\' for code in range(256))


def escape(value: bytes) -> bytes:
    """`value` with what could break a line or a quoted field as \\xXX; `-` for nothing, as nginx writes it."""
    if not value:
        return b"-"
    plain = _PRINTABLE
    for byte in value:
        if not plain[byte]:
            return _escaped(value)
    return value


def _escaped(value: bytes) -> bytes:
    return b"".join(b"%c" % code if _PRINTABLE[code] else b"\\x%02X" % code for code in value)


def refused_line(head: RequestHead) -> bytes:
    """What there is of a request line that is none: never the fields behind it, which may hold secrets."""
    first = head.raw[head.start :].lstrip(b"\r\n").partition(b"\n")[0]
    return first[:MAX_REFUSED].rstrip(b"\r")


def remote_user(authorization: bytes) -> bytes:
    """The user name of Basic credentials (RFC 7617), nothing for any other."""
    scheme, _, credentials = authorization.partition(b" ")
    if scheme.lower() != b"basic":
        return b""
    try:
        decoded = base64.b64decode(credentials.strip(), validate=True)
    except (binascii.Error, ValueError):
        return b""
    return decoded.partition(b":")[0]


def local_time(seconds: float) -> bytes:
    """Seconds since the epoch as nginx's $time_local: `21/Nov/2026:10:15:00 +0000`."""
    return datetime.fromtimestamp(seconds).astimezone().strftime("%d/%b/%Y:%H:%M:%S %z").encode()


def iso_time(seconds: float) -> bytes:
    """Seconds since the epoch as nginx's $time_iso8601: `2026-11-21T10:15:00+00:00`."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="seconds").encode()


def _number(value: int) -> bytes:
    return _NUMBERS[value] if value < 1024 else octets.decimal(value)


def _seconds(value: float) -> bytes:
    """With three decimals, as nginx writes times; `-` for one that never was."""
    if value < 0:
        return b"-"
    milliseconds = int(value * 1000 + 0.5)
    return _MILLISECONDS[milliseconds] if milliseconds < 1000 else b"%.3f" % value


def _status(attempt: Attempt) -> bytes:
    return _number(attempt.status) if attempt.status else b"-"


class AccessLog:
    """Renders records into lines."""

    __slots__ = ("_json", "enabled", "time")

    def __init__(self, form: AccessLogFormat) -> None:
        self.enabled = form is not AccessLogFormat.OFF
        self._json = form is AccessLogFormat.JSON
        self.time = b""
        """The present time as a line shows it; set by `tick`."""

    def tick(self, seconds: float) -> None:
        """Tells the time (seconds since the epoch); called about every second rather than per line."""
        self.time = iso_time(seconds) if self._json else local_time(seconds)

    def line(self, record: Record, duration: float) -> bytes:
        """The line of a finished exchange, with its line feed; `duration` in seconds."""
        return self._as_json(record, duration) if self._json else self._as_text(record, duration)

    def _as_text(self, record: Record, duration: float) -> bytes:
        head = record.head
        upstream_name = b"-"
        decision = record.decision
        if decision is not None:
            upstream_name = decision.name
        request_id = record.request_id if record.request_id else b"-"
        if head is None:
            user = request = referer = agent = b"-"
        else:
            if head.trusted:
                # A trusted proxy may pass on what a client made up.
                request_id = escape(request_id)
            user = b"-"
            if head.authorization:
                user = escape(remote_user(head.authorization))
            request = escape(head.line if head.method else refused_line(head))
            referer = escape(head.referer)
            agent = escape(head.user_agent)
        if len(record.attempts) == 1:
            attempt: Attempt = record.attempts[0]
            address = attempt.address
            length = _number(attempt.response_length)
            time = _seconds(attempt.response_time)
            status = _status(attempt)
        elif not record.attempts:
            address = length = time = status = b"-"
        else:
            address = b", ".join([a.address for a in record.attempts])
            length = b", ".join([b"%d" % a.response_length for a in record.attempts])
            time = b", ".join([_seconds(a.response_time) for a in record.attempts])
            status = b", ".join([_status(a) for a in record.attempts])
        return octets.join(
            [
                record.remote_address,
                b" - ",
                user,
                b" [",
                self.time,
                b'] "',
                request,
                b'" ',
                _number(record.status),
                b" ",
                _number(record.body_bytes_sent),
                b' "',
                referer,
                b'" "',
                agent,
                b'" ',
                _number(record.request_length),
                b" ",
                _seconds(duration),
                b" [",
                upstream_name,
                b"] [] ",
                address,
                b" ",
                length,
                b" ",
                time,
                b" ",
                status,
                b" ",
                request_id,
                b"\n",
            ]
        )

    def _as_json(self, record: Record, duration: float) -> bytes:
        head = record.head
        decision = record.decision
        source = decision.route.source if decision is not None else None
        attempts = record.attempts
        fields = {
            "time": self.time.decode(),
            "remote_addr": record.remote_address.decode(),
            "remote_user": _text(remote_user(head.authorization)) if head is not None and head.authorization else "",
            "request": _text(head.line if head.method else refused_line(head)) if head is not None else "",
            "status": record.status,
            "body_bytes_sent": record.body_bytes_sent,
            "http_referer": _text(head.referer) if head is not None else "",
            "http_user_agent": _text(head.user_agent) if head is not None else "",
            "request_length": record.request_length,
            "request_time": round(duration, 3),
            "proxy_upstream_name": decision.name.decode() if decision is not None else "",
            "proxy_alternative_upstream_name": "",
            "upstream_addr": ", ".join(attempt.address.decode() for attempt in attempts),
            "upstream_response_length": ", ".join(str(attempt.response_length) for attempt in attempts),
            "upstream_response_time": ", ".join(_seconds(attempt.response_time).decode() for attempt in attempts),
            "upstream_status": ", ".join(_status(attempt).decode() for attempt in attempts),
            "req_id": _text(record.request_id),
            "host": _text(head.host) if head is not None else "",
            "namespace": source.namespace if source is not None else "",
            "ingress": source.name if source is not None else "",
            "reason": record.reason,
        }
        return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def _text(value: bytes) -> str:
    """Bytes of a client as text: UTF-8 where they are, else each byte as the character of its number."""
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin-1")
