import pytest

from ingressd.translate.addresses import canonical, is_loopback

ADDRESSES = {
    "10.0.0.1": "10.0.0.1",
    "127.0.0.1": "127.0.0.1",
    "2001:DB8:0:0:0:0:0:1": "2001:db8::1",
    "::1": "::1",
    "fd00::0:1": "fd00::1",
    "::ffff:10.0.0.1": "10.0.0.1",
}
REFUSED = [
    "",
    "0.0.0.0",
    "::",
    "::ffff:0.0.0.0",
    "224.0.0.1",
    "ff02::1",
    "169.254.169.254",
    "::ffff:169.254.169.254",
    "fe80::1",
    "fe80::1%eth0",
    "2001:db8::1%1",
    "10.0.0.256",
    "10.0.0",
    "010.0.0.1",
    "0x7f.1",
    "10.0.0.1:80",
    "[::1]",
    "10.0.0.0/8",
    "\u0661.0.0.1",
    "pod.example",
]


@pytest.mark.parametrize("text", ADDRESSES)
def test_canonical(text: str) -> None:
    assert canonical(text) == ADDRESSES[text]


@pytest.mark.parametrize("text", REFUSED)
def test_refused(text: str) -> None:
    assert canonical(text) == ""


@pytest.mark.parametrize("text", ["localhost", "a.localhost", "127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_loopback(text: str) -> None:
    assert is_loopback(text)


@pytest.mark.parametrize("text", ["localhost.example", "notlocalhost", "10.0.0.1", "0.0.0.0", ""])
def test_not_loopback(text: str) -> None:
    assert not is_loopback(text)
