"""The comparison of what proxies answer and forward."""

import alike
import pytest
from alike import Answer, differences, forwarding

SENT = (("Accept", "*/*"), ("X-Request-ID", "chosen-by-the-client"), ("X-Forwarded-For", "192.0.2.9"))
HEAD = (
    b"POST /asked?a=b%20c HTTP/1.1",
    b"Host: echo.example.com",
    b"accept: */*",
    b"Content-Length: 2048",
    b"X-Request-ID: 0123",
    b"X-Real-IP: 127.0.0.1",
    b"X-Forwarded-For: 127.0.0.1",
    b"X-Forwarded-Host: echo.example.com",
    b"X-Forwarded-Port: 8080",
    b"X-Forwarded-Proto: http",
    b"X-Forwarded-Scheme: http",
    b"X-Scheme: http",
    b"Via: 1.1 Caddy",
)
BODY = bytes(range(256)) * 8


def _problems(*lines: bytes, body: bytes = BODY) -> list[str]:
    return forwarding(SENT, b"\r\n".join(lines) + b"\r\n\r\n" + body, 8080, "http")[0]


def test_a_request_as_it_should_reach_the_upstream() -> None:
    assert forwarding(SENT, b"\r\n".join(HEAD) + b"\r\n\r\n" + BODY, 8080, "http") == ([], "0123")


def test_a_request_over_https_tells_the_upstream_so() -> None:
    request = b"\r\n".join(HEAD).replace(b": http", b": https") + b"\r\n\r\n" + BODY
    assert forwarding(SENT, request, 8080, "https") == ([], "0123")
    problems, _ = forwarding(SENT, request.replace(b"X-Scheme: https", b"X-Scheme: http"), 8080, "https")
    assert problems == ["x-scheme: 'https' is missing", "x-scheme: 'http' is too much"]


@pytest.mark.parametrize("at", [at for at in range(1, len(HEAD) - 1)], ids=lambda at: HEAD[at].decode())
def test_a_field_that_is_missing_is_noticed(at: int) -> None:
    (problem,) = _problems(*HEAD[:at], *HEAD[at + 1 :])
    assert HEAD[at].partition(b":")[0].decode().lower() in problem


def test_what_the_client_claims_must_not_reach_the_upstream() -> None:
    lines = [line.replace(b"For: 127.0.0.1", b"For: 192.0.2.9, 127.0.0.1") for line in HEAD]
    assert _problems(*lines) == [
        "x-forwarded-for: '127.0.0.1' is missing",
        "x-forwarded-for: '192.0.2.9, 127.0.0.1' is too much",
    ]


def test_a_field_more_a_changed_target_and_a_changed_body_are_noticed() -> None:
    assert _problems(*HEAD, b"X-More: 1") == ["x-more: '1' is too much"]
    assert _problems(*HEAD, HEAD[2]) == ["a field is repeated"]
    (problem,) = _problems(b"POST /asked?a=b c HTTP/1.1", *HEAD[1:])
    assert "the request line" in problem
    (problem,) = _problems(*HEAD, body=BODY[:-1])
    assert "the body" in problem


def test_answers() -> None:
    expected = Answer(200, [("Content-Length", "12"), ("Server", "one")], 12, "hash")
    assert differences(expected, expected) == []
    assert differences(expected, Answer(200, [("Via", "1.1 x"), ("content-length", "12")], 12, "hash")) == []
    assert differences(expected, expected._replace(status=206)) == ["status 206 and not 200"]
    assert differences(expected, expected._replace(hash="other")) == ["another body: 12 bytes, the upstream sent 12"]
    assert differences(expected, expected._replace(fields=[])) == ["content-length: '12' is missing"]


def test_what_may_differ_is_a_field_that_says_nothing_of_the_work() -> None:
    assert not set(alike.MAY_DIFFER) & {"content-length", "content-type", "etag", "location", "x-request-id"}
