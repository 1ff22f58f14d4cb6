"""The cluster source on a real API server: the cases that its fake passes too, and what only a real one has."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import suppress
from copy import deepcopy
from pathlib import Path

import pytest
import yaml

from ingressd.source.cluster.access import Access, Kubeconfig, ServiceAccount
from ingressd.source.cluster.source import Scope
from tests.cluster.api import Api, ApiError, Object
from tests.cluster.apiserver import NOBODY, Cluster
from tests.cluster.assets import Assets
from tests.cluster.until import until
from tests.source.cluster.cases import CASES, Case
from tests.source.cluster.fake import endpoint_slice, ingress, ingress_class, secret, service
from tests.source.cluster.followed import QUICK, Followed, following
from tests.source.cluster.relay import Relay, relay

ROLE = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: ingressd}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: ingressd}
rules:
- {apiGroups: [networking.k8s.io], resources: [ingresses], verbs: [list, watch]}
- {apiGroups: [""], resources: [services], verbs: [list, watch]}
- {apiGroups: [discovery.k8s.io], resources: [endpointslices], verbs: [list, watch]}
- {apiGroups: [""], resources: [secrets], verbs: [get], resourceNames: [tls]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: ingressd}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: ingressd}
subjects: [{kind: ServiceAccount, name: ingressd}]
"""


class RealWorld:
    """See World."""

    def __init__(self, cluster: Cluster, admin: Api, kubeconfig: Path, between: Relay) -> None:
        self.cluster = cluster
        self.admin = admin
        self.between = between
        self.namespace = admin.namespace
        url = f"https://127.0.0.1:{between.port}"
        self.access: Access = Kubeconfig(str(cluster.kubeconfig(kubeconfig, url=url)), "")
        stranger = kubeconfig.with_name("stranger")
        self.stranger: Access = Kubeconfig(str(cluster.kubeconfig(stranger, "no token that is known", url=url)), "")

    async def put(self, value: Object) -> None:
        await put(self.admin, value)

    async def delete(self, kind: str, name: str) -> None:
        await self.admin.delete(kind, name)

    async def label(self, **labels: str) -> None:
        await self.admin.patch("Namespace", self.namespace, {"metadata": {"labels": labels}})

    async def cut(self) -> None:
        self.between.cut()

    async def expire(self) -> None:
        await self.cluster.compact()
        await self.cluster.restart()

    async def down(self) -> None:
        self.cluster.kill()

    async def up(self) -> None:
        await self.cluster.start()


async def put(admin: Api, value: Object) -> None:
    value = deepcopy(value)
    value["metadata"].pop("namespace", None)
    try:
        await admin.create(value)
    except ApiError as error:
        if error.status != 409:
            raise
        former = await admin.get(value["kind"], value["metadata"]["name"])
        value["metadata"]["resourceVersion"] = former["metadata"]["resourceVersion"]
        await admin.replace({**former, **value})


@pytest.fixture
async def world(cluster: Cluster, admin: Api, tmp_path: Path) -> AsyncIterator[RealWorld]:
    async with relay(cluster.port, cluster.host) as between:
        yield RealWorld(cluster, admin, tmp_path / "kubeconfig", between)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
async def test_case(case: Case, world: RealWorld) -> None:
    await case(world)


async def within_a_second(followed: Followed, condition: Callable[[], bool]) -> bool:
    """Gives a condition some time to become true, which it need not."""
    with suppress(TimeoutError):
        async with asyncio.timeout(1.0):
            await followed.until(condition)
    return condition()


# --- rights


async def account(admin: Api) -> str:
    """A token of the service account of ROLE, once the API server knows its rights."""
    await admin.apply(ROLE)
    review: Object = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "metadata": {},
        "spec": {
            "user": f"system:serviceaccount:{admin.namespace}:ingressd",
            "resourceAttributes": {"namespace": admin.namespace, "verb": "get", "resource": "secrets", "name": "tls"},
        },
    }

    async def allowed() -> bool:
        return bool((await admin.create(review))["status"]["allowed"])

    await until(allowed, "the role is in effect")
    return await admin.token("ingressd")


