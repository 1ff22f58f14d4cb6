"""The form in which hosts and paths are compared."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ingressd.http1 import RequestHead
from ingressd.routing import InvalidPath, normal_host, normal_path

PATHS = {
    b"/": b"/",
    b"/a": b"/a",
    b"/a/": b"/a/",
    b"/a/b/c": b"/a/b/c",
    # repeated slashes are merged
    b"//": b"/",
    b"//a": b"/a",
    b"/a//b": b"/a/b",
    b"/a///": b"/a/",
    # dot segments are resolved (RFC 3986 section 5.2.4)
    b"/.": b"/",
    b"/./": b"/",
    b"/./a": b"/a",
    b"/a/.": b"/a/",
    b"/a/./b": b"/a/b",
    b"/a/..": b"/",
    b"/a/../": b"/",
    b"/a/../b": b"/b",
    b"/a/b/..": b"/a/",
    b"/a/b/../": b"/a/",
    b"/a/b/../c": b"/a/c",
    b"/a/b/../../c": b"/c",
    b"/a//../b": b"/b",
    b"/a/.//../b": b"/b",
    # only whole segments are dot segments
    b"/a./b..": b"/a./b..",
    b"/.a/..b": b"/.a/..b",
    b"/...": b"/...",
    b"/a/.../b": b"/a/.../b",
    # percent-encodings are decoded, once
    b"/%61": b"/a",
    b"/%C3%A9": b"/\xc3\xa9",
    b"/%c3%a9": b"/\xc3\xa9",
    b"/a%20b": b"/a b",
    b"/a%3Fb": b"/a?b",
    b"/a%23b": b"/a#b",
    b"/%25": b"/%",
    b"/%2561": b"/%61",
    b"/%252e%252e/a": b"/%2e%2e/a",
    b"/a%0d%0ab": b"/a\r\nb",
    b"/%ff": b"/\xff",
    # what is decoded is structure too
    b"/a%2Fb": b"/a/b",
    b"/a%2F%2fb": b"/a/b",
    b"/a/%2e%2e/b": b"/b",
    b"/a/%2E./b": b"/b",
    b"/a%2f..%2fb": b"/b",
    b"/a/%2e": b"/a/",
    # a backslash and a semicolon are nothing special
    b"/a\\..\\b": b"/a\\..\\b",
    b"/a;b/..;/c": b"/a;b/..;/c",
    b"/a+b": b"/a+b",
}


@pytest.mark.parametrize(("path", "normal"), PATHS.items())
def test_path(path: bytes, normal: bytes) -> None:
    assert normal_path(path) == normal


LEAVING_THE_ROOT = [b"/..", b"/../", b"/../a", b"/a/../..", b"/a/../../b", b"/./..", b"//..", b"/%2e%2e/a", b"/..%2fa"]
BROKEN = [
    b"/%",
    b"/%4",
    b"/%4g",
    b"/%g4",
    b"/a%",
    b"/%%41",
    b"/% 41",
    b"/%+1",
    b"/%-1",
    b"/%0x",
    b"/%u0041",
    b"/%\xc3\xa9",
]


@pytest.mark.parametrize("path", LEAVING_THE_ROOT)
def test_a_path_that_leaves_the_root(path: bytes) -> None:
    with pytest.raises(InvalidPath, match="root"):
        normal_path(path)


@pytest.mark.parametrize("path", BROKEN)
def test_a_broken_percent_encoding(path: bytes) -> None:
    with pytest.raises(InvalidPath, match="hexadecimal"):
        normal_path(path)


@pytest.mark.parametrize("path", [b"/%00", b"/a%00b", b"/a/%00/../b"])
def test_a_nul(path: bytes) -> None:
    with pytest.raises(InvalidPath, match="NUL"):
        normal_path(path)


def test_a_percent_sign_that_was_encoded_is_not_decoded_again() -> None:
    assert normal_path(b"/%2500") == b"/%00"


def _by_substitution(path: bytes) -> bytes:
    """The same by rewriting text until nothing changes; only for paths without percent signs."""
    path = re.sub(rb"/+", b"/", path)
    while (shorter := re.sub(rb"/\.(/|$)", b"/", path)) != path:
        path = shorter
    while True:
        if re.match(rb"/\.\.(/|$)", path):
            raise InvalidPath
        shorter = re.sub(rb"/(?!\.\.(/|$))[^/]+/\.\.(/|$)", b"/", path, count=1)
        if shorter == path:
            return path
        path = shorter


segments = st.sampled_from((b"", b"a", b"bc", b".", b"..", b"...", b".a", b"a.", b"..a", b"a b", b"\xff"))


@settings(deadline=None, max_examples=500)
@given(st.lists(segments, min_size=1, max_size=9))
def test_dot_segments_against_substitution(parts: list[bytes]) -> None:
    path = b"/" + b"/".join(parts)
    try:
        expected = _by_substitution(path)
    except InvalidPath:
        with pytest.raises(InvalidPath):
            normal_path(path)
    else:
        assert normal_path(path) == expected
        assert normal_path(expected) == expected


@settings(deadline=None, max_examples=500)
@given(st.lists(st.one_of(segments, st.binary(max_size=3), st.sampled_from((b"%2e", b"%2F", b"%"))), max_size=9))
def test_what_comes_out_is_normal(parts: list[bytes]) -> None:
    try:
        path = normal_path(b"/" + b"/".join(parts).replace(b"\0", b""))
    except InvalidPath:
        return
    first, *others = path.split(b"/")
    assert first == b""
    assert b"" not in others[:-1]
    assert not {b".", b".."} & set(others)
    assert b"\0" not in path


target_parts = st.one_of(
    segments.filter(lambda part: part != b"a b" and part != b"\xff"), st.sampled_from((b"%41", b"?", b"?b"))
)


@settings(deadline=None, max_examples=500)
@given(st.lists(target_parts, max_size=8))
def test_a_head_that_calls_its_path_normal_is_right(parts: list[bytes]) -> None:
    target = b"/" + b"/".join(parts)
    head = RequestHead(False)
    head.feed(b"GET " + target + b" HTTP/1.1\r\nHost: a\r\n\r\n", 0)
    assert head.path == target.partition(b"?")[0]
    if head.path_normal:
        assert normal_path(head.path) == head.path


HOSTS = {
    b"a.example": b"a.example",
    b"A.Example": b"a.example",
    b"a.example:8080": b"a.example",
    b"a.example:": b"a.example",
    b"a.example.": b"a.example",
    b"A.EXAMPLE.:80": b"a.example",
    b"a": b"a",
    b"": b"",
    b".": b"",
    b"192.0.2.1:80": b"192.0.2.1",
    b"[2001:DB8::1]": b"[2001:db8::1]",
    b"[2001:db8::1]:8080": b"[2001:db8::1]",
    b"[::]:": b"[::]",
    b"a_b.example": b"a_b.example",
    b"XN--BCHER-KVA.example": b"xn--bcher-kva.example",
}


@pytest.mark.parametrize(("host", "normal"), HOSTS.items())
def test_host(host: bytes, normal: bytes) -> None:
    assert normal_host(host) == normal
    assert normal_host(normal) == normal
