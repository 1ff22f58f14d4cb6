"""`ingressd routes` shows the routing table, the problems and what is left to others."""

import json
from pathlib import Path
from typing import Any

import pytest

from ingressd.cli import routes
from ingressd.cli.flags import UsageError
from ingressd.cli.main import main

MANIFESTS = """
apiVersion: networking.k8s.io/v1
kind: IngressClass
metadata: {name: ingressd}
spec: {controller: ingressd.dev/ingress-controller}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: shop, annotations: {ingressd.dev/nonsense: "1"}}
spec:
  ingressClassName: ingressd
  defaultBackend: {service: {name: front, port: {name: http}}}
  rules:
  - host: shop.example
    http:
      paths:
      - {path: /, pathType: Prefix, backend: {service: {name: front, port: {name: http}}}}
      - {path: /far, pathType: Exact, backend: {service: {name: far, port: {number: 443}}}}
      - {path: /gone, pathType: Prefix, backend: {service: {name: gone, port: {number: 80}}}}
---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: theirs, namespace: shop}
spec: {ingressClassName: other, defaultBackend: {service: {name: front, port: {number: 80}}}}
---
apiVersion: v1
kind: Service
metadata: {name: front, namespace: shop}
spec: {ports: [{name: http, port: 80}], selector: {app: front}}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: front-1, namespace: shop, labels: {kubernetes.io/service-name: front}}
addressType: IPv4
ports: [{name: http, port: 8080}]
endpoints: [{addresses: [10.0.0.1]}, {addresses: [10.0.0.2]}, {addresses: [10.0.0.3]}, {addresses: [10.0.0.4]}]
---
apiVersion: v1
kind: Service
metadata: {name: far, namespace: shop}
spec: {type: ExternalName, externalName: far.example}
"""

ENDPOINTS = ["10.0.0.1:8080", "10.0.0.2:8080", "10.0.0.3:8080", "10.0.0.4:8080"]


@pytest.fixture
def manifests(tmp_path: Path) -> Path:
    path = tmp_path / "all.yaml"
    path.write_text(MANIFESTS)
    return path


def text(capsys: pytest.CaptureFixture[str], *arguments: str) -> list[str]:
    assert routes.main(arguments, {}) == 0
    return capsys.readouterr().out.splitlines()


def document(capsys: pytest.CaptureFixture[str], *arguments: str) -> Any:
    return json.loads("\n".join(text(capsys, *arguments, "--output", "json")))


def table(lines: list[str]) -> list[list[str]]:
    """The cells of the lines up to the first empty one."""
    return [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines[: lines.index("")]]


def test_the_table(capsys: pytest.CaptureFixture[str], manifests: Path) -> None:
    lines = text(capsys, "--manifests", str(manifests))
    some = "10.0.0.1:8080,10.0.0.2:8080,10.0.0.3:8080 and 1 more"
    assert table(lines) == [
        ["HOST", "PATH", "TYPE", "SERVICE", "PORT", "ENDPOINTS", "POLICY", "SOURCE"],
        ["shop.example", "/far", "Exact", "shop/far", "443", "far.example:443 (DNS)", "-", "Ingress shop/web"],
        ["shop.example", "/gone", "Prefix", "shop/gone", "80", "none", "-", "Ingress shop/web"],
        ["shop.example", "/", "Prefix", "shop/front", "http", some, "-", "Ingress shop/web"],
        ["shop.example", "*", "default", "shop/front", "http", some, "-", "Ingress shop/web"],
    ]
    rest = lines[lines.index("") :]
    assert rest[1] == "Problems: 2"
    assert rest[2].startswith(f"  error: {manifests}:")
    assert "spec.rules[0].http.paths[2].backend.service.name: there is no Service" in rest[2]
    assert rest[3].startswith(f"  warning: {manifests}:")
    assert rest[4:] == ["", "Passed over, of another class or of none (--watch-ingress-without-class): shop/theirs"]


