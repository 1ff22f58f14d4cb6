"""The addresses of Services, of lists in flags, and how they are compared."""

from typing import Any

import msgspec
import pytest

from ingressd.control.load_balancer import Address, LoadBalancerStatus, PortStatus, PublishedService, given, in_order


def addresses(spec: dict[str, Any], *ingress: dict[str, Any]) -> list[dict[str, Any]]:
    """As they are written for a Service."""
    raw = {"spec": spec, "status": {"loadBalancer": {"ingress": list(ingress)} if ingress else {}}}
    found: list[dict[str, Any]] = msgspec.json.decode(
        msgspec.json.encode(msgspec.convert(raw, PublishedService).addresses)
    )
    return found


@pytest.mark.parametrize(
    ("spec", "ingress", "expected"),
    [
        # LoadBalancer: what the load balancer says, and externalIPs.
        ({"type": "LoadBalancer", "clusterIP": "10.0.0.1"}, [], []),
        ({"type": "LoadBalancer"}, [{"ip": "203.0.113.9"}], [{"ip": "203.0.113.9"}]),
        ({"type": "LoadBalancer"}, [{"hostname": "lb.example"}], [{"hostname": "lb.example"}]),
        (
            {"type": "LoadBalancer", "externalIPs": ["198.51.100.2", "203.0.113.9"]},
            [{"ip": "203.0.113.9", "ipMode": "VIP"}],
            [{"ip": "198.51.100.2"}, {"ip": "203.0.113.9"}],
        ),
        ({"type": "LoadBalancer", "externalIPs": ["198.51.100.2"]}, [], [{"ip": "198.51.100.2"}]),
        (
            {"type": "LoadBalancer", "externalIPs": ["203.0.113.9"]},
            [{"ip": "203.0.113.9", "ports": [{"port": 443, "protocol": "TCP"}, {"port": 80, "protocol": "TCP"}]}],
            [{"ip": "203.0.113.9", "ports": [{"port": 443, "protocol": "TCP"}, {"port": 80, "protocol": "TCP"}]}],
        ),
        (
            {"type": "LoadBalancer"},
            [{"ip": "203.0.113.9", "ports": [{"port": 80, "protocol": "TCP", "error": "example.dev/Taken"}]}],
            [{"ip": "203.0.113.9", "ports": [{"port": 80, "protocol": "TCP", "error": "example.dev/Taken"}]}],
        ),
        (
            {"type": "LoadBalancer", "externalIPs": ["203.0.113.9", "198.51.100.2"]},
            [{"ip": "203.0.113.9", "hostname": "lb.example"}],
            [{"ip": "198.51.100.2"}, {"ip": "203.0.113.9", "hostname": "lb.example"}],
        ),
        # ClusterIP: its clusterIP, unless it is headless.
        ({"type": "ClusterIP", "clusterIP": "10.0.0.1"}, [], [{"ip": "10.0.0.1"}]),
        ({"clusterIP": "10.0.0.1"}, [], [{"ip": "10.0.0.1"}]),
        ({"type": "ClusterIP", "clusterIP": "fd00::1", "externalIPs": ["198.51.100.2"]}, [], [{"ip": "fd00::1"}]),
        ({"type": "ClusterIP", "clusterIP": "None"}, [], []),
        ({"type": "ClusterIP"}, [], []),
        # NodePort: externalIPs, else its clusterIP.
        ({"type": "NodePort", "clusterIP": "10.0.0.1"}, [], [{"ip": "10.0.0.1"}]),
        (
            {"type": "NodePort", "clusterIP": "10.0.0.1", "externalIPs": ["198.51.100.3", "198.51.100.2"]},
            [],
            [{"ip": "198.51.100.2"}, {"ip": "198.51.100.3"}],
        ),
        # ExternalName: its name, as the API takes it in a status.
        ({"type": "ExternalName", "externalName": "Edge.example.com."}, [], [{"hostname": "edge.example.com"}]),
        ({"type": "ExternalName", "externalName": ""}, [], []),
        ({"type": "SomethingNew", "clusterIP": "10.0.0.1"}, [], [{"ip": "10.0.0.1"}]),
    ],
)
def test_the_addresses_of_a_service(
    spec: dict[str, Any], ingress: list[dict[str, Any]], expected: list[dict[str, Any]]
) -> None:
    assert addresses(spec, *ingress) == expected


def test_addresses_are_sorted_by_host_name_and_ip_each_once() -> None:
    texts = ["b.example", "203.0.113.9", "fd00::1", "a.example", "203.0.113.9", ""]
    assert given(texts) == (
        Address(ip="203.0.113.9"),
        Address(ip="fd00::1"),
        Address(hostname="a.example"),
        Address(hostname="b.example"),
    )


def test_an_address_with_ports_goes_before_the_same_without() -> None:
    port = PortStatus(80, "TCP")
    assert in_order([Address("192.0.2.1", ports=(port,)), Address("192.0.2.1")]) == (Address("192.0.2.1", "", (port,)),)


def test_what_the_order_is_in_a_status_makes_no_difference() -> None:
    def status(*ips: str) -> LoadBalancerStatus:
        return msgspec.convert({"loadBalancer": {"ingress": [{"ip": ip} for ip in ips]}}, LoadBalancerStatus)

    assert status("192.0.2.2", "192.0.2.1").addresses == status("192.0.2.1", "192.0.2.2").addresses
    assert status("192.0.2.1").addresses != status("192.0.2.1", "192.0.2.2").addresses
    assert msgspec.convert({"loadBalancer": {"ingress": None}}, LoadBalancerStatus).addresses == ()
