"""A real kube-apiserver with its etcd on loopback, for the tests of cluster mode.

    async with Cluster() as cluster, cluster.api() as admin:
        await admin.apply(yaml_text)
        account = await admin.get("ServiceAccount", "ingressd", "ingressd")
        token = await admin.token("ingressd", "ingressd")
        path = cluster.kubeconfig(folder / "kubeconfig", token)

RBAC, admission and token checks are those of a real cluster. There is no controller manager, no scheduler and no node:
nobody makes EndpointSlices, fills `status.loadBalancer`, creates the service account `default` or ends a deleted
namespace (`Api.delete_namespace` does); the tests write those objects themselves.

The programs come from `assets`, which says how they are found and built. Only `make test-cluster` collects these tests.
"""

from tests.cluster.api import Api, ApiError, Object, objects
from tests.cluster.apiserver import Access, Cluster, ClusterError
from tests.cluster.assets import Assets, AssetsError
from tests.cluster.kubectl import KubectlError, kubectl
from tests.cluster.until import until

__all__ = [
    "Access",
    "Api",
    "ApiError",
    "Assets",
    "AssetsError",
    "Cluster",
    "ClusterError",
    "KubectlError",
    "Object",
    "kubectl",
    "objects",
    "until",
]
