"""Which Ingresses are ours."""

from collections.abc import Mapping

from ingressd.resources import Ingress, IngressClass
from ingressd.translate.options import Options

CLASS_ANNOTATION = "kubernetes.io/ingress.class"
"""What named the class before spec.ingressClassName did. Deprecated since Kubernetes 1.18, and still in wide use."""


class Classes:
    """The IngressClasses of a cluster, seen by one controller."""

    def __init__(self, classes: Mapping[str, IngressClass], options: Options) -> None:
        self._named = options.ingress_class
        self._ours = {name: one.spec.controller == options.controller_class for name, one in classes.items()}
        self._take_classless = options.watch_ingress_without_class or any(
            one.is_default for name, one in classes.items() if self._ours[name]
        )

    def has(self, ingress: Ingress) -> bool:
        """Whether we serve it: by spec.ingressClassName, else by the old annotation, else because it has no class."""
        name = ingress.spec.ingress_class_name
        if name is not None:
            # Without IngressClass objects, as in a directory of a few manifests, the name alone is enough.
            return self._ours.get(name, name == self._named)
        annotation = ingress.metadata.annotations.get(CLASS_ANNOTATION)
        return annotation == self._named if annotation else self._take_classless
