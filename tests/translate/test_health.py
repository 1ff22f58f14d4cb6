"""Annotations of health checks: what values can be, and what is read of them. What they lead to is in the golden cases,
`health-check-*`."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ingressd.model import CheckType, Endpoint, HealthCheck
from ingressd.resources.metadata import OWN_PREFIX
from ingressd.translate.annotation_keys import KEYS, OWN_KEYS
from ingressd.translate.health import check_of, read, read_settings
from tests.translate.manifests import translated


def check(**texts: str) -> HealthCheck | None:
    found, faults = check_of({name.replace("_", "-"): text for name, text in texts.items()}, None)
    assert bool(faults) == (found is None and texts.get("type") != "off")
    return found


def test_every_key_is_read_and_none_is_one_of_ingress_nginx() -> None:
    for key in OWN_KEYS:
        assert read({OWN_PREFIX + key: "?"}, None), key
    assert not OWN_KEYS & KEYS


@pytest.mark.parametrize(
    ("texts", "expected"),
    [
        ({"path": "/"}, HealthCheck()),
        ({"path": "/a%20b?c=d&e"}, HealthCheck(path="/a%20b?c=d&e")),
        ({"type": "tcp", "port": "65535"}, HealthCheck(CheckType.TCP, port=65535)),
        ({"host": "App.example:8080"}, HealthCheck(host="App.example:8080")),
        ({"interval": "0.1", "timeout": "1m"}, HealthCheck(interval=0.1, timeout=60.0)),
        ({"expected_status": "404"}, HealthCheck(expected_status=((404, 404),))),
        ({"expected_status": "300-399, 200, 200"}, HealthCheck(expected_status=((200, 200), (300, 399)))),
        (
            {"healthy_threshold": "100", "unhealthy_threshold": "1"},
            HealthCheck(healthy_threshold=100, unhealthy_threshold=1),
        ),
        ({"type": "off", "path": "/x"}, None),
    ],
)
def test_values(texts: dict[str, str], expected: HealthCheck | None) -> None:
    assert check(**texts) == expected


@pytest.mark.parametrize(
    "texts",
    [
        {"path": ""},
        {"path": "x"},
        {"path": "/a b"},
        {"path": "/a\r\nX: y"},
        {"path": "/a#b"},
        {"path": "/ä"},
        {"path": "/" + "x" * 1024},
        {"host": "a\r\nb"},
        {"host": "a:99999"},
        {"host": "a/b"},
        {"host": ""},
        {"type": "HTTP"},
        {"type": ""},
        {"port": "65536"},
        {"port": "٣"},
        {"port": "1" * 10},
        {"interval": "99ms"},
        {"interval": "61m"},
        {"timeout": "61s"},
        {"timeout": "-1s"},
        {"expected_status": ""},
        {"expected_status": "200-"},
        {"expected_status": "299-200"},
        {"expected_status": "600"},
        {"expected_status": "99"},
        {"healthy_threshold": "0"},
        {"unhealthy_threshold": "1.5"},
    ],
)
def test_values_that_cannot_be(texts: dict[str, str]) -> None:
    assert check(**texts) is None


@given(st.dictionaries(st.sampled_from(sorted(OWN_KEYS)), st.text(max_size=30)))
def test_no_text_does_harm(texts: dict[str, str]) -> None:
    found = read({OWN_PREFIX + key: text for key, text in texts.items()}, None)
    assert (found is None) == (not texts)
    if found is not None and (made := found.wish.check) is not None:
        assert made.path.startswith("/")
        assert (made.path + made.host).isascii()
        assert not set(made.path + made.host) & set(" \r\n\t#")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("off", None),
        ("type=tcp", HealthCheck(CheckType.TCP)),
        (
            "path=/up,interval=5s,expected-status=200;204",
            HealthCheck(path="/up", interval=5.0, expected_status=((200, 200), (204, 204))),
        ),
    ],
)
def test_the_flag(text: str, expected: HealthCheck | None) -> None:
    assert read_settings(text) == expected


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "write NAME=VALUE"),
        ("on", "'on' is no setting of a health check"),
        ("pfad=/", "NAME one of type, path, host"),
        ("path=/up,interval=often", 'interval is "often": write a duration'),
    ],
)
def test_what_the_flag_refuses(text: str, said: str) -> None:
    with pytest.raises(ValueError, match=r".") as caught:
        read_settings(text)
    assert said in str(caught.value)


SERVED = """
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: shop}
spec:
  ingressClassName: ingressd
  defaultBackend: {service: {name: web, port: {number: 80}}}
---
apiVersion: v1
kind: Service
metadata: {name: web, namespace: shop}
spec: {ports: [{port: 80}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: web-1, namespace: shop, labels: {kubernetes.io/service-name: web}}
addressType: IPv4
ports: [{port: 8080}]
endpoints:
"""


@pytest.mark.parametrize(
    ("ready", "endpoints"), [(True, (Endpoint("10.0.0.1", 8080),)), (False, (Endpoint("10.0.0.3", 8080),))]
)
def test_who_terminates(ready: bool, endpoints: tuple[Endpoint, ...]) -> None:
    slice_endpoints = [
        f"- {{addresses: [10.0.0.1], conditions: {{ready: {str(ready).lower()}}}}}",
        "- {addresses: [10.0.0.2], conditions: {ready: false, serving: false, terminating: true}}",
        "- {addresses: [10.0.0.3], conditions: {ready: false, serving: true, terminating: true}}",
    ]
    (cluster,) = translated(SERVED + "\n".join(slice_endpoints)).snapshot.clusters
    assert cluster.endpoints == endpoints
    assert cluster.terminating == (Endpoint("10.0.0.3", 8080),)
