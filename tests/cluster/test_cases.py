"""ingressd in a real cluster, seen from outside: objects change at the API server, and requests are answered otherwise.

All runs as it does in a pod: the process with its workers, under the service account and the roles of manifests/.
"""

import itertools
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.api import Api, ApiError, Object
from tests.cluster.apiserver import Cluster
from tests.cluster.controller import Ingressd, Installation, ask, installed
from tests.cluster.load import loading
from tests.cluster.until import until
from tests.kit import DEADLINE
from tests.netlab import Lab, Pod
from tests.source.cluster.relay import Relay, relay

HOST = "a.example"


@pytest.fixture
async def installation(cluster: Cluster, admin: Api, lab: Lab, tmp_path: Path) -> AsyncIterator[Installation]:
    """The base, cluster-wide."""
    async with installed(cluster, admin, tmp_path) as found:
        yield found


@pytest.fixture
async def ingressd(installation: Installation) -> AsyncIterator[Ingressd]:
    """One replica that is ready."""
    async with installation.replica() as running:
        await running.ready()
        yield running


@pytest.fixture
async def between(cluster: Cluster) -> AsyncIterator[Relay]:
    """In front of the API server."""
    cluster.answers_at_loopback()
    async with relay(cluster.port, cluster.host) as made:
        yield made


@pytest.fixture
async def behind(installation: Installation, between: Relay) -> AsyncIterator[Ingressd]:
    """One replica that is ready, and reaches the API server only through `between`."""
    async with installation.replica(api_port=between.port) as running:
        await running.ready()
        yield running


# --- objects, all in the namespace of the test


def ingress(
    class_name: str | None, name: str = "web", host: str = HOST, of: str = "web", port: str | int = "http", **spec: Any
) -> Object:
    number = {"name": port} if isinstance(port, str) else {"number": port}
    path = {"path": "/", "pathType": "Prefix", "backend": {"service": {"name": of, "port": number}}}
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "Ingress",
        "metadata": {"name": name},
        "spec": {
            **({"ingressClassName": class_name} if class_name else {}),
            "rules": [{"host": host, "http": {"paths": [path]}}],
            **spec,
        },
    }


def ingress_class(name: str, controller: str = "ingressd.dev/ingress-controller") -> Object:
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "IngressClass",
        "metadata": {"name": name},
        "spec": {"controller": controller},
    }


def service(name: str = "web", **ports: int) -> Object:
    """Ports by name; without any `http` at 80."""
    listed = [{"name": key, "port": value} for key, value in (ports or {"http": 80}).items()]
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": name}, "spec": {"ports": listed}}


def endpoint_slice(
    *pods: Pod, name: str = "web", of: str = "web", port: str = "http", ending: Sequence[Pod] = ()
) -> Object:
    """`ending` are pods that terminate and still serve."""
    going = {"ready": False, "serving": True, "terminating": True}
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": name, "labels": {"kubernetes.io/service-name": of}},
        "addressType": "IPv4",
        "ports": [{"name": port, "port": (*pods, *ending)[0].port if (*pods, *ending) else 8080}],
        "endpoints": [
            *({"addresses": [pod.address], "conditions": {"ready": True}} for pod in pods),
            *({"addresses": [pod.address], "conditions": going} for pod in ending),
        ],
    }


async def put(admin: Api, *values: Object) -> None:
    for value in values:
        await admin.apply(value)


# --- each kind, in every order


async def test_objects_may_come_and_go_in_any_order(admin: Api, ingressd: Ingressd, lab: Lab) -> None:
    """Every order in which four objects that belong together can be made, and the same orders for deleting them."""
    pod = await lab.pod()
    kinds = ("IngressClass", "Ingress", "Service", "EndpointSlice")
    orders = list(itertools.permutations(kinds))
    names = [f"order-{number}-{admin.namespace}" for number in range(len(orders))]

    def made(kind: str, name: str) -> Object:
        match kind:
            case "IngressClass":
                return ingress_class(name)
            case "Ingress":
                return ingress(name, name, f"{name}.example", of=name)
            case "Service":
                return service(name)
        return endpoint_slice(pod, name=name, of=name)

    def expected(there: set[str]) -> str | int:
        if not {"IngressClass", "Ingress"} <= there:
            return 404
        return pod.name if {"Service", "EndpointSlice"} <= there else 503

    try:
        for step in range(1, 5):
            for name, order in zip(names, orders, strict=True):
                await admin.apply(made(order[step - 1], name))
            for name, order in zip(names, orders, strict=True):
                await ingressd.answers(f"{name}.example", expected(set(order[:step])))
        for step in range(1, 5):
            for name, order in zip(names, orders, strict=True):
                await admin.delete(order[step - 1], name)
            for name, order in zip(names, orders, strict=True):
                await ingressd.answers(f"{name}.example", expected(set(order[step:])))
    finally:
        left = {each["metadata"]["name"] for each in (await admin.list("IngressClass")).items}
        for name in left.intersection(names):
            await admin.delete("IngressClass", name)


