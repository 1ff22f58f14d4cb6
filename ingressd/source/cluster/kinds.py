"""The kinds that are read from the API server, and where it has them."""

from typing import NamedTuple


class Kind(NamedTuple):
    """`plural` is the word of paths and roles, `group` empty for the core group."""

    name: str
    group: str
    version: str
    plural: str
    namespaced: bool = True

    def path(self, namespace: str = "", name: str = "") -> str:
        """Of all its objects, of those in a namespace, or of one."""
        root = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        within = f"/namespaces/{namespace}" if namespace and self.namespaced else ""
        return f"{root}{within}/{self.plural}{f'/{name}' if name else ''}"

    @property
    def resource(self) -> str:
        """As kubectl names it: `ingresses.networking.k8s.io`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural


INGRESS_CLASS = Kind("IngressClass", "networking.k8s.io", "v1", "ingressclasses", namespaced=False)
LISTED = (
    Kind("Ingress", "networking.k8s.io", "v1", "ingresses"),
    INGRESS_CLASS,
    Kind("Service", "", "v1", "services"),
    Kind("EndpointSlice", "discovery.k8s.io", "v1", "endpointslices"),
)
"""Those of which every object is read. Endpoints are not among them: the API server's control plane mirrors those that
people write into EndpointSlices (kubernetes.io: "EndpointSlice mirroring")."""
NAMESPACE = Kind("Namespace", "", "v1", "namespaces", namespaced=False)
NAMED = {kind.name: kind for kind in (Kind("Secret", "", "v1", "secrets"), Kind("ConfigMap", "", "v1", "configmaps"))}
"""Those of which only objects that something refers to are read."""
