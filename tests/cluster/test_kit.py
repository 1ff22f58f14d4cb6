"""The kit itself: the cluster behaves as the tests of cluster mode take for granted."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest
import yaml

from tests.cluster.api import Api, ApiError, Object
from tests.cluster.apiserver import NOBODY, Access, Cluster, ClusterError
from tests.cluster.assets import Assets, AssetsError, cache_folder, find
from tests.cluster.existing import Existing, choose
from tests.cluster.kubectl import KubectlError, kubectl, program
from tests.cluster.until import until
from tests.kit import DEADLINE, Client, eventually, get
from tests.netlab import Lab

ACCOUNT = """
apiVersion: v1
kind: ServiceAccount
metadata: {name: reader}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: reader}
rules:
- {apiGroups: [""], resources: [configmaps], verbs: [get, list, watch]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: reader}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: reader}
subjects: [{kind: ServiceAccount, name: reader}]
"""

UP_FOR_EVER = """
import asyncio
from tests.cluster.apiserver import Cluster
async def main():
    async with Cluster():
        print("up", flush=True)
        await asyncio.Event().wait()
asyncio.run(main())
"""


def config_map(name: str, value: str = "a", **metadata: str) -> Object:
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, **metadata}, "data": {"key": value}}


def ingress(name: str) -> Object:
    service = {"name": "web", "port": {"number": 80}}
    path = {"path": "/", "pathType": "Prefix", "backend": {"service": service}}
    spec = {"rules": [{"host": "a.example", "http": {"paths": [path]}}]}
    return {"apiVersion": "networking.k8s.io/v1", "kind": "Ingress", "metadata": {"name": name}, "spec": spec}


async def reader(admin: Api) -> Object:
    """A service account that may read the ConfigMaps of its namespace. What the API server allows follows what is
    written within moments, not at once: this waits for it."""
    account, *_ = await admin.apply(ACCOUNT)
    namespace = admin.namespace
    review: Object = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "metadata": {},
        "spec": {
            "user": f"system:serviceaccount:{namespace}:reader",
            "resourceAttributes": {"namespace": namespace, "verb": "get", "resource": "configmaps"},
        },
    }

    async def allowed() -> bool:
        return bool((await admin.create(review))["status"]["allowed"])

    await until(allowed, "the role is in effect")
    return account


# --- where the programs come from


def test_missing_programs_are_named_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "etcd").touch(mode=0o755)
    with pytest.raises(AssetsError, match=r"no kubectl and no kube-apiserver in .*KUBEBUILDER_ASSETS names"):
        find({"KUBEBUILDER_ASSETS": str(tmp_path)})
    with pytest.raises(AssetsError, match=f"in {tmp_path}/ingressd/.*run `make cluster-assets`"):
        find({"XDG_CACHE_HOME": str(tmp_path)})
    assert cache_folder({"XDG_CACHE_HOME": str(tmp_path)}).name == "v1.36.3-etcd-v3.6.8"


def test_kubeconfig_counts_only_where_there_are_no_programs(tmp_path: Path, assets: Assets) -> None:
    nothing = {"XDG_CACHE_HOME": str(tmp_path), "KUBECONFIG": "config"}
    assert isinstance(choose(nothing), Existing)
    assert not isinstance(choose({**nothing, "KUBEBUILDER_ASSETS": str(assets.etcd.parent)}), Existing)
    with pytest.raises(AssetsError, match="KUBEBUILDER_ASSETS names"):
        choose({**nothing, "KUBEBUILDER_ASSETS": str(tmp_path)})
    with pytest.raises(AssetsError, match="or KUBECONFIG"):
        choose({"XDG_CACHE_HOME": str(tmp_path)})


async def test_the_api_server_says_its_version(admin: Api) -> None:
    assert (await admin.request("GET", "/version"))["gitVersion"].startswith("v1.")


def run_with(kubeconfig: Path, folder: Path, tests: str) -> tuple[int, str]:
    """Exit code and output of these tests of this file, on a machine that has kubectl, but nothing to start."""
    (folder / "kubectl").symlink_to(program())
    environment = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}", "XDG_CACHE_HOME": str(folder / "empty")}
    environment.pop("KUBEBUILDER_ASSETS", None)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", __file__, "-k", tests]
    done = subprocess.run(command, env={**environment, "KUBECONFIG": str(kubeconfig)}, capture_output=True, text=True)
    return done.returncode, done.stdout


async def test_without_programs_the_cluster_of_kubeconfig_is_taken(
    cluster: Cluster, admin: Api, assets: Assets, tmp_path: Path
) -> None:
    """Tests run on it, and those that take an API server of their own say why they do not."""
    config = cluster.kubeconfig(tmp_path / "kubeconfig")
    document = yaml.safe_load(config.read_text())
    document["users"][0]["user"] = cluster.certificate(tmp_path, "administrator", 3600.0)
    config.write_text(yaml.safe_dump(document))
    runs = "in_pages", "deleted_namespace", "kubectl_builds"
    skipped = {
        "after_compaction": f"KUBECONFIG={config} does not let us at its etcd",
        "cuts_connections": "is not ours to be killed",
        "short_token": "does not give us its key",
        "role_allows": "does not show us its audit log",
        "nobody_is_refused": "has no user without rights",
        "does_not_start": "no etcd and no kubectl and no kube-apiserver in",
    }
    code, output = await asyncio.to_thread(run_with, config, tmp_path, " or ".join([*runs, *skipped]))
    assert (code, [why for why in skipped.values() if why not in output]) == (0, []), output
    assert f"{len(runs)} passed, {len(skipped)} skipped" in output


async def test_a_cluster_that_does_not_start_says_why_and_leaves_nothing(assets: Assets) -> None:
    cluster = Cluster("--no-such-flag", assets=assets)
    with pytest.raises(ClusterError, match=r"kube-apiserver has ended by itself[\s\S]*unknown flag: --no-such-flag"):
        await cluster.__aenter__()
    assert not cluster.ca_file.parent.exists()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", cluster.port))


def killed_while_up(folder: Path) -> list[Path]:
    """Starts a process that has a cluster, and kills it. The folders of its children in /proc."""
    environment = {**os.environ, "TMPDIR": str(folder)}
    command = [sys.executable, "-c", UP_FOR_EVER]
    with subprocess.Popen(command, stdout=subprocess.PIPE, env=environment) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"up\n"
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        process.kill()
    return [Path("/proc", pid) for pid in children]


async def test_a_cluster_ends_with_a_test_run_that_is_killed(
    assets: Assets, tmp_path_factory: pytest.TempPathFactory
) -> None:
    children = await asyncio.to_thread(killed_while_up, tmp_path_factory.mktemp("k"))
    assert len(children) == 2
    await eventually(lambda: not any(child.exists() for child in children), "both have ended")


# --- who may do what


async def test_nobody_is_refused_by_verb_resource_and_namespace(cluster: Cluster, admin: Api) -> None:
    async with cluster.api(NOBODY, admin.namespace) as nobody:
        with pytest.raises(ApiError, match=f"403 Forbidden: .*cannot list resource .*{admin.namespace}"):
            await nobody.list("Ingress")
    async with cluster.api("no token that is known") as stranger:
        with pytest.raises(ApiError, match="401 Unauthorized"):
            await stranger.list("Ingress")


async def test_a_role_allows_what_it_says_and_no_more(cluster: Cluster, admin: Api) -> None:
    await reader(admin)
    await admin.create(config_map("one"))
    async with cluster.api(await admin.token("reader"), admin.namespace) as allowed:
        assert (await allowed.get("ConfigMap", "one"))["data"] == {"key": "a"}
        with pytest.raises(ApiError, match="403 Forbidden"):
            await allowed.delete("ConfigMap", "one")
        with pytest.raises(ApiError, match="403 Forbidden"):
            await allowed.get("ConfigMap", "one", "default")
    asked = {
        Access("get", "", "configmaps", admin.namespace, "one", 200),
        Access("delete", "", "configmaps", admin.namespace, "one", 403),
        Access("get", "", "configmaps", "default", "one", 403),
    }
    user = f"system:serviceaccount:{admin.namespace}:reader"
    await eventually(lambda: asked <= cluster.accesses(user), "all three are in the audit log")


async def test_a_short_token_is_accepted_until_it_expires(cluster: Cluster, admin: Api) -> None:
    account = await reader(admin)
    await admin.create(config_map("one"))
    async with cluster.api(cluster.short_token(account, life=5.0), admin.namespace) as allowed:
        await allowed.get("ConfigMap", "one")
    async with cluster.api(cluster.short_token(account, life=-1.0), admin.namespace) as late:
        with pytest.raises(ApiError, match="401 Unauthorized"):
            await late.get("ConfigMap", "one")


# --- objects


async def test_objects_come_back_as_they_were_written(admin: Api) -> None:
    made = await admin.create(ingress("web"))
    assert made["spec"]["rules"] == ingress("web")["spec"]["rules"]
    assert await admin.get("Ingress", "web") == made
    changed = await admin.patch("Ingress", "web", {"spec": {"ingressClassName": "ingressd"}})
    assert changed["spec"]["ingressClassName"] == "ingressd"
    with pytest.raises(ApiError, match="409 Conflict"):
        await admin.replace(made)
    address = {"loadBalancer": {"ingress": [{"ip": "198.51.100.7"}]}}
    assert (await admin.patch("Ingress", "web", {"status": address}, sub="status"))["status"] == address
    await admin.delete("Ingress", "web")
    with pytest.raises(ApiError, match="404 NotFound"):
        await admin.get("Ingress", "web")


def endpoint_slice(address: str, port: int) -> Object:
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "web"},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [address]}],
        "ports": [{"port": port}],
    }


async def test_an_endpoint_slice_may_have_the_address_of_a_pod_but_not_of_loopback(admin: Api, lab: Lab) -> None:
    with pytest.raises(ApiError, match=r"422 Invalid: .*loopback"):
        await admin.create(endpoint_slice("127.0.0.2", 80))
    pod = await lab.pod()
    made = await admin.create(endpoint_slice(pod.address, pod.port))
    async with Client(made["ports"][0]["port"], made["endpoints"][0]["addresses"][0]) as client:
        assert (await client.ask(get("/"))).body == f"{pod.name}\n".encode()


async def test_lists_come_in_pages(admin: Api) -> None:
    for name in ("a", "b", "c"):
        await admin.create(config_map(name))
    first = await admin.list("ConfigMap", limit="2")
    rest = await admin.list("ConfigMap", **{"limit": "2", "continue": first.more})
    assert [item["metadata"]["name"] for item in first.items + rest.items] == ["a", "b", "c"]
    assert not rest.more


async def test_a_watch_sees_each_change(admin: Api) -> None:
    seen = []
    start = (await admin.list("ConfigMap")).resource_version
    await admin.create(config_map("one"))
    watch = admin.watch("ConfigMap", resourceVersion=start)
    async with asyncio.timeout(DEADLINE), contextlib.aclosing(watch) as events:
        async for event in events:
            seen.append((event.kind, event.object["data"]["key"]))
            match event.kind:
                case "ADDED":
                    await admin.apply(config_map("one", "b"))
                case "MODIFIED":
                    await admin.delete("ConfigMap", "one")
                case _:
                    break
    assert seen == [("ADDED", "a"), ("MODIFIED", "b"), ("DELETED", "b")]


async def test_a_deleted_namespace_is_gone(admin: Api) -> None:
    name = f"{admin.namespace}-more"
    await admin.create({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    await admin.create(config_map("one", namespace=name))
    await admin.delete_namespace(name)
    with pytest.raises(ApiError, match="404 NotFound"):
        await admin.get("Namespace", name)
    assert [item["metadata"]["name"] for item in (await admin.list("ConfigMap", name)).items] == []


# --- what happens to the API server


async def test_a_restart_cuts_connections_and_keeps_port_and_objects(cluster: Cluster, admin: Api) -> None:
    await admin.create(config_map("one"))
    watch = admin.watch("ConfigMap")
    assert (await anext(watch)).kind == "ADDED"
    cluster.kill()
    with pytest.raises(aiohttp.ClientError):
        await anext(watch)
    with pytest.raises(aiohttp.ClientConnectorError):
        await admin.get("ConfigMap", "one")
    await cluster.start()
    assert (await admin.get("ConfigMap", "one"))["data"] == {"key": "a"}
    await cluster.stop()
    with pytest.raises(aiohttp.ClientConnectorError):
        await admin.get("ConfigMap", "one")
    await cluster.start()
    assert (await admin.get("ConfigMap", "one"))["data"] == {"key": "a"}


async def test_a_frozen_api_server_takes_connections_and_is_silent(cluster: Cluster, admin: Api) -> None:
    await admin.create(config_map("one"))
    cluster.freeze()
    try:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.5):
                await admin.get("ConfigMap", "one")
    finally:
        cluster.thaw()
    assert (await admin.get("ConfigMap", "one"))["data"] == {"key": "a"}


async def test_after_compaction_an_old_resource_version_is_gone(cluster: Cluster, admin: Api) -> None:
    old = (await admin.create(config_map("one")))["metadata"]["resourceVersion"]
    await admin.apply(config_map("one", "b"))
    assert await cluster.compact() > int(old)
    await cluster.restart()
    watch = admin.watch("ConfigMap", resourceVersion=old)
    event = await anext(watch)
    assert (event.kind, event.object["code"], event.object["reason"]) == ("ERROR", 410, "Expired")
    await watch.aclose()
    with pytest.raises(ApiError, match="410 Expired"):
        await admin.list("ConfigMap", resourceVersion=old, resourceVersionMatch="Exact")


# --- kubectl


async def test_kubectl_builds_checks_and_applies(cluster: Cluster, admin: Api, tmp_path: Path) -> None:
    (tmp_path / "one.yaml").write_text("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: one}\ndata: {key: a}\n")
    (tmp_path / "kustomization.yaml").write_text("resources: [one.yaml]\nnamePrefix: number-\n")
    text = kubectl("kustomize", tmp_path)
    assert "name: number-one" in text
    file = cluster.kubeconfig(tmp_path / "kubeconfig", namespace=admin.namespace)
    applied = kubectl("apply", "-f", "-", "--dry-run=server", kubeconfig=file, stdin=text)
    assert applied == "configmap/number-one created (server dry run)\n"
    assert (await admin.list("ConfigMap")).items == []
    assert kubectl("apply", "-f", "-", kubeconfig=file, stdin=text) == "configmap/number-one created\n"
    assert (await admin.get("ConfigMap", "number-one"))["data"] == {"key": "a"}
    with pytest.raises(KubectlError, match="datum"):
        kubectl("apply", "-f", "-", kubeconfig=file, stdin=text.replace("\ndata:", "\ndatum:"))


async def test_kubectl_reads_a_token_file_and_reaches_no_cluster_of_the_user(
    cluster: Cluster, admin: Api, tmp_path: Path
) -> None:
    await reader(admin)
    token = tmp_path / "token"
    token.write_text(await admin.token("reader"))
    file = cluster.kubeconfig(tmp_path / "kubeconfig", token, namespace=admin.namespace)
    assert kubectl("get", "configmaps", kubeconfig=file) == ""
    with pytest.raises(KubectlError, match=r"cannot list resource .secrets."):
        kubectl("get", "secrets", kubeconfig=file)
    with pytest.raises(KubectlError):
        kubectl("get", "configmaps")
