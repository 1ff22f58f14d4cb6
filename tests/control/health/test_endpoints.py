"""What the controller says of endpoints: in its log, its figures and the admin API."""

import logging

import pytest

from ingressd.control.health.endpoints import SAID_AT_ONCE, Endpoints
from ingressd.link import Ejected, Findings
from ingressd.model import CheckType, Cluster, ClusterKey, Endpoint, HealthCheck, Snapshot
from tests.kit import Upstream, each, eventually, ok, refused_port

ONE, TWO = Endpoint("10.0.0.1", 80), Endpoint("10.0.0.2", 80)
KEY = ClusterKey("shop", "web", "80")
EAGER = HealthCheck(interval=0.1, unhealthy_threshold=1, healthy_threshold=1)


def said(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records if record.name.startswith("ingressd")]
    caplog.clear()
    return found


async def test_ejections_are_said_once_for_each_and_shown_by_worker(caplog: pytest.LogCaptureFixture) -> None:
    known = Endpoints(lambda: None)
    known.applied(Snapshot(clusters=(Cluster(KEY, (ONE, TWO)),)))
    known.take(0, Findings((Ejected(ONE, 5, 1, 1000.0),)))
    known.take(1, Findings((Ejected(ONE, 5, 1, 1001.0),)))
    assert said(caplog) == [
        f"worker {worker} ejects endpoint 10.0.0.1:80: 5 failures in a row, ejection 1" for worker in (0, 1)
    ]
    known.take(0, Findings((Ejected(ONE, 5, 1, 0.0),)))
    assert said(caplog) == []
    (cluster,) = known.view()
    one, two = cluster.endpoints
    assert [tuple(ejection) for ejection in one.ejected] == [(0, 1, None), (1, 1, 1001.0)]
    assert (one.health, one.serving, one.terminating, list(two.ejected)) == ("unchecked", True, False, [])
    known.take(0, Findings((Ejected(ONE, 6, 2, 1020.0),)))
    known.take(1, Findings())
    assert said(caplog) == [
        "worker 0 ejects endpoint 10.0.0.1:80: 6 failures in a row, ejection 2",
        "worker 1 sends requests to endpoint 10.0.0.1:80 again",
    ]
    known.forget(0)
    (cluster,) = known.view()
    assert not any(endpoint.ejected for endpoint in cluster.endpoints)
    await known.close()


async def test_panic_is_said_when_it_begins_in_any_worker_and_when_it_ends_in_all(
    caplog: pytest.LogCaptureFixture,
) -> None:
    known = Endpoints(lambda: None)
    known.applied(Snapshot(clusters=(Cluster(KEY, (ONE,)),)))
    known.take(0, Findings(panicking=(KEY,)))
    known.take(1, Findings(panicking=(KEY,)))
    assert said(caplog) == ["no endpoint of shop-web-80 is healthy: requests go to all of them"]
    assert (known.figures().panicking, [cluster.panicking for cluster in known.view()]) == (1, [True])
    known.take(0, Findings())
    assert said(caplog) == []
    known.forget(1)
    assert said(caplog) == ["shop-web-80 has a healthy endpoint again, or none at all"]
    assert known.figures().panicking == 0
    await known.close()


async def test_an_ejected_endpoint_that_is_gone_is_not_said_to_get_requests(caplog: pytest.LogCaptureFixture) -> None:
    known = Endpoints(lambda: None)
    known.applied(Snapshot(clusters=(Cluster(KEY, (ONE, TWO)),)))
    known.take(0, Findings((Ejected(ONE, 5, 1, 1000.0), Ejected(TWO, 5, 1, 1000.0))))
    said(caplog)
    known.applied(Snapshot(clusters=(Cluster(KEY, (TWO,)),)))
    known.take(0, Findings())
    assert said(caplog) == ["worker 0 sends requests to endpoint 10.0.0.2:80 again"]
    await known.close()


async def test_the_end_of_the_only_worker_is_not_said_to_heal_a_cluster(caplog: pytest.LogCaptureFixture) -> None:
    known = Endpoints(lambda: None)
    known.applied(Snapshot(clusters=(Cluster(KEY, (ONE,)),)))
    known.take(0, Findings(panicking=(KEY,)))
    said(caplog)
    known.forget(0)
    assert said(caplog) == []
    assert known.figures().panicking == 0
    known.take(0, Findings(panicking=(KEY,)))
    assert said(caplog) == ["no endpoint of shop-web-80 is healthy: requests go to all of them"]
    await known.close()


async def test_many_at_once_are_counted(caplog: pytest.LogCaptureFixture) -> None:
    known = Endpoints(lambda: None)
    many = tuple(Ejected(Endpoint("10.0.0.1", port), 5, 1, 1.0) for port in range(1, 101))
    known.take(0, Findings(many))
    *lines, last = said(caplog)
    assert len(lines) == SAID_AT_ONCE
    assert last == "90 more endpoints are ejected by worker 0 or back"
    await known.close()


async def test_checks_change_what_is_published_and_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    answer = ok()
    changes = 0

    def on_change() -> None:
        nonlocal changes
        changes += 1

    async with Upstream(each(lambda message: answer)) as upstream:
        dead = refused_port()
        known = Endpoints(on_change)
        members = tuple(sorted((upstream.endpoint, dead)))
        wanted = Snapshot(clusters=(Cluster(KEY, members, health=EAGER, terminating=(ONE,)),))
        (cluster,) = known.applied(wanted).clusters
        assert (cluster.unhealthy, cluster.health, cluster.terminating) == ((), None, ())
        (shown,) = known.view()
        assert [endpoint.health for endpoint in shown.endpoints] == ["unchecked", "unknown", "unknown"]
        await eventually(lambda: changes == 1, "the dead one was found")
        known.say_changes()
        why = "it has failed 1 checks in a row, the last: connection refused"
        assert said(caplog) == [f"endpoint {dead} of shop-web-80 is unhealthy: {why}"]
        (cluster,) = known.applied(wanted).clusters
        assert cluster.unhealthy == (dead,)
        await eventually(lambda: known.figures().passed > 0)
        (shown,) = known.view()
        states = {str(endpoint.endpoint): endpoint for endpoint in shown.endpoints}
        assert states[str(dead)].health == "unhealthy"
        assert states[str(dead)].last_failure == "connection refused"
        assert states[str(upstream.endpoint)].health == "healthy"
        assert (states[str(ONE)].serving, states[str(ONE)].terminating) == (False, True)
        figures = known.figures()
        assert (figures.checked, figures.unhealthy, figures.transitions) == (2, 1, {"healthy": 0, "unhealthy": 1})
        answer = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"
        await eventually(lambda: changes == 2, "so is the other")
        known.say_changes()
        assert said(caplog)[-1].endswith("the last: answered 503")
        answer = ok()
        await eventually(lambda: changes == 3, "it is well again")
        known.say_changes()
        assert said(caplog)[-1].endswith("is healthy again: it has passed 1 checks in a row")
        assert known.applied(Snapshot()).clusters == ()
        assert known.figures().checked == 0
        await known.close()


def test_equal_checks_are_one() -> None:
    """What checks are kept by."""
    assert hash(HealthCheck(CheckType.TCP)) == hash(HealthCheck(CheckType.TCP))
    assert len({HealthCheck(), HealthCheck(), HealthCheck(path="/x")}) == 2