def in_pod(cluster: Cluster, folder: Path, token: str, relayed: int = 0) -> ServiceAccount:
    """What a pod of the service account has. `relayed` is the port of a relay on the way."""
    (folder / "token").write_text(token)
    (folder / "ca.crt").write_text(cluster.ca_file.read_text())
    host, port = ("127.0.0.1", relayed) if relayed else (cluster.host, cluster.port)
    environment = {"KUBERNETES_SERVICE_HOST": host, "KUBERNETES_SERVICE_PORT": str(port)}
    return ServiceAccount(environment, folder)


async def test_a_role_in_one_namespace_is_enough(cluster: Cluster, admin: Api, tmp_path: Path) -> None:
    for value in (ingress("web", tls="tls"), service(), endpoint_slice("192.0.2.1"), secret("tls"), secret("other")):
        await put(admin, value)
    access = in_pod(cluster, tmp_path, await account(admin))
    async with following(access, Scope(namespace=admin.namespace)) as followed:
        await followed.ready()
        assert followed.hosts() == {"a.example"}
        assert followed.secret("tls", admin.namespace) == "a"
        (problem,) = followed.problems
        assert (str(problem.object), problem.reason, problem.severity) == ("IngressClass *", "Forbidden", "warning")
        assert problem.message.startswith('the verb "list" on ingressclasses.networking.k8s.io is missing')
        await put(admin, ingress("web", "b.example", tls="other"))
        await followed.until(lambda: len(followed.problems) == 2)
        other = next(problem for problem in followed.problems if problem.object.kind == "Secret")
        assert other.message.startswith(f'the verb "get" on secrets other in namespace {admin.namespace} is missing')
        assert followed.hosts() == {"b.example"}, "what may be read goes on"


async def test_without_rights_nothing_is_ready_and_each_is_named(cluster: Cluster, admin: Api, tmp_path: Path) -> None:
    access = Kubeconfig(str(cluster.kubeconfig(tmp_path / "config", NOBODY)), "")
    async with following(access) as followed:
        await followed.until(lambda: len(followed.problems) == 4)
        assert {problem.object.kind for problem in followed.problems} == {
            "Ingress",
            "IngressClass",
            "Service",
            "EndpointSlice",
        }
        namespaced = [problem for problem in followed.problems if problem.object.kind != "IngressClass"]
        assert all("in all namespaces is missing" in problem.message for problem in namespaced)
        await followed.until(lambda: len(followed.source.missing()) == 3)
        assert 'the verb "list" on services in all namespaces' in " ".join(followed.source.missing())


async def test_a_right_that_is_granted_later_counts(cluster: Cluster, admin: Api, tmp_path: Path) -> None:
    await put(admin, ingress("web"))
    access = in_pod(cluster, tmp_path, await account(admin))
    role = await admin.get("Role", "ingressd")
    await admin.patch("Role", "ingressd", {"rules": role["rules"][1:]})
    async with following(access, Scope(namespace=admin.namespace)) as followed:
        await followed.until(lambda: ("Ingress " + admin.namespace + "/*", "Forbidden") in followed.reasons())
        await admin.patch("Role", "ingressd", {"rules": role["rules"]})
        await followed.ready()
        assert followed.hosts() == {"a.example"}
        await followed.until(lambda: {problem.object.kind for problem in followed.problems} == {"IngressClass"})


async def test_what_an_api_server_refuses_while_it_starts_is_watched_again(
    cluster: Cluster, admin: Api, world: RealWorld, tmp_path: Path
) -> None:
    """It answers before it has read the roles: for a moment nobody may do anything."""
    cluster.answers_at_loopback()
    await put(admin, secret("tls"))
    await put(admin, ingress("web", tls="tls"))
    token = await account(admin)
    role = await admin.get("Role", "ingressd")
    role["rules"][-1]["verbs"] = ["get", "list", "watch"]
    await admin.patch("Role", "ingressd", {"rules": role["rules"]})
    access = in_pod(cluster, tmp_path, token, world.between.port)
    async with following(access, Scope(namespace=admin.namespace), QUICK._replace(again=0.2)) as followed:

        async def watched() -> bool:
            """Whether the Secret is: only watches break off."""
            before = followed.source.figures()["Secret"].restarts
            world.between.cut()
            return await within_a_second(followed, lambda: followed.source.figures()["Secret"].restarts > before)

        await followed.until(lambda: followed.secret("tls", admin.namespace) == "a")
        await until(watched, "the Secret is watched")
        await cluster.restart()
        await put(admin, secret("tls", "b"))
        await followed.until(lambda: followed.secret("tls", admin.namespace) == "b")
        await until(watched, "the Secret is watched again")
        await followed.until(lambda: {problem.object.kind for problem in followed.problems} == {"IngressClass"})