async def test_changes_of_an_ingress_and_its_service_are_served(
    admin: Api, installation: Installation, ingressd: Ingressd, lab: Lab
) -> None:
    red, green = await lab.pod(name="red"), await lab.pod(name="green")
    own = installation.ingress_class
    await put(admin, service(), service("other", http=80), endpoint_slice(red))
    await put(admin, endpoint_slice(green, name="other", of="other"), ingress(own))
    await ingressd.answers(HOST, "red")

    await put(admin, ingress(own, host="b.example"))
    await ingressd.answers(HOST, 404)
    await ingressd.answers("b.example", "red")
    await put(admin, ingress(own, of="other"))
    await ingressd.answers(HOST, "green")
    await put(admin, ingress(own, of="missing"))
    await ingressd.answers(HOST, 503)
    await put(admin, ingress(own, port=81))
    await until_problem(ingressd, "web")
    await put(admin, service(http=81))
    await ingressd.answers(HOST, "red")

    await admin.delete("Service", "web")
    await ingressd.answers(HOST, 503)
    external = {"type": "ExternalName", "externalName": green.address, "ports": [{"port": green.port}]}
    await put(admin, {**service(), "spec": external}, ingress(own, port=green.port))
    await ingressd.answers(HOST, "green")


async def until_problem(ingressd: Ingressd, name: str, there: bool = True) -> None:
    async def found() -> bool:
        return any(each == name for each, _ in await ingressd.problems()) is there

    await until(found, f"{name} has {'a' if there else 'no'} problem")


async def test_changes_of_slices_are_served(
    admin: Api, installation: Installation, ingressd: Ingressd, lab: Lab
) -> None:
    red, green, blue = [await lab.pod(name=name) for name in ("red", "green", "blue")]
    await put(admin, service(), ingress(installation.ingress_class), endpoint_slice(red))
    await ingressd.answers(HOST, "red")
    await put(admin, endpoint_slice(green))
    await ingressd.answers(HOST, "green")
    await put(admin, endpoint_slice(red, blue, name="more"))
    await ingressd.answers(HOST, "red", "green", "blue")
    await put(admin, endpoint_slice())
    await admin.delete("EndpointSlice", "more")
    await ingressd.answers(HOST, 503)
    await put(admin, endpoint_slice(ending=[blue]))
    await ingressd.answers(HOST, "blue")
    await put(admin, endpoint_slice(green, name="of-another", of="another"))
    await put(admin, endpoint_slice(red, ending=[blue]))
    await ingressd.answers(HOST, "red")
    assert {(await ask(ingressd.port, HOST))[1] for _ in range(20)} == {"red"}


async def test_a_class_is_taken_and_dropped(
    admin: Api, installation: Installation, ingressd: Ingressd, lab: Lab
) -> None:
    pod, own, mine = await lab.pod(), installation.ingress_class, f"mine-{admin.namespace}"
    await put(admin, service(), endpoint_slice(pod), ingress("of-somebody-else"))
    await put(admin, ingress(own, "marker", "marker.example"))
    await ingressd.answers("marker.example", pod.name)
    assert (await ask(ingressd.port, HOST))[0] == 404
    await put(admin, ingress(own))
    await ingressd.answers(HOST, pod.name)
    await put(admin, ingress("of-somebody-else"))
    await ingressd.answers(HOST, 404)

    # The controller of a class cannot change, so it is another class of the same name.
    await put(admin, ingress(mine), ingress_class(mine, "example.com/another"))
    try:
        for controller, status in (("ingressd.dev/ingress-controller", pod.name), ("example.com/another", 404)):
            await admin.delete("IngressClass", mine)
            await put(admin, ingress_class(mine, controller))
            await ingressd.answers(HOST, status)
    finally:
        await admin.delete("IngressClass", mine)

    # Without a class, the Ingress is of the class that is the default, if any.
    await admin.delete("Ingress", "web")
    await put(admin, ingress(None))
    for default, status in (("true", pod.name), ("false", 404)):
        annotations = {"ingressclass.kubernetes.io/is-default-class": default}
        await admin.patch("IngressClass", own, {"metadata": {"annotations": annotations}})
        await ingressd.answers(HOST, status)
    await ingressd.answers("marker.example", pod.name)


