"""ingressd as the manifests start it, under their role: it lacks no right, and has none that it does not use."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest_asyncio

from tests.cluster.api import Api
from tests.cluster.apiserver import Cluster
from tests.cluster.until import until
from tests.kit import DEADLINE
from tests.manifests.built import Install, Object, kustomize, source

CLUSTER_WIDE = ("ClusterRole", "ClusterRoleBinding", "IngressClass")
ADDRESS = "192.0.2.80"

SELDOM = {
    ("get", "ingressclasses"),
    ("get", "endpointslices"),
    ("get", "events"),
    ("patch", "events"),
    ("get", "secrets"),
}
"""Used when an Event is about such an object, or was written before, and for more Secrets than are watched."""


@pytest_asyncio.fixture
async def installed(admin: Api, tmp_path: Path) -> AsyncIterator[Install]:
    """The base, in the namespace of this test, with a Service that has an address; without its pods."""
    name = f"-{admin.namespace}"
    (tmp_path / "manifests").mkdir()
    found = kustomize(tmp_path / "manifests", source("base"), namespace=admin.namespace, nameSuffix=name)
    for each in found.objects:
        if each["kind"] != "Namespace":
            await admin.apply(each)
    status = {"loadBalancer": {"ingress": [{"ip": ADDRESS}]}}
    await admin.patch("Service", found.service["metadata"]["name"], {"status": status}, sub="status")
    yield found
    for each in found.of_kind(*CLUSTER_WIDE):
        await admin.delete(each["kind"], each["metadata"]["name"])


@contextmanager
def running(found: Install, kubeconfig: Path) -> Iterator[None]:
    """`ingressd run` with the arguments of the container, at ports of its own choice."""
    service = found.service["metadata"]
    more = ["--kubeconfig", str(kubeconfig), "--http-port=0", "--https-port=0", "--healthz-port=0"]
    more += ["--bind-address=127.0.0.1", "--shutdown-grace-period=0"]
    published = f"--publish-service={service['namespace']}/{service['name']}"
    with (kubeconfig.parent / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "ingressd", *found.arguments, *more, published],
            env={**os.environ, "POD_NAMESPACE": service["namespace"], "POD_NAME": "ingressd-0"},
            stdout=subprocess.DEVNULL,
            stderr=log,
        )
        try:
            yield
            process.terminate()
            assert process.wait(DEADLINE) == 0, Path(log.name).read_text()
        finally:
            process.kill()
            process.wait()


def ingress(found: Install) -> Object:
    """One that has a problem, and names a Secret."""
    path = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "missing", "port": {"number": 80}}}}
    spec = {
        "ingressClassName": found.one("IngressClass")["metadata"]["name"],
        "tls": [{"hosts": ["a.example"], "secretName": "missing"}],
        "rules": [{"host": "a.example", "http": {"paths": [path]}}],
    }
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "a"}, "spec": spec}


async def test_every_right_is_there_and_used(cluster: Cluster, admin: Api, installed: Install, tmp_path: Path) -> None:
    account = installed.pod["serviceAccountName"]
    config = cluster.kubeconfig(tmp_path / "kubeconfig", await admin.token(account), namespace=admin.namespace)
    await admin.apply(ingress(installed))

    async def status_is_written() -> bool:
        status = (await admin.get("Ingress", "a"))["status"]
        return bool(status.get("loadBalancer", {}).get("ingress") == [{"ip": ADDRESS}])

    async def problem_is_told() -> bool:
        events = await admin.list("events.k8s.io/v1/Event")
        return any(each["regarding"].get("name") == "a" and each["type"] == "Warning" for each in events.items)

    with running(installed, config):
        await until(status_is_written, "the status is written")
        await until(problem_is_told, "there is an Event about the problem")

    seen = cluster.accesses(f"system:serviceaccount:{admin.namespace}:{account}")
    refused = {(each.verb, each.resource) for each in seen if each.status == 403}
    used = {(each.verb, each.resource) for each in seen} - refused
    granted = {(rule.verb, rule.resource) for rule in installed.rules("ClusterRole", "Role")}
    assert not refused
    assert used - granted == set()
    assert granted - used <= SELDOM
