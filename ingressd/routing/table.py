"""The compiled form of all virtual hosts: which route a request takes.

Look-up is a dict by host, then a dict by path: its cost depends on the depth of the paths configured for that one host,
never on how many hosts, routes or elements there are. A Table is not changed once made; `updated` makes the next one.
"""

from typing import Any

from ingressd.model import PathKind, Route, Update, VirtualHost


class Decision:
    """A route with the virtual host it was found in. One object per route and table, made when a table is compiled."""

    __slots__ = (
        "attachment",
        "cluster",
        "cluster_state",
        "connect_timeout",
        "host",
        "https_redirect",
        "name",
        "policy",
        "read_timeout",
        "route",
        "send_timeout",
        "tries",
        "upstream_tls",
    )

    def __init__(self, host: str, route: Route) -> None:
        self.host = host
        self.route = route
        self.cluster = route.cluster
        self.policy = policy = route.policy
        # What every request asks for, at hand.
        self.connect_timeout = policy.connect_timeout
        self.send_timeout = policy.send_timeout
        self.read_timeout = policy.read_timeout
        self.tries = policy.tries
        self.https_redirect = policy.https_redirect
        self.upstream_tls = policy.upstream_tls
        self.name = str(route.cluster).encode() if route.cluster else b"-"
        """As the access log names the cluster: `namespace-service-port`."""
        self.attachment: object = None
        """Room for what the data plane counts per route. It goes when the route changes."""
        self.cluster_state: Any = None
        """Room for what the data plane has found for `cluster`."""

    def __repr__(self) -> str:
        return f"<Decision {self.host or '*'}{self.route.path.value} -> {self.route.cluster}>"


_NO_PATHS: dict[bytes, Decision] = {}
"""Shared by the many hosts that have only `/`, so that these have no dictionaries of their own."""


class HostTable:
    """The routes of one virtual host."""

    __slots__ = ("default", "depth", "exact", "prefixes", "root")

    def __init__(self, virtual_host: VirtualHost) -> None:
        exact: dict[bytes, Decision] = {}
        prefixes: dict[bytes, Decision] = {}
        for route in sorted(virtual_host.routes, key=lambda route: route.path.precedence, reverse=True):
            decision = Decision(virtual_host.host, route)
            value = route.path.value.encode()
            if route.path.kind is PathKind.EXACT:
                exact.setdefault(value, decision)
            else:
                # `/foo` and `/foo/` match the same paths; the longer comes first in the sorting and stays.
                prefixes.setdefault(value.rstrip(b"/"), decision)
        self.default = Decision(virtual_host.host, virtual_host.default) if virtual_host.default else None
        self.root = prefixes.get(b"", self.default)
        self.depth = max((prefix.count(b"/") for prefix in prefixes), default=0)
        self.exact = exact or _NO_PATHS
        self.prefixes = prefixes if self.depth else _NO_PATHS

    def find(self, path: bytes) -> Decision | None:
        """The route for a normalised path: exact, else the longest prefix of whole elements, else the default."""
        decision = self.exact.get(path)
        if decision is not None:
            return decision
        if self.depth:
            # Start at the deepest prefix there is: a path of a thousand elements costs no more.
            p = path
            length = len(path)
            depth = 0
            end = 1
            while end < length:
                if p[end] == 47:
                    depth += 1
                    if depth == self.depth:
                        break
                end += 1
            while end > 0:
                if end == length or p[end] == 47:
                    decision = self.prefixes.get(p[:end])
                    if decision is not None:
                        return decision
                end -= 1
        return self.root


class Table:
    """All virtual hosts. Made empty; `updated` gives the table that an Update leads to."""

    __slots__ = ("_any", "_hosts", "_wildcards", "default")

    def __init__(
        self,
        hosts: dict[bytes, HostTable] | None = None,
        wildcards: dict[bytes, HostTable] | None = None,
        any_host: HostTable | None = None,
        default: Decision | None = None,
    ) -> None:
        self._hosts = hosts or {}
        self._wildcards = wildcards or {}
        self._any = any_host
        self.default = default

    def __len__(self) -> int:
        return len(self._hosts) + len(self._wildcards) + (self._any is not None)

    def updated(self, update: Update) -> "Table":
        """The table after `update`; hosts it does not name are shared with this one."""
        hosts = self._hosts
        wildcards = self._wildcards
        if update.full:
            hosts, wildcards = {}, {}
        elif update.virtual_hosts or update.removed_hosts:
            # Most updates name only clusters, and those share even these.
            hosts, wildcards = dict(hosts), dict(wildcards)
        any_host = None if update.full else self._any
        for host in update.removed_hosts:
            if not host:
                any_host = None
            elif host.startswith("*"):
                wildcards.pop(host[1:].encode(), None)
            else:
                hosts.pop(host.encode(), None)
        for virtual_host in update.virtual_hosts:
            compiled = HostTable(virtual_host)
            if not virtual_host.host:
                any_host = compiled
            elif virtual_host.host.startswith("*"):
                wildcards[virtual_host.host[1:].encode()] = compiled
            else:
                hosts[virtual_host.host.encode()] = compiled
        return Table(hosts, wildcards, any_host, Decision("", update.default) if update.default else None)

    def exact_host(self, host: bytes) -> HostTable | None:
        """The virtual host that `host` names as it stands; then it is in normal form."""
        return self._hosts.get(host)

    def lookup(self, host: bytes, path: bytes) -> Decision | None:
        """Where a request goes; None: to nobody (404).

        `host` is normal (`normal_host`), empty for an HTTP/1.0 request without one; `path` likewise (`normal_path`).
        An exact host beats a wildcard (one label), which beats the virtual host for all others. A host that matches
        but has no route for the path falls to its own default and then to the controller's, never to a wider host.
        """
        table = self._hosts.get(host)
        if table is None:
            if self._wildcards:
                dot = host.find(b".")
                if dot > 0:
                    table = self._wildcards.get(host[dot:])
            if table is None:
                table = self._any
        decision = table.find(path) if table is not None else None
        return decision if decision is not None else self.default