async def test_a_secret_may_appear_late(admin: Api, installation: Installation, lab: Lab) -> None:
    """To be ready it must have been looked for, not found."""
    pod = await lab.pod()
    tls = [{"hosts": [HOST], "secretName": "late"}]
    await put(admin, service(), endpoint_slice(pod), ingress(installation.ingress_class, tls=tls))
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "late"}, "stringData": {"key": "a"}}
    async with installation.replica() as ingressd:
        await ingressd.ready()
        await ingressd.answers(HOST, pod.name)

        async def held() -> float:
            return await ingressd.metric('ingressd_objects{kind="Secret"}')

        async def is_held() -> bool:
            return await held() == 1

        async def both_are_held() -> bool:
            return await held() == 2

        async def is_said() -> bool:
            return "SecretNotUsable" in ingressd.log().partition("second")[2]

        assert not await is_held()
        assert "SecretNotFound" in ingressd.log()
        await admin.create(secret)
        await admin.create({**secret, "metadata": {"name": "early"}})
        await until(is_held, "the Secret is read, and no other")
        assert "early" not in ingressd.log()
        # That one which is there is not was never said.
        tls = [{"hosts": ["second.example"], "secretName": "early"}]
        await put(admin, ingress(installation.ingress_class, "second", "second.example", tls=tls))
        await until(both_are_held, "the other one is read")
        await until(is_said, "that it is no certificate")
        assert "there is no Secret" not in "\n".join(line for line in ingressd.log().splitlines() if "early" in line)


# --- under load


async def test_all_pods_of_a_service_are_replaced_without_a_failure(
    admin: Api, installation: Installation, ingressd: Ingressd, lab: Lab
) -> None:
    """One by one as a Deployment does, each ended at once: endpoints learn of it at the same time as the pod does."""
    pods = [await lab.pod() for _ in range(3)]
    await put(admin, service(), ingress(installation.ingress_class), endpoint_slice(*pods))
    await ingressd.answers(HOST, *(pod.name for pod in pods))
    async with loading(ingressd.port, HOST) as load:
        for _ in range(2 * len(pods)):
            added, old = await lab.pod(), pods.pop(0)
            await put(admin, endpoint_slice(*pods, old, added))
            await load.met(added.name)
            pods.append(added)
            await put(admin, endpoint_slice(*pods, ending=[old]))
            await old.stop()
            await put(admin, endpoint_slice(*pods))
            await load.more()
            await old.remove()
        last = {pod.name: load.answers[pod.name] for pod in pods}
        await load.more(300)
        assert all(load.answers[name] > before for name, before in last.items())


# --- the API server is away


async def test_traffic_goes_on_without_the_api_server_and_converges_after(
    cluster: Cluster, admin: Api, installation: Installation, ingressd: Ingressd, lab: Lab
) -> None:
    red, green = await lab.pod(name="red"), await lab.pod(name="green")
    own = installation.ingress_class
    await put(admin, service(), endpoint_slice(red), ingress(own), ingress(own, "going", "going.example"))
    await ingressd.answers(HOST, "red")
    await ingressd.answers("going.example", "red")
    async with loading(ingressd.port, HOST) as load:
        cluster.kill()
        try:

            async def told() -> bool:
                return "the API server" in ingressd.log()

            await until(told, "the log says that the API server is away", 2 * DEADLINE)
            await load.more(500)
            assert (await ingressd.admin("/readyz"))[0] == 200
            age = await ingressd.metric('ingressd_sync_age_seconds{kind="Ingress"}')

            async def older() -> bool:
                return await ingressd.metric('ingressd_sync_age_seconds{kind="Ingress"}') > age

            await until(older, "the metric says how old the state is")
        finally:
            await cluster.start()
        await put(admin, endpoint_slice(green))
        await admin.delete("Ingress", "going")
        await load.met("green")
        await ingressd.answers("going.example", 404)
        assert (await ingressd.admin("/readyz"))[0] == 200
    assert set(load.answers) == {"red", "green"}


