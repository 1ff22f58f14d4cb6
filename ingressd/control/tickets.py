"""The keys of TLS session tickets: made here, the same in all workers, renewed before they are old.

A ticket lets a client resume its session with any worker, also with one started since. Whoever has a key can read the
TLS 1.2 sessions that were resumed with its tickets; so no key makes tickets for longer than PERIOD, and each is
forgotten when the last ticket made with it has ended, which is KEPT periods later.
"""

import secrets
from collections.abc import Callable

from ingressd.link import TICKET_KEY_BYTES, TicketKeys
from ingressd.model import Hidden

PERIOD = 12 * 3600.0
"""Seconds for which a key makes tickets."""
KEPT = 2
"""How many former keys are still taken: a ticket is good for a day (RFC 8446 section 4.6.1 allows seven)."""


class Tickets:
    """The current key, and the former ones that still count."""

    def __init__(self, random: Callable[[int], bytes] = secrets.token_bytes) -> None:
        self._random = random
        self._keys: tuple[Hidden, ...] = ()
        self.renew()

    @property
    def message(self) -> TicketKeys:
        """What workers are told."""
        return TicketKeys(self._keys)

    def renew(self) -> None:
        """Puts a new key in front of the others. To be called each PERIOD."""
        self._keys = (Hidden(self._random(TICKET_KEY_BYTES)), *self._keys[:KEPT])
