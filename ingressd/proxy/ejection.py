"""Passive health: endpoints that fail request after request are left out for a while.

An endpoint that has failed `failures` times in a row is ejected, if that leaves enough of some cluster it is in. When
its time is over, one request is sent to it on trial: if it is answered, the endpoint is back, else it is out for twice
as long. Each worker decides by itself, from what it has seen; the clusters decide which of the ejected they can do
without (`registry`).

Called when an endpoint fails, when one that has failed answers, and ten times a second: never for a request to an
endpoint that is well.
"""

import errno
from collections.abc import Callable
from typing import TYPE_CHECKING

from ingressd.model import Ejection

if TYPE_CHECKING:
    from ingressd.proxy.registry import EndpointState

SERVING, EJECTED, OFFERED, TRIED = range(4)
"""Of an endpoint: in service; out until its time is over; waiting for the request that tries it; until that ends.

From SERVING to EJECTED by `failed`, to OFFERED by `tick`, to TRIED by `begin_trial`, which the cluster calls that sends
the request (`ClusterState.pick`). From TRIED to SERVING by `answered`, to EJECTED by `failed`, or to OFFERED by `tick`
if it led to nothing. To SERVING by `forget`, from anywhere.
"""

PATIENCE = 1.0
"""Seconds for which a trial waits for a request that may be sent again, before it takes any."""
TRIAL = 2.0
"""Seconds that a trial has at least: longer than a response must go on to speak for the endpoint."""

OURS = frozenset((errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL))
"""Errors of connecting that say nothing of the endpoint: this machine lacks descriptors, memory or ports."""


class Ejector:
    """Of one worker. Times in seconds of the loop's clock."""

    def __init__(self, settings: Ejection, changed: "Callable[[EndpointState], None]") -> None:
        """`changed` is called when an endpoint is ejected, offered for trial or back."""
        self.settings = settings
        self.now = 0.0
        """As of the last tick."""
        self._changed = changed
        self.out: list[EndpointState] = []
        """All that are not SERVING, in the order in which they were ejected."""
        self.ejections = 0
        self.refusals = 0
        """Ejections that would have left too few endpoints. Both are increments since `take`."""

    def failed(self, endpoint: "EndpointState") -> None:
        """It has failed again, `endpoint.failures` times in a row by now."""
        settings = self.settings
        if not settings.enabled or endpoint.references == 0:
            return
        if endpoint.standing == TRIED:
            self._eject(endpoint)
        elif endpoint.standing == SERVING and endpoint.failures >= settings.failures:
            if any(cluster.can_spare(endpoint) for cluster in endpoint.clusters):
                self.out.append(endpoint)
                if self.now - endpoint.back_since > settings.longest:
                    endpoint.ejections = 0
                self._eject(endpoint)
            else:
                self.refusals += 1

    def _eject(self, endpoint: "EndpointState") -> None:
        endpoint.standing = EJECTED
        endpoint.ejections += 1
        endpoint.until = self.now + self.time_out(endpoint.ejections)
        self.ejections += 1
        self._changed(endpoint)

    def time_out(self, ejections: int) -> float:
        """How long an endpoint is out for the nth time."""
        return min(self.settings.longest, self.settings.base * 2.0 ** min(ejections - 1, 30))

    def answered(self, endpoint: "EndpointState") -> None:
        """It has failed before and now given a response that is no failure."""
        if endpoint.standing == SERVING:
            endpoint.failures = 0
        elif endpoint.standing == TRIED:
            self.out.remove(endpoint)
            endpoint.standing = SERVING
            endpoint.failures = 0
            endpoint.back_since = self.now
            self._changed(endpoint)
        # An answer to a request from before says nothing new of one that is out.

    def tick(self, now: float) -> None:
        """Offers those for trial whose time is over. A trial that led to nothing, because the client left, is followed
        by another one."""
        self.now = now
        for endpoint in self.out:
            if endpoint.standing != OFFERED and endpoint.until <= now:
                endpoint.standing = OFFERED
                self._changed(endpoint)

    def overdue(self, endpoint: "EndpointState") -> bool:
        """Whether its trial has waited long enough."""
        return self.now >= endpoint.until + PATIENCE

    def begin_trial(self, endpoint: "EndpointState") -> None:
        """The next request goes to it."""
        endpoint.standing = TRIED
        endpoint.until = self.now + max(self.settings.base, TRIAL)

    def forget(self, endpoint: "EndpointState") -> None:
        """It is in no cluster any more."""
        if endpoint.standing != SERVING:
            self.out.remove(endpoint)
            endpoint.standing = SERVING

    def take(self) -> tuple[int, int]:
        """Ejections, and those refused, since the call before."""
        counts = self.ejections, self.refusals
        self.ejections = self.refusals = 0
        return counts