async def test_what_happened_before_a_compaction_is_seen(
    cluster: Cluster, admin: Api, installation: Installation, between: Relay, behind: Ingressd, lab: Lab
) -> None:
    """The watch of ingressd cannot go on from where it was: only a new list can tell what is gone."""
    pod, own = await lab.pod(), installation.ingress_class
    await put(admin, service(), endpoint_slice(pod), ingress(own), ingress(own, "going", "going.example"))
    await behind.answers(HOST, pod.name)
    await behind.answers("going.example", pod.name)
    async with loading(behind.port, HOST) as load:
        between.hold()
        before = (await admin.list("Ingress")).resource_version
        await admin.delete("Ingress", "going")
        await put(admin, ingress(own, "coming", "coming.example"))
        await cluster.compact()
        await cluster.restart()
        await load.more()
        assert await is_gone(admin, before)
        between.pass_on()
        between.cut()
        await behind.answers("coming.example", pod.name)
        await behind.answers("going.example", 404)


async def is_gone(admin: Api, version: str) -> bool:
    """Whether a watch cannot go on from a version."""
    async with aclosing(admin.watch("Ingress", resourceVersion=version, timeoutSeconds="5")) as events:
        try:
            return any([event.object.get("code") == 410 async for event in events])
        except ApiError as error:
            return error.status == 410


async def test_watches_that_are_cut_again_and_again_miss_nothing(
    admin: Api, installation: Installation, between: Relay, behind: Ingressd, lab: Lab
) -> None:
    pods = [await lab.pod() for _ in range(2)]
    await put(admin, service(), endpoint_slice(pods[0]), ingress(installation.ingress_class))
    await behind.answers(HOST, pods[0].name)
    async with loading(behind.port, HOST) as load:
        for number in range(6):
            await put(admin, endpoint_slice(pods[number % 2]))
            between.cut()
            await put(admin, ingress(installation.ingress_class, f"cut-{number}", f"cut-{number}.example"))
            await behind.answers(f"cut-{number}.example", pods[number % 2].name)
            await admin.delete("Ingress", f"cut-{number}")
            between.cut()
            await behind.answers(f"cut-{number}.example", 404)
        await load.more()
        assert (await behind.admin("/readyz"))[0] == 200


# --- rights and tokens


def user(installation: Installation) -> str:
    return f"system:serviceaccount:{installation.namespace}:{installation.account}"


async def test_in_one_namespace_a_role_is_enough(cluster: Cluster, admin: Api, lab: Lab, tmp_path: Path) -> None:
    pod, away = await lab.pod(), f"{admin.namespace}-away"
    await admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": away}})
    try:
        async with installed(cluster, admin, tmp_path, "namespaced") as found:
            assert not found.install.of_kind("ClusterRole", "ClusterRoleBinding", "IngressClass")
            await put(admin, service(), endpoint_slice(pod), ingress(found.ingress_class))
            async with cluster.api(namespace=away) as elsewhere:
                far = ingress(found.ingress_class, host="away.example")
                await put(elsewhere, service(), endpoint_slice(pod), far)
            async with found.replica() as ingressd:
                await ingressd.ready()
                await ingressd.answers(HOST, pod.name)
                await put(admin, ingress(found.ingress_class, "late", "late.example"))
                await ingressd.answers("late.example", pod.name)
                assert (await ask(ingressd.port, "away.example"))[0] == 404
                await until_written(admin, "late")
        asked = {each.namespace for each in cluster.accesses(user(found)) if each.status < 400}
        assert asked == {admin.namespace}
    finally:
        await admin.delete_namespace(away)


