"""IngressClass, networking.k8s.io/v1: which controller serves the Ingresses that name it."""

from collections.abc import Iterator
from typing import ClassVar

from ingressd.resources.finding import Finding, invalid, missing
from ingressd.resources.metadata import AnnotatedClusterMetadata, KubernetesObject, Part
from ingressd.resources.syntax import subdomain_fault

IS_DEFAULT_CLASS = "ingressclass.kubernetes.io/is-default-class"
_CONTROLLER_CHARACTERS = 250


class IngressClassSpec(Part, frozen=True):
    """IngressClassSpec."""

    controller: str = ""


class IngressClass(KubernetesObject, frozen=True, kw_only=True):
    """IngressClass, networking.k8s.io/v1. Cluster-scoped."""

    KIND: ClassVar[str] = "IngressClass"
    metadata: AnnotatedClusterMetadata = AnnotatedClusterMetadata()
    spec: IngressClassSpec = IngressClassSpec()

    @property
    def is_default(self) -> bool:
        """Whether Ingresses without a class are of this one."""
        return self.metadata.annotations.get(IS_DEFAULT_CLASS) == "true"

    def findings(self) -> Iterator[Finding]:
        yield from super().findings()
        controller = self.spec.controller
        domain, slash, path = controller.partition("/")
        if not controller:
            yield missing("spec.controller", "write the name of a controller, as ingressd.dev/ingress-controller")
        elif len(controller) > _CONTROLLER_CHARACTERS or not slash or not path or subdomain_fault(domain):
            message = f"write a domain, `/` and a name, at most {_CONTROLLER_CHARACTERS} characters"
            yield invalid("spec.controller", controller, message)
