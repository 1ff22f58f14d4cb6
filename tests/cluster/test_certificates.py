"""A Secret that changes at the API server, seen by who connects."""

import asyncio
import ssl
import statistics
from pathlib import Path

import pytest

from tests.cluster.api import Api, Object
from tests.cluster.apiserver import Cluster
from tests.cluster.controller import Ingressd, installed
from tests.cluster.load import loading
from tests.cluster.test_cases import HOST, endpoint_slice, ingress, put, service
from tests.cluster.until import until
from tests.kit import get
from tests.kit.pki import Authority, Issued
from tests.netlab import Lab
from tests.proxy.tls.kit import connected, unverified

CA = Authority()
WITHIN = 0.1
"""Seconds between a change and the next handshake that has it."""
ROW = 8
"""Handshakes in a row: that each worker has had one of them is all but certain."""


def secret(issued: Issued) -> Object:
    values = {"tls.crt": issued.chain.decode(), "tls.key": issued.key.decode()}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "web-tls"},
        "type": "kubernetes.io/tls",
        "stringData": values,
    }


async def shows(ingressd: Ingressd, issued: Issued) -> bool:
    """Whether a new connection gets this certificate."""
    async with connected(ingressd.https_port, unverified(), HOST) as client:
        return client.tls.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert(issued.certificate.decode())


async def seconds_to_change(admin: Api, ingressd: Ingressd, issued: Issued) -> float:
    """From the answer of the API server to the first of a row of handshakes that all get the new certificate."""
    loop = asyncio.get_running_loop()
    await put(admin, secret(issued))
    start = first = loop.time()
    row = 0
    async with asyncio.timeout(30.0):
        while row < ROW:
            if await shows(ingressd, issued):
                row, first = row + 1, first if row else loop.time()
            else:
                row = 0
    return first - start


@pytest.mark.slow
async def test_a_changed_secret_is_served_to_the_next_and_touches_no_connection(
    cluster: Cluster, admin: Api, lab: Lab, tmp_path: Path
) -> None:
    """Under load. The median of many changes; a machine that is busy for a while has two more rounds to show it."""
    pod = await lab.pod()
    tls = [{"hosts": [HOST], "secretName": "web-tls"}]
    certificates = [CA.issue(HOST) for _ in range(2)]
    async with installed(cluster, admin, tmp_path) as installation, installation.replica("--workers=2") as ingressd:
        await ingressd.ready()
        await put(admin, service(), endpoint_slice(pod), secret(certificates[0]))
        await put(admin, ingress(installation.ingress_class, tls=tls))

        async def is_shown() -> bool:
            return await shows(ingressd, certificates[0])

        await until(is_shown, "the first certificate is served")
        await ingressd.answers(HOST, pod.name)
        async with (
            connected(ingressd.https_port, unverified(), HOST) as kept,
            loading(ingressd.port, HOST) as load,
        ):
            medians = []
            for _ in range(3):
                took = []
                for turn in range(1, 11):
                    took.append(await seconds_to_change(admin, ingressd, certificates[turn % 2]))
                    assert (await kept.ask(get("/", host=HOST))).status == 200
                medians.append(statistics.median(took))
                if medians[-1] <= WITHIN:
                    break
            assert medians[-1] <= WITHIN, medians
            await load.more()
