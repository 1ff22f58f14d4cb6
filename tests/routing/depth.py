"""Counts the bytes of a path that a look-up looks at, the bytes of slices included. Prints the counts as JSON.

`INGRESSD_PURE=1 python -m tests.routing.depth`; compiled modules take no subclass of bytes.
"""

import json
from typing import Any

from ingressd.model import ClusterKey, ObjectRef, PathKind, PathMatch, Route, Update, VirtualHost
from ingressd.routing import Table


class CountedBytes(bytes):
    """Counts bytes that are asked for."""

    looks = 0

    def __getitem__(self, index: Any) -> Any:
        found = super().__getitem__(index)
        CountedBytes.looks += len(found) if isinstance(index, slice) else 1
        return found


def looks(elements: int) -> int:
    """How many, where the deepest rule has two elements."""
    routes = tuple(
        Route(PathMatch(PathKind.PREFIX, path), ObjectRef("Ingress", "a", "b"), ClusterKey("a", "b", "80"))
        for path in ("/x/y", "/x")
    )
    table = Table().updated(Update(1, full=True, virtual_hosts=(VirtualHost("a", routes),)))
    CountedBytes.looks = 0
    assert table.lookup(b"a", CountedBytes(b"/a" * elements)) is None
    return CountedBytes.looks


if __name__ == "__main__":
    print(json.dumps({f"of {elements} elements": looks(elements) for elements in (3, 4000, 8000)}))
