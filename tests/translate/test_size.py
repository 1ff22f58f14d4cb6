"""Work grows with the objects, not with their square."""

import gc
import time
from collections.abc import Callable

import pytest

from ingressd.resources import Store, parse
from ingressd.translate import Options, translate

Many = Callable[[int], list[dict[str, object]]]


def path(text: str, service: str) -> dict[str, object]:
    return {"path": text, "pathType": "Prefix", "backend": {"service": {"name": service, "port": {"number": 80}}}}


def ingress(name: str, host: str, *paths: dict[str, object]) -> dict[str, object]:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name},
        "spec": {"ingressClassName": "ingressd", "rules": [{"host": host, "http": {"paths": list(paths)}}]},
    }


def service(name: str) -> list[dict[str, object]]:
    return [
        {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": [{"port": 80}]}},
        {
            "apiVersion": "discovery.k8s.io/v1",
            "kind": "EndpointSlice",
            "metadata": {"name": name, "labels": {"kubernetes.io/service-name": name}},
            "addressType": "IPv4",
            "ports": [{"port": 80}],
            "endpoints": [{"addresses": ["10.0.0.1"]}],
        },
    ]


def hosts(count: int) -> list[dict[str, object]]:
    return [
        raw
        for at in range(count)
        for raw in (ingress(f"i{at}", f"h{at}.example", path("/", f"s{at}")), *service(f"s{at}"))
    ]


def paths_of_one_host(count: int) -> list[dict[str, object]]:
    return [*(ingress(f"i{at}", "one.example", path(f"/{at}", "web")) for at in range(count)), *service("web")]


def conflicts(count: int) -> list[dict[str, object]]:
    return [*(ingress(f"i{at}", "one.example", path("/", f"s{at}")) for at in range(count)), *service("s0")]


def slices_of_one_service(count: int) -> list[dict[str, object]]:
    def one(at: int) -> dict[str, object]:
        raw = service("web")[1]
        return {
            **raw,
            "metadata": {"name": f"web-{at}", "labels": {"kubernetes.io/service-name": "web"}},
            "endpoints": [{"addresses": [f"10.{at >> 8}.{at & 255}.1"]}],
        }

    return [ingress("i", "one.example", path("/", "web")), service("web")[0], *map(one, range(count))]


def seconds(raws: list[dict[str, object]]) -> float:
    """The best of three, of processor time for all of parsing, storing and translating."""
    best = float("inf")
    for _ in range(3):
        gc.collect()
        started = time.process_time()
        store = Store()
        for raw in raws:
            for resource in parse(raw).resources:
                store.upsert(resource)
        translate(store, Options())
        best = min(best, time.process_time() - started)
    return best


@pytest.mark.parametrize("many", [hosts, paths_of_one_host, conflicts, slices_of_one_service])
def test_eight_times_the_objects_take_no_thirty_times_as_long(many: Many) -> None:
    assert seconds(many(3200)) < 30 * seconds(many(400))  # square: 64 times
