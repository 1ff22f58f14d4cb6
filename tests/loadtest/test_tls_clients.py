"""HTTPS in the comparison: the certificate of all, what clients offer, and whether handshakes are full or resumed."""

import contextlib
import json
import os
import socket
import ssl
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import certificate
import generators
import pytest
import rig
from rig import LOOPBACK, Process, RigError

from tests.kit import DEADLINE

SECONDS = 0.2
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 12\r\n\r\n" + rig.SMALL


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> certificate.Files:
    return certificate.make(tmp_path_factory.mktemp("certificate"))


def _context(files: certificate.Files) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    return context


@contextlib.contextmanager
def _served(context: ssl.SSLContext, response: bytes = RESPONSE) -> Iterator[Process]:
    """A server that gives each connection one response."""

    def answer(plain: socket.socket) -> None:
        with contextlib.suppress(OSError), context.wrap_socket(plain, server_side=True) as connection:
            connection.settimeout(DEADLINE)
            received = b""
            while not received.endswith(b"\r\n\r\n") and (data := connection.recv(65536)):
                received += data
            connection.sendall(response)

    def accept() -> None:
        while True:
            plain, _ = listening.accept()
            if over.is_set():
                plain.close()
                return
            answer(plain)

    over = threading.Event()
    with socket.create_server((LOOPBACK, 0)) as listening:
        thread = threading.Thread(target=accept)
        thread.start()
        port = listening.getsockname()[1]
        try:
            yield Process("a server", os.getpid(), os.getpid(), 0, Path(os.devnull), port)
        finally:
            over.set()
            socket.create_connection((LOOPBACK, port)).close()
            thread.join()


@pytest.mark.parametrize("resume", [False, True], ids=["full", "resumed"])
def test_handshakes_are_counted_and_timed(files: certificate.Files, resume: bool) -> None:
    with _served(_context(files)) as process:
        load = generators.handshakes(process, SECONDS, resume)
    assert load.requests > 0
    assert load.errors == 0
    assert load.seconds >= SECONDS
    assert 0 < load.p50 <= load.p99 <= load.p999


def test_a_server_that_resumes_nothing_is_noticed(files: certificate.Files) -> None:
    context = _context(files)
    context.num_tickets = 0
    with _served(context) as process:
        assert generators.handshakes(process, SECONDS, resume=False).requests > 0
        with pytest.raises(RigError, match=r"^a server resumed 0 of \d+ sessions, where all were to be resumed$"):
            generators.handshakes(process, SECONDS, resume=True)


def test_another_cipher_is_noticed(files: certificate.Files, monkeypatch: pytest.MonkeyPatch) -> None:
    """OpenSSL left to itself takes this one."""
    monkeypatch.setattr(certificate, "CLIENT", {"OPENSSL_CONF": os.devnull})
    with (
        _served(_context(files)) as process,
        pytest.raises(RigError, match=r"^a server spoke \[\('TLSv1.3', 'TLS_AES_256_GCM_SHA384'\)\], not"),
    ):
        generators.handshakes(process, SECONDS, resume=False)


def test_no_other_version_is_spoken(files: certificate.Files) -> None:
    context = _context(files)
    context.maximum_version = ssl.TLSVersion.TLSv1_2
    with _served(context) as process:
        load = generators.handshakes(process, SECONDS, resume=False)
    assert load.requests == 0
    assert load.errors > 0


def test_connections_that_fail_are_errors(files: certificate.Files) -> None:
    with _served(_context(files), b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n") as process:
        load = generators.handshakes(process, SECONDS, resume=False)
        assert load.requests == 0
        assert load.errors > 0
        with pytest.raises(RigError, match=r"no session to resume: the proxy closed a connection after b'HTTP/1.1 503"):
            generators.handshakes(process, SECONDS, resume=True)


def test_load_generators_offer_one_cipher(files: certificate.Files) -> None:
    """Whatever the server prefers: it has to be that one, or the handshake fails."""
    offered = subprocess.run(
        [
            sys.executable,
            "-c",
            "import json, ssl\n"
            "names = [each['name'] for each in ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).get_ciphers()\n"
            "         if each['protocol'] == 'TLSv1.3']\n"
            "print(json.dumps(names))",
        ],
        env={**os.environ, **certificate.CLIENT},
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=True,
    )
    assert json.loads(offered.stdout) == [certificate.SPOKEN[1]]


def test_the_check_takes_no_other_certificate(files: certificate.Files, tmp_path: Path) -> None:
    with _served(_context(files)) as process:
        right = certificate.trusting(files)
        assert rig.get(process.https_port, "/", rig.host(0), right) == (200, rig.SMALL)
        for name in (rig.ECHO_HOST, LOOPBACK):
            assert rig.get(process.https_port, "/", name, right)[0] == 200
        with pytest.raises(ssl.SSLCertVerificationError):
            rig.get(process.https_port, "/", "elsewhere.example", right)
        with pytest.raises(ssl.SSLCertVerificationError):
            rig.get(process.https_port, "/", rig.host(0), certificate.trusting(certificate.make(tmp_path)))
