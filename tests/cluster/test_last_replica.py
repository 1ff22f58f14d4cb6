"""What replicas leave in the status of Ingresses when one after the other ends."""

from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from tests.cluster.api import Api
from tests.cluster.apiserver import Cluster
from tests.cluster.controller import ADDRESS, Installation, installed
from tests.cluster.until import until
from tests.netlab import Lab

Json = dict[str, Any]
FLAG = "--update-status-on-shutdown"
LEADS = "nginx_ingress_controller_leader_election_status"
WITHIN = 30.0
"""Seconds."""


def slice_of_pods(installation: Installation, *terminating: str) -> Json:
    """What Kubernetes writes for the Service in front of two replicas."""
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {
            "name": "front-1",
            "labels": {"kubernetes.io/service-name": installation.install.service["metadata"]["name"]},
        },
        "addressType": "IPv4",
        "ports": [{"name": "http", "port": 80}],
        "endpoints": [
            {
                "addresses": [f"10.1.0.{number}"],
                "targetRef": {"kind": "Pod", "name": pod},
                "conditions": {"ready": pod not in terminating, "terminating": pod in terminating},
            }
            for number, pod in enumerate(("ingressd-0", "ingressd-1"), 1)
        ],
    }


def ingress(installation: Installation) -> Json:
    path = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": "web", "port": {"number": 80}}}}
    rules = [{"host": "a.example", "http": {"paths": [path]}}]
    spec = {"ingressClassName": installation.ingress_class, "rules": rules}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": "web"}, "spec": spec}


async def test_only_the_last_replica_takes_the_addresses_away(
    cluster: Cluster, admin: Api, lab: Lab, tmp_path: Path
) -> None:
    async def addresses() -> list[Json]:
        found: list[Json] = (await admin.get("Ingress", "web"))["status"]["loadBalancer"].get("ingress", [])
        return found

    async def is_written() -> bool:
        return await addresses() == [{"ip": ADDRESS}]

    async with installed(cluster, admin, tmp_path) as installation:
        # A whole cluster would start pods of its own.
        await admin.patch("Deployment", installation.install.workload["metadata"]["name"], {"spec": {"replicas": 0}})
        await admin.apply(slice_of_pods(installation))
        await admin.apply(ingress(installation))
        async with AsyncExitStack() as later:
            async with installation.replica(FLAG) as first:
                await until(is_written, "the address is written", WITHIN)
                second = await later.enter_async_context(installation.replica(FLAG))
                await second.ready()
                assert await first.metric(LEADS)
            assert await is_written(), "the second replica goes on"

            async def second_leads() -> bool:
                return bool(await second.metric(LEADS)) and "the address of Ingresses is" in second.log()

            await until(second_leads, "the second leads", WITHIN)
            await admin.apply(slice_of_pods(installation, "ingressd-0", "ingressd-1"))
        assert await addresses() == []
        assert "this is the last replica" in second.log()
        assert "this is the last replica" not in first.log()
