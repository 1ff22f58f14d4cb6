"""How the exchanges of each route are carried out: the policy of all routes, and what annotations change in it."""

import msgspec

from ingressd.model import ClusterKey, HttpsRedirect, Policy, Problem, Severity, UpstreamTls
from ingressd.resources import Ingress
from ingressd.translate.backends import Backends
from ingressd.translate.options import Options
from ingressd.translate.tls_annotations import NO_EFFECT, NOTHING, TlsAnnotations, annotation_field
from ingressd.translate.tls_hosts import TlsHosts


class Policies:
    """Those of one translation. Equal ones are one object: there are many routes, and few policies."""

    def __init__(self, options: Options, tls_hosts: TlsHosts, backends: Backends, problems: list[Problem]) -> None:
        self._options = options
        self._tls_hosts = tls_hosts
        self._backends = backends
        self._problems = problems
        self._said: dict[tuple[str, str], TlsAnnotations] = {}
        self._known: dict[tuple[HttpsRedirect | None, UpstreamTls | None], Policy] = {(None, None): options.policy}

    def add(self, ingress: Ingress, said: TlsAnnotations) -> None:
        """Takes what an Ingress says."""
        if said is not NOTHING:
            self._said[ingress.namespace, ingress.name] = said

    def of(self, ingress: Ingress, host: str, path: str, cluster: ClusterKey | None) -> Policy:
        """The policy of a route of this Ingress. `cluster` has been resolved."""
        said = self._said.get((ingress.namespace, ingress.name), NOTHING)
        key = self._https_redirect(said, host, path), self._upstream_tls(ingress, said, cluster)
        known = self._known.get(key)
        if known is None:
            known = msgspec.structs.replace(self._options.policy, https_redirect=key[0], upstream_tls=key[1])
            self._known[key] = known
        return known

    def _https_redirect(self, said: TlsAnnotations, host: str, path: str) -> HttpsRedirect | None:
        options = self._options
        wanted = options.ssl_redirect if said.ssl_redirect is None else said.ssl_redirect
        forced = options.force_ssl_redirect if said.force_ssl_redirect is None else said.force_ssl_redirect
        # Over plain HTTP nobody can show a certificate, so that a host that wants one would be open to all.
        guarded = self._tls_hosts.asks_clients(host) and said.ssl_redirect is not False
        if not (forced or guarded or (wanted and self._tls_hosts.has_block(host))):
            return None
        if path.startswith(options.no_tls_redirect_locations):
            return None
        keep = said.preserve_trailing_slash
        strip = not (options.preserve_trailing_slash if keep is None else keep)
        return HttpsRedirect(options.http_redirect_code, options.https_port, strip)

    def _upstream_tls(self, ingress: Ingress, said: TlsAnnotations, cluster: ClusterKey | None) -> UpstreamTls | None:
        if cluster is None:
            return None
        https = self._backends.speaks_https(cluster) if said.https is None else said.https
        if not https:
            if said.https is None and said.upstream != NOTHING.upstream:
                message = (
                    f"proxy-ssl-* have no effect on connections to {cluster.service}, port {cluster.port}: those are "
                    "not encrypted; write backend-protocol HTTPS, or appProtocol https at the port of the Service"
                )
                field = annotation_field("backend-protocol")
                self._problems.append(Problem(ingress.ref, NO_EFFECT, message, field, Severity.WARNING))
            return None
        self._backends.reached_over_tls(cluster)
        return msgspec.structs.replace(said.upstream, name=said.upstream.name or self._backends.name_of(cluster))