# --- storage


async def test_an_earlier_state_of_the_storage_is_converged_to(assets: Assets, tmp_path: Path) -> None:
    """As after etcd was put back from a backup: an API server says nothing in watches that begin where it has not got
    to yet, and does not say why."""
    async with Cluster(assets=assets) as cluster, cluster.api() as admin:
        await put(admin, ingress("lost", "lost.example"))
        for number in range(200):
            await put(admin, service(f"lost-{number}"))
        access = Kubeconfig(str(cluster.kubeconfig(tmp_path / "kubeconfig")), "")
        timing = QUICK._replace(silence=1.0)
        async with following(access, Scope(namespace="default"), timing) as followed:
            await followed.until(lambda: "lost.example" in followed.hosts())
            await cluster.forget()
            await put(admin, ingress("kept", "kept.example"))
            await followed.until(lambda: followed.hosts() == {"kept.example"})
            await followed.until(lambda: followed.has("Service", "default/kubernetes"))


# --- tokens


async def test_a_token_that_is_replaced_is_read_again(cluster: Cluster, admin: Api, tmp_path: Path) -> None:
    await account(admin)
    who = await admin.get("ServiceAccount", "ingressd")
    first = cluster.short_token(who, life=2.0)

    async def refused() -> bool:
        async with cluster.api(first, admin.namespace) as late:
            try:
                await late.list("Ingress")
            except ApiError as error:
                return error.status == 401
        return False

    access = in_pod(cluster, tmp_path, first)
    async with following(access, Scope(namespace=admin.namespace)) as followed:
        await followed.ready()
        (tmp_path / "token").write_text(await admin.token("ingressd") + "\n")
        await cluster.restart()
        await until(refused, "the first token has expired", within=30.0)
        await put(admin, ingress("web"))
        await followed.until(lambda: followed.hosts() == {"a.example"})


async def test_a_client_certificate_that_expires_is_read_again(
    cluster: Cluster, admin: Api, world: RealWorld, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = cluster.kubeconfig(tmp_path / "certified", url=f"https://127.0.0.1:{world.between.port}")
    config = yaml.safe_load(file.read_text())

    def hand_out(life: float) -> None:
        config["users"][0]["user"] = cluster.certificate(tmp_path, "somebody", life)
        file.write_text(yaml.safe_dump(config))

    hand_out(4.0)
    async with following(Kubeconfig(str(file), ""), Scope(namespace=admin.namespace)) as followed:
        await followed.ready()
        await put(admin, ingress("web"))
        await followed.until(lambda: followed.hosts() == {"a.example"})

        async def refused() -> bool:
            world.between.cut()  # connections go on for as long as they like
            return await within_a_second(followed, lambda: "Unauthorized" in caplog.text)

        await until(refused, "the certificate is no longer accepted")
        assert followed.hosts() == {"a.example"}
        hand_out(3600.0)
        await put(admin, ingress("web", "b.example"))
        await followed.until(lambda: followed.hosts() == {"b.example"})


# --- what only a real API server writes


async def test_an_empty_slice_is_read_and_ingress_classes_are_of_all_namespaces(
    cluster: Cluster, admin: Api, world: RealWorld
) -> None:
    await put(admin, ingress_class(f"class-of-{admin.namespace}"))
    await put(admin, endpoint_slice())
    async with following(world.access, Scope(namespace=admin.namespace)) as followed:
        await followed.ready()
        assert followed.has("EndpointSlice", f"{admin.namespace}/web-1")
        assert f"class-of-{admin.namespace}" in {ref.name for ref in followed.of("IngressClass")}
        assert not followed.problems
    await admin.delete("IngressClass", f"class-of-{admin.namespace}")


async def test_a_connection_that_is_silent_is_given_up(world: RealWorld, admin: Api) -> None:
    async with following(world.access, Scope(namespace=admin.namespace), QUICK._replace(silence=0.5)) as followed:
        await followed.ready()
        world.between.hold()
        await put(admin, ingress("web"))
        await followed.until(lambda: followed.source.figures()["Ingress"].restarts)
        world.between.pass_on()
        await followed.until(lambda: followed.hosts() == {"a.example"})
