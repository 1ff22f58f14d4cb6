"""Every flag of `ingressd run` ends where it belongs in the controller's options."""

from collections.abc import Callable

import pytest

from ingressd.cli import cluster, flags, objects, tls, writing
from ingressd.cli.flags import UsageError
from ingressd.cli.run import SECTIONS, controller_options
from ingressd.control.cpus import usable_cpus
from ingressd.control.options import Options
from ingressd.control.sockets import Port
from ingressd.model import (
    SELF_SIGNED,
    AccessLogFormat,
    CheckType,
    HealthCheck,
    Limits,
    Policy,
    Timeouts,
    TlsSettings,
    WorkerSettings,
)
from ingressd.telemetry.exposition import Identity
from ingressd.translate import Options as TranslateOptions


def options(*arguments: str, **environment: str) -> Options:
    return controller_options(flags.read("run", "", SECTIONS, arguments, environment), environment)


def test_defaults_are_those_of_ingress_nginx() -> None:
    found = options("--workers=2", POD_NAMESPACE="ingress", POD_NAME="ingressd-0")
    certificate = found.translation.fallback_certificate
    assert certificate is not None
    assert certificate.name == SELF_SIGNED
    assert found == Options(
        http=Port("--http-port", 80),
        https=Port("--https-port", 443),
        admin=Port("--healthz-port", 10254),
        settings=WorkerSettings(worker=0, workers=2, tls=TlsSettings(refuse_misdirected=True)),
        translation=TranslateOptions(fallback_certificate=certificate),
        identity=Identity("ingress", "ingressd.dev/ingress-controller", "ingressd-0"),
    )
    assert (Timeouts(), Limits().connections, Policy()) == (
        Timeouts(60, 60, 75, 60, 3600, 60),
        16384,
        Policy(5, 60, 60, 3),
    )


def test_auto_is_the_number_of_usable_cpus() -> None:
    assert options().settings.workers == usable_cpus()


