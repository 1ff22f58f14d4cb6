"""Which pods of ours the EndpointSlices show."""

from typing import Any

import msgspec
import pytest

from ingressd.control.replicas import ReplicaSlice, is_last


def pod(name: str, **conditions: bool) -> dict[str, Any]:
    return {"addresses": ["10.1.0.1"], "targetRef": {"kind": "Pod", "name": name}, "conditions": conditions}


ME, LEAVING = pod("me", ready=True), pod("me", ready=False, serving=True, terminating=True)


@pytest.mark.parametrize(
    ("slices", "last"),
    [
        ([[ME]], True),
        ([[LEAVING]], True),
        ([[ME], [ME]], True),  # one for IPv4 and one for IPv6
        ([[LEAVING, pod("other", ready=True)]], False),
        ([[LEAVING], [pod("other", ready=True)]], False),
        ([[LEAVING, pod("other", ready=False)]], False),  # it starts up, and will be the next leader
        ([[LEAVING, pod("other", ready=False, terminating=True)]], True),
        ([[LEAVING, {"addresses": ["10.1.0.9"]}]], False),  # whatever that is
        ([], False),  # not our Service
        ([[]], False),
        ([[pod("other", ready=False, terminating=True)]], False),  # not our Service either
    ],
)
def test_last(slices: list[list[dict[str, Any]]], last: bool) -> None:
    read = [msgspec.convert({"endpoints": endpoints}, ReplicaSlice) for endpoints in slices]
    assert is_last(read, "me") is last


def test_a_slice_may_have_no_list_at_all() -> None:
    assert not is_last([msgspec.convert({"endpoints": None}, ReplicaSlice)], "me")
