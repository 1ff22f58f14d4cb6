"""Random edits of manifests."""

from collections.abc import Iterator
from copy import deepcopy
from datetime import UTC, date, datetime
from typing import Any

from hypothesis import strategies as st

texts = st.text(alphabet=st.characters(exclude_categories=()), max_size=12)
"""All of Unicode, lone surrogates and control characters included."""

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.just(10**400)
    | st.floats()
    | texts
    | st.sampled_from([date(2024, 5, 1), datetime(2024, 5, 1), datetime(2024, 5, 1, tzinfo=UTC), b"bytes"])
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts | st.integers(), inner, max_size=3),
    max_leaves=4,
)
"""What a YAML loader may give."""

Place = tuple[Any, Any]
"""A dict or list, and a key or index in it."""


def places(value: object) -> Iterator[Place]:
    """Everything inside a value, outermost first."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inner:
        yield value, key
        yield from places(item)


@st.composite
def mutated(draw: st.DrawFn, manifests: list[dict[str, Any]]) -> dict[str, Any]:
    """One of the manifests with up to three things replaced, removed, added, or moved to where another was."""
    manifest: dict[str, Any] = deepcopy(draw(st.sampled_from(manifests)))
    for _ in range(draw(st.integers(1, 3))):
        found = list(places(manifest))
        if not found:
            break
        container, key = draw(st.sampled_from(found))
        match draw(st.sampled_from(["replace", "remove", "add", "move"])):
            case "replace":
                container[key] = draw(values)
            case "remove":
                del container[key]
            case "add" if isinstance(container, dict):
                container[draw(texts | st.integers())] = draw(values)
            case "add":
                container.append(draw(values))
            case _:
                other, place = draw(st.sampled_from(found))
                container[key] = deepcopy(other[place])
    return manifest


@st.composite
def with_leaves_replaced(
    draw: st.DrawFn, manifest: dict[str, Any], leaves: st.SearchStrategy[object]
) -> dict[str, Any]:
    """The manifest with up to two of its single values replaced. Keeps what identifies the object."""
    manifest = deepcopy(manifest)
    fixed = [manifest["metadata"]]
    found = [
        (container, key)
        for container, key in places(manifest)
        if not isinstance(container[key], dict | list) and container is not manifest and container not in fixed
    ]
    for _ in range(draw(st.integers(0, 2))):
        container, key = draw(st.sampled_from(found))
        container[key] = draw(leaves)
    return manifest
