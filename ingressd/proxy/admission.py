"""What becomes of a request, as far as its head tells: by which route it goes on, or how it is answered instead.

Nothing here waits or sends: the exchange carries out what is decided.
"""

from typing import TYPE_CHECKING

from ingressd.http1.head import RequestHead
from ingressd.proxy.client_auth import Secured
from ingressd.proxy.forwarded import real_address
from ingressd.proxy.https import location, told_https
from ingressd.proxy.registry import ClusterState
from ingressd.proxy.responses import (
    BAD_PATH,
    BAD_REQUEST,
    METHOD_NOT_ALLOWED,
    MISDIRECTED,
    NO_CLIENT_CERTIFICATE,
    NO_ENDPOINT,
    NO_ROUTE,
    Answer,
    failure,
    redirect,
)
from ingressd.routing import InvalidPath, normal_path
from ingressd.routing.table import Decision
from ingressd.telemetry.record import Record

if TYPE_CHECKING:
    from ingressd.proxy.context import Context

REFUSED = frozenset((b"CONNECT", b"TRACE"))
"""Not an ingress's business: tunnels to places of the client's choice, and echoes of the fields added here."""

NO_HOST = "this is served over HTTPS only, and there is no Host to redirect to"


class Admission:
    """Of one worker."""

    __slots__ = ("_context",)

    def __init__(self, context: "Context") -> None:
        self._context = context

    def decide(self, head: RequestHead, record: Record, scheme: bytes, secured: Secured | None) -> Decision | Answer:
        """Finds the route of a request, whose cluster is then its `cluster_state`, or the answer if it goes no further.
        `scheme` is the one by which the client came, `secured` the TLS of the connection. Notes in `record` who asks,
        and the route even of a request refused."""
        context = self._context
        if head.trusted:
            record.remote_address = real_address(record.remote_address, head.forwarded_for, context.trusts)
            record.request_id = head.request_id or context.request_id()
        else:
            record.request_id = context.request_id()
        if not head.idempotent and head.method in REFUSED:
            return failure(METHOD_NOT_ALLOWED)
        path = head.path
        if not head.path_normal:
            try:
                path = normal_path(path)
            except InvalidPath:
                return failure(BAD_PATH)
        host = head.host
        table = context.table
        virtual_host = table.exact_host(host)
        decision: Decision | None
        if virtual_host is not None:
            decision = virtual_host.find(path)
            if decision is None:
                decision = table.default
        else:
            host = context.normal_host(host)
            decision = table.lookup(host, path)
        record.decision = decision
        if secured is not None:
            reason = secured.refusal(host)
            if reason is not None:
                return _unwanted(secured, reason)
        if decision is None:
            return failure(NO_ROUTE)
        https = decision.https_redirect
        if https is not None and secured is None:
            if scheme != b"https" and not told_https(head):
                if not head.host:
                    return failure(BAD_REQUEST, NO_HOST)
                return redirect(https.code, location(https, head.host, head.target))
            if context.tls.demands_certificate(host):
                # Whoever has decrypted it in front cannot show the certificate of its client.
                return failure(NO_CLIENT_CERTIFICATE)
        cluster: ClusterState | None = decision.cluster_state
        if cluster is None or cluster.gone:
            cluster = context.clusters.get(decision.cluster) if decision.cluster is not None else None
            if cluster is None:
                return failure(NO_ENDPOINT)
            decision.cluster_state = cluster
        return decision


def _unwanted(secured: Secured, reason: str) -> Answer:
    """Answers a request that must not go on over this TLS connection."""
    client_auth = secured.context.client_auth
    if client_auth is not None and client_auth.error_page and reason != MISDIRECTED:
        # Its characters have been checked where it was read.
        return redirect(302, client_auth.error_page.encode(), reason)
    return failure(reason)
