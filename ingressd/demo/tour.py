"""The lines that the demo prints: each command works when pasted and shows one feature.

What stands in double quotes behind a command is in its output word for word; tests/test_demo.py runs every command and
looks for it.
"""

import os
import shlex
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ingressd.demo.certificates import Files
from ingressd.demo.upstream import Server


class Stop(NamedTuple):
    """One stop of the tour. `shows` is a sentence without its full stop; `expect` says what the output has."""

    shows: str
    command: str
    expect: str


class Ports(NamedTuple):
    """Where the demo listens."""

    http: int
    https: int
    admin: int


def stops(ports: Ports, manifests: Path, certificates: Files) -> Iterator[Stop]:
    """The tour for a demo with these ports, this directory of manifests, and the certificate that was made for it."""
    http_port, https_port, admin_port = ports

    def curl(host: str, path: str, options: str = "") -> str:
        return f"curl {options}-H 'Host: {host}' http://localhost:{http_port}{path}"

    shop = shlex.quote(str(manifests / "shop.yaml"))
    yield Stop("A host", curl("shop.localhost", "/"), '"X-Forwarded-Host: shop.localhost" among what the server got')
    yield Stop(
        "Round robin: six requests on one connection",
        f"curl -s -H 'Host: shop.localhost' 'http://localhost:{http_port}/?request=[1-6]' | grep server",
        '"server one", "server two" and "server three" in turn, twice each',
    )
    yield Stop("A prefix of the path", curl("shop.localhost", "/cart/items"), '"server two", which has the cart')
    yield Stop(
        "An exact path, which goes before a prefix", curl("shop.localhost", "/cart/total"), '"server three" each time'
    )
    yield Stop("A wildcard host, *.shop.localhost", curl("fr.shop.localhost", "/"), '"server two" each time')
    yield Stop(
        "The default backend, for hosts that no rule names", f"curl http://localhost:{http_port}/hello", '"server one"'
    )
    yield Stop(
        "A path that no rule matches", curl("chat.localhost", "/", "-i "), '"404 Not Found", and the reason "no_route"'
    )
    here = f"--resolve secure.localhost:{https_port}:127.0.0.1"
    yield Stop(
        "HTTPS, with a certificate that curl can verify",
        f"curl --cacert {shlex.quote(str(certificates.authority))} {here} https://secure.localhost:{https_port}/",
        '"X-Forwarded-Proto: https" among what the server got',
    )
    yield Stop(
        "A host that is served over HTTPS only",
        curl("secure.localhost", "/cart?x=1", "-i "),
        f'"308 Permanent Redirect", and "https://secure.localhost:{https_port}/cart?x=1"',
    )
    yield Stop(
        "Any other host over HTTPS has a certificate that nobody vouches for",
        f"curl -sk -H 'Host: shop.localhost' https://localhost:{https_port}/",
        '"X-Forwarded-Host: shop.localhost"',
    )
    yield Stop(
        "WebSocket: the handshake and a first message, then curl hangs up after a second",
        "curl -isN --max-time 1 -H 'Connection: Upgrade' -H 'Upgrade: websocket' -H 'Sec-WebSocket-Version: 13'"
        " -H 'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==' " + curl("chat.localhost", "/ws").removeprefix("curl "),
        '"101 Switching Protocols", and "hello from server three"',
    )
    yield Stop(
        "An edit of a manifest, in effect at once",
        f"sed -i 's|path: /cart$|path: /basket|' {shop}; sleep 1; " + curl("shop.localhost", "/basket/items", "-s "),
        '"server two", which had no /basket before',
    )
    yield Stop(
        "The same edit undone",
        f"sed -i 's|path: /basket$|path: /cart|' {shop}; sleep 1; " + curl("shop.localhost", "/cart/items", "-s "),
        '"server two" again',
    )
    yield Stop(
        "Metrics, with the names of ingress-nginx",
        f"curl -s http://localhost:{admin_port}/metrics | grep '^nginx_ingress_controller_requests'",
        '"nginx_ingress_controller_requests{" with "shop.localhost" among its labels',
    )
    yield Stop(
        "The routing table",
        f"{_ingressd()} routes --manifests {shlex.quote(str(manifests))}"
        f" --manifests {shlex.quote(str(certificates.manifests))}",
        '"*.shop.localhost" and all the other routes',
    )


def _ingressd() -> str:
    """How this very installation is called from the current directory."""
    path = Path(sys.executable).with_name("ingressd")
    near = os.path.relpath(path)
    return shlex.quote(str(path) if near.startswith("..") else near)


def text(tour: Sequence[Stop], servers: Sequence[Server]) -> str:
    """What is printed when everything runs."""
    lines = [f"{len(servers)} upstream servers run, with ingressd in front. Lines to paste into another terminal:"]
    for stop in tour:
        lines += ["", f"# {stop.shows}. Expect {stop.expect}.", stop.command]
    lines += ["", "Below is the access log. Ctrl-C ends everything."]
    return "\n".join(lines)