FLAGS: list[tuple[str, str, Callable[[Options], object], object]] = [
    ("http-port", "8080", lambda found: found.http.number, 8080),
    ("healthz-port", "8081", lambda found: found.admin.number, 8081),
    ("bind-address", "127.0.0.1,::1", lambda found: found.http.addresses, ("127.0.0.1", "::1")),
    ("bind-address", "127.0.0.1", lambda found: found.admin.addresses, ("127.0.0.1",)),
    ("ingress-class", "other", lambda found: found.translation.ingress_class, "other"),
    ("controller-class", "k8s.io/x", lambda found: found.translation.controller_class, "k8s.io/x"),
    ("controller-class", "k8s.io/x", lambda found: found.identity.controller_class, "k8s.io/x"),
    ("watch-ingress-without-class", "true", lambda found: found.translation.watch_ingress_without_class, True),
    ("default-backend-service", "a/b", lambda found: found.translation.default_backend_service, "a/b"),
    ("workers", "7", lambda found: found.settings.workers, 7),
    ("access-log-format", "json", lambda found: found.settings.access_log, AccessLogFormat.JSON),
    ("trusted-proxies", "10.0.0.0/8", lambda found: found.settings.trusted_proxies, ("10.0.0.0/8",)),
    ("log-level", "debug", lambda found: found.settings.log_level, "debug"),
    ("nameserver", "192.0.2.53:5353", lambda found: found.nameservers, ("192.0.2.53:5353",)),
    ("health-check", "type=tcp", lambda found: found.translation.health_check, HealthCheck(CheckType.TCP)),
    ("eject-endpoints", "false", lambda found: found.settings.ejection.enabled, False),
    ("eject-failures", "3", lambda found: found.settings.ejection.failures, 3),
    ("eject-time", "4s", lambda found: found.settings.ejection.base, 4),
    ("eject-max-time", "1m", lambda found: found.settings.ejection.longest, 60),
    ("eject-max-percent", "20", lambda found: found.settings.ejection.share, 0.2),
    ("client-header-timeout", "1s", lambda found: found.settings.timeouts.client_header, 1),
    ("client-body-timeout", "2s", lambda found: found.settings.timeouts.client_body, 2),
    ("keep-alive", "3", lambda found: found.settings.timeouts.keep_alive, 3),
    ("upstream-keepalive-timeout", "4s", lambda found: found.settings.timeouts.upstream_idle, 4),
    ("upstream-keepalive-time", "2h", lambda found: found.settings.timeouts.upstream_age, 7200),
    ("tunnel-idle-timeout", "5m", lambda found: found.settings.timeouts.tunnel_idle, 300),
    ("upstream-keepalive-connections", "0", lambda found: found.settings.limits.upstream_idle, 0),
    ("upstream-keepalive-requests", "9", lambda found: found.settings.limits.upstream_requests, 9),
    ("shutdown-grace-period", "30s", lambda found: found.grace, 30),
    ("drain-timeout", "1h", lambda found: found.settings.timeouts.drain, 3600),
    ("handover-socket", "/run/x", lambda found: found.handover, "/run/x"),
    ("max-worker-connections", "10", lambda found: found.settings.limits.connections, 10),
    ("proxy-connect-timeout", "500ms", lambda found: found.translation.policy.connect_timeout, 0.5),
    ("proxy-send-timeout", "6s", lambda found: found.translation.policy.send_timeout, 6),
    ("proxy-read-timeout", "7s", lambda found: found.translation.policy.read_timeout, 7),
    ("proxy-next-upstream-tries", "1", lambda found: found.translation.policy.tries, 1),
    ("profile", "ingress-nginx", lambda found: found.translation.preserve_trailing_slash, False),
    ("https-port", "8443", lambda found: found.https, Port("--https-port", 8443)),
    ("https-port", "off", lambda found: found.https, None),
    ("https-port", "8443", lambda found: found.translation.https_port, 8443),
    ("published-https-port", "444", lambda found: found.translation.https_port, 444),
    ("default-ssl-certificate", "a/b", lambda found: found.translation.default_ssl_certificate, "a/b"),
    ("ssl-reject-handshake", "true", lambda found: found.settings.tls.reject_unknown, True),
    ("ssl-reject-handshake", "true", lambda found: found.translation.ssl_reject_handshake, True),
    ("enable-ssl-passthrough", "true", lambda found: found.settings.tls.passthrough, True),
    ("enable-ssl-passthrough", "true", lambda found: found.translation.ssl_passthrough, True),
    ("ssl-protocols", "TLSv1.3", lambda found: found.settings.tls.protocols, ("TLSv1.3",)),
    ("ssl-ciphers", "HIGH:!aNULL", lambda found: found.settings.tls.ciphers, "HIGH:!aNULL"),
    ("ssl-redirect", "true", lambda found: found.translation.ssl_redirect, True),
    ("force-ssl-redirect", "true", lambda found: found.translation.force_ssl_redirect, True),
    ("http-redirect-code", "301", lambda found: found.translation.http_redirect_code, 301),
    (
        "no-tls-redirect-locations",
        "/a,/b",
        lambda found: found.translation.no_tls_redirect_locations,
        ("/a", "/b"),
    ),
    ("hsts", "true", lambda found: found.settings.tls.hsts, "max-age=31536000; includeSubDomains"),
]
HSTS_FLAGS = ("hsts-max-age", "hsts-include-subdomains", "hsts-preload")


@pytest.mark.parametrize(("name", "text", "read", "expected"), FLAGS)
def test_flag_and_variable(name: str, text: str, read: Callable[[Options], object], expected: object) -> None:
    assert read(options("--workers=1")) != expected
    assert read(options(f"--{name}={text}")) == expected
    assert read(options(**{f"INGRESSD_{name.upper().replace('-', '_')}": text})) == expected


def test_no_flag_is_left_untested() -> None:
    known = {flag.name for section in SECTIONS.values() for flag in section}
    assert known == {name for name, *_ in FLAGS} | {
        objects.MANIFESTS.name,
        *HSTS_FLAGS,
        tls.USE_PROXY_PROTOCOL.name,
        *(flag.name for flag in (*cluster.FLAGS, *writing.FLAGS)),
    }


