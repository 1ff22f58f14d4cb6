"""The flags of what is written to a cluster, and the writers they lead to."""

import logging
import operator
from typing import TYPE_CHECKING, Any

from ingressd.cli import cluster, objects
from ingressd.cli.flags import Flag, UsageError, Values
from ingressd.cli.values import boolean, namespaced_name, object_name, status_addresses, whole_seconds
from ingressd.control.writing import NoWriters, Writers
from ingressd.source.base import Source
from ingressd.telemetry.exposition import Identity

if TYPE_CHECKING:
    from ingressd.control.status import AddressSource

SHORTEST_LEASE = 3
"""Seconds: below that a busy API server would make leaders change all the time."""
LEASE = 15
OUTSIDE = "default"
"""The namespace of the Lease where POD_NAMESPACE does not say ours."""

_log = logging.getLogger(__name__)

PUBLISH_SERVICE = Flag(
    "publish-service",
    namespaced_name,
    "",
    "Service in front of ingressd, whose addresses go into the status of Ingresses",
    metavar="NAMESPACE/NAME",
)
PUBLISH_STATUS_ADDRESS: Flag[tuple[str, ...]] = Flag(
    "publish-status-address",
    status_addresses,
    (),
    "IP address or host name for the status of Ingresses, in place of those of --publish-service; a comma-separated "
    "list, or given several times",
    metavar="ADDRESS",
    combine=operator.add,
)
UPDATE_STATUS = Flag(
    "update-status",
    boolean,
    True,
    "write the addresses into the status of Ingresses",
    metavar="true|false",
    default_text="true",
    switch=True,
)
UPDATE_STATUS_ON_SHUTDOWN = Flag(
    "update-status-on-shutdown",
    boolean,
    False,
    "take the addresses out of the status again when the last replica stops",
    metavar="true|false",
    default_text="false",
    switch=True,
)
ELECTION_ID = Flag(
    "election-id",
    object_name,
    "ingressd-leader",
    "name of the Lease that says which replica writes status and Events",
    metavar="NAME",
    default_text="ingressd-leader",
)
ELECTION_TTL = Flag(
    "election-ttl",
    whole_seconds(SHORTEST_LEASE),
    LEASE,
    "after which another replica leads in place of one that has died",
    metavar="DURATION",
    default_text=f"{LEASE}s",
)
FLAGS: tuple[Flag[Any], ...] = (
    PUBLISH_SERVICE,
    PUBLISH_STATUS_ADDRESS,
    UPDATE_STATUS,
    UPDATE_STATUS_ON_SHUTDOWN,
    ELECTION_ID,
    ELECTION_TTL,
)


def writers(values: Values, identity: Identity, source: Source) -> Writers:
    """What writes to the cluster that `source` reads; nothing for manifests. Raises UsageError."""
    if values[objects.MANIFESTS]:
        if given := [flag.option for flag in FLAGS if values[flag] != flag.default]:
            raise UsageError(f"{given[0]} is for a cluster, and --manifests reads files instead: leave one of them out")
        return NoWriters()
    if values[UPDATE_STATUS_ON_SHUTDOWN] and not values[PUBLISH_SERVICE]:
        raise UsageError(
            f"{UPDATE_STATUS_ON_SHUTDOWN.option} needs {PUBLISH_SERVICE.option}: the endpoints of that Service tell "
            "which replica is the last"
        )
    # As in cli.cluster: this loads the client.
    from ingressd.control.election import Times
    from ingressd.control.writers import ClusterWriters, WritingOptions
    from ingressd.source.cluster.source import ClusterSource

    assert isinstance(source, ClusterSource)
    watched = values[cluster.WATCH_NAMESPACE]
    options = WritingOptions(
        pod=identity.pod,
        namespace=identity.namespace or OUTSIDE,
        election_id=values[ELECTION_ID],
        election=Times(values[ELECTION_TTL]),
        published=_published(values) if values[UPDATE_STATUS] else None,
        update_status_on_shutdown=values[UPDATE_STATUS_ON_SHUTDOWN],
        namespaces=(watched,) if watched else (),
    )
    return ClusterWriters(source.api, options)


def _published(values: Values) -> "AddressSource | None":
    from ingressd.control.status import AddressSource

    namespace, slash, name = values[PUBLISH_SERVICE].partition("/")
    addresses = values[PUBLISH_STATUS_ADDRESS]
    if not slash and not addresses:
        _log.warning(
            "the status of Ingresses is not written: say with %s or %s what belongs there",
            PUBLISH_SERVICE.option,
            PUBLISH_STATUS_ADDRESS.option,
        )
        return None
    return AddressSource((namespace, name) if slash else None, addresses)