def test_flags_of_run_that_shape_routes_count_here_too(capsys: pytest.CaptureFixture[str], manifests: Path) -> None:
    lines = text(
        capsys,
        f"--manifests={manifests}",
        "--proxy-read-timeout=5m",
        "--proxy-next-upstream-tries=1",
        "--default-backend-service=shop/front",
    )
    rows = table(lines)
    assert {row[6] for row in rows[1:]} == {"read-timeout=300s,tries=1"}
    assert (rows[-1][:5], rows[-1][7]) == (["*", "*", "default", "shop/front", "80"], "Service shop/front")
    last = text(capsys, f"--manifests={manifests}", "--controller-class=other.example/controller")[-1]
    assert last.endswith(": shop/theirs and shop/web")


def test_json(capsys: pytest.CaptureFixture[str], manifests: Path) -> None:
    found = document(capsys, f"--manifests={manifests}")
    assert found.keys() == {"routes", "problems", "passed_over"}
    assert [(route["host"], route["path"], route["path_type"], route["default"]) for route in found["routes"]] == [
        ("shop.example", "/far", "Exact", False),
        ("shop.example", "/gone", "Prefix", False),
        ("shop.example", "/", "Prefix", False),
        ("shop.example", "/", "Prefix", True),
    ]
    far, gone, front, _ = found["routes"]
    assert front == {
        "host": "shop.example",
        "path": "/",
        "path_type": "Prefix",
        "default": False,
        "namespace": "shop",
        "service": "front",
        "port": "http",
        "endpoints": ENDPOINTS,
        "dns_name": None,
        "policy": {
            "connect_timeout": 5.0,
            "send_timeout": 60.0,
            "read_timeout": 60.0,
            "tries": 3,
            "https_redirect": None,
            "upstream_tls": None,
        },
        "source": {"kind": "Ingress", "namespace": "shop", "name": "web"},
        "field": "spec.rules[0].http.paths[0].backend",
    }
    assert (far["dns_name"], far["endpoints"]) == ("far.example", [])
    assert (gone["namespace"], gone["service"], gone["port"], gone["endpoints"]) == ("shop", "gone", "80", [])
    assert [problem["reason"] for problem in found["problems"]] == ["ServiceNotFound", "UnknownAnnotation"]
    assert found["problems"][0].keys() == {"object", "reason", "message", "field", "severity", "file", "line"}
    assert found["passed_over"] == [{"kind": "Ingress", "namespace": "shop", "name": "theirs"}]


def test_nothing_to_show(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert text(capsys, f"--manifests={tmp_path}") == ["No routes.", "", "Problems: none"]
    assert document(capsys, f"--manifests={tmp_path}") == {"routes": [], "problems": [], "passed_over": []}


def test_what_a_terminal_would_obey_is_not_shown(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "a\x1b[2J.yaml").write_text("kind: [")
    assert "\x1b" not in "".join(text(capsys, f"--manifests={tmp_path}"))


def test_without_manifests_there_is_nothing_to_do() -> None:
    with pytest.raises(UsageError, match="routes needs --manifests PATH"):
        routes.main([], {})


def test_a_path_that_is_not_there(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["routes", "--manifests=/no/such"]) == 2
    assert capsys.readouterr().err == "ingressd: --manifests: cannot read /no/such: No such file or directory\n"


def test_tls_is_shown_with_the_policy(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """And the problem of a Secret that is missing; the flags count as for run."""
    text = MANIFESTS.replace(
        'ingressd.dev/nonsense: "1"', "nginx.ingress.kubernetes.io/backend-protocol: HTTPS"
    ).replace("  rules:\n", "  tls: [{hosts: [shop.example], secretName: none}]\n  rules:\n", 1)
    (tmp_path / "shop.yaml").write_text(text)
    assert main(["routes", "--manifests", str(tmp_path), "--profile=ingress-nginx"]) == 0
    shown = capsys.readouterr().out
    assert "https-redirect=308,upstream-tls=not-verified" in shown
    assert "there is no Secret shop/none" in shown
    assert main(["routes", "--manifests", str(tmp_path), "--output=json"]) == 0
    policies = [route["policy"] for route in json.loads(capsys.readouterr().out)["routes"]]
    assert {policy["https_redirect"] for policy in policies} == {None}
    assert {policy["upstream_tls"]["name"] for policy in policies} == {
        "front.shop.svc",
        "far.example",
        "gone.shop.svc",
    }
