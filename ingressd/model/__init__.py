"""What the proxy should do, as frozen values: virtual hosts, routes, clusters, endpoints, certificates, problems.

Pure values. No IO, no clock, no logging; nothing here knows of Kubernetes objects beyond their names. These types
cross the process boundary between controller and worker as msgpack.
"""

from ingressd.model.cluster import Cluster, ClusterKey, Endpoint
from ingressd.model.health import CheckType, Ejection, HealthCheck
from ingressd.model.problem import ObjectRef, Problem, Severity
from ingressd.model.route import PathKind, PathMatch, Policy, Route, VirtualHost
from ingressd.model.settings import AccessLogFormat, Limits, Timeouts, WorkerSettings
from ingressd.model.snapshot import Snapshot, Update, diff
from ingressd.model.tls import (
    SELF_SIGNED,
    Certificate,
    ClientAuth,
    ClientAuthMode,
    Hidden,
    HttpsRedirect,
    SecretName,
    TlsHost,
    TlsSettings,
    TrustBundle,
    UpstreamTls,
)

__all__ = [
    "SELF_SIGNED",
    "AccessLogFormat",
    "Certificate",
    "CheckType",
    "ClientAuth",
    "ClientAuthMode",
    "Cluster",
    "ClusterKey",
    "Ejection",
    "Endpoint",
    "HealthCheck",
    "Hidden",
    "HttpsRedirect",
    "Limits",
    "ObjectRef",
    "PathKind",
    "PathMatch",
    "Policy",
    "Problem",
    "Route",
    "SecretName",
    "Severity",
    "Snapshot",
    "Timeouts",
    "TlsHost",
    "TlsSettings",
    "TrustBundle",
    "Update",
    "UpstreamTls",
    "VirtualHost",
    "WorkerSettings",
    "diff",
]
