"""A real kube-apiserver with its etcd on loopback, for the tests of cluster mode.

    from tests.cluster.apiserver import Cluster

    async with Cluster() as cluster, cluster.api() as admin:
        await admin.apply(yaml_text)
        account = await admin.get("ServiceAccount", "ingressd", "ingressd")
        token = await admin.token("ingressd", "ingressd")
        path = cluster.kubeconfig(folder / "kubeconfig", token)

RBAC, admission and token checks are those of a real cluster. There is no controller manager, no scheduler and no node:
nobody makes EndpointSlices, fills `status.loadBalancer`, creates the service account `default` or ends a deleted
namespace (`Api.delete_namespace` does); the tests write those objects themselves.

The programs come from `assets`, which says how they are found and built. Only `make test-cluster` collects these tests;
the package itself imports nothing, so that all other runs of pytest, which load it too, need nothing for it.
"""
