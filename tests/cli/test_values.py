"""Each parser takes what its help says and refuses the rest with a sentence that says what to write."""

from collections.abc import Callable

import pytest

from ingressd.cli.values import (
    addresses,
    boolean,
    choice,
    duration,
    label_selector,
    namespace,
    networks,
    object_name,
    port,
    status_addresses,
    text,
    whole_number,
    whole_seconds,
    workers,
)
from ingressd.model import AccessLogFormat

SELECTORS = ["stage=live", "a==b, c != d", "example.com/team in (a, b),!old", "x notin (y)", "here", "empty="]
NO_SELECTORS = ["", "=", "a=b=c", "a in b", "a in ()x", ",", "a,", "a/b/c", "-a", "a=-", "a b"]


@pytest.mark.parametrize(
    ("parse", "given", "expected"),
    [
        (duration, "60", 60.0),
        (duration, "60s", 60.0),
        (duration, "500ms", 0.5),
        (duration, "5m", 300.0),
        (duration, "1h", 3600.0),
        (duration, "1.5s", 1.5),
        (port, "0", 0),
        (port, "65535", 65535),
        (workers, "auto", None),
        (workers, "4", 4),
        (boolean, "T", True),
        (boolean, "0", False),
        (whole_number(0), "0", 0),
        (whole_number(1), "16384", 16384),
        (addresses, "[::1], 127.0.0.1", ("::1", "127.0.0.1")),
        (addresses, "2001:DB8:0::1", ("2001:db8::1",)),
        (networks, "10.0.0.0/8,192.0.2.1,2001:db8::/32", ("10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32")),
        (choice(AccessLogFormat), "json", AccessLogFormat.JSON),
        (text, "x", "x"),
        (object_name, "ingressd-leader", "ingressd-leader"),
        (
            status_addresses,
            "203.0.113.9, lb.example.com,[2001:DB8::1]",
            ("203.0.113.9", "lb.example.com", "2001:db8::1"),
        ),
        (whole_seconds(3), "3s", 3),
        (whole_seconds(3), "1h", 3600),
        (namespace, "kube-system", "kube-system"),
        *((label_selector, one, one) for one in SELECTORS),
    ],
)
def test_accepted(parse: Callable[[str], object], given: str, expected: object) -> None:
    assert parse(given) == expected


@pytest.mark.parametrize(
    ("parse", "given", "says"),
    [
        (duration, "", "60s"),
        (duration, "0", "above 0"),
        (duration, "-1s", "60s"),
        (duration, "1d", "1h"),
        (duration, "1 s", "60s"),
        (port, "65536", "0 to 65535"),
        (port, "-1", "0 to 65535"),
        (port, "٣", "0 to 65535"),
        (port, "http", "0 to 65535"),
        (workers, "0", "auto or a number"),
        (workers, "many", "auto or a number"),
        (workers, "1000", "auto or a number"),
        (boolean, "yes", "true or false"),
        (whole_number(1), "0", "from 1"),
        (whole_number(0), "1.5", "whole number"),
        (addresses, "localhost", "127.0.0.1 or ::1"),
        (addresses, "", "127.0.0.1 or ::1"),
        (addresses, "10.0.0.1,", "'' is not an IP address"),
        (networks, "10.0.0.1/8", "write 10.0.0.0/8"),
        (networks, "example.com", "10.0.0.0/8 or 192.0.2.1"),
        (choice(AccessLogFormat), "xml", "write text, json or off"),
        (text, "", "empty"),
        (object_name, "Leader", "lower-case"),
        (object_name, "", "lower-case"),
        (status_addresses, "", "203.0.113.9 or lb.example.com"),
        (status_addresses, "203.0.113.9,", "'' is neither"),
        (status_addresses, "203.0.113.900", "203.0.113.9 or lb.example.com"),
        (status_addresses, "LB.example.com", "in lower case"),
        (status_addresses, "*.example.com", "203.0.113.9 or lb.example.com"),
        (status_addresses, "lb.example.com:80", "203.0.113.9 or lb.example.com"),
        (status_addresses, "::ffff:203.0.113.9", "write 203.0.113.9"),
        (status_addresses, "fe80::1%eth0", "without %"),
        (whole_seconds(3), "2s", "from 3s to 1h"),
        (whole_seconds(3), "2h", "from 3s to 1h"),
        (whole_seconds(3), "3500ms", "whole seconds"),
        (whole_seconds(3), "soon", "60s"),
        (namespace, "Shop", "lower-case"),
        (namespace, "", "lower-case"),
        (namespace, "a/b", "lower-case"),
        *((label_selector, one, "stage=live") for one in NO_SELECTORS),
    ],
)
def test_refused(parse: Callable[[str], object], given: str, says: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the message is checked next
        parse(given)
    assert says in str(caught.value)
