"""The users of loadtest/locustfile.py: against the demo all succeed, failures are told, over TLS the names are right.

locust is no dependency of development; `make loadtest`, which CI runs before the tests, installs it.
"""

import asyncio
import contextlib
import datetime
import importlib.util
import json
import signal
import ssl
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from ingressd.demo import websocket
from tests.kit import eventually
from tests.loadtest.started import LOADTEST, Run, started

SHORT = ("--run-time", "3s", "--stop-timeout", "20")
NAMES = ("a.example", "b.example")

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(300),
    pytest.mark.skipif(importlib.util.find_spec("locust") is None, reason="locust is not installed: make loadtest"),
]


def on_demo(*arguments: str) -> contextlib.AbstractAsyncContextManager[Run]:
    return started(str(LOADTEST / "locust_demo.py"), *SHORT, *arguments)


def requests(file: Path) -> dict[str, int]:
    """How many were made of each kind. Asserts that none failed."""
    counts: dict[str, int] = {}
    for entry in json.loads(file.read_text()):
        kind = entry["method"]
        counts[kind] = counts.get(kind, 0) + entry["num_requests"]
        assert not entry["num_failures"], entry
    return counts


async def test_all_users_of_the_demo_are_served(tmp_path: Path) -> None:
    async with on_demo("--json-file", str(tmp_path / "stats")) as run:
        assert await run.end() == 0, run.said
    assert set(requests(tmp_path / "stats.json")) == {
        *("GET", "HEAD", "POST", "PUT"),
        *("WS open", "WS echo"),
        *("SLOW head", "SLOW upload", "SLOW read"),
    }


@pytest.mark.parametrize(
    ("kind", "user"), [("pages", "Browser"), ("slow", "SlowClient"), ("websockets", "WebSocketUser")]
)
async def test_a_request_that_fails_is_told_and_makes_the_run_fail(kind: str, user: str) -> None:
    async with on_demo("--users", "2", f"--{kind}=chat.localhost/no-such-path", user) as run:
        assert await run.end() == 1, run.said
    assert "404" in run.said


async def test_what_was_started_ends_with_the_script() -> None:
    async with on_demo("--run-time", "10m") as run:
        await eventually(lambda: len(run.left()) >= 4, "script, demo, its worker and locust run")
        run.process.send_signal(signal.SIGTERM)
        assert await run.end() == 130, run.said


# --- over TLS


@dataclass
class Seen:
    """What clients named."""

    sni: set[str | None] = field(default_factory=set)
    hosts: set[str] = field(default_factory=set)


def certificate(folder: Path) -> ssl.SSLContext:
    """A server's context with a certificate for NAMES, which is in `folder`/ca.crt to be trusted."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test")])
    now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(each) for each in NAMES]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "key").write_bytes(pem)
    (folder / "ca.crt").write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "ca.crt", folder / "key")
    return context


@contextlib.asynccontextmanager
async def https(folder: Path, seen: Seen) -> AsyncIterator[str]:
    """A server that talks WebSocket on /ws and answers all else with 200. Gives its URL."""

    def note(sock: object, name: str | None, context: object) -> None:
        seen.sni.add(name)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError, ssl.SSLError):
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                fields = dict(line.split(": ", 1) for line in head.split("\r\n")[1:] if line)
                seen.hosts.add(fields["Host"])
                if head.startswith("GET /ws "):
                    await websocket.talk(reader, writer, fields["Sec-WebSocket-Key"], "hello")
                    break
                await reader.readexactly(int(fields.get("Content-Length", "0")))
                body = b"" if head.startswith("HEAD ") else b"hello"
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" + body)
                await writer.drain()
        writer.close()

    context = certificate(folder)
    context.sni_callback = note
    server = await asyncio.start_server(talk, "127.0.0.1", 0, ssl=context)
    async with server:
        yield f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def places(*kinds: str) -> list[str]:
    """Options that send all kinds of users to NAMES."""
    pages = ",".join(f"{name}/" for name in NAMES)
    return [f"--{kind}={pages}" for kind in kinds] + [f"--websockets={NAMES[0]}/ws"]


async def test_over_tls_the_virtual_host_is_named_and_its_certificate_is_checked(tmp_path: Path) -> None:
    seen = Seen()
    async with https(tmp_path, seen) as url:
        command = ["-m", "locust", "-f", str(LOADTEST / "locustfile.py"), "--headless", "-u", "12", "-r", "12"]
        command += ["--host", url, *SHORT, *places("pages", "api-calls", "uploads", "slow")]
        async with started(*command, "--ca-file", str(tmp_path / "ca.crt")) as run:
            assert await run.end() == 0, run.said
        assert seen.sni == set(NAMES)
        assert seen.hosts == set(NAMES)
        for user in ("Browser", "WebSocketUser", "SlowClient"):
            async with started(*command, user) as run:
                assert await run.end() == 1, run.said
            assert "CERTIFICATE_VERIFY_FAILED" in run.said
        async with started(*command, "--insecure") as run:
            assert await run.end() == 0, run.said
