"""What the flags say to the controller."""

from dataclasses import dataclass

from ingressd.control.sockets import Port
from ingressd.model import WorkerSettings
from ingressd.telemetry.exposition import Identity
from ingressd.translate import Options as TranslateOptions


@dataclass(frozen=True, slots=True)
class Options:
    """`https` is None where TLS is not served. `settings` are those of worker 0 and say how many workers there are.
    `nameservers` are as control.dns.nameserver reads them; none means those of /etc/resolv.conf."""

    http: Port
    https: Port | None
    admin: Port
    settings: WorkerSettings
    translation: TranslateOptions
    identity: Identity
    nameservers: tuple[str, ...] = ()
    grace: float = 0.0
    """Seconds from the first signal to the end of listening."""
    handover: str = ""
    """Path of the socket by which listening sockets are handed over; none if empty."""
