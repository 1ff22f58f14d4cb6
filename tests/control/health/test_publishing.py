"""Changes of health go to the workers at once."""

from typing import Any

import pytest

from ingressd.control.controller import SourceChanged
from ingressd.control.holdoff import HoldOff
from ingressd.model import Endpoint
from tests.control.test_controller import metric, running
from tests.control.test_reconcile import CLASS, changes, ingress
from tests.kit import Upstream, each, ok

CHECKED = {
    "ingressd.dev/health-check-interval": "100ms",
    "ingressd.dev/health-check-unhealthy-threshold": "1",
}


def endpoint_slice(service: str, endpoint: Endpoint) -> dict[str, Any]:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": service, "namespace": "shop", "labels": {"kubernetes.io/service-name": service}},
        "addressType": "IPv4",
        "ports": [{"port": endpoint.port}],
        "endpoints": [{"addresses": [endpoint.address]}],
    }


async def test_health_is_published_while_other_changes_are_held_off(monkeypatch: pytest.MonkeyPatch) -> None:
    near = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "far", "namespace": "shop", "annotations": CHECKED},
        "spec": {"ports": [{"port": 80}]},
    }
    answer = ok()
    async with Upstream(each(lambda message: answer)) as upstream:
        first = changes(CLASS, near, endpoint_slice("far", upstream.endpoint), ingress("web", "a.example"))
        async with running(monkeypatch, first) as made:
            await metric(made, "ingressd_workers_ready", 1.0)
            # From here on nothing that is held off is ever due.
            monkeypatch.setattr(made, "_hold_off", HoldOff(1e6, 1e6))
            made.post(SourceChanged(changes(ingress("more", "b.example"))))
            await metric(made, "ingressd_snapshot_generation", 2.0)
            made.post(SourceChanged(changes(ingress("held", "c.example"))))
            answer = b"HTTP/1.1 500 Ill\r\nContent-Length: 0\r\n\r\n"
            await metric(made, "ingressd_snapshot_generation", 3.0)
            (cluster,) = made.snapshot.clusters
            assert cluster.unhealthy == cluster.endpoints == (upstream.endpoint,)
            assert [host.host for host in made.snapshot.virtual_hosts] == ["a.example", "b.example"]
            (shown,) = made.endpoints()
            assert [endpoint.health for endpoint in shown.endpoints] == ["unhealthy"]
