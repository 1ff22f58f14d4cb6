"""What the flags about writing to a cluster lead to."""

from pathlib import Path

import pytest

from ingressd.cli import cluster, flags, objects, writing
from ingressd.cli.flags import UsageError
from ingressd.control.election import Times
from ingressd.control.status import AddressSource
from ingressd.control.writers import ClusterWriters, WritingOptions
from ingressd.control.writing import NoWriters, Writers
from ingressd.source.cluster.source import ClusterSource
from ingressd.source.directory import DirectorySource
from ingressd.telemetry.exposition import Identity
from tests.control.fake_api import At

SECTIONS: flags.Sections = {"objects": objects.FLAGS, "cluster": cluster.FLAGS, "writing": writing.FLAGS}


def writers(*arguments: str, namespace: str = "ingress", **environment: str) -> Writers:
    values = flags.read("run", "", SECTIONS, arguments, environment)
    manifests = values[objects.MANIFESTS]
    source = DirectorySource(manifests) if manifests else ClusterSource(At("http://x"))
    return writing.writers(values, Identity(namespace, "class", "ingressd-0"), source)


def options(*arguments: str, namespace: str = "ingress", **environment: str) -> WritingOptions:
    made = writers(*arguments, namespace=namespace, **environment)
    assert isinstance(made, ClusterWriters)
    return made._options


def test_nothing_is_written_for_manifests(tmp_path: Path) -> None:
    assert isinstance(writers("--manifests", str(tmp_path)), NoWriters)


def test_defaults() -> None:
    assert options() == WritingOptions(
        pod="ingressd-0",
        namespace="ingress",
        election_id="ingressd-leader",
        election=Times(15),
        published=None,
        update_status_on_shutdown=False,
        namespaces=(),
    )


@pytest.mark.parametrize(
    ("arguments", "published"),
    [
        (["--publish-service=ingress/front"], AddressSource(("ingress", "front"))),
        (["--publish-status-address=192.0.2.1,lb.example"], AddressSource(None, ("192.0.2.1", "lb.example"))),
        (
            ["--publish-service=ingress/front", "--publish-status-address=b.example", "--publish-status-address=::1"],
            AddressSource(("ingress", "front"), ("b.example", "::1")),
        ),
        (["--publish-service=ingress/front", "--update-status=false"], None),
        (["--update-status"], None),
    ],
)
def test_where_the_addresses_come_from(arguments: list[str], published: AddressSource | None) -> None:
    assert options(*arguments).published == published


def test_the_rest() -> None:
    found = options("--election-id=other", "--election-ttl=30s", "--watch-namespace=shop")
    assert (found.election_id, found.election, found.namespaces) == ("other", Times(30), ("shop",))
    found = options("--publish-service=a/b", INGRESSD_UPDATE_STATUS_ON_SHUTDOWN="true", INGRESSD_ELECTION_TTL="1m")
    assert (found.update_status_on_shutdown, found.election) == (True, Times(60))
    assert options(namespace="").namespace == "default"


def test_no_address_is_said(caplog: pytest.LogCaptureFixture) -> None:
    options()
    assert "say with --publish-service or --publish-status-address" in caplog.text
    caplog.clear()
    options("--update-status=false")
    options("--publish-service=a/b")
    assert not caplog.text


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--update-status-on-shutdown"], "--update-status-on-shutdown needs --publish-service"),
        (["--update-status-on-shutdown", "--publish-status-address=a.b"], "needs --publish-service"),
        (["--manifests=x", "--publish-service=a/b"], "--publish-service is for a cluster"),
        (["--manifests=x", "--update-status=false"], "--update-status is for a cluster"),
        (["--publish-service=front"], "write namespace/name"),
        (["--election-ttl=1s"], "write whole seconds, from 3s to 1h"),
    ],
)
def test_refused(arguments: list[str], said: str) -> None:
    with pytest.raises(UsageError, match=said):
        writers(*arguments)