def test_the_proxy_protocol_needs_to_be_told_who_speaks_it() -> None:
    assert options("--use-proxy-protocol", "--trusted-proxies=10.0.0.0/8").settings.proxy_protocol
    assert options("--trusted-proxies=10.0.0.0/8", INGRESSD_USE_PROXY_PROTOCOL="true").settings.proxy_protocol
    assert not options("--trusted-proxies=10.0.0.0/8").settings.proxy_protocol
    with pytest.raises(UsageError, match="--use-proxy-protocol has no effect without --trusted-proxies"):
        options("--use-proxy-protocol")


def test_profiles() -> None:
    """auto is what the class says; a flag goes before the profile."""
    spec, nginx = options("--workers=1"), options("--workers=1", "--controller-class=k8s.io/ingress-nginx")
    assert (spec.settings.tls.refuse_misdirected, spec.settings.tls.hsts) == (True, "")
    assert (spec.translation.ssl_redirect, spec.translation.preserve_trailing_slash) == (False, True)
    assert (nginx.settings.tls.refuse_misdirected, nginx.settings.tls.hsts) == (
        False,
        "max-age=31536000; includeSubDomains",
    )
    assert (nginx.translation.ssl_redirect, nginx.translation.preserve_trailing_slash) == (True, False)
    mixed = options("--profile=ingress-nginx", "--ssl-redirect=false", "--hsts=false")
    assert (mixed.translation.ssl_redirect, mixed.settings.tls.hsts) == (False, "")
    assert not options("--profile=spec", "--controller-class=k8s.io/ingress-nginx").translation.ssl_redirect


def test_hsts_value() -> None:
    found = options("--hsts", "--hsts-max-age=0", "--hsts-include-subdomains=false", "--hsts-preload")
    assert found.settings.tls.hsts == "max-age=0; preload"


def test_https_is_off_by_default_only_with_manifests() -> None:
    assert options("--manifests=x").https is None
    assert options("--manifests=x").translation.fallback_certificate is None
    assert options("--manifests=x", "--https-port=0").https == Port("--https-port", 0)
    assert options("--manifests=x", "--published-https-port=8443").translation.https_port == 8443


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--nameserver=dns.example"], "--nameserver: 'dns.example' is no nameserver"),
        (["--default-backend-service=front"], "--default-backend-service: 'front' does not name a Service"),
        (["--default-backend-service=a/b/c"], "write namespace/name"),
        (["--ingress-class="], "--ingress-class: the value is empty"),
        (["--https-port=x"], "--https-port: 'x' is not a port: write a number from 0 to 65535"),
        (["--http-port=81", "--https-port=81"], "--https-port: 81 is the port of --http-port too"),
        (["--https-port=10254"], "--healthz-port: 10254 is the port of --https-port too"),
        (["--ssl-protocols=TLSv1"], "--ssl-protocols: 'TLSv1' is not possible: write TLSv1.2, TLSv1.3 or both"),
        (["--ssl-ciphers=a b"], "--ssl-ciphers: 'a b' is not a list of ciphers that there are"),
        (["--ssl-ciphers=NOPE"], "--ssl-ciphers: 'NOPE' is not a list of ciphers that there are"),
        (["--http-redirect-code=200"], "--http-redirect-code: '200' is not a redirect: write one of 301"),
        (["--no-tls-redirect-locations=a"], "--no-tls-redirect-locations: 'a' is not a path: write /a"),
        (["--default-ssl-certificate=a"], "--default-ssl-certificate: 'a' does not name a Secret"),
        (["--profile=nginx"], "--profile: 'nginx' is not known: write auto, spec or ingress-nginx"),
        (["--eject-max-percent=101"], "--eject-max-percent: '101' is not a percentage: write a whole number"),
        (["--health-check=path=x"], '--health-check: path is "x": write a path that begins with `/`'),
        (["--proxy-next-upstream-tries=0"], "--proxy-next-upstream-tries: '0' is not a whole number from 1"),
    ],
)
def test_refused(arguments: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=r"^--") as caught:
        options(*arguments)
    assert said in str(caught.value)
