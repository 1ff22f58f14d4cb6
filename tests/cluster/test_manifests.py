"""The API server takes every object of manifests/, and its pods are what Pod Security allows."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.cluster.api import Api, ApiError
from tests.cluster.apiserver import Cluster
from tests.cluster.kubectl import kubectl
from tests.cluster.until import until
from tests.kit import DEADLINE
from tests.manifests.built import (
    COMPONENTS,
    CUSTOM,
    MANIFESTS,
    OVERLAYS,
    Install,
    Object,
    install,
    kustomize,
    source,
    yaml_blocks,
)

PARTS = ["base", *OVERLAYS]


def try_out(cluster: Cluster, folder: Path, found: Install) -> list[str]:
    """Hands all objects to the API server, which checks them as if it was to keep them; what it says to each."""
    known = [each for each in found.objects if each["kind"] not in CUSTOM]
    said = kubectl(
        *("apply", "--dry-run=server", "-f", "-"),
        kubeconfig=cluster.kubeconfig(folder / "kubeconfig"),
        stdin=yaml.safe_dump_all(known),
    ).splitlines()
    assert len(said) == len(known)
    return said


@pytest.mark.parametrize("name", PARTS)
async def test_the_api_server_takes_it(name: str, cluster: Cluster, admin: Api, tmp_path: Path) -> None:
    components = [MANIFESTS / "components" / each for each in COMPONENTS if name != "namespaced"]
    found = kustomize(tmp_path, source(name), components=components, namespace=admin.namespace)
    assert all(line.endswith("(server dry run)") for line in try_out(cluster, tmp_path, found))


async def test_the_api_server_takes_the_sample(cluster: Cluster, admin: Api, tmp_path: Path) -> None:
    found = kustomize(tmp_path, MANIFESTS / "sample", namespace=admin.namespace)
    try_out(cluster, tmp_path, found)


async def test_what_kubectl_prints_can_be_looked_at_before_anything_is_installed(
    cluster: Cluster, admin: Api, tmp_path: Path
) -> None:
    """As docs/deploy.md has it for those who come from ingress-nginx."""
    found = kustomize(tmp_path, MANIFESTS / "sample", namespace=admin.namespace)
    for each in found.of_kind("Service", "EndpointSlice", "Ingress"):
        await admin.apply(each)
    config = cluster.kubeconfig(tmp_path / "kubeconfig")
    kinds = "ingress,ingressclass,service,endpointslice"
    printed = kubectl("get", kinds, "--all-namespaces", "--output", "yaml", kubeconfig=config)
    assert f"{admin.namespace}/legacy-api-service" in routes(printed)


def routes(manifests: str) -> str:
    """What `ingressd routes` prints."""
    command = [sys.executable, "-m", "ingressd", "routes", "--manifests", "-"]
    return subprocess.run(
        command, input=manifests, stdout=subprocess.PIPE, text=True, check=True, timeout=DEADLINE
    ).stdout


async def test_the_role_of_the_documentation_opens_the_secrets_that_it_names_and_no_other(
    cluster: Cluster, admin: Api
) -> None:
    (text,) = (block for block in yaml_blocks() if "resourceNames" in block)
    home = admin.namespace
    await admin.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "ingressd"}})
    await admin.apply(
        text.replace("namespace: shop", f"namespace: {home}").replace("space: ingressd", f"space: {home}")
    )

    async with cluster.api(await admin.token("ingressd"), home) as ingressd:

        async def allowed() -> bool:
            try:
                await ingressd.list("Secret", fieldSelector="metadata.name=shop-tls")
            except ApiError as error:
                if error.status != 403:
                    raise
                return False
            return True

        await until(allowed, "the role is in effect")
        for query in ({}, {"fieldSelector": "metadata.name=other"}):
            with pytest.raises(ApiError, match="403"):
                await ingressd.list("Secret", **query)


async def create_pod(admin: Api, found: Install, level: str) -> None:
    """Asks for a pod as the workload makes them, in a namespace with this level of Pod Security. Nothing is kept."""
    labels = {"pod-security.kubernetes.io/enforce": level}
    await admin.patch("Namespace", admin.namespace, {"metadata": {"labels": labels}})
    await admin.apply({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "ingressd"}})
    pod: Object = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "try"}, "spec": found.pod}
    await admin.apply(pod, dry_run=True)


@pytest.mark.parametrize("name", [name for name in PARTS if name not in ("hostport-daemonset", "namespaced")])
async def test_pod_security_allows_the_pods(name: str, admin: Api) -> None:
    (namespace,) = install(name).of_kind("Namespace")
    level = namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
    assert level == "restricted"
    await create_pod(admin, install(name), level)


async def test_host_ports_need_the_level_that_the_overlay_sets(admin: Api) -> None:
    found = install("hostport-daemonset")
    (namespace,) = found.of_kind("Namespace")
    await create_pod(admin, found, namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"])
    with pytest.raises(ApiError, match="hostPort"):
        await create_pod(admin, found, "baseline")


async def test_pod_security_allows_the_pods_of_one_namespace(admin: Api) -> None:
    """The namespace is the user's, whatever its level."""
    await create_pod(admin, install("namespaced"), "restricted")
