"""All objects as they were last seen."""

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from ingressd.model import ObjectRef
from ingressd.resources.config_map import ConfigMap
from ingressd.resources.endpoint_slice import EndpointSlice
from ingressd.resources.endpoints import Endpoints
from ingressd.resources.ingress import Ingress
from ingressd.resources.ingress_class import IngressClass
from ingressd.resources.parse import Resource
from ingressd.resources.secret import Secret
from ingressd.resources.service import Service

Name = tuple[str, str]
"""Namespace and name."""

_NO_SLICES: dict[str, EndpointSlice] = {}


class Store:
    """Holds one object for each reference. Each look-up and each change costs the same however many there are."""

    def __init__(self) -> None:
        self._ingresses: dict[Name, Ingress] = {}
        self._ingress_classes: dict[Name, IngressClass] = {}
        self._services: dict[Name, Service] = {}
        self._endpoints: dict[Name, Endpoints] = {}
        self._secrets: dict[Name, Secret] = {}
        self._config_maps: dict[Name, ConfigMap] = {}
        self._slices: dict[Name, EndpointSlice] = {}
        self._slices_by_service: dict[Name, dict[str, EndpointSlice]] = {}
        self._kinds: dict[str, dict[Name, Any]] = {
            Ingress.KIND: self._ingresses,
            IngressClass.KIND: self._ingress_classes,
            Service.KIND: self._services,
            Endpoints.KIND: self._endpoints,
            EndpointSlice.KIND: self._slices,
            Secret.KIND: self._secrets,
            ConfigMap.KIND: self._config_maps,
        }

    def __len__(self) -> int:
        return sum(map(len, self._kinds.values()))

    def __iter__(self) -> Iterator[Resource]:
        for objects in self._kinds.values():
            yield from objects.values()

    def upsert(self, resource: Resource) -> bool:
        """Puts an object in the place of its older self. False if nothing that we read has changed."""
        objects = self._kinds[resource.KIND]
        name = (resource.namespace, resource.name)
        former = objects.get(name)
        if former == resource:
            return False
        objects[name] = resource
        if isinstance(resource, EndpointSlice):
            if former is not None:
                self._forget_slice(former)
            if resource.service:
                slices = self._slices_by_service.setdefault((resource.namespace, resource.service), {})
                slices[resource.name] = resource
        return True

    def remove(self, ref: ObjectRef) -> bool:
        """Takes an object out. False if there was none."""
        former = self._kinds.get(ref.kind, {}).pop((ref.namespace, ref.name), None)
        if isinstance(former, EndpointSlice):
            self._forget_slice(former)
        return former is not None

    def get(self, ref: ObjectRef) -> Resource | None:
        """The object of this reference."""
        found: Resource | None = self._kinds.get(ref.kind, {}).get((ref.namespace, ref.name))
        return found

    def _forget_slice(self, former: EndpointSlice) -> None:
        name = (former.namespace, former.service)
        if slices := self._slices_by_service.get(name):
            slices.pop(former.name, None)
            if not slices:
                del self._slices_by_service[name]

    @property
    def ingresses(self) -> Collection[Ingress]:
        """In no order that means anything."""
        return self._ingresses.values()

    @property
    def ingress_classes(self) -> Mapping[str, IngressClass]:
        """By name."""
        return {name: ingress_class for (_, name), ingress_class in self._ingress_classes.items()}

    def service(self, namespace: str, name: str) -> Service | None:
        return self._services.get((namespace, name))

    def slices_of(self, namespace: str, service: str) -> Collection[EndpointSlice]:
        """The EndpointSlices that carry the Service's label, in no order that means anything."""
        return self._slices_by_service.get((namespace, service), _NO_SLICES).values()

    def endpoints(self, namespace: str, name: str) -> Endpoints | None:
        return self._endpoints.get((namespace, name))

    def secret(self, namespace: str, name: str) -> Secret | None:
        return self._secrets.get((namespace, name))

    def config_map(self, namespace: str, name: str) -> ConfigMap | None:
        return self._config_maps.get((namespace, name))