async def test_a_token_that_expires_is_read_again(
    cluster: Cluster, admin: Api, installation: Installation, between: Relay, lab: Lab
) -> None:
    """The API server refuses the old one for a while; what was served before stays."""
    red, green = await lab.pod(name="red"), await lab.pod(name="green")
    await put(admin, service(), endpoint_slice(red), ingress(installation.ingress_class))
    account = await admin.get("ServiceAccount", installation.account)
    first = cluster.short_token(account, life=8.0)
    installation.hand_out(first)

    async def refused() -> bool:
        async with cluster.api(first) as late:
            try:
                await late.list("Ingress")
            except ApiError as error:
                return error.status == 401
        return False

    async with installation.replica(api_port=between.port) as ingressd:
        await ingressd.ready()
        await ingressd.answers(HOST, "red")
        async with loading(ingressd.port, HOST) as load:
            await until(refused, "the token is refused", 30.0)
            between.cut()  # a watch goes on for as long as its connection, whatever becomes of the token
            await put(admin, endpoint_slice(green))
            await load.more()
            assert not load.answers["green"]
            assert (await ingressd.admin("/readyz"))[0] == 200
            installation.hand_out(await admin.token(installation.account))
            await ingressd.answers(HOST, "green", within=40.0)


# --- what is written


async def until_written(admin: Api, name: str, within: float = DEADLINE) -> None:
    """Waits until an Ingress has an address in its status."""

    async def written() -> bool:
        status = (await admin.get("Ingress", name))["status"]
        return bool(status.get("loadBalancer", {}).get("ingress"))

    await until(written, f"the status of {name} is written", within)


async def test_a_killed_leader_is_replaced_within_20_seconds(admin: Api, installation: Installation, lab: Lab) -> None:
    pod, own = await lab.pod(), installation.ingress_class
    await put(admin, service(), endpoint_slice(pod), ingress(own))
    async with installation.replica() as one, installation.replica() as two:
        await until_written(admin, "web", 20.0)

        async def leading() -> list[Ingressd]:
            return [each for each in (one, two) if await each.metric("nginx_ingress_controller_leader_election_status")]

        (leader,) = await leading()
        (other,) = {one, two} - {leader}
        await other.answers(HOST, pod.name)
        leader.kill()
        killed = datetime.now(UTC)
        await put(admin, ingress(own, "late", "late.example"))
        await other.answers("late.example", pod.name)
        await until_written(admin, "late", 20.0)
        lease = (await admin.get("Lease", "ingressd-leader"))["spec"]
        assert other.name in lease["holderIdentity"]
        assert datetime.fromisoformat(lease["acquireTime"]) - killed < timedelta(seconds=20)


async def test_conflicts_on_lease_and_status_are_got_over(
    cluster: Cluster, admin: Api, installation: Installation, ingressd: Ingressd, lab: Lab
) -> None:
    """Somebody else writes the same objects all the time; both are in order in the end."""
    own = installation.ingress_class
    await put(admin, service(), endpoint_slice(await lab.pod()), ingress(own))
    await until_written(admin, "web", 20.0)

    def conflicts(resource: str) -> bool:
        seen = cluster.accesses(user(installation))
        return any(each.resource == resource and each.status == 409 for each in seen)

    numbers = itertools.count()

    async def lease_conflicted() -> bool:
        await admin.patch("Lease", "ingressd-leader", {"metadata": {"annotations": {"tests": str(next(numbers))}}})
        return conflicts("leases")

    await until(lease_conflicted, "a write of the Lease was refused", 2 * DEADLINE)

    async def status_conflicted() -> bool:
        number = next(numbers)
        await put(admin, ingress(own, f"busy-{number}", f"busy-{number}.example"))
        for count in range(10):
            patch = {"metadata": {"annotations": {"tests": str(count)}}}
            await admin.patch("Ingress", f"busy-{number}", patch)
        return conflicts("ingresses/status")

    await until(status_conflicted, "a write of a status was refused", 2 * DEADLINE)
    for each in (await admin.list("Ingress")).items:
        await until_written(admin, each["metadata"]["name"], 2 * DEADLINE)
    await put(admin, ingress(own, "last", "last.example"))
    await until_written(admin, "last", 2 * DEADLINE)
    lease = await admin.get("Lease", "ingressd-leader")
    assert ingressd.name in lease["spec"]["holderIdentity"]
